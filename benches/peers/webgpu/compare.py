"""The same training step, translation and convolutions in other engines and in Henshin, on one WebGPU-class
adapter through Vulkan, interleaved in one run.

    npm ci --prefix benches/peers/webgpu/tfjs
    python -m venv VENV                                 (onnxruntime's builds clash: it has to be alone)
    VENV/bin/pip install -r benches/peers/webgpu/onnxruntime/requirements.txt
    cargo build --release -p trainer
    VENV/bin/python benches/peers/webgpu/compare.py target/release/trainer [--rounds 3] [--burn PATH]
        [--skip tfjs onnxruntime step convolution ...]

Needs Node 20 or later. Where there are several adapters, VK_DRIVER_FILES names the driver that all engines
are to take. Prints a Markdown table of medians, and the ratio of the best peer's time to Henshin's: more than
1 means that Henshin is faster. A dash is what an engine cannot do.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "pytorch"))
sys.dont_write_bytecode = True
from compare import CONVOLUTIONS, PASSES, STEPS  # noqa: E402, PyTorch's: the same work

# Software adapters take seconds for a step, so one setting and few steps.
STEP = "step 64×64, ngf 32, 6 blocks, batch 1"
SETTING = {**STEPS[STEP], "steps": 3}
# A run of more than so many seconds is given up.
LIMIT = 60


class Peer:
    def __init__(self, command, works):
        self.command, self.works = command, works

    def time(self, work, setting):
        """Seconds, or what went wrong in a few words. A process of its own, so that only this is lost."""
        if work not in self.works and f"{work}, {setting.get('pass')}" not in self.works:
            return None
        # Two runs to warm up, with the compilation, before those that count.
        limit = LIMIT * (setting.get("steps", 2) + 2)
        try:
            out = subprocess.run([*self.command, work, json.dumps(setting)],
                                 capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return f"over {LIMIT} s"
        if out.returncode:
            print(f"{self.command} {work} {setting}:\n{out.stderr[-2000:]}", file=sys.stderr)
            return "failed"
        report = json.loads(out.stdout.splitlines()[-1])
        return report.get("caveat") or report["seconds"]


def peers(burn):
    all_works = ["step", "translation", "convolution"]
    found = dict(
        tfjs=Peer(["node", HERE / "tfjs" / "peer.mjs"], all_works),
        onnxruntime=Peer([sys.executable, HERE / "onnxruntime" / "peer.py"],
                         ["translation", "convolution, forward"]),
    )
    if burn:
        found["burn"] = Peer([burn], all_works)
    return found


def henshin(trainer, *flags):
    out = subprocess.run([trainer, "bench", "--device=vulkan", "--json", *flags],
                         check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def henshin_model(trainer):
    flags = [f"--{key}={SETTING[key]}" for key in ("size", "ngf", "ndf", "batch", "steps")]
    [report] = henshin(trainer, f"--generator=resnet_{SETTING['blocks']}blocks", *flags)
    return [measured["median"] for measured in report["measurements"]]


def henshin_convolutions(trainer):
    """Operations' times in the registry's order: convolutions, weight gradients, input gradients."""
    times = lambda name: [measured["median"] for measured in henshin(trainer, f"--operations={name}")]
    count = len(CONVOLUTIONS)
    both = times("conv2d")
    return list(zip(both[:count], times("conv_transpose2d")[:count], both[count:2 * count]))


def middle(times):
    """The median, or the first thing that went wrong."""
    wrong = [time for time in times if not isinstance(time, float)]
    return wrong[0] if wrong else statistics.median(times)


def row(name, theirs, ours):
    cell = lambda time: "–" if time is None else time if isinstance(time, str) else f"{time * 1e3:.1f}"
    theirs, ours = [middle(times) for times in theirs], statistics.median(ours)
    done = [time for time in theirs if isinstance(time, float)]
    ratio = f"{min(done) / ours:.2f}" if done else "–"
    print("|", " | ".join([name, *map(cell, theirs), cell(ours), ratio]), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trainer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--burn", metavar="PATH", help="a program that does as tfjs/peer.mjs does, in burn")
    parser.add_argument("--skip", nargs="+", default=[], metavar="NAME", help="peers, or 'step' or 'convolution'")
    args = parser.parse_args()

    engines = {name: peer for name, peer in peers(args.burn).items() if name not in args.skip}
    columns = ["work", *(f"{name}, ms" for name in engines), "Henshin, ms", "ratio to the best"]
    print("|", " | ".join(columns), "|\n" + "|---" * len(columns) + "|", flush=True)

    def compare(names, works, ours):
        """A row for each work; each round takes the engines by turns."""
        rounds = []
        for _ in range(args.rounds):
            theirs = [[peer.time(*work) for peer in engines.values()] for work in works]
            rounds.append((theirs, ours()))
        for i, name in enumerate(names):
            row(name, zip(*(theirs[i] for theirs, _ in rounds)), [ours[i] for _, ours in rounds])

    if "step" not in args.skip:
        compare([STEP, STEP.replace("step", "translation")], [("step", SETTING), ("translation", SETTING)],
                lambda: henshin_model(args.trainer))
    if "convolution" not in args.skip:
        cases = [(shape, what) for shape in CONVOLUTIONS for what in PASSES]
        compare([f"{k}×{k} stride {stride} {c}→{m} on {side}×{side}, {what}"
                 for (c, m, side, k, stride, _), what in cases],
                [("convolution", {"shape": shape, "pass": what}) for shape, what in cases],
                lambda: [time for times in henshin_convolutions(args.trainer) for time in times])


if __name__ == "__main__":
    main()

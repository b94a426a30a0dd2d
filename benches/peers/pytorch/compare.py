"""The same training steps, translations and convolutions in PyTorch and in Henshin, on the processor,
interleaved in one run.

    pip install -r benches/peers/pytorch/requirements.txt
    cargo build --release -p trainer
    python benches/peers/pytorch/compare.py target/release/trainer [--rounds 3] [--large]

Prints a Markdown table of medians and ratios (PyTorch's time over Henshin's: more than 1 means that
Henshin is faster). A step of PyTorch's is eager NCHW, which is its faster way here (channels_last and
torch.compile are slower); a convolution is the faster of NCHW and channels_last. Both use all cores.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

STEPS = {
    "step 64×64, ngf 32, 6 blocks, batch 1": dict(size=64, ngf=32, ndf=32, blocks=6, batch=1, steps=20),
    "step 64×64, ngf 32, 6 blocks, batch 4": dict(size=64, ngf=32, ndf=32, blocks=6, batch=4, steps=8),
    "step 64×64, ngf 16, ndf 32 (demo)": dict(size=64, ngf=16, ndf=32, blocks=6, batch=1, steps=20),
}
LARGE = {
    "step 256×256, ngf 64, 9 blocks, batch 1": dict(size=256, ngf=64, ndf=64, blocks=9, batch=1, steps=3),
}
# Channels in and out, side of the image, kernel, stride, padding.
CONVOLUTIONS = [
    (256, 256, 64, 3, 1, 1),
    (64, 128, 256, 3, 2, 1),
    (3, 64, 262, 7, 1, 0),
    (64, 3, 262, 7, 1, 0),
    (64, 128, 128, 4, 2, 1),
    (128, 128, 16, 3, 1, 1),
]
PASSES = ("forward", "input gradient", "weight gradient")


def median(work, budget=0.5, runs=None):
    for _ in range(2):
        work()
    times, begun = [], time.perf_counter()
    while len(times) < (runs or 5) or (runs is None and time.perf_counter() - begun < budget):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def torch_model(setting):
    """The time of a CycleGAN step and of a translation, and the process's peak memory."""
    import torch
    from torch import nn
    import torch.nn.functional as F

    class Block(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.conv_block = nn.Sequential(
                nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c), nn.ReLU(),
                nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c),
            )

        def forward(self, x):
            return x + self.conv_block(x)

    def generator(c, blocks):
        norm = lambda c: [nn.InstanceNorm2d(c), nn.ReLU()]
        down = lambda a, b: [nn.Conv2d(a, b, 3, 2, 1), *norm(b)]
        up = lambda a, b: [nn.ConvTranspose2d(a, b, 3, 2, 1, 1), *norm(b)]
        return nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, c, 7), *norm(c), *down(c, 2 * c), *down(2 * c, 4 * c),
            *[Block(4 * c) for _ in range(blocks)], *up(4 * c, 2 * c), *up(2 * c, c),
            nn.ReflectionPad2d(3), nn.Conv2d(c, 3, 7), nn.Tanh(),
        )

    def discriminator(c):
        layer = lambda a, b, s: [nn.Conv2d(a, b, 4, s, 1), nn.InstanceNorm2d(b), nn.LeakyReLU(0.2)]
        return nn.Sequential(
            nn.Conv2d(3, c, 4, 2, 1), nn.LeakyReLU(0.2), *layer(c, 2 * c, 2), *layer(2 * c, 4 * c, 2),
            *layer(4 * c, 8 * c, 1), nn.Conv2d(8 * c, 1, 4, 1, 1),
        )

    size, batch = setting["size"], setting["batch"]
    g_a, g_b = (generator(setting["ngf"], setting["blocks"]) for _ in range(2))
    d_a, d_b = (discriminator(setting["ndf"]) for _ in range(2))
    adam = lambda *nets: torch.optim.Adam([p for net in nets for p in net.parameters()], 2e-4, (0.5, 0.999))
    adam_g, adam_d = adam(g_a, g_b), adam(d_a, d_b)
    real_a, real_b = (torch.rand(batch, 3, size, size) * 2 - 1 for _ in range(2))
    gan = lambda answer, real: F.mse_loss(answer, torch.full_like(answer, real))

    def step():
        for net in (d_a, d_b):
            net.requires_grad_(False)
        fake_b, fake_a = g_a(real_a), g_b(real_b)
        rec_a, rec_b = g_b(fake_b), g_a(fake_a)
        loss = gan(d_a(fake_b), 1.0) + gan(d_b(fake_a), 1.0)
        loss = loss + 10 * F.l1_loss(rec_a, real_a) + 10 * F.l1_loss(rec_b, real_b)
        loss = loss + 5 * F.l1_loss(g_a(real_b), real_b) + 5 * F.l1_loss(g_b(real_a), real_a)
        adam_g.zero_grad()
        loss.backward()
        adam_g.step()
        for net in (d_a, d_b):
            net.requires_grad_(True)
        adam_d.zero_grad()
        for net, real, fake in ((d_a, real_b, fake_b.detach()), (d_b, real_a, fake_a.detach())):
            (0.5 * (gan(net(real), 1.0) + gan(net(fake), 0.0))).backward()
        adam_d.step()

    def translate():
        with torch.no_grad():
            g_a(real_a)

    runs = setting["steps"]
    return dict(step=median(step, runs=runs), translation=median(translate, runs=runs),
                memory=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def torch_convolutions():
    """For each convolution the times of its three passes, in the faster of two layouts."""
    import torch
    import torch.nn.functional as F

    results = []
    for c, m, side, k, stride, padding in CONVOLUTIONS:
        times = []
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(1, c, side, side).to(memory_format=layout)
            w = torch.randn(m, c, k, k).to(memory_format=layout)
            b = torch.randn(m)
            grad = torch.randn_like(F.conv2d(x, w, b, stride, padding))
            back = lambda mask: torch.ops.aten.convolution_backward(
                grad, x, w, [m], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, mask)
            times.append((median(lambda: F.conv2d(x, w, b, stride, padding)),
                          median(lambda: back([True, False, False])),
                          median(lambda: back([False, True, False]))))
        results.append([min(pair) for pair in zip(*times)])
    return results


def in_torch(what):
    out = subprocess.run([sys.executable, __file__, "-", "--torch", json.dumps(what)],
                         check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def henshin_model(trainer, setting):
    generator = f"resnet_{setting['blocks']}blocks"
    flags = [f"--{key}={setting[key]}" for key in ("size", "ngf", "ndf", "batch", "steps")]
    out = subprocess.run([trainer, "bench", "--device=cpu", "--json", f"--generator={generator}", *flags],
                         check=True, capture_output=True, text=True)
    report = json.loads(out.stdout)
    step, translation = report["measurements"]
    return dict(step=step["median"], translation=translation["median"], memory=report["process_memory"])


def henshin_convolutions(trainer):
    """Operations' times in the registry's order: convolutions, weight gradients, input gradients."""
    def times(name):
        out = subprocess.run([trainer, "bench", "--device=cpu", "--json", f"--operations={name}"],
                             check=True, capture_output=True, text=True)
        return [json.loads(line)["median"] for line in out.stdout.splitlines()]

    count = len(CONVOLUTIONS)
    both = times("conv2d")
    forward, weight, image = both[:count], both[count:2 * count], times("conv_transpose2d")[:count]
    return list(zip(forward, image, weight))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trainer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="the 256×256 step too (minutes, 4 GB)")
    parser.add_argument("--torch", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch:
        what = json.loads(args.torch)
        print(json.dumps(torch_model(what) if what else torch_convolutions()))
        return

    print("| work | PyTorch, ms | Henshin, ms | ratio |\n|---|---|---|---|")

    def row(name, pairs, scale=1e3, digits=2):
        theirs, ours = (statistics.median(side) for side in zip(*pairs))
        print(f"| {name} | {theirs * scale:.{digits}f} | {ours * scale:.{digits}f} | {theirs / ours:.2f} |",
              flush=True)

    settings = {**STEPS, **(LARGE if args.large else {})}
    for name, setting in settings.items():
        rounds = [(in_torch(setting), henshin_model(args.trainer, setting)) for _ in range(args.rounds)]
        row(name, [(a["step"], b["step"]) for a, b in rounds], digits=1)
        row(name.replace("step", "translation"), [(a["translation"], b["translation"]) for a, b in rounds])
        row(name.replace("step", "peak memory, MB,"), [(a["memory"], b["memory"]) for a, b in rounds], 1e-6, 0)
    rounds = [(in_torch(None), henshin_convolutions(args.trainer)) for _ in range(args.rounds)]
    for i, (c, m, side, k, stride, _) in enumerate(CONVOLUTIONS):
        for j, what in enumerate(PASSES):
            pairs = [(a[i][j], b[i][j]) for a, b in rounds]
            row(f"{k}×{k} stride {stride} {c}→{m} on {side}×{side}, {what}", pairs)


if __name__ == "__main__":
    main()

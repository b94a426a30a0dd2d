#!/usr/bin/env python3
"""Runs ONNX exports in onnxruntime and compares with what our own networks give: at most 1e-4 apart.

    pip install numpy safetensors onnx onnxruntime
    python tests/onnx_exports.py [RUN ...]

Without runs it trains some for a step: every generator, with instance norm, affine, batch norm and none, and with
resizing in place of transposed convolutions.
"""
import itertools, subprocess, sys, tempfile
from pathlib import Path

import numpy, onnx, onnxruntime
from safetensors.numpy import load_file, save_file

LIMIT = 1e-4
SIZES = [(64, 64), (100, 140), (256, 256)]


def cargo(*arguments):
    subprocess.run(["cargo", "run", "--quiet", *map(str, arguments)], check=True, stderr=subprocess.PIPE)


def trained(folder):
    """Runs of every kind; weights are drawn large, so that pictures come out that are not all grey."""
    kinds = [("resnet_6blocks", 32), ("resnet_9blocks", 32), ("unet_128", 128), ("unet_256", 256)]
    for (generator, size), norm in itertools.product(kinds, ["instance", "instance_affine", "batch", "none", "instance resized"]):
        run = folder / f"{generator}-{norm}".replace(" ", "-")
        norm, _, resized = norm.partition(" ")
        gain = 0.08 if norm in ("none", "batch") else 0.2
        cargo("-p", "trainer", "--", "--generator", generator, "--norm", norm, "--size", size, "--load-size", size, "--ngf", 8,
              "--ndf", 4, "--steps", 1, "--init-gain", gain, "--upsampling", "resize" if resized else "transposed", "--batch", 2 if norm == "batch" else 1, "--device", "cpu", "--quiet",
              "--out", run)
        yield run


def compare(run, folder):
    weights, model = folder / "weights.safetensors", folder / "model.onnx"
    for direction in ["AtoB", "BtoA"]:
        for output in [weights, model]:
            cargo("-p", "trainer", "--", "export", run, "--direction", direction, "--output", output)
        onnx.checker.check_model(onnx.load(model), full_check=True)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        about = session.get_modelmeta().custom_metadata_map
        assert about["direction"] == direction
        multiple = int(about["sides_multiple_of"])
        fits = [(h, w) for h, w in SIZES if h % multiple == w % multiple == 0]
        sizes = fits + [(multiple, 2 * multiple)] * (len(fits) < len(SIZES))
        random = numpy.random.default_rng(1)
        batches = {f"{h}x{w}": random.uniform(-1, 1, (1 + i % 2, 3, h, w)).astype("float32") for i, (h, w) in enumerate(sizes)}
        save_file(batches, folder / "in.safetensors")
        cargo("-p", "exchange", "--example", "forward", "--", weights, folder / "in.safetensors", folder / "out.safetensors")
        ours = load_file(folder / "out.safetensors")
        for size, batch in batches.items():
            theirs, = session.run(None, {"input": batch})
            worst = numpy.abs(theirs - ours[size]).max()
            name, spread = Path(run).name, ours[size].std()
            print(f"{name} {direction} {size} x{len(batch)}: at most {worst:.1e} apart (of values that spread by {spread:.2f})", flush=True)
            yield worst <= LIMIT


with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    runs = map(Path, sys.argv[1:]) if sys.argv[1:] else trained(folder)
    if not all([ok for run in runs for ok in compare(run, folder)]):
        sys.exit(f"more than {LIMIT} apart")

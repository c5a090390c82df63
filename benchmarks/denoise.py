"""Noise2Noise: seconds for 1000 x 1000 pixels, training patches per second, and both against a plain
convolution's rate.

    python benchmarks/denoise.py [--threads N] [--device cpu]

The floor is a 3 x 3 convolution of 32 to 32 channels in channels-last layout, repeated: what the network
mostly consists of.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from heliorestore import Burst, restore
from heliorestore.methods.base import pick_device
from heliorestore.methods.denoising.pairs import BATCH, PATCH, Aim, train_epoch
from heliorestore.methods.noise2noise import DenoiseSettings
from heliorestore.nets.denoiser import Denoiser, residual

CHANNELS = 32


def flops(net: Denoiser) -> float:
    """Multiplications and additions per pixel: every layer's weights at the resolution where it works."""
    total = 0.0
    for name, layer in net.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            part = name.split(".")[0]
            finer = {"coarse": 16, "middle": 4, "up_middle": 4, "to_middle": 4}.get(part, 1)
            total += 2.0 * layer.weight.numel() / finer
    return total


def fastest(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The smallest wall-clock and the smallest processor time of several runs, after one to warm up."""
    run()
    found = []
    for _ in range(repeats):
        began, busy = time.perf_counter(), time.process_time()
        run()
        found.append((time.perf_counter() - began, time.process_time() - busy))
    walls, processors = zip(*found, strict=True)
    return min(walls), min(processors)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="threads to compute with (default: 1)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps (default cpu)")
    parser.add_argument("--size", type=int, default=1000, help="pixels along a side (default: 1000)")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = pick_device(asked.device)

    layer = torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(device, memory_format=torch.channels_last)
    image = torch.rand(1, CHANNELS, 256, 256, device=device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        floor = 2.0 * 256**2 * 9 * CHANNELS**2 / 1e9 / fastest(lambda: layer(image), 8)[1]
    print(
        f"{asked.threads} threads on {device}; plain convolution {floor:.0f} GFLOP per second of processor "
        "time"
    )

    noise = np.random.default_rng(0).standard_normal((asked.size, asked.size)).astype(np.float32)
    burst = Burst.from_array(noise, labels=("Q",))
    wall, busy = fastest(lambda: restore(burst, DenoiseSettings(), device=asked.device), 2)
    work = flops(residual()) * asked.size**2 / 1e9
    print(
        f"{asked.size} x {asked.size}: {wall:.2f} s, {busy:.2f} s of processor, {work / busy / floor:.0%} "
        "of the floor's rate"
    )

    net = residual().to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)
    batch = torch.randn(BATCH, 1, PATCH, PATCH), torch.randn(BATCH, 1, PATCH, PATCH)
    wall, busy = fastest(lambda: train_epoch(net, optimiser, [batch] * 5, Aim("L2", False, 1.0), device), 3)
    print(
        f"training: {5 * BATCH / wall:.0f} patches of {PATCH} pixels per second, {5 * BATCH / busy:.0f} "
        "per second of processor"
    )


if __name__ == "__main__":
    main()

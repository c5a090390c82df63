"""Enhance: seconds for 400 x 400 pixels, the rate against a plain convolution's on this machine, and a full
disc's memory.

    python benchmarks/enhance.py [--threads N] [--disc]

The floor is a 3 x 3 convolution of 64 to 64 channels in channels-last layout, repeated: what the network
mostly consists of.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from heliorestore import Burst, stream
from heliorestore.instrument import KNOWN
from heliorestore.methods.enhance import EnhanceSettings

HMI = KNOWN["hmi-6173"]
CHANNELS = 64


def flops(pixels: int, kernels: int, blocks: int) -> float:
    """Multiplications and additions of the network for that many input pixels."""
    inner = 9 * kernels**2
    return 2.0 * pixels * (9 * kernels + (2 * blocks + 1) * inner + 4 * inner + 4 * kernels)


def fastest(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The smallest wall-clock and the smallest processor time of several runs."""
    walls, processors = [], []
    run()
    for _ in range(repeats):
        began, busy = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - began)
        processors.append(time.process_time() - busy)
    return min(walls), min(processors)


def floor(size: int = 400) -> tuple[float, float]:
    """GFLOP per second of wall clock and per second of processor time that a plain convolution reaches."""
    layer = torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(memory_format=torch.channels_last)
    image = torch.rand(1, CHANNELS, size, size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        wall, processor = fastest(lambda: layer(image), 8)
    work = 2.0 * size**2 * 9 * CHANNELS**2 / 1e9
    return work / wall, work / processor


def image(size: int) -> np.ndarray:
    return (1 + 0.04 * np.random.default_rng(0).standard_normal((size, size))).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--disc", action="store_true", help="restore 4096 x 4096 pixels too")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="threads to compute with (default: all)"
    )
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    wall_floor, busy_floor = floor()
    print(
        f"{torch.get_num_threads()} threads; plain convolution {wall_floor:.0f} GFLOP/s of wall clock, "
        f"{busy_floor:.0f} of processor time"
    )
    burst = Burst.from_array(image(400), HMI)
    for network, kernels, blocks in (("full", 64, 5), ("small", 32, 1)):
        settings = EnhanceSettings(network=network)
        wall, busy = fastest(lambda settings=settings: list(stream(burst, settings, device="cpu")), 4)
        work = flops(400**2, kernels, blocks) / 1e9
        print(
            f"{network}: 400 x 400 in {wall:.2f} s ({busy:.2f} s of processor), {work:.0f} GFLOP, "
            f"{work / wall:.0f} GFLOP/s = "
            f"{work / wall / wall_floor:.0%} of the floor ({work / busy / busy_floor:.0%} by processor time)"
        )
    if asked.disc:
        began = time.perf_counter()
        for snapshot in stream(Burst.from_array(image(4096), HMI), EnhanceSettings(), device="cpu"):
            print(f"  {snapshot.step}/{snapshot.total} {time.perf_counter() - began:.0f} s", flush=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        print(f"full: 4096 x 4096 in {time.perf_counter() - began:.0f} s, peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()

"""Seconds per image of the neural emulator, by size of the image and of the batch, beside filter flow and the
exact sum.

    python benchmarks/emulator.py [--threads 1] [--runs 3] [--device cpu] [--memory]

SST/CRISP at 854.2 nm, 44 modes, PSFs of 64 pixels, images whose borders are given. The networks have random
weights: their time does not depend on them. `full` is the published width of 64 channels, `narrow` a quarter
of it. All that is compared takes turns, run for run. On a CPU the least processor time of the runs is given,
which other work on the machine disturbs little; with several threads it counts them all. With --memory the
peak of a gradient to object and modes, of bursts of several lengths, the last of them the paper's 20 frames
of 512 x 512, which takes a CPU minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from functools import partial

import torch
from filter_flow import MODES, PSF, Case, in_turns, peaks, squared

from heliorestore.instrument import KNOWN
from heliorestore.methods.blind.emulated import Emulated, Trained, frozen
from heliorestore.nets import emulator
from heliorestore.optics.convolve import PerPixelSum
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.psf import make_optics

SIZES = (64, 128, 256, 512)
BATCHES = (1, 4, 16)
KINDS = ("full", "narrow", "step 8", "step 16", "step 32", "exact")
IN_BATCHES = ("full", "narrow", "step 16")
MOST_PIXELS = 2**20  # of a batch
EXACT_UP_TO = 128
STEP = 16


def model(
    kind: str, size: int, device: str, memory_bytes: float = 1e12
) -> Emulated | FilterFlow | PerPixelSum:
    optics = [make_optics(KNOWN["crisp-8542-paper"], PSF, MODES, device=device)]
    if kind in ("full", "narrow"):
        net = frozen(getattr(emulator, kind)()).to(device)
        trained = Trained(kind, net, tuple(KNOWN[name] for name in emulator.INSTRUMENTS))
        return Emulated(
            trained=trained, optics=optics, shape=(size, size), step=STEP, memory_bytes=memory_bytes
        )
    if kind == "exact":
        return PerPixelSum(optics=optics, shape=(size, size), borders="given")
    return FilterFlow(
        optics=optics, shape=(size, size), step=int(kind.removeprefix("step ")), borders="given"
    )


def forward(kind: str, size: int, frames: int, device: str) -> Callable[[], object]:
    """Images of one object through that many wavefronts."""
    blur = model(kind, size, device)
    object_ = torch.rand(1, *blur.object_shape, device=device)
    modes = torch.randn(frames, MODES, *blur.grid, device=device)

    def run() -> object:
        with torch.no_grad():
            return blur(object_, modes)

    return run


def gradient(
    kind: str, size: int, frames: int, device: str, memory_bytes: float = 1e12
) -> Callable[[], None]:
    """The same with the gradient to object and modes; what a frame needs for it may be made again to keep
    within the memory."""
    blur = model(kind, size, device, memory_bytes)
    object_ = torch.rand(1, *blur.object_shape, device=device).requires_grad_()
    modes = torch.randn(frames, MODES, *blur.grid, device=device).requires_grad_()
    return partial(squared, blur, object_, modes)


def seconds(cases: list[Case], runs: int, device: str) -> dict[str, float]:
    """The least processor time of every case, on a GPU its median time."""
    return {
        what: times.processor if device == "cpu" else times.median
        for what, times in in_turns(cases, runs).items()
    }


def by_size_and_batch(device: str, runs: int) -> dict[tuple[str, int, int], float]:
    """Seconds per image, forward, by kind, size and number at a time."""
    cases = {}
    for size in SIZES:
        for count in BATCHES:
            for kind in KINDS if count == 1 else IN_BATCHES:
                if count * size**2 <= MOST_PIXELS and (kind != "exact" or size <= EXACT_UP_TO):
                    cases[kind, size, count] = Case(
                        f"{kind} {size} {count}", forward(kind, size, count, device), 1 / count
                    )
    found = seconds(list(cases.values()), runs, device)
    return {key: found[case.what] for key, case in cases.items()}


def both_ways(device: str, runs: int, size: int = 256) -> dict[str, float]:
    """Seconds per frame, forward and backward."""
    kinds = [kind for kind in KINDS if kind != "exact"]
    return seconds([Case(kind, gradient(kind, size, 1, device)) for kind in kinds], runs, device)


def memory(device: str) -> list[tuple[str, int, int, float]]:
    """Network, size, frames, and bytes at the peak of a gradient where the frames go through one by one."""
    cases = [("narrow", 256, 1), ("narrow", 256, 8), ("full", 256, 1), ("full", 256, 3), ("full", 512, 20)]
    found = peaks(
        [partial(gradient, kind, size, frames, device, 1.0) for kind, size, frames in cases], device
    )
    return [(*case, peak) for case, peak in zip(cases, found, strict=True)]


def machine(device: str, threads: int, runs: int) -> str:
    what = "least processor time" if device == "cpu" else "median"
    return (
        f"{device}, {threads} thread{'s' * (threads > 1)}, {os.cpu_count()} cores ({platform.machine()}) "
        "under a load of "
        f"{os.getloadavg()[0]:.1f}, torch {torch.__version__}, {what} of {runs} runs in turns"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.memory:
        for kind, size, frames, peak in memory(arguments.device):
            print(f"{kind}, {frames} frames of {size}^2: {peak / 1e6:.0f} MB")
        return
    print(machine(arguments.device, arguments.threads, arguments.runs))
    for (kind, size, count), took in by_size_and_batch(arguments.device, arguments.runs).items():
        print(f"{size}^2, {count} at a time, {kind}: {took:.4g} s per image")
    for kind, took in both_ways(arguments.device, arguments.runs).items():
        print(f"256^2, forward and backward, {kind}: {took:.4g} s per frame")


if __name__ == "__main__":
    main()

"""Optics: seconds of the forward models, their gradients, PSFs and modes on this machine.

    python benchmarks/optics.py [--threads 2] [--runs 9] [--device cpu] [--memory]

Geometry of SST/CRISP at 854.2 nm, 44 modes, PSFs of 64 pixels, single precision. Printed are the median
wall-clock time, and the least processor time, which others on the machine disturb less (with one thread:
waiting threads count as busy).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from heliorestore.instrument import KNOWN
from heliorestore.optics.convolve import PerPixelSum
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.modes import make_basis
from heliorestore.optics.psf import Optics, make_optics, psf

CRISP = KNOWN["crisp-8542-paper"]


@dataclass(frozen=True)
class Timing:
    what: str
    wall: float  # seconds, median
    processor: float  # seconds, least


def timed(what: str, run: Callable[[], object], runs: int, per: int = 1) -> Timing:
    """Time of a run, divided by the `per` things that it does."""
    walls, processors = [], []
    run()
    for _ in range(runs):
        began, busy = time.perf_counter(), time.process_time()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        walls.append((time.perf_counter() - began) / per)
        processors.append((time.process_time() - busy) / per)
    return Timing(what, statistics.median(walls), min(processors))


def flow_timings(optics: Optics, size: int, frames: int, step: int, runs: int) -> list[Timing]:
    """Filter flow: forward, forward and backward, and forward with known PSFs; seconds per frame."""
    model = FilterFlow(optics=[optics], shape=(size, size), step=step)
    lean = FilterFlow(optics=[optics], shape=(size, size), step=step, checkpoint=True)
    like = {"device": optics.modes.device, "dtype": optics.modes.dtype}
    object_ = torch.rand(1, size, size, **like).requires_grad_()
    modes = torch.randn(frames, 44, *model.grid, **like).requires_grad_()
    transfer = model.transfer(modes)
    name = f"filter flow {size}^2, step {step}, {frames} frame{'s' * (frames > 1)}"

    def forward() -> None:
        with torch.no_grad():
            model(object_, modes)

    return [
        timed(f"{name}: forward", forward, runs, frames),
        timed(
            f"{name}: forward + backward",
            lambda: model(object_, modes).square().sum().backward(),
            runs,
            frames,
        ),
        timed(
            f"{name}: forward + backward, checkpointed",
            lambda: lean(object_, modes).square().sum().backward(),
            runs,
            frames,
        ),
        timed(f"{name}: forward, PSFs known", lambda: model.apply(object_.detach(), transfer), runs, frames),
        timed(
            f"{name}: adjoint, PSFs known",
            lambda: model.adjoint(torch.ones(1, frames, size, size, **like), transfer),
            runs,
            frames,
        ),
    ]


def timings(device: str, runs: int) -> list[Timing]:
    optics = make_optics(CRISP, 64, 44, device=device)
    found = []
    for size, frames, step in ((256, 1, 32), (256, 1, 16), (256, 1, 8), (192, 12, 32), (192, 12, 16)):
        found += flow_timings(optics, size, frames, step, runs)
    coefficients = torch.randn(1024, 44, device=device)
    found.append(timed("PSF of 64^2 from 44 modes, of 1024", lambda: psf(optics, coefficients), runs, 1024))
    exact = PerPixelSum(optics=[optics], shape=(128, 128))
    modes, object_ = torch.randn(1, 44, 128, 128, device=device), torch.rand(1, 128, 128, device=device)
    with torch.no_grad():
        found.append(timed("exact per-pixel sum 128^2, 1 frame", lambda: exact(object_, modes), 2))
    for count in (44, 500):
        found.append(
            timed(f"{count} Karhunen-Loeve modes", lambda count=count: make_basis.__wrapped__(count), 2)
        )
    return found


def memory() -> str:
    """Peak memory of the process for a gradient of 20 frames and two objects of 512^2, which a machine of 8
    GB must bear."""
    optics = make_optics(CRISP, 64, 44)
    model = FilterFlow(optics=[optics, optics], shape=(512, 512), step=16)
    objects, modes = (
        torch.rand(2, 512, 512).requires_grad_(),
        torch.randn(20, 44, *model.grid).requires_grad_(),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    model(objects, modes).square().sum().backward()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return (
        f"20 frames, 2 objects of 512^2, step 16, forward + backward: peak {after:.0f} MB, "
        f"{before:.0f} MB of it before"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead of times")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory:
        print(memory())
        return
    print(
        f"torch {torch.__version__}, {arguments.device}, {arguments.threads} threads, {arguments.runs} runs"
    )
    print(f"{'':62} {'wall, median':>14} {'processor, least':>17}")
    for timing in timings(arguments.device, arguments.runs):
        print(f"{timing.what:62} {timing.wall * 1e3:11.3f} ms {timing.processor * 1e3:14.3f} ms")


if __name__ == "__main__":
    main()

"""Scale of the blind deconvolutions: seconds per iteration, memory at the peak and share of the FFTs, from
small fields to large ones.

    python benchmarks/engine.py [--sizes 256 512 1024] [--frames 12] [--objects 2] [--iterations 3]
    [--memory-gb 4]
                                [--method sv-momfbd] [--device cpu] [--threads 1] [--no-ffts]

Each size is done in a process of its own, on a FITS file that is written for it into the folder for temporary
files and removed again. Its frames are a smooth random scene that shivers, and noise: the time of an
iteration does not depend on what is seen. The first iteration of `sv-momfbd` (from the average) solves for
the objects from nothing and is given by itself; the rest is the median of the others, or the first itself
where it is the only one. The memory is what the run adds at its peak to what the process had before. The FFT
floor is the time of nothing but the Fourier transforms of an iteration, recorded in the last one and repeated
on contiguous data. On a CPU seconds are those of the processor, summed over the threads.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from filter_flow import CLEAR, FourierTransforms, resident, seconds

import heliorestore
from heliorestore.diagnose.memory import memory_need
from heliorestore.methods.base import stream
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.settings import Settings


@dataclass(frozen=True)
class Case:
    """What one process does."""

    size: int
    objects: int
    frames: int
    method: str
    iterations: int
    memory_gb: float | None
    device: str
    threads: int
    ffts: bool
    optimiser: str
    grid_step: int
    psf: int


def settings_of(case: Case) -> Settings:
    if case.method == "momfbd":
        return MomfbdSettings(iterations=case.iterations, stop_early=False, memory_gb=case.memory_gb)
    return SvMomfbdSettings(
        start="average",
        optimiser=case.optimiser,
        iterations=case.iterations,
        stop_early=False,
        memory_gb=case.memory_gb,
        grid_step=case.grid_step,
        psf=case.psf,
    )


def write_burst(path: Path, case: Case) -> None:
    """A burst (object, frame, y, x) of 16 bit integers, one frame in memory at a time."""
    header = fits.Header({"SIMPLE": True, "BITPIX": 16, "NAXIS": 4})
    for axis, n in enumerate((case.size, case.size, case.frames, case.objects), start=1):
        header[f"NAXIS{axis}"] = n
    header["BZERO"], header["BSCALE"] = 32768, 1
    random = np.random.default_rng(0)
    v = np.hypot(np.fft.fftfreq(case.size)[:, None], np.fft.rfftfreq(case.size)[None, :])
    spectrum = np.fft.rfft2(random.standard_normal((case.size, case.size), np.float32)) / (0.002 + v**2)
    spectrum[0, 0] = 0
    scene = np.fft.irfft2(spectrum, s=(case.size, case.size))
    scene = 10_000 * (1 + 0.1 * scene / scene.std())
    with path.open("wb") as file:
        file.write(header.tostring().encode())
        for _ in range(case.objects):
            for frame in range(case.frames):
                image = np.roll(scene, (frame % 3 - 1, frame % 2), (0, 1)) + 20 * random.standard_normal(
                    scene.shape, np.float32
                )
                file.write((image.clip(0, 65535) - 32768).astype(">i2").tobytes())
        file.write(b"\0" * (-file.tell() % 2880))


def taken(run: Callable[[], object], device: str) -> float:
    """Seconds of one run: processor time on a CPU, which others on the machine disturb less, and else the
    wall clock's."""
    wall, processor = seconds(run)
    return processor if device == "cpu" else wall


def measured(case: Case) -> dict[str, float]:
    """Run the method, an iteration at a time."""
    torch.set_num_threads(case.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "burst.fits"
        write_burst(path, case)
        burst = heliorestore.read(path).with_instrument("crisp-8542-paper")
        settings = settings_of(case)
        need = memory_need(burst.shape, settings, case.device, optics=1)
        assert need is not None
        if CLEAR.exists():
            CLEAR.write_text("5")  # Linux: the peak begins anew, from what is in use now
        before = resident("VmRSS")
        if case.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        source = stream(burst, settings, device=case.device)
        first = taken(lambda: next(source), case.device)
        last = case.iterations - 1 if case.ffts else case.iterations
        walls = [taken(lambda: next(source), case.device) for _ in range(1, last)]
        peak = (
            (resident("VmHWM") - before) * 1024 if case.device == "cpu" else torch.cuda.max_memory_allocated()
        )
        floors = []
        if case.ffts:
            with FourierTransforms() as transforms:
                next(source)
            floors = [taken(transforms.again, case.device) for _ in walls]
        source.close()
    found = {
        "first": first,
        "iteration": statistics.median(walls or [first]),
        "peak": peak,
        "estimate": need.peak_bytes,
    }
    found["share"] = statistics.median(floors) / found["iteration"] if floors else 0.0
    return found | {"tiles": need.tiles[0] * need.tiles[1], "held": need.frames_held}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--memory-gb", type=float)
    parser.add_argument("--method", choices=["sv-momfbd", "momfbd"], default="sv-momfbd")
    parser.add_argument("--optimiser", choices=["alternating", "adamw"], default="alternating")
    parser.add_argument("--grid-step", type=int, default=32)
    parser.add_argument("--psf", type=int, default=96)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-ffts", action="store_true", help="do not measure the floor")
    a = parser.parse_args()
    print(
        f"torch {torch.__version__}, {a.device}, {a.threads} threads, load {os.getloadavg()[0]:.1f}; "
        f"{a.method}, ",
        end="",
    )
    print(f"{a.frames} frames of {a.objects} objects, memory {a.memory_gb or 'as free'}\n")
    print(
        "| field | first iteration | iteration | per pixel, frame and object | FFTs alone | memory at the "
        "peak | predicted | tiles |"
    )
    print("|---" * 8 + "|")
    for size in a.sizes:
        case = Case(
            size,
            a.objects,
            a.frames,
            a.method,
            a.iterations,
            a.memory_gb,
            a.device,
            a.threads,
            not a.no_ffts,
            a.optimiser,
            a.grid_step,
            a.psf,
        )
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            found = pool.submit(measured, case).result()
        each = found["iteration"] / (size**2 * a.frames * a.objects)
        took = (
            f"{found['first']:.3g} s | {found['iteration']:.3g} s | {1e6 * each:.3g} us | "
            f"{found['share']:.0%}"
        )
        tiles = f"{found['tiles']:.0f}{'' if found['held'] else ', frames read'}"
        print(
            f"| {size}^2 | {took} | {found['peak'] / 1e9:.2f} GB | {found['estimate'] / 1e9:.2f} GB | "
            f"{tiles} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

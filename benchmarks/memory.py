"""What a run takes of the memory at its peak beyond the idle process, what was predicted, and whether the
blind deconvolutions keep within `--memory-gb`.

    python benchmarks/memory.py [--methods momfbd sv-momfbd] [--limits 0.5 1 2 4] [--sizes 512 ...]
                                [--objects 1] [--frames 12] [--set grid_step=16 psf=64 ...] [--phases]
    python benchmarks/memory.py --methods richardson-lucy pca ... --sizes 512 1024

Each run is a process of its own, on a FITS file that is written for it into the folder for temporary files
and removed again. Idle is the process that has loaded the method and restored a tiny burst. A run of a blind
deconvolution is two iterations on patches and two on the whole field with the standard error at the end: what
comes after takes no more. Other methods have no limit, and run to their end. A sampler in the process, every
few milliseconds, sees memory that is its own (RssAnon on Linux); pages of the burst's file, which the system
takes back when it likes, are not counted.
"""

from __future__ import annotations

import argparse
import gc
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from engine import Case, write_burst

import heliorestore
from heliorestore.diagnose.memory import memory_need
from heliorestore.errors import RestorationError, SettingsError
from heliorestore.instrument import find
from heliorestore.methods.base import load, stream
from heliorestore.settings import Settings, from_rows

BETWEEN_S = 0.003
# sides of a field whose frames, patches and transfer functions want more than the limit
SIZES = {0.5: 512, 1.0: 768, 2.0: 1152, 4.0: 1600}


@dataclass(frozen=True)
class Found:
    """What a run took in bytes, in total and by phase, what was predicted, or why it was refused."""

    peak: float = 0.0
    predicted: float = 0.0
    phases: tuple[float, ...] = ()
    refused: str = ""


def own_bytes() -> int:
    """Memory of this process that is not of a file."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


@contextmanager
def sampled() -> Iterator[list[int]]:
    """The largest memory in each phase; whoever appends 0 begins the next one."""
    peaks, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(BETWEEN_S):
            peaks[-1] = max(peaks[-1], own_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


SHORT = {
    "momfbd": {"iterations": 3, "stop_early": False},
    "sv-momfbd": {"iterations": 4, "patch_iterations": 2, "stop_early": False},
    "richardson-lucy": {"iterations": 3},
}


def settings_of(method: str, memory_gb: float | None, chosen: dict[str, str]) -> Settings:
    kind = load(method).settings
    settings = from_rows(kind, chosen.items()).replace(
        **{name: value for name, value in SHORT.get(method, {}).items() if name not in chosen}
    )
    return settings.replace(memory_gb=memory_gb) if hasattr(settings, "memory_gb") else settings


def measured(
    method: str, memory_gb: float | None, size: int, objects: int, frames: int, chosen: dict[str, str]
) -> Found:
    """Restore a burst within the limit."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "burst.fits"
        write_burst(path, case_of(method, memory_gb, 128, objects, 4))
        for _ in stream(opened(path, method), settings_of(method, None, chosen), device="cpu"):
            pass
        write_burst(path, case_of(method, memory_gb, size, objects, frames))
        burst, settings = opened(path, method), settings_of(method, memory_gb, chosen)
        need = memory_need(burst.shape, settings, optics=1)
        predicted = need.peak_bytes if need else 0.0
        gc.collect()
        time.sleep(0.1)
        idle = own_bytes()
        try:
            with sampled() as peaks:
                for _ in stream(burst, settings, device="cpu"):
                    peaks.append(0)
        except (RestorationError, SettingsError) as error:
            return Found(refused=str(error), predicted=predicted)
    return Found(max(peaks) - idle, predicted, tuple(peak - idle for peak in peaks if peak))


def opened(path: Path, method: str) -> heliorestore.Burst:
    found = heliorestore.read(path)
    assert isinstance(found, heliorestore.Burst)
    known = find("hmi-6173" if method == "enhance" else "crisp-8542-paper")
    # spectra are of several wavelengths
    each = 0.01 if method == "pca" else 0.0
    return replace(
        found,
        instruments=tuple(
            replace(known, wavelength_nm=known.wavelength_nm + each * number)
            for number in range(found.shape[0])
        ),
    )


def case_of(method: str, memory_gb: float | None, size: int, objects: int, frames: int) -> Case:
    return Case(size, objects, frames, method, 3, memory_gb, "cpu", 1, False, "alternating", 32, 96)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["momfbd", "sv-momfbd"])
    parser.add_argument("--limits", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0], help="in GB")
    parser.add_argument("--sizes", type=int, nargs="+", help="of the field, instead of one for each limit")
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the method")
    parser.add_argument("--phases", action="store_true", help="print the peak of every iteration too")
    a = parser.parse_args()
    print("| method | limit | burst (object, frame, y, x) | peak | of the limit | predicted |")
    print("|---" * 6 + "|", flush=True)
    chosen = dict(text.split("=", 1) for text in a.set)
    for method in a.methods:
        for limit in a.limits if hasattr(load(method).settings, "memory_gb") else [None]:
            for size in a.sizes or [SIZES.get(limit, 1024)]:
                job = (method, limit, size, a.objects, a.frames, chosen)
                with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
                    found = pool.submit(measured, *job).result()
                print(row(*job, found), flush=True)
                if a.phases:
                    print(" ".join(f"{phase / 1e9:.2f}" for phase in found.phases), flush=True)


def row(
    method: str,
    limit: float | None,
    size: int,
    objects: int,
    frames: int,
    chosen: dict[str, str],
    found: Found,
) -> str:
    """A line of the table."""
    name = " ".join([f"`{method}`", *(f"{name} {value}" for name, value in chosen.items())])
    peak = (
        f"{found.peak / 1e9:.2f} GB | {found.peak / limit / 1e9:.0%}"
        if limit
        else f"{found.peak / 1e9:.2f} GB | "
    )
    taken = f"refused: {found.refused} |" if found.refused else peak
    return (
        f"| {name} | {f'{limit:g} GB' if limit else ''} | {objects}, {frames}, {size}, {size} | {taken} "
        f"| {f'{found.predicted / 1e9:.2f} GB' if found.predicted else ''} |"
    )


if __name__ == "__main__":
    main()

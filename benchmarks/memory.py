"""Whether the blind deconvolutions keep within `--memory-gb`: the peak of a run beyond the idle process.

    python benchmarks/memory.py [--methods momfbd sv-momfbd] [--limits 0.5 1 2 4] [--sizes 512 ...]
                                [--objects 1] [--frames 12] [--phases]

Each run is a process of its own, on a FITS file that is written for it into the folder for temporary files
and removed again. Idle is the process that has loaded the method and restored a tiny burst. A run is two
iterations on patches and two on the whole field with the standard error at the end: what comes after takes no
more. A sampler in the process, every few milliseconds, sees memory that is its own (RssAnon on Linux); pages
of the burst's file, which the system takes back when it likes, are not counted.
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
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from engine import Case, write_burst

import heliorestore
from heliorestore.diagnose.memory import memory_need
from heliorestore.errors import RestorationError
from heliorestore.methods.base import stream
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.settings import Settings

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


def settings_of(method: str, memory_gb: float | None) -> Settings:
    if method == "momfbd":
        return MomfbdSettings(iterations=3, stop_early=False, memory_gb=memory_gb)
    return SvMomfbdSettings(iterations=4, patch_iterations=2, stop_early=False, memory_gb=memory_gb)


def measured(method: str, memory_gb: float, size: int, objects: int, frames: int) -> Found:
    """Restore a burst within the limit."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "burst.fits"
        write_burst(path, case_of(method, memory_gb, 128, 1, 4))
        for _ in stream(opened(path), settings_of(method, None), device="cpu"):
            pass
        write_burst(path, case_of(method, memory_gb, size, objects, frames))
        burst, settings = opened(path), settings_of(method, memory_gb)
        need = memory_need(burst.shape, settings, optics=1)
        assert need is not None
        gc.collect()
        time.sleep(0.1)
        idle = own_bytes()
        try:
            with sampled() as peaks:
                for _ in stream(burst, settings, device="cpu"):
                    peaks.append(0)
        except RestorationError as error:
            return Found(refused=str(error), predicted=need.peak_bytes)
    return Found(max(peaks) - idle, need.peak_bytes, tuple(peak - idle for peak in peaks if peak))


def opened(path: Path) -> heliorestore.Burst:
    found = heliorestore.read(path)
    assert isinstance(found, heliorestore.Burst)
    return found.with_instrument("crisp-8542-paper")


def case_of(method: str, memory_gb: float, size: int, objects: int, frames: int) -> Case:
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
    parser.add_argument("--phases", action="store_true", help="print the peak of every iteration too")
    a = parser.parse_args()
    print("| method | limit | burst (object, frame, y, x) | peak | of the limit | predicted |")
    print("|---" * 6 + "|", flush=True)
    for method in a.methods:
        for limit in a.limits:
            for size in a.sizes or [SIZES.get(limit, 1024)]:
                with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
                    found = pool.submit(measured, method, limit, size, a.objects, a.frames).result()
                row = f"| {method} | {limit:g} GB | {a.objects}, {a.frames}, {size}, {size} |"
                peak = f"{found.peak / 1e9:.2f} GB | {found.peak / limit / 1e9:.0%}"
                taken = f"refused: {found.refused} |" if found.refused else peak
                print(f"{row} {taken} | {found.predicted / 1e9:.2f} GB |", flush=True)
                if a.phases:
                    print(" ".join(f"{phase / 1e9:.2f}" for phase in found.phases), flush=True)


if __name__ == "__main__":
    main()

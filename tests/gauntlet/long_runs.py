"""Memory of a long run, and of many runs in one process: it stays where it was after the first few."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import torch
from edited_files import burst_file

from heliorestore.fits.reader import read_burst
from heliorestore.methods.base import load, restore, stream

WARM = 50  # snapshots
MOST_MB = 8.0


def resident_mb() -> float:
    """Memory of this process, without what is free and not given back yet."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return psutil.Process().memory_info().rss / 1e6


def snapshots(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Every case is one snapshot of one run, as whoever follows it gets it."""
    torch.set_num_threads(1)
    burst = read_burst(burst_file(folder))
    settings = load("sv-momfbd").settings(
        modes=4, patch=32, psf=32, patch_iterations=1, iterations=len(cases) + WARM, stop_early=False
    )
    first = 0.0
    with closing(stream(burst, settings, device="cpu")) as source:
        for number, snapshot in enumerate(source):
            wrong = ""
            if number == WARM:
                first = resident_mb()
            if number > WARM and number % 50 == 0 and (grown := resident_mb() - first) > MOST_MB:
                wrong = f"after {number} snapshots {grown:.1f} MB more than after {WARM}"
            if not np.isfinite(snapshot.images).all():
                wrong = "it is not finite"
            if number >= WARM and number - WARM < len(cases):
                yield cases[number - WARM], wrong


def repeated(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Every case is a whole run; of methods in turn."""
    torch.set_num_threads(1)
    os.chdir(folder)
    burst = read_burst(burst_file(folder))
    kinds = [
        load("sv-momfbd").settings(modes=8, patch=32, psf=32, patch_iterations=2, iterations=3),
        load("momfbd").settings(modes=8, patch=32, patch_step=16, iterations=4),
        load("mfbd").settings(committee=2),
        load("richardson-lucy").settings(iterations=5),
    ]
    for settings in kinds * 2:
        restore(burst, settings, device="cpu")
    first = resident_mb()
    for count, case in enumerate(cases, 1):
        restore(burst, kinds[case % len(kinds)], device="cpu")
        grown = resident_mb() - first
        yield case, f"after {count} runs {grown:.1f} MB more" if grown > MOST_MB else ""

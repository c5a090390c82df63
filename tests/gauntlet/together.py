"""Runs at the same time, with the same folders of the user: each gives the image that it gives alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from edited_files import burst_file

from heliorestore.fits.reader import read

LINES = (
    ["sv-momfbd", "--modes=8", "--patch=32", "--psf=32", "--iterations=3", "--patch-iterations=2"],
    ["momfbd", "--modes=8", "--patch=32", "--patch-step=16", "--iterations=4"],
    ["mfbd", "--committee=2"],
    ["richardson-lucy", "--iterations=5"],
)


def attack(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """All cases run at once, after each kind has run alone, for which the caches are emptied again."""
    os.chdir(folder)
    burst = burst_file(folder)
    alone = []
    for number, line in enumerate(LINES[: len(cases)]):
        out = folder / f"alone{number}.fits"
        done = subprocess.run(
            command(line, burst, out), capture_output=True, text=True, check=False, env=user(folder, "alone")
        )
        assert done.returncode == 0, done.stderr
        alone.append(np.array(read(out).images))
    running = []
    for case in cases:
        out = folder / f"run{case}.fits"
        line = command(LINES[case % len(LINES)], burst, out)
        if line[3] == "sv-momfbd":  # each its own
            line += ["--checkpoint", str(folder / f"run{case}.state")]
        process = subprocess.Popen(
            line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=user(folder, "shared")
        )
        running.append((case, out, process))
    for case, out, process in running:
        _, said = process.communicate()
        wrong = ""
        if process.returncode:
            wrong = f"exit status {process.returncode}: {said[-500:]}"
        elif not np.array_equal(read(out).images, alone[case % len(LINES)]):
            wrong = "another image than that of the run alone"
        elif left := [path.name for path in (*folder.rglob("*.part"), *folder.glob(f"run{case}.state"))]:
            wrong = f"left {left}" if process is running[-1][2] else ""
        yield case, f"{LINES[case % len(LINES)][0]}: {wrong}" if wrong else ""


def command(line: list[str], burst: Path, out: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "heliorestore.cli",
        line[0],
        str(burst),
        "-o",
        str(out),
        "--quiet",
        *line[1:],
    ]


def user(folder: Path, name: str) -> dict[str, str]:
    """A user's folders, which are empty at first."""
    return os.environ | {
        f"XDG_{kind}_HOME": str(folder / name / kind) for kind in ("CONFIG", "DATA", "CACHE")
    }

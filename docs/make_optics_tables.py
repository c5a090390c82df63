"""Write the tables of docs/optics.md: how well filter flow agrees with the exact sum, and what it costs here.

    python docs/make_optics_tables.py [--object IMAGE.fits] [--threads 1] [--runs 9] [--only agreement|timing]

The object is the first image of a FITS file (a piece of 128 x 128 pixels from its middle), else a synthetic
texture.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from astropy.io import fits

from heliorestore.instrument import KNOWN
from heliorestore.optics.convolve import PerPixelSum, at_nodes
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.psf import make_optics

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "optics.md"
CRISP = KNOWN["crisp-8542-paper"]
SIZE = 128
SEEDS = (1, 2, 3)


def agreement(object_: torch.Tensor, what: str) -> str:
    """NMSE against the per-pixel sum, mean of three fields of modes."""
    wandering = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "shared" / "wandering.py")))
    optics = make_optics(CRISP, 64, 44, dtype=torch.float64)
    steps = (32, 16, 8)
    lines = [
        "| D/r0 | modes vary over | " + " | ".join(f"step {s}" for s in steps) + " |",
        "|---" * (2 + len(steps)) + "|",
    ]
    cases = [
        (10.0, 5.0, True),
        (10.0, 3.0, True),
        (20.0, 5.0, True),
        (20.0, 3.0, True),
        (10.0, 5.0, False),
        (20.0, 3.0, False),
    ]
    for strength, sigma_arcsec, tilted in cases:
        errors = dict.fromkeys(steps, 0.0)
        for seed in SEEDS:
            modes = wandering.wandering_modes(
                optics, SIZE, strength, sigma_arcsec / (CRISP.pixel_arcsec or 1), seed
            )
            modes[:, :2] *= tilted
            with torch.no_grad():
                exact = PerPixelSum(optics=[optics], shape=(SIZE, SIZE))(object_, modes)
                for step in steps:
                    image = FilterFlow(optics=[optics], shape=(SIZE, SIZE), step=step)(
                        object_, at_nodes(modes, step)
                    )
                    errors[step] += wandering.nmse(image, exact) / len(SEEDS)
        name = f"| {strength:g} | {sigma_arcsec:g} arcsec{'' if tilted else ', no tilts'} | "
        lines.append(name + " | ".join(f"{errors[s]:.1e}" for s in steps) + " |")
        print(lines[-1], flush=True)
    return "\n".join(
        [*lines, "", f"Object: {what}, {SIZE} x {SIZE} pixels; means over {len(SEEDS)} fields of modes."]
    )


def timing(threads: int, runs: int) -> str:
    """What the forward model costs, as benchmarks/optics.py measures it."""
    torch.set_num_threads(threads)
    found = runpy.run_path(str(ROOT / "benchmarks" / "optics.py"))["timings"]("cpu", runs)
    lines = ["| | wall clock, median | processor time, least |", "|---|---|---|"]
    lines += [f"| {t.what} | {t.wall * 1e3:.3g} ms | {t.processor * 1e3:.3g} ms |" for t in found]
    machine = (
        f"{os.cpu_count()} cores ({platform.machine()}) under a load of {os.getloadavg()[0]:.1f}, "
        f"torch {torch.__version__}"
    )
    how = f"{threads} thread{'s' * (threads > 1)}, {runs} runs; times are per frame, or per thing named."
    return "\n".join([*lines, "", f"Measured on {machine}, {how}"])


def replace(name: str, table: str) -> None:
    """Put a table between its two marks in the page."""
    text = PAGE.read_text()
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text))


def middle(image: np.ndarray) -> torch.Tensor:
    """The object (1, y, x) from the middle of an image."""
    top, left = ((n - SIZE) // 2 for n in image.shape)
    return torch.as_tensor(image[top : top + SIZE, left : left + SIZE].astype(np.float64))[None]


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--object", type=Path, help="FITS file with the object to blur")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--only", choices=("agreement", "timing"))
    arguments = parser.parse_args()
    if arguments.only != "timing":
        if arguments.object:
            object_, what = middle(fits.getdata(arguments.object)), f"the middle of {arguments.object.name}"
        else:
            wandering = runpy.run_path(str(ROOT / "tests" / "shared" / "wandering.py"))
            object_, what = wandering["texture"](SIZE)[None], "synthetic texture"
        replace("agreement", agreement(object_, what))
    if arguments.only != "agreement":
        replace("timing", timing(arguments.threads, arguments.runs))


if __name__ == "__main__":
    main()

"""The command `heliorestore simulate`: its flags, and the files that it writes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from heliorestore.burst import FloatArray
from heliorestore.commands.output import whole_number
from heliorestore.commands.progress import Progress
from heliorestore.errors import SettingsError
from heliorestore.fits.burst_writer import write_burst, write_psfs
from heliorestore.fits.reader import read_burst
from heliorestore.instrument import Instrument
from heliorestore.settings import add_settings, from_arguments
from heliorestore.simulate.burst import SCENES, simulate_burst
from heliorestore.simulate.view import SimulationSettings
from heliorestore.snapshot import Snapshot
from heliorestore.storage import check_apart, check_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command: files, instrument, seed, and the settings of the simulation."""
    parser.add_argument(
        "-o", "--output", metavar="BURST.fits", type=Path, required=True, help="the burst to write"
    )
    parser.add_argument(
        "--truth",
        metavar="TRUTH.fits",
        type=Path,
        help="write the diffraction-limited truth, the Sun (SCENE), and the faults that were switched on "
        "(SCALES, FLUX, GAINTABLE, FRINGES); with --polarimetry also I, Q, U, V (STOKES) and the "
        "modulation matrix (MODULATION)",
    )
    parser.add_argument(
        "--psfs", metavar="PSFS.fits", type=Path, help="write the true PSFs (frame, grid y, grid x, y, x)"
    )
    parser.add_argument(
        "--psf-step", metavar="PX", type=int, default=64, help="distance of the PSFs written (default 64 px)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the files if they exist")
    parser.add_argument(
        "--json", action="store_true", help="end with one line of JSON: output, truth, psfs, shape, seconds"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    instruments = (
        "a name that `heliorestore instruments` lists, and/or pixel_arcsec=0.05,... (default crisp-8542)"
    )
    parser.add_argument("--instrument", default="crisp-8542", help=instruments)
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=0,
        help="seed of the Sun, the atmosphere and the noise (default 0)",
    )
    add_settings(parser.add_argument_group("settings of the simulation"), SimulationSettings)


def outputs(parsed: argparse.Namespace) -> list[Path]:
    """The files that the command will write, the burst first; their names must differ."""
    paths = [path for path in (parsed.output, parsed.truth, parsed.psfs) if path is not None]
    check_apart(paths, "Burst, truth and PSFs")
    return paths


def simulate(parsed: argparse.Namespace, show: Callable[[Snapshot], None]) -> dict[str, Any]:
    """Simulate and write; return the output of `--json`. `show` gets an empty snapshot per frame."""
    began = time.perf_counter()
    settings = from_arguments(SimulationSettings, parsed)
    assert isinstance(settings, SimulationSettings)  # for mypy: it is the class given above
    if parsed.psf_step < 1:
        raise SettingsError(f"psf_step is {parsed.psf_step}; it must be at least 1 px.")
    scene, pixel_arcsec = _scene(settings.scene)
    instrument = Instrument.parse(parsed.instrument)
    if pixel_arcsec:
        instrument = Instrument.parse(f"pixel_arcsec={pixel_arcsec}", instrument)
    # The progress bar counts snapshots and looks at no image.
    blank = np.zeros((1, 1, 1), np.float32)
    simulation = simulate_burst(
        settings,
        instrument,
        seed=parsed.seed,
        scene=scene,
        progress=lambda done, total: show(Snapshot(step=done, total=total, images=blank)),
    )
    facts: dict[str, Any] = {
        "output": str(write_burst(simulation.burst, parsed.output, overwrite=parsed.overwrite))
    }
    if parsed.truth is not None:
        extensions = {"SCENE": simulation.scene} | simulation.faults.images()
        if simulation.polarimeter is not None and simulation.stokes is not None:
            extensions |= {"STOKES": simulation.stokes}
            extensions["MODULATION"] = simulation.polarimeter.matrix.astype(np.float32)
        facts["truth"] = str(
            write_burst(
                simulation.truth_burst(), parsed.truth, overwrite=parsed.overwrite, extensions=extensions
            )
        )
    if parsed.psfs is not None:
        psfs = simulation.view.psf_grid(parsed.psf_step)
        facts["psfs"] = str(
            write_psfs(psfs, parsed.psfs, instrument, parsed.psf_step, overwrite=parsed.overwrite)
        )
    return facts | {"shape": simulation.burst.shape, "seconds": round(time.perf_counter() - began, 3)}


def _scene(name: str) -> tuple[FloatArray | None, float | None]:
    """Image (object, y, x) and pixel scale of a scene's file; None if the scene is simulated."""
    if name in SCENES or not Path(name).exists():
        return None, None
    burst = read_burst(Path(name))
    return np.stack([burst.image(k, 0) for k in range(burst.shape[0])]), burst.instruments[0].pixel_arcsec


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    settings = from_arguments(SimulationSettings, parsed)
    for output in outputs(parsed):
        # of one object: how many a scene has is in its file
        size = 4 * settings.frames * settings.size**2 if output == parsed.output else 0
        check_output(output, overwrite=parsed.overwrite, inputs=[Path(parsed.scene or "")], size=size)
    with closing(Progress(None if parsed.quiet else sys.stderr, "simulate")) as bar:
        facts = simulate(parsed, bar.show)
    if not parsed.quiet:
        print(
            *(facts[name] for name in ("output", "truth", "psfs") if name in facts), sep="\n", file=sys.stderr
        )
    if parsed.json:
        print(json.dumps(facts))
    return 0

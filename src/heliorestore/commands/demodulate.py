"""The command `heliorestore demodulate`: Stokes images of restored modulation states."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heliorestore.storage import check_output

if TYPE_CHECKING:
    from heliorestore.polarimetry.cube import StokesCube
    from heliorestore.polarimetry.states import States


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "states",
        metavar="STATES",
        nargs="+",
        type=Path,
        help="restored states: one file of a run that had them all, or one per state in their order; of a "
        "burst the mean of its frames",
    )
    parser.add_argument(
        "-o", "--output", metavar="STOKES.fits", type=Path, required=True, help="the FITS file to write"
    )
    parser.add_argument(
        "--matrix",
        metavar="FILE",
        type=Path,
        required=True,
        help="demodulation 4 x n or modulation n x 4, as TOML, or FITS, where y and x may follow",
    )
    parser.add_argument(
        "--crosstalk",
        choices=("keep", "remove"),
        default="keep",
        help="what is done with I in Q, U and V, fitted where there is no signal (default keep)",
    )
    parser.add_argument(
        "--noise",
        choices=("keep", "filter"),
        default="keep",
        help="filter Q, U and V with what the anchors say is noise (default keep)",
    )
    parser.add_argument(
        "--no-register",
        action="store_true",
        help="subtract the states as they are; else they are destretched onto the wide band",
    )
    parser.add_argument(
        "--wide-band",
        metavar="N",
        type=int,
        help="the object of every file that is the wide band, from 0, where the files do not say",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace STOKES.fits if it exists")
    parser.add_argument(
        "--json",
        action="store_true",
        help="end with one line of JSON: output, shape, efficiencies, noise, crosstalk",
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from heliorestore.fits.stokes_writer import write_stokes
    from heliorestore.polarimetry.cube import make_stokes
    from heliorestore.polarimetry.demodulation import read_demodulation
    from heliorestore.polarimetry.states import gather_states

    check_output(parsed.output, overwrite=parsed.overwrite, inputs=[*parsed.states, parsed.matrix])
    demodulation = read_demodulation(parsed.matrix)
    states = gather_states(parsed.states, demodulation.states, parsed.wide_band)
    cube = make_stokes(
        states,
        demodulation,
        register=not parsed.no_register,
        remove_crosstalk=parsed.crosstalk == "remove",
        filter_noise=parsed.noise == "filter",
    )
    written = write_stokes(_file(states, cube, parsed), parsed.output, overwrite=parsed.overwrite)
    for message in cube.messages:
        print("heliorestore:", message, file=sys.stderr)
    print("\n".join([f"{written}: Stokes I, Q, U, V at {cube.images.shape[1]} wavelengths", *_lines(cube)]))
    if parsed.json:
        print(json.dumps({"output": str(written), "shape": list(cube.images.shape)} | _facts(cube)))
    return 0


def _facts(cube: StokesCube) -> dict[str, Any]:
    """The figures of a demodulation: of I, Q, U, V in this order, and of Q, U, V at every wavelength."""
    return {
        "efficiencies": [round(float(value), 4) for value in cube.demodulation.efficiencies],
        "noise": [round(float(value), 4) for value in cube.demodulation.noise],
        "crosstalk_offset": [[each.offset for each in row] for row in cube.crosstalk],
        "crosstalk_intensity": [[each.intensity for each in row] for row in cube.crosstalk],
        "crosstalk_left": [[each.rms for each in row] for row in cube.left],
        "crosstalk_gradient": [[each.moved for each in row] for row in cube.left],
    }


def _lines(cube: StokesCube) -> list[str]:
    """The same as a table for people."""
    known = cube.demodulation
    lines = ["     efficiency  noise (of one state)  I in it: offset, contrast   left of it (of <I>)"]
    for k, name in enumerate("IQUV"):
        line = f"  {name}  {known.efficiencies[k]:9.3f}  {known.noise[k]:20.3f}"
        if k:
            found, left = cube.crosstalk[k - 1], cube.left[k - 1]
            offset = max((each.offset for each in found), key=abs)
            intensity = max((each.intensity for each in found), key=abs)
            line += f"  {offset:13.2e}, {intensity:9.2e}   {max(each.rms for each in left):13.2e}"
        lines.append(line)
    done = "was removed" if cube.removed else "was kept (--crosstalk remove takes it off)"
    return [*lines, f"Cross-talk from I {done}. Of several wavelengths the largest value is shown."]


def _file(states: States, cube: StokesCube, parsed: argparse.Namespace) -> Any:
    """What is written: the cube with the cards of its cross-talk."""
    from heliorestore.fits.stokes_writer import StokesFile

    cards: list[tuple[str, Any, str]] = []
    for name, found, left in zip("QUV", cube.crosstalk, cube.left, strict=True):
        cards += [
            (f"XT{name}OFF", max((e.offset for e in found), key=abs), f"offset of {name} / <I>, as found"),
            (f"XT{name}INT", max((e.intensity for e in found), key=abs), f"I - <I> in {name}, as found"),
            (
                f"XT{name}LEFT",
                max(e.rms for e in left),
                f"rms of {name} by I and its gradient / <I>, as it is",
            ),
        ]
    cards.append(("XTREMOVE", cube.removed, "whether cross-talk from I was removed"))
    parameters = {
        "matrix": parsed.matrix.name,
        "demodulation": cube.demodulation.matrix.tolist()
        if cube.demodulation.matrix.ndim == 2
        else "per pixel",
        "register": not parsed.no_register,
        "crosstalk": parsed.crosstalk,
        "noise_filter": parsed.noise,
    } | _facts(cube)
    return StokesFile(
        images=cube.images,
        sigmas=cube.sigmas,
        places=states.places,
        header=states.header,
        unit=states.unit,
        sources=states.sources,
        parameters=parameters,
        cards=cards,
        messages=cube.messages,
        extensions={"DEMODULATION": cube.demodulation.matrix.astype(np.float32)},
    )

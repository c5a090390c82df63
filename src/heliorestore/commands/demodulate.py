"""The command `heliorestore demodulate`: Stokes images of restored modulation states."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from heliorestore.storage import check_output


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
    from heliorestore.polarimetry.record import facts_of, lines_of, stokes_file
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
    wanted = {
        "matrix": parsed.matrix.name,
        "register": not parsed.no_register,
        "crosstalk": parsed.crosstalk,
        "noise_filter": parsed.noise,
    }
    written = write_stokes(stokes_file(states, cube, wanted), parsed.output, overwrite=parsed.overwrite)
    for message in cube.messages:
        print("heliorestore:", message, file=sys.stderr)
    print("\n".join([f"{written}: Stokes I, Q, U, V at {cube.images.shape[1]} wavelengths", *lines_of(cube)]))
    if parsed.json:
        print(json.dumps({"output": str(written), "shape": list(cube.images.shape)} | facts_of(cube)))
    return 0

"""The command `heliorestore cube`: restorations of a scan, a night or both become one SOLARNET cube."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    from heliorestore.prepare.series import SeriesSettings
    from heliorestore.settings import add_settings

    parser.add_argument(
        "restored",
        metavar="RESTORED",
        nargs="+",
        type=Path,
        help="restored files, folders of them, or nights",
    )
    parser.add_argument(
        "-o", "--output", metavar="CUBE", type=Path, required=True, help="the FITS file to write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace CUBE if it exists")
    parser.add_argument("--objects", metavar="A:B,C", default=":", help="objects of each file, as 0:12,15,17")
    parser.add_argument(
        "--instrument",
        default="",
        help="what the headers lack, such as wavelength_nm=630.2,pixel_arcsec=0.059",
    )
    add_settings(parser.add_argument_group("a steady series"), SeriesSettings)
    parser.add_argument(
        "--json", action="store_true", help="end with one line of JSON: output, shape, places"
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from heliorestore.batch.results import results_of
    from heliorestore.fits.cube import gather
    from heliorestore.fits.cube_writer import write_cube
    from heliorestore.prepare.series import SeriesSettings, steady
    from heliorestore.settings import from_arguments
    from heliorestore.storage import check_output

    settings = from_arguments(SeriesSettings, parsed)
    restored = results_of(parsed.restored)
    check_output(parsed.output, overwrite=parsed.overwrite, inputs=restored)
    cube = gather(restored, objects=parsed.objects, instrument=parsed.instrument)
    cube = steady(cube, settings)
    written = write_cube(cube, parsed.output, overwrite=parsed.overwrite)
    for message in cube.messages:
        print("heliorestore:", message, file=sys.stderr)
    times, _, waves, rows, columns = cube.shape
    print(f"{written}: {columns} x {rows} pixels, {waves} wavelengths, Stokes {cube.stokes}, {times} times")
    if parsed.json:
        facts = {
            "output": str(written),
            "shape": list(cube.shape),
            "wavelengths_nm": [nm for _, nm in cube.positions],
            "stokes": cube.stokes,
            "missing": int((cube.places[..., 0] < 0).sum()),
            "series": dict(cube.series),
        }
        print(json.dumps(facts))
    return 0

"""The command `heliorestore weights`: its flags, and what it prints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path


def add_weights_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("action", choices=("list", "show", "import", "check", "compare"), help="what to do")
    parser.add_argument("name", metavar="NAME|FILE", nargs="?", default="", help="weights to show, check or compare; the file to import")
    parser.add_argument("--as", dest="alias", metavar="NAME", default="", help="the name under which imported weights are kept")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--input-scale", metavar="FACTOR", type=float, help="imported weights take the image times FACTOR")
    scale.add_argument("--input-mean", metavar="VALUE", type=float, help="imported weights take the image scaled to this mean")
    parser.add_argument("--object", metavar="IMAGE.fits", type=Path, help="emulators are compared on it (default: simulated granulation)")
    parser.add_argument("--instrument", default="crisp-8542", help="whose blur emulators are compared in (default crisp-8542)")


def run(parsed: argparse.Namespace) -> Iterator[str]:
    """Do what is asked and say it, line by line."""
    if parsed.action != "compare":
        from heliorestore.nets.report import lines

        return lines(parsed.action, parsed.name, alias=parsed.alias, input_scale=parsed.input_scale, input_mean=parsed.input_mean)
    from heliorestore.fits.reader import read_burst
    from heliorestore.instrument import Instrument
    from heliorestore.methods.exactness import LEAST_SIDE, report
    from heliorestore.simulate.photosphere import quiet_sun

    instrument = Instrument.parse(parsed.instrument)
    image = read_burst(parsed.object).image(0, 0) if parsed.object else quiet_sun(instrument, LEAST_SIDE)
    return report(parsed.name, instrument, image)

"""The command `heliorestore instruments`: list the known ones, keep and remove one's own."""

from __future__ import annotations

import argparse

from heliorestore import own_instruments
from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN, Instrument, own, save_own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "add", "remove"),
        default="list",
        help="list the known instruments and your own; add NAME with its numbers; remove NAME",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="what --instrument calls it")
    parser.add_argument(
        "numbers",
        metavar="NUMBERS",
        nargs="*",
        help="diameter_m=0.5,pixel_arcsec=0.1,wavelength_nm=656.3,obscuration_m=0.1; or a known one and what "
        "differs: crisp-6302,pixel_arcsec=0.044",
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    if parsed.action == "list":
        _list()
    elif parsed.action == "remove":
        own_instruments.delete(parsed.name)
    elif parsed.numbers:
        print(save_own(parsed.name, Instrument.parse(",".join(parsed.numbers))))
    else:
        raise SettingsError(
            f"The instrument {parsed.name or 'to add'} needs numbers: give its name and its numbers, for "
            "instance balcony diameter_m=0.5,pixel_arcsec=0.1,wavelength_nm=656.3."
        )
    return 0


def _list() -> None:
    mine = own()
    for key, instrument in (KNOWN | mine).items():
        called = "your own" if key in mine else instrument.name
        print(f"{key:<20} {called:<28} {_numbers(instrument)}".rstrip())


def _numbers(instrument: Instrument) -> str:
    """The numbers with their units; the obscuration in brackets behind the aperture."""
    aperture = None if instrument.diameter_m is None else f"{instrument.diameter_m:g} m"
    if aperture and instrument.obscuration_m:
        aperture += f" ({instrument.obscuration_m:g} m)"
    pixel = None if instrument.pixel_arcsec is None else f"{instrument.pixel_arcsec:g} arcsec"
    wavelength = None if instrument.wavelength_nm is None else f"{instrument.wavelength_nm:g} nm"
    return "".join(f"{text or '?':<18}" for text in (aperture, pixel, wavelength))

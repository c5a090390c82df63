"""The command `heliorestore field`: magnetic field and linear polarisation of Stokes images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heliorestore.storage import check_output

if TYPE_CHECKING:
    from heliorestore.burst import Burst
    from heliorestore.polarimetry.weak_field import Field


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "stokes", metavar="STOKES.fits", type=Path, help="what `heliorestore demodulate` wrote"
    )
    parser.add_argument(
        "-o", "--output", metavar="FIELD.fits", type=Path, required=True, help="the FITS file to write"
    )
    parser.add_argument(
        "--lande", type=float, required=True, help="effective Lande factor of the line, as 2.5 for Fe 6173"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FIELD.fits if it exists")
    parser.add_argument(
        "--json", action="store_true", help="end with one line of JSON: output, medians of values and errors"
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from heliorestore.errors import SettingsError
    from heliorestore.fits.burst_writer import write_burst
    from heliorestore.fits.reader import read_burst
    from heliorestore.polarimetry.weak_field import weak_field

    check_output(parsed.output, overwrite=parsed.overwrite, inputs=[parsed.stokes])
    burst = read_burst(parsed.stokes)
    if burst.shape[0] % 4 or [label[-1] for label in burst.labels[:: burst.shape[0] // 4]] != list("IQUV"):
        raise SettingsError(
            f"{parsed.stokes} has no I, Q, U and V (stokes, wavelength, y, x): give what `heliorestore "
            "demodulate` wrote."
        )
    stokes = np.stack([burst.image(k, 0) for k in range(burst.shape[0])]).reshape(4, -1, *burst.shape[2:])
    waves = [each.wavelength_nm for each in burst.instruments[: stokes.shape[1]]]
    known = np.array([wave for wave in waves if wave is not None])
    found = weak_field(
        stokes,
        _sigmas(burst.sources[0].path, stokes),
        known if len(known) == len(waves) else None,
        parsed.lande,
    )
    field, facts = _burst(burst, found, parsed), _facts(found)
    write_burst(field, parsed.output, overwrite=parsed.overwrite, extensions=_extensions(found))
    print(f"{parsed.output}: {', '.join(f'{name} {value:.4g}' for name, value in facts.items())}")
    if found.line_of_sight is None:
        print("A field along the line of sight needs three wavelengths at least: linear polarisation alone.")
    if parsed.json:
        print(json.dumps({"output": str(parsed.output)} | facts))
    return 0


def _sigmas(path: Path, stokes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The standard errors of the file, or the noise of the images where it has none."""
    from astropy.io import fits

    from heliorestore.fits.files import silent_astropy
    from heliorestore.optics.noise import estimate_sigma

    with silent_astropy(), fits.open(path, memmap=False) as hdus:
        if "UNCERTAINTY" in hdus and hdus["UNCERTAINTY"].data.shape == stokes.shape:
            return np.array(hdus["UNCERTAINTY"].data, np.float32)
    noise = np.array([[estimate_sigma(image) for image in row] for row in stokes], np.float32)
    return np.broadcast_to(noise[..., None, None], stokes.shape)


def _facts(found: Field) -> dict[str, float]:
    """Medians of the moduli and of the errors."""
    facts = {}
    if found.line_of_sight is not None and found.line_of_sight_sigma is not None:
        facts["field_gauss"] = float(np.nanmedian(np.abs(found.line_of_sight)))
        facts["field_sigma_gauss"] = float(np.nanmedian(found.line_of_sight_sigma))
    return facts | {
        "linear": float(np.nanmedian(found.linear)),
        "linear_sigma": float(np.nanmedian(found.linear_sigma)),
    }


def _extensions(found: Field) -> dict[str, np.ndarray[Any, Any]]:
    """The maps besides the first, by the name of their extension."""
    maps = {
        "UNCERTAINTY": found.line_of_sight_sigma,
        "LINEAR": None if found.line_of_sight is None else found.linear,
        "LINEAR_UNCERTAINTY": found.linear_sigma,
        "AZIMUTH": found.azimuth,
        "AZIMUTH_UNCERTAINTY": found.azimuth_sigma,
    }
    return {name: each.astype(np.float32) for name, each in maps.items() if each is not None}


def _burst(burst: Burst, found: Field, parsed: argparse.Namespace) -> Burst:
    """The first map with the place and the steps of the Stokes images and its own behind them."""
    from heliorestore.burst import Burst
    from heliorestore.fits.steps import last_step, plain_step
    from heliorestore.fits.writer import cleaned

    header = cleaned(burst.headers[0])
    for key in list(header):
        if key[-1:] in "345" and key.startswith(
            ("CTYPE", "CUNIT", "CNAME", "CRPIX", "CRVAL", "CDELT", "PS3", "PV3")
        ):
            header.remove(key, ignore_missing=True, remove_all=True)
    step = plain_step(
        last_step(header) + 1, "WEAK-FIELD-APPROXIMATION", "field", {"lande": parsed.lande}, burst.sources
    )
    for card in step:
        header.append(card, bottom=True)
    first = found.linear if found.line_of_sight is None else found.line_of_sight
    named = ("linear polarisation", "") if found.line_of_sight is None else ("line-of-sight field", "G")
    return Burst(
        frames=first[None, None].astype(np.float32),
        instruments=burst.instruments[:1],
        labels=(named[0],),
        headers=(header,),
        unit=named[1],
    )

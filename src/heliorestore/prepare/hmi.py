"""What Enhance must know about an image of HMI: what it shows, its unit, and how near the limb is."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN

_HMI, _NUMBERS = KNOWN["hmi-6173"], ("diameter_m", "pixel_arcsec", "wavelength_nm")
_LIMB_MU = 0.4  # nearer to the limb the authors found artefacts
_GAUSS = {
    "g": 1e-3,
    "gauss": 1e-3,
    "mx/cm^2": 1e-3,
    "mx cm-2": 1e-3,
    "mx/cm2": 1e-3,
    "kg": 1.0,
    "t": 10.0,
    "mt": 1e-2,
}


def as_hmi(burst: Burst, kind: str) -> tuple[Burst, tuple[str, ...]]:
    """The burst with its instruments complete, and a message if that took a guess.

    The networks are HMI's: an image that says nothing about itself is HMI's too, if the user names its kind.
    """
    if not any(instrument.unknown for instrument in burst.instruments):
        return burst, ()
    if kind == "auto":
        missing = next(instrument for instrument in burst.instruments if instrument.unknown)
        raise SettingsError(
            f"The file does not give the instrument's {', '.join(missing.unknown)}: give --kind continuum or "
            "--kind magnetogram for an image of HMI, or --instrument hmi-6173."
        )
    told = [
        {
            f: v
            for f, v in vars(each).items()
            if v not in (None, "unknown") and f not in ("psf", "obscuration_m")
        }
        for each in burst.instruments
    ]
    complete = tuple(dataclasses.replace(_HMI, **known) for known in told)
    pixels = ", ".join(dict.fromkeys(f"{each.require().pixel_arcsec:g}" for each in complete))
    return dataclasses.replace(burst, instruments=complete), (
        f"The file does not say what took the image: it is treated as one of HMI, with pixels of {pixels} "
        "arcsec.",
    )


def kind_of(burst: Burst, number: int, image: FloatArray) -> str:
    """`continuum` or `magnetogram`, by the header's words and unit, else by the signs in the image."""
    header = burst.headers[number] if burst.headers else {}
    words = " ".join(
        str(header.get(key, "")) for key in ("CONTENT", "BTYPE", "OBJECT", "BUNIT", "DATATYPE")
    ).lower()
    unit = str(header.get("BUNIT", burst.unit)).strip().lower()
    if unit in ("m/s", "cm/s", "km/s") or "doppler" in words:
        raise SettingsError(
            f"{burst.labels[number]} is in {unit or 'm/s'}: Enhance restores continuum "
            "images and magnetograms."
        )
    if "magnetogram" in words or unit in _GAUSS:
        return "magnetogram"
    if "continuum" in words or "intensity" in words:
        return "continuum"
    # The noise of a dark sky makes a few negative pixels, opposite polarities make many.
    return "magnetogram" if np.nanmean(image < 0) > 0.05 else "continuum"


def per_kilogauss(burst: Burst, number: int, image: FloatArray) -> float:
    """A kilogauss in the image's unit; without a unit, fields above 20 are in gauss."""
    header = burst.headers[number] if burst.headers else {}
    unit = str(header.get("BUNIT", burst.unit)).strip().lower()
    return 1 / _GAUSS[unit] if unit in _GAUSS else 1000.0 if np.nanmax(np.abs(image)) > 20 else 1.0


def about_limb(mu: npt.NDArray[np.float64] | None, lowest: float) -> list[str]:
    """A message if the image comes near the limb, by the cosine (y, x) or the quiet Sun's lowest level."""
    if mu is None and lowest < 0.9:
        return [
            f"The quiet Sun falls to {lowest:.0%} of its brightness within the field: limb darkening, which "
            "was divided out for the "
            "network and put back. Near the limb the result is less reliable."
        ]
    if mu is not None and (nearest := float(np.nanmin(mu))) < _LIMB_MU:
        return [
            f"The field reaches mu = {nearest:.2f}: limb darkening was divided out for the network and "
            f"put back, and what lies off the limb is left out. Below mu = {_LIMB_MU} the contrast is "
            "too small for the network: expect artefacts there."
        ]
    return []

"""The telescope's aperture and how a PSF grid samples it.

For a PSF grid of n pixels of size p the pupil has a diameter of D n p / lambda pupil pixels.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heliorestore.errors import SettingsError
from heliorestore.instrument import RADIAN_ARCSEC, Instrument

FloatArray = npt.NDArray[np.float64]

COARSEST = 1.25
"""The largest pixel in units of the critical one: beyond its Nyquist frequency lies less than 3 % of the
OTF's sum.
"""


@dataclass(frozen=True, kw_only=True)
class Aperture:
    """A circular aperture with a central obscuration and the vanes that carry it, in metres and degrees.

    The first vane points to `vane_angle_deg`, counted from +x towards +y; the others follow at equal angles.
    """

    diameter_m: float = 1.0
    obscuration_m: float = 0.0
    vanes: int = 0
    vane_width_m: float = 0.0
    vane_angle_deg: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.diameter_m) and self.diameter_m > 0):
            raise SettingsError(
                f"The aperture's diameter is {self.diameter_m} m; it must be a positive number."
            )
        if not 0 <= self.obscuration_m < self.diameter_m:
            raise SettingsError(
                f"The central obscuration is {self.obscuration_m} m and the aperture {self.diameter_m} m; "
                "the obscuration must be smaller."
            )
        if self.vanes < 0 or not 0 <= self.vane_width_m < self.diameter_m:
            raise SettingsError(
                f"The spider has {self.vanes} vanes of {self.vane_width_m} m in an aperture of "
                f"{self.diameter_m} m; "
                "the number cannot be negative and the vanes must be narrower than the aperture."
            )

    @classmethod
    def of(cls, instrument: Instrument) -> Aperture:
        """The aperture of an instrument."""
        return cls(diameter_m=instrument.require().diameter_m, obscuration_m=instrument.obscuration_m)

    @property
    def obscuration(self) -> float:
        """D2/D."""
        return self.obscuration_m / self.diameter_m

    @property
    def has_spider(self) -> bool:
        return self.vanes > 0 and self.vane_width_m > 0

    def covers(self, y: FloatArray, x: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether light passes at (y, x), which are in units of the aperture's radius."""
        radius = np.hypot(y, x)
        open_ = (radius <= 1) & (radius >= self.obscuration)
        if self.has_spider:
            half = self.vane_width_m / self.diameter_m
            for k in range(self.vanes):
                angle = math.radians(self.vane_angle_deg) + 2 * math.pi * k / self.vanes
                # In the vane's own axes.
                along, across = (
                    x * math.cos(angle) + y * math.sin(angle),
                    y * math.cos(angle) - x * math.sin(angle),
                )
                # A vane goes from the centre in one direction only.
                open_ &= ~((along > 0) & (np.abs(across) < half))
        return open_


def sampling(instrument: Instrument) -> float:
    """D p / lambda: the pupil's diameter as a fraction of any PSF grid; 0.5 is critical sampling."""
    known = instrument.require()
    return known.diameter_m * (known.pixel_arcsec / RADIAN_ARCSEC) / (known.wavelength_nm * 1e-9)


def check_sampling(instrument: Instrument) -> float:
    """Return `sampling`, or say that the pixels are too coarse for the telescope.

    Some cameras are a few per cent coarser than lambda/2D (HMI by 11 %, HiFI at 656 nm by 6 %): they are
    accepted, and their OTF is cut at the pixels' Nyquist frequency instead of folded back (see
    `psf.make_optics`).
    """
    known = instrument.require()
    fraction = sampling(known)
    if fraction > 0.5 * COARSEST:
        pixel = known.pixel_arcsec
        critical = pixel * 0.5 / fraction
        raise SettingsError(
            f"{known.name} has pixels of {pixel:.4g} arcsec, but {known.diameter_m:g} m at "
            f"{known.wavelength_nm:g} nm need {critical:.4g} arcsec (lambda/2D) and at most "
            f"{critical * COARSEST:.4g}: check pixel_arcsec, wavelength_nm and diameter_m."
        )
    return fraction


def cutoff(instrument: Instrument) -> float:
    """The diffraction limit D/lambda in cycles per pixel; above 0.5 the pixels end first."""
    return sampling(instrument)


def pupil_coordinates(diameter_px: float) -> FloatArray:
    """Positions of pupil pixels along an axis in radii, symmetric about 0; just enough to hold it."""
    n = max(1, math.ceil(diameter_px - 1e-9))  # rounding errors must not add a pixel
    return (np.arange(n, dtype=np.float64) - (n - 1) / 2) * (2 / diameter_px)


@functools.lru_cache(maxsize=16)
def transmission(aperture: Aperture, diameter_px: float) -> FloatArray:
    """Open fraction of pupil pixels (y, x), read-only and antialiased."""
    centres = pupil_coordinates(diameter_px)
    n = centres.size
    # Edges are a larger part of a small pupil, so it gets more samples per pixel.
    k = max(4, min(64, 4096 // n))
    fine = (centres[:, None] + ((np.arange(k) + 0.5) / k - 0.5) * (2 / diameter_px)).ravel()
    open_ = np.empty((n, n))
    for row in range(n):  # a row of pixels at a time: a pupil of 1000 pixels would need gigabytes at once
        inside = aperture.covers(fine[row * k : (row + 1) * k, None], fine[None, :])
        open_[row] = inside.reshape(k, n, k).mean((0, 2))
    open_.flags.writeable = False
    return open_

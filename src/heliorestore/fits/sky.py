"""The places of images on the sky: planes fitted to celestial coordinates from any source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.instrument import ARCSEC_PER_UNIT, RADIAN_ARCSEC

# No astropy.wcs: it has no function that fits planes with a bound on their departure, as a table of a moving
# field needs, and it reads units as instrument.py says, not as headers have them.
Floats = npt.NDArray[np.float64]

# longitudes and latitudes for which a small field is a tangent plane
_CELESTIAL = {"HPLN": "HPLT", "SOLX": "SOLY", "RA": "DEC"}
_CIRCLE = 360 * 3600.0
_WORST = 0.05  # rms deviation from a plane, as a fraction of the field, beyond which coordinates are nonsense


def is_celestial(cards: Mapping[str, Any], x: int, y: int) -> bool:
    """Whether the FITS axes x and y are longitude and latitude on the sky, in that order."""
    words = [str(cards.get(f"CTYPE{number}") or "").strip().upper().partition("-")[0] for number in (x, y)]
    return _CELESTIAL.get(words[0]) == words[1]


def arcsec_per_unit(cards: Mapping[str, Any], number: int) -> float | None:
    """The unit of an axis in arcsec; helioprojective FITS without CUNIT is in arcsec."""
    return ARCSEC_PER_UNIT.get(str(cards.get(f"CUNIT{number}") or "arcsec").strip().lower() or "arcsec")


def fit_planes(longitude: Floats, latitude: Floats, x: Floats, y: Floats) -> Floats:
    """Fit planes to coordinates (object, frame, y, x) in arcsec at the pixels `x`, `y`, by least squares.

    Returns (object, frame, 2, 3): value at the mean of the pixels, change per pixel along x, and along y; NaN
    where the coordinates are not a plane.
    """
    # A field across the meridian must not jump by a circle.
    start = longitude[..., :1, :1]
    longitude = (longitude - start + _CIRCLE / 2) % _CIRCLE - _CIRCLE / 2 + start
    grid_y, grid_x = np.meshgrid(y - y.mean(), x - x.mean(), indexing="ij")
    basis = np.stack([np.ones(grid_x.size), grid_x.ravel(), grid_y.ravel()], 1)
    # The pixels are the same for every image, so one pseudo-inverse serves all fits.
    inverse = np.linalg.pinv(basis)
    values = np.stack([longitude, latitude], 2).reshape(*longitude.shape[:2], 2, -1)
    planes: Floats = values @ inverse.T
    # How far the coordinates are from the plane (rms), and how far the plane reaches over the field.
    departure = np.sqrt(np.square(values - planes @ basis.T).mean((-1, -2)))
    extent = np.sqrt(np.square(planes[..., 1:] * [np.ptp(x), np.ptp(y)]).sum((-1, -2)))
    # Two parallel axes span no area and cannot place an image.
    area = np.abs(np.linalg.det(np.nan_to_num(planes[..., 1:])))
    sizes = pixel_sizes(planes)
    sound = (
        (departure <= _WORST * extent)
        & (area > 1e-3 * sizes[..., 0] * sizes[..., 1])
        & (area > 0)
        & np.isfinite(area)
    )
    sound &= np.abs(planes[..., 1, 0]) <= _CIRCLE / 4
    planes[~sound] = np.nan
    return planes


def pixel_sizes(planes: Floats) -> Floats:
    """The distance on the sky of neighbouring pixels along x, and along y (..., 2), in arcsec."""
    return np.asarray(
        # A degree of longitude shrinks with the cosine of the latitude.
        np.hypot(planes[..., 0, 1:] * np.cos(planes[..., 1, :1] / RADIAN_ARCSEC), planes[..., 1, 1:])
    )

"""The places of images on the sky, asked of any object that converts pixels to coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.fits.sky import fit_planes

_SAME_ARCSEC = 1e-6
Floats = npt.NDArray[np.float64]


def grid(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Columns and rows of nine pixels from edge to edge of an image (y, x)."""
    return np.linspace(0, shape[1] - 1, 3), np.linspace(0, shape[0] - 1, 3)


def in_arcsec(sky: Any) -> Floats:
    """Longitude and latitude (2, ...) of sky coordinates, the longitude around zero."""
    longitude = sky.spherical.lon.wrap_at("180d").to_value("arcsec")
    return np.stack([longitude, sky.spherical.lat.to_value("arcsec")])


def planes(places: Floats, shape: tuple[int, int]) -> Floats | None:
    """Places (object, frame, 2, y, x) in arcsec of the grid's pixels as `Burst.pointing` has them; None if no
    object moves.
    """
    if np.ptp(places, axis=1).max() <= _SAME_ARCSEC:
        return None
    return fit_planes(places[:, :, 0], places[:, :, 1], *grid(shape))

"""An image of a sharper telescope as another one would have seen it: degraded, and on its pixels."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from heliorestore.burst import FloatArray
from heliorestore.errors import BurstError, SettingsError
from heliorestore.instrument import Instrument
from heliorestore.optics.psf import telescope_psf
from heliorestore.prepare.interpolation import values_at

if TYPE_CHECKING:
    from astropy.io.fits import Header

_SEEN = 0.5  # of a PSF's light must come from good pixels


def seen_through(image: FloatArray, instrument: Instrument, diameter_m: float) -> FloatArray:
    """An image (y, x) of a sharper instrument through a clear aperture of `diameter_m`, on its own pixels.

    Its own PSF is left as it is, so that the result is a little less sharp than that of the aperture alone.
    Bad pixels have no weight; what lies beyond the borders is mirrored.
    """
    known = instrument.require()
    if diameter_m >= known.diameter_m:
        raise SettingsError(
            f"{known.name} has an aperture of {known.diameter_m:g} m: it is not sharper than one of "
            f"{diameter_m:g} m."
        )
    small = dataclasses.replace(known, diameter_m=diameter_m, obscuration_m=0.0, psf="airy")
    good = np.isfinite(image)
    sides = np.stack([np.where(good, image, 0.0), good]).astype(np.float64)
    mirrored = torch.from_numpy(np.pad(sides, [(0, 0), *((0, n) for n in image.shape)], mode="symmetric"))
    shape = (mirrored.shape[1], mirrored.shape[2])
    transfer = torch.fft.rfft2(telescope_psf(small, shape, dtype=torch.float64))
    seen = torch.fft.irfft2(torch.fft.rfft2(mirrored) * transfer, s=shape)
    light, weight = seen[:, : image.shape[0], : image.shape[1]].numpy()
    found: FloatArray = np.where(weight > _SEEN, light / np.maximum(weight, _SEEN), np.nan).astype(np.float32)
    return found


def at_coordinates(image: FloatArray, theirs: Header, ours: Header, shape: tuple[int, int]) -> FloatArray:
    """An image (y, x) at the places on the Sun of the pixels (y, x) of `shape` of another header; NaN beyond
    it.
    """
    from astropy.wcs import WCS, FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        systems = [WCS(header).celestial for header in (ours, theirs)]
    if any(system.naxis != 2 for system in systems):
        raise BurstError(
            "One of the images has no coordinates on the Sun in its header: register them by what they show "
            "instead (--register affine)."
        )
    y, x = np.mgrid[: shape[0], : shape[1]]
    places = systems[1].all_world2pix(systems[0].all_pix2world(np.stack([x.ravel(), y.ravel()], 1), 0), 0)
    column, row = (torch.from_numpy(np.nan_to_num(part, nan=-1e6)) for part in places.T)
    values = values_at(torch.from_numpy(image.astype(np.float64)), row, column)
    found: FloatArray = values.numpy().astype(np.float32).reshape(shape)
    if not np.isfinite(found).any():
        raise BurstError(
            "By their coordinates the images show different places on the Sun: nothing overlaps."
        )
    return found

"""Wiener's filter for Q, U and V, which have a small part of the power of the intensity for which a
restoration chooses its own.

What noise and what is left of the air look like in a parameter, the anchors show: demodulated, they should
be nothing at all. Their power is scaled to that of the parameter where the telescope hardly shows anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.optics.filters import filter_grid, filtered, frequency
from heliorestore.quality import power_spectrum

Floats = npt.NDArray[np.float64]

_NOISE = (0.75, 0.95)  # of the cut-off, between which a parameter shows noise alone
_RINGS = 2.0  # sigma over which powers are averaged
_SMALLEST = 1e-30


@dataclass(frozen=True, eq=False)
class NoiseFilter:
    """The factor by which each ring of `frequencies` in cycles per pixel is multiplied, and what it leaves of
    the noise's standard deviation.
    """

    frequencies: Floats
    factors: Floats
    left: float

    def apply(self, image: npt.NDArray[np.floating]) -> Floats:
        """The filtered image (y, x); the mean stays, and bad pixels stay bad."""
        good = np.isfinite(image)
        mean = float(image[good].mean())
        rows, columns = image.shape
        at = frequency(filter_grid((rows, columns))).numpy()
        transfer = torch.from_numpy(np.interp(at, self.frequencies, self.factors))
        inside = torch.from_numpy(np.where(good, image - mean, 0.0).astype(np.float64))
        return np.where(good, filtered(inside, transfer).numpy() + mean, np.nan)


def noise_filter(
    image: npt.NDArray[np.floating], nothing: npt.NDArray[np.floating], cutoff: float
) -> NoiseFilter:
    """The filter of an image (y, x) with the noise that `nothing` (y, x) shows; `cutoff` is the diffraction
    limit in cycles per pixel.
    """
    seen, noise = (power_spectrum(each, signed=True) for each in (image, nothing))
    power, level = _averaged(seen.power), _averaged(noise.power)
    beyond = (seen.frequency > _NOISE[0] * cutoff) & (seen.frequency < _NOISE[1] * cutoff)
    if not beyond.any():  # pixels as coarse as the limit
        beyond = seen.frequency > 0.8 * seen.frequency[-1]
    level = level * float(np.median(seen.power[beyond] / np.maximum(noise.power[beyond], _SMALLEST)))
    factors = np.clip(1 - level / np.maximum(power, _SMALLEST), 0, 1)
    # Signals of the Sun fall towards fine structure: chance does not let more through there.
    factors = np.minimum.accumulate(_averaged(factors))
    weights = seen.frequency * level  # a ring has as many frequencies as it is long
    left = math.sqrt(float((weights * factors**2).sum() / max(weights.sum(), _SMALLEST)))
    return NoiseFilter(seen.frequency, factors, left)


def _averaged(values: Floats) -> Floats:
    """Values (ring) under a Gaussian along the rings, the ends repeated."""
    reach = math.ceil(4 * _RINGS)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _RINGS) ** 2)
    averaged: Floats = np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
    return averaged

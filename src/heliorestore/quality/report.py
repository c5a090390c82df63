"""The measurements of an image seen by an instrument: for the command `quality` and the widget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.instrument import Instrument
from heliorestore.optics.noise import estimate_noise
from heliorestore.quality.metrics import (
    Array,
    Spectrum,
    contrast,
    likeness,
    on_equal_pixels,
    photometry,
    positive_pairs,
    power_spectrum,
)

_MOST_DOTS = 8000  # of a scatter plot: more would only hide each other


@dataclass(frozen=True, eq=False)
class Measured:
    """Figures of one image; `noise` is a pixel's standard deviation in units of the image, `spectrum` is None
    where the image is too small.
    """

    name: str
    mean: float
    contrast: float
    noise: float
    instrument: Instrument
    spectrum: Spectrum | None

    def facts(self) -> dict[str, Any]:
        """The figures by name, ready for JSON."""
        facts = {
            "name": self.name,
            "mean": self.mean,
            "contrast": self.contrast,
            "noise": self.noise,
            "noise_of_mean": self.noise / self.mean,
        }
        return facts | {
            "pixel_arcsec": self.instrument.pixel_arcsec,
            "resolution_arcsec": self.instrument.resolution_arcsec,
        }


def measure(
    image: npt.NDArray[np.floating], name: str, instrument: Instrument, pixel_unscaled: float = 1.0
) -> Measured:
    """Measure an image (y, x); noise beyond the diffraction limit where the pixels resolve it.

    `pixel_unscaled` is the size of a pixel where its size in arcsec is unknown, in pixels that this image
    shares with others.
    """
    if not np.isfinite(image).any():
        raise BurstError(f"{name} has no valid pixel: every value is NaN.")
    pixel, resolution = instrument.pixel_arcsec, instrument.resolution_arcsec
    noise = estimate_noise(image, pixel / resolution if pixel and resolution else None)
    try:
        # without a scale frequencies are in cycles per pixel
        spectrum = power_spectrum(image, pixel_unscaled if pixel is None else pixel)
    except BurstError:
        spectrum = None
    return Measured(name, float(np.nanmean(image)), contrast(image), noise.sigma, instrument, spectrum)


def compare(image: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> dict[str, Any]:
    """Figures of an image against a reference by name; the finer one is averaged to equal pixels."""
    first, second = on_equal_pixels(image, reference)
    found, light = likeness(first, second), photometry(first, second)
    return {
        "shift_px": list(found.shift_px),
        "gain": found.gain,
        "nmse": found.nmse,
        "ssim": found.ssim,
        "contrast_ratio": found.contrast_ratio,
        "intensity_ratio": light.ratio,
        "intensity_scatter": light.scatter,
        "within_factor_2": light.within_factor,
    }


def intensities(image: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> Array:
    """Some thousand intensities (pixel, [reference, image]) that are positive in both, to plot."""
    pairs = positive_pairs(*on_equal_pixels(image, reference))
    return pairs[:: max(1, len(pairs) // _MOST_DOTS)]

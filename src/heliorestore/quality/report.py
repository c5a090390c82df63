"""The measurements of an image seen by an instrument: for the command `quality` and the widget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.instrument import Instrument
from heliorestore.optics.noise import estimate_noise, is_filtered, second_differences
from heliorestore.quality.metrics import (
    Array,
    Spectrum,
    contrast,
    is_signed,
    likeness,
    on_equal_pixels,
    photometry,
    positive_pairs,
    power_spectrum,
    signed_pairs,
)

FILTERED = (
    "It was filtered: this is only what the filter left beyond the diffraction limit, a lower limit of the "
    "noise."
)
UNMEASURED = "cannot be measured: that needs 3 x 3 valid pixels side by side"
_MOST_DOTS = 8000  # of a scatter plot: more would only hide each other


@dataclass(frozen=True, eq=False)
class Measured:
    """Figures of one image; `noise` is a pixel's standard deviation in units of the image, `spectrum` is None
    where the image is too small, and the noise NaN where it is smaller still.

    An image around zero is `signed`: its `contrast` is NaN, and its `rms` counts. Of a `filtered` image
    nothing is left beyond the diffraction limit, where noise is measured: what the filter left below the
    limit is not known, and `noise` is only its lower limit.
    """

    name: str
    mean: float
    contrast: float
    noise: float
    instrument: Instrument
    spectrum: Spectrum | None
    signed: bool = False
    rms: float = math.nan
    filtered: bool = False

    def facts(self) -> dict[str, Any]:
        """The figures by name, ready for JSON."""
        facts = {
            "name": self.name,
            "mean": self.mean,
            "contrast": None if self.signed else self.contrast,
            "rms": self.rms,
            "signed": self.signed,
            "noise": None if math.isnan(self.noise) else self.noise,
            "noise_of_mean": None if self.signed or math.isnan(self.noise) else self.noise / abs(self.mean),
            "filtered": self.filtered,
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
    cutoff = pixel / resolution if pixel and resolution else None
    noise, signed = estimate_noise(image, cutoff), is_signed(image)
    if not signed and not np.nanmean(image):
        raise BurstError(f"{name} has the mean 0, to which its contrast and its noise would be relative.")
    try:
        # without a scale frequencies are in cycles per pixel
        spectrum = power_spectrum(image, pixel_unscaled if pixel is None else pixel, signed=signed)
    except BurstError:
        spectrum = None
    return Measured(
        name,
        float(np.nanmean(image)),
        math.nan if signed else contrast(image),
        noise.sigma if noise.sigma or second_differences(image).size else math.nan,
        instrument,
        spectrum,
        signed,
        float(np.sqrt(np.nanmean(np.square(image, dtype=np.float64)))),
        is_filtered(image, cutoff),
    )


def statistics(
    image: npt.NDArray[np.floating], region: npt.NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Figures of the valid pixels of an image (y, x), or of those in a region: their number, mean, standard
    deviation, rms, smallest and largest value, and the mean of the moduli.
    """
    values = np.asarray(image, np.float64)[... if region is None else region]
    values = values[np.isfinite(values)]
    if not values.size:
        raise BurstError("The region has no valid pixel: draw it where the image is.")
    return {
        "pixels": float(values.size),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "rms": float(np.sqrt(np.mean(values**2))),
        "min": float(values.min()),
        "max": float(values.max()),
        "mean_modulus": float(np.abs(values).mean()),
    }


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
    """Some thousand intensities (pixel, [reference, image]) to plot: those that are positive in both, of
    both signs where the reference is one around zero.
    """
    first, second = on_equal_pixels(image, reference)
    pairs = signed_pairs(first, second) if is_signed(second) else positive_pairs(first, second)
    return pairs[:: max(1, len(pairs) // _MOST_DOTS)]

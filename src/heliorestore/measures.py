"""What is measured of an image seen by an instrument, and the charts of it: for the command `quality` and the widget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.charts import Axis, Chart, Curve, Mark
from heliorestore.errors import BurstError
from heliorestore.instrument import Instrument
from heliorestore.optics.noise import estimate_noise
from heliorestore.quality import Array, Spectrum, contrast, likeness, on_equal_pixels, photometry, positive_pairs, power_spectrum

_MOST_DOTS = 8000  # of a scatter plot: more only cover one another
_LINES = {"equal": 1.0, "x 2": 2.0, "x 1/2": 0.5}


@dataclass(frozen=True, eq=False)
class Measured:
    """Figures of one image; `noise` is a pixel's standard deviation in units of the image, `spectrum` None where it is too small."""

    name: str
    mean: float
    contrast: float
    noise: float
    instrument: Instrument
    spectrum: Spectrum | None

    def facts(self) -> dict[str, Any]:
        """The figures by name, as JSON takes them."""
        facts = {
            "name": self.name,
            "mean": self.mean,
            "contrast": self.contrast,
            "noise": self.noise,
            "noise_of_mean": self.noise / self.mean,
        }
        return facts | {"pixel_arcsec": self.instrument.pixel_arcsec, "resolution_arcsec": self.instrument.resolution_arcsec}


def measure(image: npt.NDArray[np.floating], name: str, instrument: Instrument) -> Measured:
    """Measure an image (y, x); the noise is found beyond the diffraction limit where that is known and the pixels reach it."""
    if not np.isfinite(image).any():
        raise BurstError(f"{name} has no valid pixel: every value is NaN.")
    pixel, resolution = instrument.pixel_arcsec, instrument.resolution_arcsec
    noise = estimate_noise(image, pixel / resolution if pixel and resolution else None)
    try:
        spectrum = power_spectrum(image, pixel or 1.0)
    except BurstError:
        spectrum = None
    return Measured(name, float(np.nanmean(image)), contrast(image), noise.sigma, instrument, spectrum)


def compare(image: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> dict[str, Any]:
    """Figures of an image against a reference by name; the finer of the two is averaged onto the other's pixels."""
    first, second = on_equal_pixels(image, reference)
    found, light = likeness(first, second), photometry(first, second)
    return {
        "shift_px": list(found.shift_px), "gain": found.gain, "nmse": found.nmse, "ssim": found.ssim,
        "contrast_ratio": found.contrast_ratio, "intensity_ratio": light.ratio, "intensity_scatter": light.scatter,
        "within_factor_2": light.within_factor,
    }  # fmt: skip


def spectrum_chart(images: Sequence[Measured]) -> Chart:
    """Azimuthal power spectra of images on logarithmic axes, with every diffraction limit among them."""
    shown = [image for image in images if image.spectrum is not None]
    sky = all(image.instrument.pixel_arcsec for image in shown)
    curves = [_spectrum_curve(image, number, sky) for number, image in enumerate(shown)]
    limits: dict[float, str] = {}
    for image in shown:
        resolution = image.instrument.resolution_arcsec
        if resolution and sky:
            limits.setdefault(round(1 / resolution, 6), f"diffraction limit, {resolution:.3g} arcsec")
    unit = "arcsec" if sky else "pixel"
    return Chart(
        "azimuthally averaged power spectra",
        Axis(f"spatial frequency [cycles/{unit}]", log=True),
        Axis(f"power of I/<I> [{unit}^2]", log=True),
        curves,
        [Mark(frequency, name) for frequency, name in limits.items()],
        empty="no image of at least 8 x 8 valid pixels",
    )


def _spectrum_curve(image: Measured, number: int, sky: bool) -> Curve:
    assert image.spectrum is not None
    pixel = 1.0 if sky else image.instrument.pixel_arcsec or 1.0
    return Curve(image.name, image.spectrum.frequency * pixel, image.spectrum.power / pixel**2, colour=number)


def scatter_chart(image: npt.NDArray[np.floating], reference: npt.NDArray[np.floating], names: tuple[str, str], unit: str = "") -> Chart:
    """Intensities of an image over those of a reference on logarithmic axes, with the lines of equality and of a factor of two."""
    pairs = positive_pairs(*on_equal_pixels(image, reference))
    pairs = pairs[:: max(1, len(pairs) // _MOST_DOTS)]
    suffix = f" [{unit}]" if unit else ""
    curves = [Curve("", pairs[:, 0], pairs[:, 1], "dots", 0)]
    if len(pairs):
        low, high = (float(pick(pairs)) for pick in (np.min, np.max))
        ends: Array = np.geomspace(low, high, 50)
        curves += [Curve(name, ends, factor * ends, "line" if factor == 1 else "dashes", None) for name, factor in _LINES.items()]
        x, y = Axis(names[1] + suffix, log=True, low=low, high=high), Axis(names[0] + suffix, log=True, low=low, high=high)
    else:
        x, y = (Axis(name + suffix, log=True) for name in (names[1], names[0]))
    return Chart("photometry", x, y, curves, empty="no pixel where both are positive")

"""How good an image is, in figures and in charts; the figures are the names of this package."""

from heliorestore.quality.metrics import (
    Likeness,
    Photometry,
    Spectrum,
    contrast,
    likeness,
    on_equal_pixels,
    photometry,
    positive_pairs,
    power_spectrum,
    registered,
    ssim,
)

__all__ = [
    "Likeness",
    "Photometry",
    "Spectrum",
    "contrast",
    "likeness",
    "on_equal_pixels",
    "photometry",
    "positive_pairs",
    "power_spectrum",
    "registered",
    "ssim",
]

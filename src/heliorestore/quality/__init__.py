"""The quality of an image, in figures and charts; this package exports the figures."""

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

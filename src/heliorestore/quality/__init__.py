"""The quality of an image, in figures and charts; this package exports the figures."""

from heliorestore.quality.metrics import contrast, likeness, photometry, power_spectrum, ssim

__all__ = ["contrast", "likeness", "photometry", "power_spectrum", "ssim"]

"""Convolution with one PSF: the reference for models whose PSF varies."""

import torch

from heliorestore.optics.convolve import Borders, extend


def convolve(objects: torch.Tensor, psfs: torch.Tensor, borders: Borders = "reflect") -> torch.Tensor:
    """Convolve (..., y, x) with one PSF (..., n, n) each; "given" borders are cut off."""
    size = psfs.shape[-1]
    extended = extend(objects, size, borders)
    grid = extended.shape[-2:]
    # The first `size` - 1 pixels are spoilt by the wrap-around of the FFT; the others are those of the image.
    full = torch.fft.irfft2(torch.fft.rfft2(extended) * torch.fft.rfft2(psfs, s=grid), s=grid)
    return full[..., size - 1 :, size - 1 :]

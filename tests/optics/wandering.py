"""An object and fields of modes on which forward models are compared; the tables in docs/optics.md are made with them too."""

from __future__ import annotations

import math

import torch

from heliorestore.optics.psf import Optics


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def texture(size: int, seed: int = 0) -> torch.Tensor:
    """Something like granulation (y, x): a power law down to the pixels, cells of 20 pixels, contrast 16 %."""
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None, :]).double()
    image = torch.fft.irfft2(torch.fft.rfft2(noise(size, size, seed=seed)) / (frequency**2 + 0.05**2), s=(size, size))
    return 1 + 0.16 * (image - image.mean()) / image.std()


def wandering_modes(optics: Optics, size: int, strength: float, sigma_px: float, seed: int = 1) -> torch.Tensor:
    """Kolmogorov modes (1, mode, y, x) of D/r0 = `strength`: white noise smoothed by a Gaussian of `sigma_px`.

    The correlation of the modes at two points r apart is exp(-r^2 / 4 sigma^2).
    """
    wide = int(size + 8 * sigma_px)
    frequency = torch.hypot(torch.fft.fftfreq(wide)[:, None], torch.fft.rfftfreq(wide)[None, :]).double()
    smooth = torch.exp(-2 * (math.pi * sigma_px * frequency) ** 2)
    maps = torch.fft.irfft2(torch.fft.rfft2(noise(len(optics.modes), wide, wide, seed=seed)) * smooth, s=(wide, wide))
    maps = maps[:, :size, :size] / maps.square().mean((1, 2), keepdim=True).sqrt()
    scale = torch.as_tensor(optics.basis.variances**0.5) * strength ** (5 / 6)
    return (maps * scale[:, None, None])[None].to(optics.modes)


def nmse(image: torch.Tensor, truth: torch.Tensor) -> float:
    """|image - truth|^2 / |truth|^2."""
    return float((image - truth).square().sum() / truth.square().sum())

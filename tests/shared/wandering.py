"""An object and fields of modes on which forward models are compared; the tables in docs/optics.md are made
with them too."""

from __future__ import annotations

import torch

from heliorestore.diagnose.emulator_error import wandering_modes

__all__ = ["nmse", "noise", "texture", "wandering_modes"]


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def texture(size: int, seed: int = 0) -> torch.Tensor:
    """Something like granulation (y, x): a power law down to the pixels, cells of 20 pixels, contrast 16
    %."""
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None, :]).double()
    image = torch.fft.irfft2(
        torch.fft.rfft2(noise(size, size, seed=seed)) / (frequency**2 + 0.05**2), s=(size, size)
    )
    return 1 + 0.16 * (image - image.mean()) / image.std()


def nmse(image: torch.Tensor, truth: torch.Tensor) -> float:
    """|image - truth|^2 / |truth|^2."""
    return float((image - truth).square().sum() / truth.square().sum())

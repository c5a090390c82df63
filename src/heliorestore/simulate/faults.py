"""What cameras and telescopes do to the frames of a burst besides blur and noise.

Every fault draws its random numbers from a seed of its own, so that one does not change the others.
"""

from __future__ import annotations

import torch

_FLUX, _EXPOSURE = 2_000_003, 3_000_017  # what is added to the seed


def flux_fields(shape: tuple[int, int, int, int], rms: float, scale_px: float, seed: int) -> torch.Tensor:
    """Smooth relative errors of the flux (object, frame, y, x), a draw per object and frame.

    Gaussian fields with a Gaussian correlation of `scale_px`, of that rms over many draws; a field has a mean
    of its own.
    """
    objects, frames, rows, columns = shape
    generator = torch.Generator().manual_seed(seed + _FLUX)
    around = int(4 * scale_px) + 1
    reach = torch.arange(-around, around + 1, dtype=torch.float32)
    kernel = torch.exp(-((reach / scale_px) ** 2))
    kernel = kernel / kernel.square().sum().sqrt()
    noise = torch.randn((objects * frames, 1, rows + 2 * around, columns + 2 * around), generator=generator)
    smooth = torch.nn.functional.conv2d(noise, kernel[None, None, :, None])
    smooth = torch.nn.functional.conv2d(smooth, kernel[None, None, None, :])
    return rms * smooth.reshape(shape)

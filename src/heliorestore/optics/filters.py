"""Filters in the Fourier plane: real factors (ky, kx // 2 + 1) for the grid of `torch.fft.rfft2`."""

from __future__ import annotations

import math
from typing import Literal

import torch

from heliorestore.errors import SettingsError


def frequency(
    grid: tuple[int, int], *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Spatial frequency (ky, kx) in cycles per pixel, 0 to 0.71."""
    rows, columns = (
        torch.fft.fftfreq(grid[0], device=device, dtype=dtype),
        torch.fft.rfftfreq(grid[1], device=device, dtype=dtype),
    )
    return torch.hypot(rows[:, None], columns[None, :])


def flat_top(
    frequencies: torch.Tensor, cutoff: float, *, width: float = 1.8, smoothness: float = 20.0
) -> torch.Tensor:
    """Flat-top filter, 1/2 {erf[n (v + w/2)] - erf[n (v - w/2)]} with v in units of the diffraction cut-off
    (cycles per pixel).

    Eq. 16 of Asensio Ramos (2024), SV-MOMFBD: w = 1.8 to 1.85 ends a little below the cut-off, n = 20 makes
    the edge.
    """
    if not (cutoff > 0 and width > 0 and smoothness > 0):
        raise SettingsError(
            f"The filter has cut-off {cutoff}, width {width} and smoothness {smoothness}; "
            "all must be positive."
        )
    v = frequencies / cutoff
    return 0.5 * (torch.erf(smoothness * (v + width / 2)) - torch.erf(smoothness * (v - width / 2)))


def filter_grid(
    shape: tuple[int, int], borders: Literal["periodic", "reflect"] = "reflect"
) -> tuple[int, int]:
    """The FFT grid on which `filtered` needs its filter: twice the image where it is mirrored."""
    return shape if borders == "periodic" else (2 * shape[0], 2 * shape[1])


def filtered(
    images: torch.Tensor, transfer: torch.Tensor, borders: Literal["periodic", "reflect"] = "reflect"
) -> torch.Tensor:
    """Images (..., y, x) with their spectrum multiplied by an even filter on `filter_grid(images, borders)`;
    its own adjoint.

    Mirrored at their edges, images that do not repeat get no ringing from one border to the other.
    """
    rows, columns = images.shape[-2:]
    grid = filter_grid((rows, columns), borders)
    if tuple(transfer.shape[-2:]) != (grid[0], grid[1] // 2 + 1):
        raise SettingsError(
            f"The filter has the shape {tuple(transfer.shape)}; images of {rows} x {columns} with {borders} "
            f"borders need {grid}."
        )
    if borders == "reflect":
        # The spectrum of a mirrored image is its cosine transform: a quarter of the numbers.
        # An even filter is real, so it multiplies the cosine coefficients directly.
        along_y = cosines(cosines(images).mT) * transfer[..., :rows, :columns].mT
        return _from_cosines(_from_cosines(along_y).mT)
    whole: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * transfer, s=grid)
    return whole


def cosines(images: torch.Tensor) -> torch.Tensor:
    """Cosine transform along the last axis, sum_x image[x] cos(pi k (2x + 1) / 2n), by one real transform of
    n numbers.

    Makhoul (1980), doi:10.1109/TASSP.1980.1163351: pixels in the order 0, 2, 4 ... 5, 3, 1.
    """
    n = images.shape[-1]
    spectra = torch.fft.rfft(
        torch.cat([images[..., ::2], images[..., 1::2].flip(-1)], dim=-1)
    ) * _quarter_turns(n, images)
    return torch.cat([spectra.real, -spectra.imag[..., 1 : (n + 1) // 2].flip(-1)], dim=-1)


def _from_cosines(cosines: torch.Tensor) -> torch.Tensor:
    """The inverse of `cosines`."""
    n = cosines.shape[-1]
    # The imaginary part at k is the negative coefficient at n - k: the pixels are real.
    imaginary = torch.nn.functional.pad(-cosines[..., n - n // 2 :].flip(-1), (1, 0))
    spectra = (
        torch.complex(cosines[..., : n // 2 + 1].contiguous(), imaginary) * _quarter_turns(n, cosines).conj()
    )
    ordered = torch.fft.irfft(spectra, n)
    images = cosines.new_empty(cosines.shape)
    images[..., ::2], images[..., 1::2] = ordered[..., : (n + 1) // 2], ordered[..., (n + 1) // 2 :].flip(-1)
    return images


def _quarter_turns(n: int, like: torch.Tensor) -> torch.Tensor:
    """exp(-i pi k / 2n) for k up to n / 2."""
    k = torch.arange(n // 2 + 1, device=like.device, dtype=like.dtype)
    return torch.polar(torch.ones_like(k), -math.pi / (2 * n) * k)

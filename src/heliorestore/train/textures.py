"""Objects besides the Sun: random textures, cells with sharp borders, points on a dark sky."""

from __future__ import annotations

import torch

_POINTS = (10, 30)
_CELLS = 40


def power_law(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Noise (count, y, x) from 0 to 1, amplitudes as frequency^-1 to -2, some with a long tail."""
    device = generator.device
    frequency = torch.hypot(
        torch.fft.fftfreq(size, device=device)[:, None], torch.fft.rfftfreq(size, device=device)[None, :]
    )
    slopes = 1 + torch.rand((count, 1, 1), generator=generator, device=device)
    spectra = torch.fft.rfft2(torch.randn((count, size, size), generator=generator, device=device))
    images = torch.fft.irfft2(spectra * (frequency.clamp(min=1 / size) ** -slopes), s=(size, size))
    images = (images - images.mean((-2, -1), keepdim=True)) / images.std((-2, -1), keepdim=True)
    # The exponential of a Gaussian field: few bright places on a dark ground.
    tailed = torch.rand((count, 1, 1), generator=generator, device=device) < 0.3
    return _from_0_to_1(torch.where(tailed, images.exp(), images))


def cells(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Voronoi cells (count, y, x), each of one brightness from 0 to 1."""
    device = generator.device
    places = torch.rand((count, _CELLS, 2), generator=generator, device=device) * size
    levels = torch.rand((count, _CELLS), generator=generator, device=device)
    axis = torch.arange(size, device=device)
    squares = [(axis[:, None] - places[..., n][:, None, :]).square() for n in (0, 1)]  # (count, pixel, cell)
    # The squared distance is a sum over both axes, so each axis is computed once.
    nearest = (squares[0][:, :, None] + squares[1][:, None, :]).argmin(-1)
    return levels.gather(1, nearest.flatten(1)).reshape(count, size, size)


def points(count: int, size: int, generator: torch.Generator, *, margin: int = 0) -> torch.Tensor:
    """10 to 30 points of 1 to 4 pixels on a black sky (count, y, x), off the `margin`, up to 1."""
    device = generator.device
    sky = torch.zeros((count, size, size), device=device)
    most = _POINTS[1]
    places = torch.randint(margin, size - margin, (count, most, 2), generator=generator, device=device)
    levels = 0.3 + 0.7 * torch.rand((count, most), generator=generator, device=device)
    shown = torch.randint(*_POINTS, (count, 1), generator=generator, device=device)
    levels.masked_fill_(torch.arange(most, device=device)[None, :] >= shown, 0)
    number = torch.arange(count, device=device)[:, None].expand(-1, most)
    sky.index_put_((number, places[..., 0], places[..., 1]), levels, accumulate=True)
    widths = torch.randint(1, 5, (count,), generator=generator, device=device)
    for width in (2, 3, 4):
        # A box of `width` pixels, padded so that the size stays.
        spread = torch.nn.functional.avg_pool2d(
            torch.nn.functional.pad(sky, (width // 2, (width - 1) // 2) * 2), width, 1
        )
        sky = torch.where((widths == width)[:, None, None], spread, sky)
    return sky / sky.amax((-2, -1), keepdim=True)


def _from_0_to_1(images: torch.Tensor) -> torch.Tensor:
    lowest = images.amin((-2, -1), keepdim=True)
    return (images - lowest) / (images.amax((-2, -1), keepdim=True) - lowest)

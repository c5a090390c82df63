"""Prior knowledge of an object: a small family of penalties in the form that a conjugate-gradient solver
needs.

Each is sum(w |B o|^2) with an analysis B and weights w that follow the object (iteratively reweighted least
squares). With w = 1 it is Tikhonov's penalty, with w = s / sqrt(|B o|^2 + s^2) the total variation or the
sparsity beyond a scale s. Below s all of them are equivalent, so lambda has the same meaning for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

Kind = Literal["tikhonov", "total-variation", "wavelet"]
Operator = Callable[[torch.Tensor], torch.Tensor]

_SCALE = 0.03  # of the mean intensity: a gradient per pixel, or a wavelet coefficient, that counts as an edge
_NEGATIVE = 100.0  # how much more than lambda a negative pixel costs


def penalty(
    objects: torch.Tensor, kind: Kind, pixels: int, *, positive: bool = False
) -> tuple[torch.Tensor, Operator]:
    """The penalty of objects (object, y, x), and half its gradient as a linear operator.

    It is a mean over the pixels of the image, as the misfit is: so lambda does not depend on the
    surroundings.
    """
    analyse, synthesise = (_haar, _haar_adjoint) if kind == "wavelet" else (gradient, gradient_adjoint)
    parts = analyse(objects)
    size = parts.square().sum(0) if kind == "total-variation" else parts.square()
    weights = torch.ones_like(size) if kind == "tikhonov" else _SCALE / (size + _SCALE**2).sqrt()
    # The value of the square root itself, not of the parabola that touches it: 2 s (sqrt(x^2 + s^2) - s) is
    # x^2 for small x.
    value = size.sum() if kind == "tikhonov" else (2 * _SCALE * ((size + _SCALE**2).sqrt() - _SCALE)).sum()
    # Quadratic in the pixels that are negative now, so that the solver still sees a linear operator.
    negative = (objects < 0).to(objects) * _NEGATIVE if positive else None
    if negative is not None:
        value = value + (negative * objects.square()).sum()

    def half_gradient(x: torch.Tensor) -> torch.Tensor:
        result = synthesise(weights * analyse(x))
        return (result + negative * x if negative is not None else result) / pixels

    return value / pixels, half_gradient


def gradient(images: torch.Tensor) -> torch.Tensor:
    """Sobel's derivatives ([along y, along x], ..., y, x), per pixel; 0 on the outermost pixels."""
    return torch.stack([_sobel(images, axis) for axis in (0, 1)])


def gradient_adjoint(parts: torch.Tensor) -> torch.Tensor:
    """The transpose of `gradient`."""
    return _sobel_adjoint(parts[0], 0) + _sobel_adjoint(parts[1], 1)


# (1 2 1)/4 across and (-1 0 1)/2 along: a ramp of 1 per pixel has the derivative 1. Sums of slices take less
# than a third of the time of a convolution by a kernel of 3 x 3.
_MEAN, _SLOPE = (0.25, 0.5, 0.25), (-0.5, 0.0, 0.5)


def _sobel(images: torch.Tensor, axis: int) -> torch.Tensor:
    along, across = (-2, -1) if axis == 0 else (-1, -2)
    inner = _three(_three(images, _MEAN, across), _SLOPE, along)
    whole: torch.Tensor = torch.nn.functional.pad(inner, (1, 1, 1, 1))
    return whole


def _sobel_adjoint(part: torch.Tensor, axis: int) -> torch.Tensor:
    along, across = (-2, -1) if axis == 0 else (-1, -2)
    return _three_adjoint(_three_adjoint(part[..., 1:-1, 1:-1], _SLOPE, along), _MEAN, across)


def _three(images: torch.Tensor, weights: tuple[float, ...], axis: int) -> torch.Tensor:
    """Weighted sums of three neighbours along an axis, which becomes two pixels shorter."""
    n = images.shape[axis] - 2
    total = weights[2] * images.narrow(axis, 2, n)
    for place in (0, 1):
        if weights[place]:
            total.add_(images.narrow(axis, place, n), alpha=weights[place])
    return total


def _three_adjoint(part: torch.Tensor, weights: tuple[float, ...], axis: int) -> torch.Tensor:
    """The transpose of `_three`."""
    shape, n = list(part.shape), part.shape[axis]
    shape[axis] += 2
    spread = part.new_zeros(shape)
    for place, weight in enumerate(weights):
        if weight:
            spread.narrow(axis, place, n).add_(part, alpha=weight)
    return spread


def _haar(images: torch.Tensor) -> torch.Tensor:
    """Undecimated Haar details (level x direction, ..., y, x) at 1, 2 and 4 pixels, wrapped around."""
    parts, smooth = [], images
    for step in (1, 2, 4):
        down, right = (smooth.roll(-step, axis) for axis in (-2, -1))
        parts += [(down - smooth) / 2, (right - smooth) / 2]
        # Undecimated: the filter grows instead of the pixels, so that no level depends on the origin of the
        # grid.
        smooth = (smooth + down + right + down.roll(-step, -1)) / 4
    return torch.stack(parts)


def _haar_adjoint(parts: torch.Tensor) -> torch.Tensor:
    """The transpose of `_haar`."""
    smooth = torch.zeros_like(parts[0])
    # From the coarsest level back, for each was made of the smooth image of the one before.
    for level, step in ((2, 4), (1, 2), (0, 1)):
        up, left = (smooth.roll(step, axis) for axis in (-2, -1))
        smooth = (smooth + up + left + up.roll(step, -1)) / 4
        for part, axis in ((parts[2 * level], -2), (parts[2 * level + 1], -1)):
            smooth = smooth + (part.roll(step, axis) - part) / 2
    return smooth


def roughness(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the squared differences of neighbours in maps (..., y, x), and half of its gradient."""
    gradient, total = torch.zeros_like(maps), maps.new_zeros(())
    for axis in (-2, -1):
        difference = maps.diff(dim=axis)
        total = total + difference.square().sum()
        size = maps.shape[axis] - 1
        gradient.narrow(axis, 1, size).add_(difference)
        gradient.narrow(axis, 0, size).sub_(difference)
    return total, gradient


def pixel_roughness(
    maps: torch.Tensor, shape: tuple[int, int], step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum over the pixels of an image of the squared `gradient` of maps (..., gy, gx), bilinear between nodes
    every `step` pixels; and half of its gradient in the nodes.

    Sobel's kernel is a slope along one axis times a mean along the other, so that small matrices (node, node)
    do for each axis what pixels would.
    """
    steep, smooth = [], []
    for n, nodes in zip(shape, maps.shape[-2:], strict=True):
        places = torch.arange(n, dtype=maps.dtype, device=maps.device)[:, None] / step
        hats = (1 - (places - torch.arange(nodes, device=maps.device)).abs()).clamp(min=0)
        slopes, means = (hats[2:] - hats[:-2]) / 2, (hats[:-2] + 2 * hats[1:-1] + hats[2:]) / 4
        steep.append(slopes.T @ slopes)
        smooth.append(means.T @ means)
    half = steep[0] @ maps @ smooth[1] + smooth[0] @ maps @ steep[1]
    return (maps * half).sum(), half

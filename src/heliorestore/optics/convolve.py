"""The surroundings of an image, fields of modes, and the exact per-pixel sum with which every faster model is
compared.

A PSF of n pixels has its centre in pixel c = n // 2: image[y] = sum_k psf[k] object[y - k + c]. Each image
pixel sees n - 1 - c object pixels before it and c behind it: that is the margin of an object "given" with its
borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from heliorestore.errors import SettingsError
from heliorestore.optics.psf import Optics, psf

Borders = Literal["reflect", "periodic", "given"]


def margins(size: int) -> tuple[int, int]:
    """Object pixels before and behind an image pixel that contribute to it through a PSF of `size` pixels."""
    return size - 1 - size // 2, size // 2


def extend(images: torch.Tensor, size: int, borders: Borders) -> torch.Tensor:
    """Images (..., y, x) with the margins of a PSF of `size` pixels: mirrored, repeated, or as given."""
    if borders == "given":
        return images
    rows, columns = (_surroundings(n, size, borders, images.device) for n in images.shape[-2:])
    return images.index_select(-2, rows).index_select(-1, columns)


def extend_adjoint(extended: torch.Tensor, size: int, borders: Borders) -> torch.Tensor:
    """The adjoint of `extend`: what lies in the margins is added to the pixels it was copied from."""
    if borders == "given":
        return extended
    for axis in (-2, -1):
        n = extended.shape[axis] - size + 1
        shape = list(extended.shape)
        shape[axis] = n
        # Several margin pixels may come from one pixel: their values add up.
        extended = extended.new_zeros(shape).index_add(
            axis, _surroundings(n, size, borders, extended.device), extended
        )
    return extended


# -- fields of modes: nodes at pixel 0 and every `step` pixels, the last at or beyond the border -------------


def node_grid(shape: tuple[int, int], step: int) -> tuple[int, int]:
    """Numbers of nodes along y and x that cover an image."""
    if step < 1 or min(shape) < 1:
        raise SettingsError(
            f"A grid of step {step} over an image of {shape} pixels is impossible; both must be at least 1."
        )
    return -(-(shape[0] - 1) // step) + 1, -(-(shape[1] - 1) // step) + 1


def interpolate(
    maps: torch.Tensor, shape: tuple[int, int], step: int, part: tuple[slice, slice] | None = None
) -> torch.Tensor:
    """Maps (..., gy, gx) at the nodes, bilinear at every pixel (..., y, x) of a part of the image."""
    grid = node_grid(shape, step)
    if maps.shape[-2:] != grid:
        raise SettingsError(
            f"The maps have {tuple(maps.shape[-2:])} nodes; an image of {shape} pixels has {grid} at a step "
            f"of {step} pixels."
        )
    rows, columns = (
        # As products of matrices, so that the transpose is one too.
        _hats(range(n)[p], g, step, maps)
        for n, g, p in zip(shape, grid, part or (slice(None),) * 2, strict=True)
    )
    return rows @ maps @ columns.T


def at_nodes(maps: torch.Tensor, step: int) -> torch.Tensor:
    """Maps (..., y, x) at the nodes (..., gy, gx); beyond the border a straight line continues them."""
    for axis in (-2, -1):
        n = maps.shape[axis]
        nodes = torch.arange(node_grid((n, n), step)[0], device=maps.device) * step
        # An odd reflection about the last pixel, 2 f(n - 1) - f(mirrored), continues a slope; an even one
        # would end it.
        inside, mirrored = nodes.clamp(max=n - 1), (2 * (n - 1) - nodes).clamp(0, n - 1)
        beyond = (nodes > n - 1).to(maps.dtype).reshape(-1, *[1] * (-axis - 1))
        values = maps.index_select(axis, inside)
        maps = values + beyond * (values - maps.index_select(axis, mirrored))
    return maps


# -- the reference -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class PerPixelSum:
    """The exact space-variant model: every pixel of the image has the PSF of its own modes (frame, mode, y,
    x).

    `optics` has one entry per object. Takes about a thousand times as long as a convolution; `batch` pixels
    are done at once.
    """

    optics: Sequence[Optics]
    shape: tuple[int, int]
    borders: Borders = "reflect"
    batch: int = 64

    @property
    def grid(self) -> tuple[int, int]:
        return self.shape

    @property
    def object_shape(self) -> tuple[int, int]:
        return given_shape(self.shape, self.optics[0].size) if self.borders == "given" else self.shape

    def __call__(self, objects: torch.Tensor, modes: torch.Tensor) -> torch.Tensor:
        images = [
            torch.stack([self._image(*pair, frame) for frame in modes])
            for pair in zip(objects, self.optics, strict=True)
        ]
        return torch.stack(images)

    def _image(self, object_: torch.Tensor, optics: Optics, modes: torch.Tensor) -> torch.Tensor:
        size = optics.size
        patches = extend(object_, size, self.borders).unfold(0, size, 1).unfold(1, size, 1)  # (y, x, n, n)
        pixels = modes.flatten(1).T  # (pixel, mode)
        rows, columns = self.shape
        parts = []
        for first in range(0, rows * columns, self.batch):
            index = torch.arange(first, min(first + self.batch, rows * columns), device=modes.device)
            # A convolution meets the object turned round: psf[k] multiplies object[y - k + c].
            seen = patches[index // columns, index % columns].flip(-1, -2)
            parts.append(torch.einsum("pyx,pyx->p", psf(optics, pixels[index]), seen))
        return torch.cat(parts).reshape(rows, columns)


def given_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Shape of an object with its own borders, for an image of `shape` and PSFs of `size` pixels."""
    return shape[0] + size - 1, shape[1] + size - 1


def _surroundings(n: int, size: int, borders: Borders, device: torch.device) -> torch.Tensor:
    """Indices of the pixels that fill the places -before ... n - 1 + behind."""
    before, behind = margins(size)
    index = torch.arange(-before, n + behind, device=device)
    if borders == "periodic":
        return index % n
    if borders != "reflect":
        raise SettingsError(f"The borders are {borders!r}; possible are 'reflect', 'periodic' and 'given'.")
    # ... 2 1 0 1 2 ...: the border pixel is not repeated, so the pattern has the period 2 (n - 1).
    period = max(1, 2 * (n - 1))
    index = index % period
    return torch.minimum(index, period - index) if n > 1 else index * 0


def _hats(pixels: range, nodes: int, step: int, like: torch.Tensor) -> torch.Tensor:
    """Weights (pixel, node) of linear interpolation along one axis; every row sums to one."""
    pixel, node = (
        torch.arange(p.start, p.stop, device=like.device, dtype=like.dtype) for p in (pixels, range(nodes))
    )
    return (1 - (pixel[:, None] / step - node[None, :]).abs()).clamp(min=0)

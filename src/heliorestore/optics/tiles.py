"""Windows, overlapping tiles, blending weights: for patches, and for fields too large for memory."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch

from heliorestore.errors import SettingsError


def apodisation(
    shape: tuple[int, int],
    width: int,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Window (y, x): 1 inside, falling to 0 over `width` pixels along every edge as half a Hann window."""
    if not 0 <= 2 * width <= min(shape):
        raise SettingsError(
            f"Edges of {width} pixels do not fit into {shape[0]} x {shape[1]}; possible are "
            f"0 to {min(shape) // 2}."
        )
    sides = []
    for n in shape:
        distance = torch.arange(n, dtype=torch.float64)
        # From the centres of pixels: the window is symmetric and nowhere exactly zero.
        distance = torch.minimum(distance, n - 1 - distance) + 0.5
        sides.append(_rise(distance / max(width, 1)) if width else torch.ones(n, dtype=torch.float64))
    return (sides[0][:, None] * sides[1][None, :]).to(device=device, dtype=dtype)


@dataclass(frozen=True)
class Tiling:
    """Tiles of `tile` pixels (less where the image is smaller) over an image, sharing at least `overlap`
    pixels.

    The outer `margin` pixels of a tile have no weight unless they are at the image's border: there a network
    lacks the surroundings. `zoom` result pixels correspond to one image pixel; `blend` works in result
    pixels.
    """

    shape: tuple[int, int]
    tile: int
    overlap: int
    margin: int = 0
    zoom: int = 1

    def __post_init__(self) -> None:
        if not (self.margin >= 0 and 2 * self.margin <= self.overlap < self.tile):
            raise SettingsError(
                f"Tiles of {self.tile} pixels overlap by {self.overlap} with margins of {self.margin}; "
                "the overlap must hold two margins and be smaller than the tile."
            )
        if min(self.shape) < 1 or self.zoom < 1:
            raise SettingsError(
                f"An image of {self.shape} pixels at a zoom of {self.zoom} has no tiles; "
                "both must be at least 1."
            )

    @property
    def tile_shape(self) -> tuple[int, int]:
        return min(self.tile, self.shape[0]), min(self.tile, self.shape[1])

    @property
    def grid(self) -> tuple[int, int]:
        """Numbers of tiles along y and x."""
        return len(self._starts(0)), len(self._starts(1))

    def places(self) -> list[tuple[slice, slice]]:
        """Rows and columns of every tile in the image, row by row."""
        high, wide = self.tile_shape
        return [(slice(y, y + high), slice(x, x + wide)) for y in self._starts(0) for x in self._starts(1)]

    def result_places(self) -> list[tuple[slice, slice]]:
        """Rows and columns of every tile in the result."""
        z = self.zoom
        return [(slice(z * r.start, z * r.stop), slice(z * c.start, z * c.stop)) for r, c in self.places()]

    def weights(
        self, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Blending weights (tile, y, x) in result pixels; at every pixel those of all tiles sum to one."""
        rows, columns = self._side_weights(0), self._side_weights(1)
        outer = rows[:, None, :, None] * columns[None, :, None, :]
        return outer.flatten(0, 1).to(device=device, dtype=dtype)

    def blend(self, tiles: torch.Tensor) -> torch.Tensor:
        """Image (..., y, x) of result tiles (tile, ..., y, x), weighted where they overlap."""
        weights = self.weights(device=tiles.device, dtype=tiles.dtype)
        weights = weights.reshape(len(weights), *[1] * (tiles.ndim - 3), *weights.shape[1:])
        whole = tiles.new_zeros(*tiles.shape[1:-2], *(self.zoom * n for n in self.shape))
        for tile, (rows, columns) in zip(tiles * weights, self.result_places(), strict=True):
            whole[..., rows, columns] += tile
        return whole

    def _starts(self, axis: int) -> list[int]:
        """First pixels of the tiles along an axis: as few tiles as overlap enough, evenly spread."""
        n, side = self.shape[axis], self.tile_shape[axis]
        # Each tile but the first adds its size less the overlap.
        count = max(1, math.ceil((n - self.overlap) / (self.tile - self.overlap))) if side < n else 1
        # The last tile ends with the image, and all overlap by nearly the same.
        return [round(k * (n - side) / max(1, count - 1)) for k in range(count)]

    def _side_weights(self, axis: int) -> torch.Tensor:
        return _side_weights(
            tuple(self._starts(axis)),
            self.tile_shape[axis],
            self.shape[axis],
            self.overlap,
            self.margin,
            self.zoom,
        )


@functools.lru_cache(maxsize=32)
def _side_weights(
    starts: tuple[int, ...], side: int, n: int, overlap: int, margin: int, zoom: int
) -> torch.Tensor:
    """Weights (tile, pixel) along one axis, normalised to sum to one at every pixel."""
    position = (torch.arange(side * zoom, dtype=torch.float64) + 0.5) / zoom
    width = max(overlap - 2 * margin, 1 / zoom)  # tiles that just touch need a ramp too
    rows = []
    for start in starts:
        ramp = torch.ones_like(position)
        # No ramp at the image's own border, where there is no neighbour to blend with.
        if start > 0:
            ramp = ramp * _rise((position - margin) / width)
        if start + side < n:
            ramp = ramp * _rise((side - position - margin) / width)
        rows.append(ramp)
    # Normalised, because rounded starts make the overlaps differ, and two ramps then do not sum to one.
    total = torch.zeros(n * zoom, dtype=torch.float64)
    for start, ramp in zip(starts, rows, strict=True):
        total[start * zoom : (start + side) * zoom] += ramp
    return torch.stack(
        [ramp / total[s * zoom : (s + side) * zoom] for s, ramp in zip(starts, rows, strict=True)]
    )


def _rise(position: torch.Tensor) -> torch.Tensor:
    """0 before 0, 1 behind 1, half a Hann window between."""
    return torch.sin(position.clamp(0, 1) * (math.pi / 2)) ** 2

"""How much memory a method may use, and into which parts that cuts the field and the frames of a burst."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from heliorestore.optics.convolve import node_grid
from heliorestore.optics.node_patches import NodePatches

_FALLBACK_BYTES = 4e9
_SHARE = 0.5
_CPU_SIDE = 16  # intervals of nodes along a tile: of wider ones the spectra of a row leave the CPU's cache
_IMAGES = 8  # arrays of a part's pixels that are alive at once


def budget_bytes(memory_gb: float | None, device: torch.device) -> float:
    """Bytes for the work of a method on a device: a setting, or half of what the machine has free."""
    if memory_gb is not None:
        return memory_gb * 1e9
    if device.type == "cuda":
        return _SHARE * torch.cuda.mem_get_info(device)[0]
    return _SHARE * _free_bytes()


def _free_bytes() -> float:
    """Available main memory; a cautious guess where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return _FALLBACK_BYTES
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), _FALLBACK_BYTES)


@dataclass(frozen=True)
class Part:
    """A tile of the field in some frames: its pixels, the nodes around them, and the pixels of the object that they see.

    `frames` is a slice; `pixels`, `nodes` and `seen` are slices along y and x.
    """

    frames: slice
    pixels: tuple[slice, slice]
    nodes: tuple[slice, slice]
    seen: tuple[slice, slice]

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.pixels
        return rows.stop - rows.start, columns.stop - columns.start


@dataclass(frozen=True)
class Layout:
    """A field of `shape` pixels with nodes every `step` in tiles of `side` intervals at most, `at_once` of the frames together.

    Every pixel belongs to one tile; neighbours share the nodes on their border, so that what the tiles give adds up to what the
    whole gives. The transfer functions of the first `kept` parts stay in memory.
    """

    shape: tuple[int, int]
    frames: int
    step: int
    psf: int
    side: int
    at_once: int
    kept: int

    @property
    def tiles(self) -> tuple[int, int]:
        """Numbers of tiles along y and x."""
        rows, columns = (len(_cuts(n, self.step, self.side)) for n in self.shape)
        return rows, columns

    @property
    def count(self) -> int:
        """The number of parts."""
        return math.prod(self.tiles) * -(-self.frames // self.at_once)

    def parts(self) -> Iterator[Part]:
        """All parts, tile by tile."""
        rows, columns = (_cuts(n, self.step, self.side) for n in self.shape)
        for row in rows:
            for column in columns:
                nodes = [_nodes(place, self.step) for place in (row, column)]
                seen = [slice(place.start, place.stop + self.psf - 1) for place in (row, column)]
                for first in range(0, self.frames, self.at_once):
                    frames = slice(first, min(first + self.at_once, self.frames))
                    yield Part(frames, (row, column), (nodes[0], nodes[1]), (seen[0], seen[1]))


def part_bytes(shape: tuple[int, int], step: int, psf: int, optics: int) -> float:
    """Bytes of the transfer functions of one frame of a tile of `shape` pixels, for so many distinct optics."""
    rows, columns = node_grid(shape, step)
    length = NodePatches(shape, step, psf, 1).length
    return 8.0 * optics * rows * columns * length * (length // 2 + 1)


def make_layout(
    burst_shape: tuple[int, int, int, int], *, step: int, psf: int, optics: int, memory_bytes: float, device: torch.device
) -> Layout:
    """The largest parts that keep within the memory, and as many transfer functions kept as there is room for.

    `burst_shape` is (object, frame, y, x), `optics` the number of distinct optics. A part may take half of the memory.
    """
    objects, frames, *field = burst_shape
    shape = (field[0], field[1])
    side = max(-(-(n - 1) // step) for n in shape) or 1
    if device.type == "cpu":
        side = min(side, _CPU_SIDE)

    def needed(side: int, frames: int) -> float:
        tile = (min(shape[0], side * step + 1), min(shape[1], side * step + 1))
        return frames * (part_bytes(tile, step, psf, optics) + 4.0 * _IMAGES * objects * tile[0] * tile[1])

    while side > 2 and needed(side, frames) > memory_bytes / 2:
        side = -(-side // 2)
    at_once = frames
    while at_once > 1 and needed(side, at_once) > memory_bytes / 2:
        at_once = -(-at_once // 2)
    layout = Layout(shape, frames, step, psf, side, at_once, 0)
    one = needed(side, at_once)
    whole = layout.count * one <= memory_bytes
    kept = layout.count if whole else max(0, int((memory_bytes - one) / one))
    return Layout(shape, frames, step, psf, side, at_once, kept)


def _cuts(n: int, step: int, side: int) -> list[slice]:
    """Pixels of the tiles along an axis of n pixels: as few as `side` allows, of about the same size, each beginning on a node."""
    intervals = max(1, -(-(n - 1) // step))
    count = -(-intervals // side)
    edges = [k * intervals // count * step for k in range(count)]
    return [slice(first, last) for first, last in zip(edges, [*edges[1:], n], strict=True)]


def _nodes(place: slice, step: int) -> slice:
    """The nodes around some pixels along an axis."""
    first = place.start // step
    return slice(first, first + node_grid((place.stop - place.start, 1), step)[0])

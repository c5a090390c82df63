"""Into which parts the memory cuts the field and the frames of a burst, and what a part takes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from heliorestore.optics.convolve import node_grid
from heliorestore.optics.node_patches import NodePatches

_CPU_SIDE = 16  # intervals of nodes along a tile: of wider ones the spectra of a row leave the CPU's cache
_LIGHT = 1.15  # of a PSF, in image and pupil, in pixels of the PSF
_IMAGES = 8  # arrays of a part's pixels that are alive at once


@dataclass(frozen=True)
class Part:
    """A tile of the field in some frames: its pixels, the nodes around them, and the pixels of the object
    that they see.

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
    """A field of `shape` pixels with nodes every `step` in tiles of `side` intervals at most, `at_once` of
    the frames together.

    Every pixel belongs to one tile; neighbours share the nodes on their border, so that what the tiles give
    adds up to what the whole gives. The transfer functions of the first `kept` parts stay in memory; with
    `spare` there is room for three sets: those of the last modes and of the new ones, and memory for the
    next. `gradient_bytes` is what the gradient of a part may keep of the light it was made of.
    """

    shape: tuple[int, int]
    frames: int
    step: int
    psf: int
    side: int
    at_once: int
    kept: int
    gradient_bytes: float = 0.0
    spare: bool = False

    @property
    def all_kept(self) -> bool:
        """Whether all transfer functions stay: then there is room for residuals, a tenth as large."""
        return self.kept >= self.count

    @property
    def tiles(self) -> tuple[int, int]:
        """Numbers of tiles along y and x."""
        rows, columns = (len(_cuts(n, self.step, self.side)) for n in self.shape)
        return rows, columns

    @property
    def largest(self) -> tuple[int, int]:
        """Shape of the largest tile, at most."""
        rows, columns = (min(n, self.side * self.step + 1) for n in self.shape)
        return rows, columns

    @property
    def count(self) -> int:
        """The number of parts."""
        return math.prod(self.tiles) * -(-self.frames // self.at_once)

    def parts(self) -> Iterator[Part]:
        """All parts: every tile of some frames, then those of the next."""
        rows, columns = (_cuts(n, self.step, self.side) for n in self.shape)
        for first in range(0, self.frames, self.at_once):
            frames = slice(first, min(first + self.at_once, self.frames))
            for row in rows:
                for column in columns:
                    nodes = [_nodes(place, self.step) for place in (row, column)]
                    seen = [slice(place.start, place.stop + self.psf - 1) for place in (row, column)]
                    yield Part(frames, (row, column), (nodes[0], nodes[1]), (seen[0], seen[1]))


def part_bytes(shape: tuple[int, int], step: int, psf: int, optics: int) -> float:
    """Bytes of the transfer functions of one frame of a tile of `shape` pixels, for so many distinct
    optics.
    """
    rows, columns = node_grid(shape, step)
    length = NodePatches(shape, step, psf, 1).length
    return 8.0 * optics * rows * columns * length * (length // 2 + 1)


def make_layout(
    burst_shape: tuple[int, int, int, int],
    *,
    step: int,
    psf: int,
    optics: int,
    memory_bytes: float,
    device: torch.device,
) -> Layout:
    """The largest parts that keep within a quarter of the memory, and as many transfer functions kept as half
    of it holds.

    `burst_shape` is (object, frame, y, x), `optics` the number of distinct optics. The rest is for the
    gradient.
    """
    objects, frames, *field = burst_shape
    shape = (field[0], field[1])
    side = max(-(-(n - 1) // step) for n in shape) or 1
    if device.type == "cpu":
        side = min(side, _CPU_SIDE)

    def needed(side: int, frames: int) -> float:
        return sum(_largest_part(Layout(shape, frames, step, psf, side, frames, 0), objects, optics))

    while side > 2 and needed(side, frames) > memory_bytes / 4:
        side = -(-side // 2)
    at_once = frames
    while at_once > 1 and needed(side, at_once) > memory_bytes / 4:
        at_once = -(-at_once // 2)
    layout = Layout(shape, frames, step, psf, side, at_once, 0, memory_bytes / 4)
    room = int(memory_bytes / 2 / _largest_part(layout, objects, optics)[0])
    return replace(layout, kept=min(layout.count, room), spare=room >= 3 * layout.count)


def working_bytes(layout: Layout, objects: int, optics: int) -> float:
    """Bytes that the parts of a layout take at the peak: transfer functions kept, and what is alive in the
    work on one part.
    """
    transfers, images = _largest_part(layout, objects, optics)
    made_again = transfers if layout.kept < layout.count else 0.0
    # Beside its transfer function the gradient wants the light of every PSF.
    light = transfers * (
        1 + _LIGHT * layout.psf**2 / (NodePatches(layout.shape, layout.step, layout.psf, 1).length ** 2 / 2)
    )
    gradient = light if light <= layout.gradient_bytes else 0.0
    residuals = 8.0 * objects * layout.frames * math.prod(layout.shape) if layout.all_kept else 0.0
    return layout.kept * transfers + images + residuals + max(made_again, gradient)


def _largest_part(layout: Layout, objects: int, optics: int) -> tuple[float, float]:
    """Bytes of the transfer functions and of the images of a part as large as the layout allows."""
    transfers = layout.at_once * part_bytes(layout.largest, layout.step, layout.psf, optics)
    return transfers, image_bytes(layout, objects)


def image_bytes(layout: Layout, objects: int) -> float:
    """Bytes of the images of a part as large as the layout allows, of what is made of them, and of the
    residual of its frames in the whole field.
    """
    part, field = math.prod(layout.largest), math.prod(layout.shape)
    return 4.0 * objects * layout.at_once * (_IMAGES * part + field)


def _cuts(n: int, step: int, side: int) -> list[slice]:
    """Pixels of the tiles along an axis of n pixels: as few as `side` allows, of about the same size, each
    beginning on a node.
    """
    intervals = max(1, -(-(n - 1) // step))
    count = -(-intervals // side)
    edges = [k * intervals // count * step for k in range(count)]
    return [slice(first, last) for first, last in zip(edges, [*edges[1:], n], strict=True)]


def _nodes(place: slice, step: int) -> slice:
    """The nodes around some pixels along an axis."""
    first = place.start // step
    return slice(first, first + node_grid((place.stop - place.start, 1), step)[0])

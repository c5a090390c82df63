"""Into which parts the memory cuts the field and the frames of a burst, and what a part takes of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, islice

import torch

from heliorestore.optics.convolve import node_grid
from heliorestore.optics.filter_flow import batch_bytes
from heliorestore.optics.node_patches import NodePatches

_CPU_SIDE = 16  # intervals of nodes along a tile: of wider ones the spectra of a row leave the CPU's cache
_SMALL_SIDE = 8
_LIGHT = 1.15  # of a PSF, in image and pupil, in pixels of the PSF
_SHEETS = 3  # images of a part, each a step larger on every side, that are alive at once
# images of the size of the objects that penalties, conjugate gradients and the standard error make, with what
# the allocator holds between them
_SOLVER = 24
_SPECTRA = 6  # of the patches of a batch of nodes, per object, that are alive at once


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
    next. `gradient_bytes` is what the gradient of a part may keep of the light it was made of, `batch_bytes`
    what the spectra of an object take where they are multiplied.
    """

    shape: tuple[int, int]
    frames: int
    step: int
    psf: int
    side: int
    at_once: int
    kept: int
    gradient_bytes: float = 0.0
    batch_bytes: float = 0.0
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
        """Rows and columns of the largest tile."""
        cuts = (_cuts(n, self.step, self.side) for n in self.shape)
        rows, columns = (max(place.stop - place.start for place in places) for places in cuts)
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
    """Parts that keep within a quarter of the memory, and as many transfer functions kept as the rest
    of it holds.

    `burst_shape` is (object, frame, y, x), `optics` the number of distinct optics.
    """
    objects, frames, *field = burst_shape
    shape = (field[0], field[1])
    side = max(-(-(n - 1) // step) for n in shape) or 1
    if device.type == "cpu":
        side = min(side, _CPU_SIDE)
    layout = Layout(shape, frames, step, psf, side, frames, 0, memory_bytes / 4, batch_bytes(device))

    def too_large() -> bool:
        return 2 * _largest_part(layout, optics) + _sheets(layout, objects) > memory_bytes / 4

    # Neighbours compute the nodes on their border twice: frames are parted before tiles become small.
    while layout.side > _SMALL_SIDE and too_large():
        layout = replace(layout, side=-(-layout.side // 2))
    while layout.at_once > 1 and (too_large() or image_bytes(layout, objects) > memory_bytes / 4):
        layout = replace(layout, at_once=-(-layout.at_once // 2))
    while layout.side > 2 and too_large():
        layout = replace(layout, side=-(-layout.side // 2))
    sums = list(accumulate(_transfers(layout, optics)))
    every = replace(layout, kept=layout.count)
    beside = working_bytes(every, objects, optics) - sums[-1]
    if sums[-1] <= memory_bytes - beside:
        return replace(every, spare=3 * sums[-1] <= memory_bytes - beside)
    room = memory_bytes - working_bytes(layout, objects, optics)
    return replace(layout, kept=bisect_right(sums, room))


def working_bytes(layout: Layout, objects: int, optics: int, *, at_once: bool = False) -> float:
    """Bytes that the parts of a layout take at the peak: transfer functions kept, and what is alive in the
    work on one part; objects and modes that are sought `at_once` have a gradient by itself.
    """
    kept = sum(islice(_transfers(layout, optics), layout.kept))
    if layout.all_kept:
        # the residuals, and in the same shape what a step changes in them or whole frames of them
        images = 8.0 * objects * layout.frames * math.prod(layout.shape)
    else:
        images = 4.0 * objects * layout.at_once * math.prod(layout.shape)
        # those of a part are made while those of the one before are in use
        kept += 2 * _largest_part(layout, optics)
    solver = 4.0 * _SOLVER * objects * math.prod(n + layout.psf for n in layout.shape)
    if at_once:
        # Beside its transfer functions the gradient wants the light of every PSF.
        length = NodePatches(layout.shape, layout.step, layout.psf, 1).length
        light = _largest_part(layout, optics) * (1 + _LIGHT * layout.psf**2 / (length**2 / 2))
        kept = max(kept, light if light <= layout.gradient_bytes else 0.0)
    return kept + _sheets(layout, objects) + _spectra_bytes(layout, objects) + max(images, solver)


def _transfers(layout: Layout, optics: int) -> Iterator[float]:
    """Bytes of the transfer functions of one part after the other."""
    for part in layout.parts():
        frames = part.frames.stop - part.frames.start
        yield frames * part_bytes(part.shape, layout.step, layout.psf, optics)


def _largest_part(layout: Layout, optics: int) -> float:
    """Bytes of the transfer functions of the largest part."""
    return layout.at_once * part_bytes(layout.largest, layout.step, layout.psf, optics)


def _spectra_bytes(layout: Layout, objects: int) -> float:
    """Bytes of the spectra of a batch of nodes, of a row of them at least."""
    rows, columns = node_grid(layout.largest, layout.step)
    node = part_bytes((1, 1), layout.step, layout.psf, 1)
    batch = min(max(layout.batch_bytes, columns * node), layout.at_once * rows * columns * node)
    return _SPECTRA * objects * batch


def image_bytes(layout: Layout, objects: int) -> float:
    """Bytes of the images of the largest part, and of the residual of its frames in the whole field."""
    return _sheets(layout, objects) + 4.0 * objects * layout.at_once * math.prod(layout.shape)


def _sheets(layout: Layout, objects: int) -> float:
    """Bytes of the images of the largest part and of what is made of them."""
    grid = node_grid(layout.largest, layout.step)
    return 4.0 * _SHEETS * objects * layout.at_once * math.prod(n + 1 for n in grid) * layout.step**2


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

"""Images cut for a convolutional network: tiles overlap by its reach, so the result has no seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

Place = tuple[slice, slice]


@dataclass(frozen=True)
class Cut:
    """A tile: the pixels to `read`, the valid part `inner` of the result, where to `write` it."""

    read: Place
    inner: Place
    write: Place

    def smaller(self, times: int) -> Cut:
        """The same tile with `times` fewer rows and columns; its ends must be multiples of that."""
        read, inner, write = (
            (
                slice(rows.start // times, rows.stop // times),
                slice(columns.start // times, columns.stop // times),
            )
            for rows, columns in (self.read, self.inner, self.write)
        )
        return Cut(read, inner, write)


def cuts(shape: tuple[int, int], rows: slice, side: int, reach: int, zoom: int = 1) -> Iterator[Cut]:
    """Tiles of at most `side` columns that cover the `rows` of an image (y, x); `inner` and `write` are in
    pixels of the result.

    Where `shape`, `rows`, `side` and `reach` are multiples of a network's stride, so are all tiles.
    """
    # A tile reads as far around its part as the network looks, so its result is that of the whole image.
    top = max(0, rows.start - reach)
    for left in range(0, shape[1], side):
        right, first = min(left + side, shape[1]), max(0, left - reach)
        yield Cut(
            read=(slice(top, min(rows.stop + reach, shape[0])), slice(first, min(right + reach, shape[1]))),
            inner=(
                _times(zoom, rows.start - top, rows.stop - top),
                _times(zoom, left - first, right - first),
            ),
            write=(_times(zoom, rows.start, rows.stop), _times(zoom, left, right)),
        )


def restored_rows(
    net: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    rows: slice,
    *,
    side: int,
    reach: int,
    zoom: int = 1,
) -> torch.Tensor:
    """The `rows` of images (batch, channel, y, x) restored tile by tile, zoom times finer."""
    shape = int(images.shape[-2]), int(images.shape[-1])
    with torch.inference_mode():
        parts = [
            net(_laid(images[(..., *cut.read)]))[(..., *cut.inner)]
            for cut in cuts(shape, rows, side, reach, zoom)
        ]
    return torch.cat(parts, -1)


def _laid(images: torch.Tensor) -> torch.Tensor:
    """In the memory layout in which convolutions are fastest."""
    # The weights were laid out in the same way by `weights.place`.
    return images.contiguous(memory_format=torch.channels_last)


def _times(zoom: int, start: int, stop: int) -> slice:
    return slice(zoom * start, zoom * stop)

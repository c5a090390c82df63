"""The frames of files as an array that reads only what is sliced: float32, NaN where a pixel is bad."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from heliorestore.burst import FloatArray, Source
from heliorestore.errors import BurstError
from heliorestore.fits import ana
from heliorestore.fits.files import Gunzip, length_of, read_exactly
from heliorestore.fits.hdus import Image, card_number
from heliorestore.fits.layouts import Plan
from heliorestore.fits.tiles import read_tiles
from heliorestore.selection import as_slice, every_axis

_AT_ONCE = 16 * 2**20  # bytes read at once: an unusual order of axes must not read the whole file
_DTYPE = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


class FileFrames:
    """Array (object, frame, y, x) over files; any thread may slice it, and no file stays open.

    Indices are whole numbers, slices and Ellipsis. A file that vanished or changed is a BurstError.
    """

    dtype = np.dtype(np.float32)
    ndim = 4

    def __init__(self, plan: Plan, sources: Sequence[Source], gunzip: Gunzip) -> None:
        self.plan = plan
        self.shape = plan.shape
        self._sources = {source.path: (source.size, source.mtime_ns) for source in sources}
        self._gunzip = gunzip
        self._lock = threading.Lock()
        self._ana: tuple[Path, npt.NDArray[Any]] | None = None

    def __getitem__(self, key: Any) -> FloatArray:
        objects, frames, rows, columns = ranges = self._ranges(key)
        out = np.empty([len(r) for r in ranges], np.float32)
        if out.size:
            # One read per frame: frames may be in different files, with different scaling.
            for i, object_ in enumerate(objects):
                for j, frame in enumerate(frames):
                    out[i, j] = self._part(object_, frame, as_slice(rows), as_slice(columns))
        return out[tuple(slice(None) if isinstance(k, slice) else 0 for k in every_axis(key, self.ndim))]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]

    def _ranges(self, key: Any) -> list[range]:
        ranges = []
        for size, k in zip(self.shape, every_axis(key, self.ndim), strict=True):
            if isinstance(k, slice):
                ranges.append(range(size)[k])
            else:
                number = range(size)[k]  # an index out of range is the IndexError that an array raises
                ranges.append(range(number, number + 1))
        return ranges

    def _part(self, object_: int, frame: int, rows: slice, columns: slice) -> FloatArray:
        piece, inner, number = self.plan.find(object_, frame)
        image, key = piece.image, piece.key(inner, number, rows, columns)
        values = self._read(image, key)
        # The file has x as its slower axis.
        if piece.axes.y > piece.axes.x:
            values = values.T
        return to_float32(values, image.cards, image.bitpix)

    def _check_unchanged(self, path: Path) -> None:
        """Refuse a file that was replaced or written to since it was opened: frames of two would be mixed."""
        try:
            now = path.stat()
        except OSError as error:
            raise BurstError(f"{path} cannot be opened: {error.strerror or error}.") from error
        if (now.st_size, now.st_mtime_ns) != self._sources.get(path, (now.st_size, now.st_mtime_ns)):
            raise BurstError(f"{path} has changed since it was opened: open it again.")

    def _read(self, image: Image, key: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        """The stored numbers of a part of an image, in the file's own type and order of axes."""
        self._check_unchanged(image.path)
        if image.code == "ana" and not image.data_size:
            with self._lock:
                # anaio decompresses whole files: the last array is kept for the next frame.
                if self._ana is None or self._ana[0] != image.path:
                    self._ana = None
                    self._ana = (image.path, ana.read(image))
                return self._ana[1][key]
        with self._gunzip.open(image.path) as file:
            end = length_of(file)
            if not image.plain:
                return read_tiles(file, image, key)
            if image.data_at + math.prod(image.shape) * abs(image.bitpix) // 8 > end:
                raise BurstError(f"{image.path} is shorter than when it was opened; open it again.")
            dtype = np.dtype(_DTYPE[image.bitpix]).newbyteorder("<" if image.little else ">")
            return _read_block(file, image.data_at, image.shape, dtype, key, image.path)


def _read_block(
    file: BinaryIO,
    offset: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    key: tuple[int | slice, ...],
    path: Path,
) -> npt.NDArray[Any]:
    """Read the part `key` of the array at `offset`, in runs of at most `_AT_ONCE` bytes if one entry fits."""
    # a loop, since FITS has up to 999 axes
    while len(shape) > 1 and isinstance(key[0], int):
        shape, chosen, key = shape[1:], key[0], key[1:]
        offset += chosen * math.prod(shape) * dtype.itemsize
    first, rest = key[0], key[1:]
    entry = math.prod(shape[1:]) * dtype.itemsize
    if isinstance(first, int):
        value: npt.NDArray[Any] = np.frombuffer(
            read_exactly(file, offset + first * entry, entry, path), dtype
        )[0]
        return value
    wanted = range(shape[0])[first]
    # A step reads the entries in between too: fewer wanted ones fit into a run.
    many = max(1, _AT_ONCE // entry // abs(wanted.step))
    if entry > _AT_ONCE and len(shape) > 1:
        parts = [_read_block(file, offset + i * entry, shape[1:], dtype, rest, path)[None] for i in wanted]
        return np.concatenate(parts)
    parts = []
    for at in range(0, len(wanted), many):
        run = wanted[at : at + many]
        low, high = min(run), max(run) + 1
        data = read_exactly(file, offset + low * entry, (high - low) * entry, path)
        block = np.frombuffer(data, dtype).reshape(high - low, *shape[1:])
        part = block[(slice(None, None, run.step), *rest)]
        # A small view would keep the whole block in memory.
        parts.append(part if part.size * 4 > block.size else part.copy())
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def to_float32(values: npt.NDArray[Any], cards: Mapping[str, Any], bitpix: int) -> FloatArray:
    """Apply BSCALE, BZERO and BLANK; values that are not finite as float32 become NaN."""
    scale, zero = card_number(cards, "BSCALE", 1.0), card_number(cards, "BZERO", 0.0)
    blank = cards.get("BLANK", cards.get("ZBLANK")) if bitpix > 0 and values.dtype.kind in "iu" else None
    with np.errstate(over="ignore", invalid="ignore"):
        # In float64: BZERO = 2^31 of unsigned integers would leave no digits in float32.
        scaled = values if scale == 1 and zero == 0 else values.astype(np.float64) * scale + zero
        images = np.array(scaled, np.float32)
        images[~np.isfinite(images)] = np.nan
    # BLANK is a stored number: compared before scaling.
    if isinstance(blank, int):
        images[values == blank] = np.nan
    return images

"""Parts of tile-compressed images: only the tiles that are needed are read, checked, and given to astropy to
decode.

The C decoders behind astropy trust their input: a damaged stream makes them read or write past their buffers
and ends the process. So they get the tiles as a separate small FITS file of checked descriptors and streams,
with a tail at which the decoder stops if the format allows one.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.fits.files import in_one_line, read_exactly
from heliorestore.fits.hdus import BLOCK, Image, tile_shape

_AT_ONCE = 2**24  # pixels that are decoded at once
_FORM = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])([LXBIJKAEDCM])?")
# bytes of a number of each form
_SIZE = dict(zip("LXBIJKAEDCMPQ", (1, 1, 1, 2, 4, 8, 1, 4, 8, 8, 16, 8, 16), strict=True))
_STREAMS = ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA")
_PASSED_ON = re.compile(r"(T(TYPE|FORM)\d+|Z(BITPIX|CMPTYPE|TILE\d+|NAME\d+|VAL\d+|QUANTIZ|SCALE|ZERO))\Z")
_GZIP_RATIO = 1032  # deflate cannot expand more


class _Damage(ValueError):
    """A fault in the compressed data."""


@dataclass(frozen=True)
class _Column:
    """A column of the table of tiles: where it is in a row, and for streams the bytes of an element."""

    name: str
    at: int
    descriptor: str = ""
    element: int = 1


def read_tiles(file: BinaryIO, image: Image, key: tuple[int | slice, ...]) -> npt.NDArray[Any]:
    """Decode the part of an image that `key` selects, without BSCALE, BZERO and BLANK."""
    try:
        with np.errstate(all="ignore"):  # scales of tiles beyond any number: their pixels become bad ones
            return _read(file, image, key)
    except BurstError:
        raise
    except Exception as error:  # a damaged stream makes astropy raise almost anything
        raise BurstError(
            f"{image.path}: the compressed pixels of HDU {image.number} are damaged ({in_one_line(error)}); "
            "copy it again."
        ) from error


def _read(file: BinaryIO, image: Image, key: tuple[int | slice, ...]) -> npt.NDArray[Any]:
    shape, tile = image.shape, tile_shape(image.cards, image.shape)
    counts = [math.ceil(n / t) for n, t in zip(shape, tile, strict=True)]
    # `lead` is the slowest axis with more than one pixel wanted: tiles along it are consecutive rows of the
    # table.
    lead, chosen = next((axis, k) for axis, k in enumerate(key) if isinstance(k, slice))
    fixed = [int(k) // t for k, t in zip(key[:lead], tile, strict=False)]  # type: ignore[arg-type]  # before `lead` are whole numbers
    before = int(np.ravel_multi_index([*fixed, 0], counts[: lead + 1])) if lead else 0
    # Rows of the table for a step along that axis.
    rest = math.prod(counts[lead + 1 :])
    wanted = range(shape[lead])[chosen]
    low, high = min(wanted), max(wanted) + 1
    first, last = low // tile[lead], (high - 1) // tile[lead] + 1
    # Some rows of tiles at a time: the decoded block is in memory beside its parts.
    many = max(1, _AT_ONCE // (math.prod(tile[: lead + 1]) * math.prod(shape[lead + 1 :])))
    parts = []
    for start in range(first, last, many):
        stop = min(start + many, last)
        edge = start * tile[lead]
        sizes = [min(t, n - f * t) for t, n, f in zip(tile, shape, fixed, strict=False)]
        sizes += [min(stop * tile[lead], shape[lead]) - edge, *shape[lead + 1 :]]
        block = _decode(file, image, range((before + start) * rest, (before + stop) * rest), tuple(sizes))
        inside = [int(k) - f * t for k, f, t in zip(key[:lead], fixed, tile, strict=False)]  # type: ignore[arg-type]  # as above
        parts.append(block[(*inside, slice(max(low - edge, 0), high - edge), *key[lead + 1 :])])
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return joined[:: wanted.step]


def _decode(file: BinaryIO, image: Image, rows: range, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Decode the tiles of consecutive rows, which together make a block of that shape."""
    from astropy.io import fits

    cards = image.cards
    columns, width = _columns(cards)
    tile = tile_shape(cards, image.shape)
    length = int(cards["NAXIS2"])
    heap_at = cards.get("THEAP", width * length)
    heap_size = image.data_size - heap_at
    if not isinstance(heap_at, int) or heap_at < width * length or heap_size < 0:
        raise _Damage(f"the table's heap lies at {heap_at!r}")
    table = bytearray(read_exactly(file, image.data_at + rows.start * width, len(rows) * width, image.path))
    heap = io.BytesIO()
    sizes = _tile_sizes(shape, tile)
    for row, tile_size in enumerate(sizes):
        for column in columns:
            if not column.descriptor:
                continue
            layout = ">2i" if column.descriptor == "P" else ">2q"
            count, offset = struct.unpack_from(layout, table, row * width + column.at)
            # In a damaged file a descriptor may point anywhere.
            size = count * column.element
            if count < 0 or offset < 0 or offset + size > heap_size:
                raise _Damage(f"tile {rows[row]} has {size} bytes at {offset} of a heap of {heap_size}")
            stream = read_exactly(file, image.data_at + heap_at + offset, size, image.path) if size else b""
            stream = _checked(
                stream, image.code if column.name == _STREAMS[0] else column.name, tile_size, cards
            )
            struct.pack_into(
                layout, table, row * width + column.at, len(stream) // column.element, heap.tell()
            )
            heap.write(stream)
    header = _small_header(image, rows, shape, width, len(heap.getvalue()))
    data = bytes(table) + heap.getvalue()
    whole = fits.PrimaryHDU().header.tostring() + header.tostring()
    with fits.open(
        io.BytesIO(whole.encode("ascii") + data + b"\0" * (-len(data) % BLOCK)), memmap=False
    ) as hdus:
        return np.asarray(hdus[1].data)


def _columns(cards: Mapping[str, Any]) -> tuple[list[_Column], int]:
    """The columns of the table of tiles and the bytes of a row."""
    found, at = [], 0
    for number in range(1, int(cards.get("TFIELDS", 0)) + 1):
        form = _FORM.match(str(cards.get(f"TFORM{number}")))
        if not form:
            raise _Damage(f"TFORM{number} is {cards.get(f'TFORM{number}')!r}")
        name, repeat = str(cards.get(f"TTYPE{number}")).strip().upper(), int(form[1] or 1)
        if form[2] in "PQ" and repeat == 1 and form[3]:
            found.append(_Column(name, at, form[2], _SIZE[form[3]]))
        elif name in _STREAMS:
            raise _Damage(f"column {name} has the form {form[0]}")
        at += repeat * _SIZE[form[2]] if form[2] != "X" else math.ceil(repeat / 8)
    # Descriptors would otherwise be read, and replaced, at the wrong bytes.
    if at != cards.get("NAXIS1") or not found:
        raise _Damage(f"the columns have {at} bytes and a row of the table {cards.get('NAXIS1')}")
    return found, at


def _tile_sizes(shape: tuple[int, ...], tile: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The shape of every tile of a block, in the order of the rows."""
    counts = [math.ceil(n / t) for n, t in zip(shape, tile, strict=True)]
    for where in np.ndindex(*counts):
        yield tuple(min(t, n - w * t) for t, n, w in zip(tile, shape, where, strict=True))


def _checked(stream: bytes, code: str, tile: tuple[int, ...], cards: Mapping[str, Any]) -> bytes:
    """The stream with a tail that stops its decoder, or a _Damage if it would lead the decoder astray."""
    if not stream:
        return stream
    if code.startswith("GZIP"):
        most = math.prod(tile) * 8
        if (
            # Only a large stream can unpack to much: only that is unpacked for a check.
            len(stream) * _GZIP_RATIO > 2**26
            and len(zlib.decompressobj(31).decompress(stream, most + 1)) > most
        ):
            raise _Damage(f"a tile of {tile} pixels unpacks to more than {most} bytes")
        return stream
    if code.startswith("RICE"):
        values = {str(cards.get(f"ZNAME{n}")).strip(): cards.get(f"ZVAL{n}") for n in range(1, 10)}
        if values.get("BLOCKSIZE", 32) not in range(1, 65) or values.get("BYTEPIX", 4) not in (1, 2, 4):
            raise _Damage(f"BLOCKSIZE is {values.get('BLOCKSIZE')} and BYTEPIX {values.get('BYTEPIX')}")
        # no tail: the decoder wants to have used every byte; it looks after each block whether it has
        return stream
    if code == "PLIO_1":
        return _checked_plio(stream)
    return _checked_hcompress(stream, tile) if code == "HCOMPRESS_1" else stream


def _checked_plio(stream: bytes) -> bytes:
    """A list of 16-bit words; its head gives the begin and end of its instructions."""
    words = len(stream) // 2
    if words < 7:
        raise _Damage(f"a line list has {words} words")
    head = struct.unpack_from(">7h", stream)
    end, begin = (head[2], 4) if head[2] > 0 else ((head[4] << 15) + head[3], head[1] + 1)
    if end > words or begin < 1:
        raise _Damage(f"a line list of {words} words claims the words {begin} to {end}")
    return stream + b"\0" * 4  # the last instruction may look at the word behind it


def _checked_hcompress(stream: bytes, tile: tuple[int, ...]) -> bytes:
    """A quadtree whose head repeats the tile's size. 0101 is no valid code word: at a tail of these the
    decoder stops.
    """
    if len(stream) < 25 or stream[:2] != b"\xdd\x99":
        raise _Damage("an HCOMPRESS stream has no head")
    sizes = struct.unpack_from(">2i", stream, 2)
    planes = stream[22:25]
    if sorted(sizes) != sorted([n for n in tile if n > 1] or [1])[-2:] or max(planes) > 64:
        raise _Damage(
            f"an HCOMPRESS stream is made for {sizes} pixels of up to {max(planes)} bits, the tile has {tile}"
        )
    return stream + b"\x55" * (math.prod(tile) + 64)


def _small_header(image: Image, rows: range, shape: tuple[int, ...], width: int, heap: int) -> Any:
    """The header of a table of these rows alone."""
    from astropy.io import fits

    cards = image.cards
    header = fits.Header(
        [("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", width), ("NAXIS2", len(rows))]
    )
    header.update(
        {"PCOUNT": heap, "GCOUNT": 1, "TFIELDS": cards["TFIELDS"], "ZIMAGE": True, "ZNAXIS": len(shape)}
    )
    header.update({f"ZNAXIS{axis}": n for axis, n in enumerate(reversed(shape), 1)})
    header.update(
        {name: value for name, value in cards.items() if _PASSED_ON.match(name) and value is not None}
    )
    if image.bitpix < 0 and isinstance(cards.get("ZBLANK"), int):
        header["ZBLANK"] = cards["ZBLANK"]
    if isinstance(seed := cards.get("ZDITHER0"), int):
        # The dither depends on the tile's number in the whole table: start its sequence at the first tile
        # here.
        header["ZDITHER0"] = (seed - 1 + rows.start) % 10000 + 1
    return header

"""ANA files (.f0, .fz), the raw format of the Swedish telescope; compressed ones need anaio."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.fits.files import in_one_line, length_of, read_exactly
from heliorestore.fits.hdus import Image

_MAGIC = {b"\xaa\xaa\x55\x55": "<", b"\x55\x55\xaa\xaa": ">"}
# bytes of a block: four of magic, flags, number of blocks, sizes from byte 192, text from byte 256
_HEADER = 512
_COMPRESSED, _BIG_ENDIAN = 1, 128  # flags
_BITPIX = (8, 16, 32, -32, -64, 64)
_MOST_PIXELS = 2**28  # anaio reads the whole array


def is_ana(start: bytes) -> bool:
    """Whether a file that begins with these bytes is an ANA file."""
    return start[:4] in _MAGIC


def image_of(file: BinaryIO, path: Path) -> Image:
    """The shape and number type that the file's own header declares; no pixel is read."""
    end = length_of(file)
    block = read_exactly(file, 0, min(end, _HEADER), path)
    if len(block) < _HEADER:
        raise BurstError(
            f"{path} is cut off: an ANA file has a header of {_HEADER} bytes, this one "
            f"{len(block)}; copy it again."
        )
    order = _MAGIC[block[:4]]
    flags, blocks, kind, axes = block[4], max(block[6], 1), block[7], block[8]
    if kind >= len(_BITPIX) or not 1 <= axes <= 16:
        raise BurstError(
            f"{path} is damaged: its ANA header declares {axes} axes and the number type {kind}."
        )
    sizes = struct.unpack(f"{order}16i", block[192:256])[:axes]
    pixels, compressed = math.prod(sizes), bool(flags & _COMPRESSED)
    if min(sizes) <= 0 or (compressed and pixels > _MOST_PIXELS):
        most = f"; possible are up to {_MOST_PIXELS} if compressed" if compressed else ""
        raise BurstError(f"{path} is damaged or too large: its ANA header declares {sizes} pixels{most}.")
    size, start = pixels * abs(_BITPIX[kind]) // 8, blocks * _HEADER
    # ANA's compressions never reach a ratio of 100, for any image.
    if end - start < (size // 100 if compressed else size):
        raise BurstError(
            f"{path} is cut off: its ANA header declares {sizes} pixels, but only {max(end - start, 0)} "
            "bytes follow; copy it again."
        )
    header = read_exactly(file, 0, start, path)
    texts = [
        header[at + 256 : at + _HEADER].partition(b"\0")[0].decode("ascii", "replace")
        for at in range(0, start, _HEADER)
    ]
    text = "".join(texts).strip()
    return Image(
        path,
        cards={"TEXT": text} if text else {},
        shape=tuple(reversed(sizes)),
        bitpix=_BITPIX[kind],
        data_at=start,
        data_size=0 if compressed else size,
        code="ana",
        # The flag describes the writer's machine, the magic number the reader's: the bytes are swapped if
        # exactly one of them is big-endian.
        little=(order == "<") != bool(flags & _BIG_ENDIAN),
    )


def read(image: Image) -> npt.NDArray[Any]:
    """The whole array of a compressed file as anaio reads it."""
    try:
        import anaio
    except ImportError as error:
        raise BurstError(
            f'{image.path} is a compressed ANA file; pip install "heliorestore[ana]" adds the reader for it.'
        ) from error
    try:
        data = np.asarray(anaio.fzread(str(image.path))["data"])
        data = data.view(np.uint8) if data.dtype == np.int8 else data  # ANA's bytes have no sign
    except Exception as error:  # anaio does not document what it raises
        raise BurstError(f"{image.path} cannot be read as an ANA file: {in_one_line(error)}.") from error
    if data.shape != image.shape:
        raise BurstError(
            f"{image.path} changed while it was read: {data.shape} pixels instead of "
            f"{image.shape}; open it again."
        )
    return data

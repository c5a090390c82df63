"""ANA files (.f0, .fz), the raw format of the Swedish telescope, read by the optional package anaio."""

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
_HEADER = 512  # bytes of the first block: four of magic, flags, sizes from byte 192, text from byte 256
_BITPIX = (8, 16, 32, -32, -64, 64)
_MOST_PIXELS = 2**28  # anaio reads the whole array


def is_ana(start: bytes) -> bool:
    """Whether a file that begins with these bytes is an ANA file."""
    return start[:4] in _MAGIC


def image_of(file: BinaryIO, path: Path) -> Image:
    """What the file's own header tells: shape and kind of number; no pixel is read."""
    end = length_of(file)
    block = read_exactly(file, 0, min(end, _HEADER), path)
    if len(block) < _HEADER:
        raise BurstError(f"{path} is cut off: an ANA file has a header of {_HEADER} bytes, this one {len(block)}; copy it again.")
    order = _MAGIC[block[:4]]
    compressed, kind, axes = bool(block[4] & 1), block[7], block[8]
    if kind >= len(_BITPIX) or not 1 <= axes <= 16:
        raise BurstError(f"{path} is damaged: its ANA header tells of {axes} axes and the number type {kind}.")
    sizes = struct.unpack(f"{order}16i", block[192:256])[:axes]
    pixels = math.prod(sizes)
    if min(sizes) <= 0 or pixels > _MOST_PIXELS:
        raise BurstError(f"{path} is damaged or too large: its ANA header tells of {sizes} pixels; possible are up to {_MOST_PIXELS}.")
    size = pixels * abs(_BITPIX[kind]) // 8
    # ANA's compressions never reach a ratio of 100, whatever the image.
    if end - _HEADER < (size // 100 if compressed else size):
        raise BurstError(
            f"{path} is cut off: its ANA header tells of {sizes} pixels, but only {end - _HEADER} bytes follow; copy it again."
        )
    text = block[256:].partition(b"\0")[0].decode("ascii", "replace").strip()
    cards = {"ANATEXT": text} if text else {}
    return Image(path, cards=cards, shape=tuple(reversed(sizes)), bitpix=_BITPIX[kind], data_at=_HEADER, code="ana")


def read(image: Image) -> npt.NDArray[Any]:
    """The whole array as anaio reads it."""
    try:
        import anaio
    except ImportError as error:
        raise BurstError(f'{image.path} is an ANA file; pip install "heliorestore[ana]" adds what reads it.') from error
    try:
        data = np.asarray(anaio.fzread(str(image.path))["data"])
    except Exception as error:  # anaio does not say what it raises
        raise BurstError(f"{image.path} cannot be read as an ANA file: {in_one_line(error)}.") from error
    if data.shape != image.shape:
        raise BurstError(f"{image.path} changed while it was read: {data.shape} pixels instead of {image.shape}; open it again.")
    return data

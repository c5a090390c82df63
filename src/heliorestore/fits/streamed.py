"""A primary image that is written plane by plane, so that only one of its planes is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from heliorestore.fits.hdus import BLOCK

if TYPE_CHECKING:
    from astropy.io.fits import Header

_WORD = 2**32
_PUNCTUATION = {*range(0x3A, 0x41), *range(0x5B, 0x61)}  # not wanted in a CHECKSUM


def write_primary(
    file: IO[bytes],
    header: Header,
    shape: tuple[int, ...],
    planes: Iterable[npt.NDArray[np.float32]],
    complete: Callable[[Header], None],
) -> None:
    """Write a float32 image of a shape, last axis fastest, whose planes come in their order in the file.

    `complete` changes values in the header once all planes have been read; the cards are there already, so
    that its size does not change. CHECKSUM and DATASUM are added.
    """
    header = header.copy()
    structure = [("SIMPLE", True), ("BITPIX", -32), ("NAXIS", len(shape))]
    structure += [(f"NAXIS{axis}", size) for axis, size in enumerate(reversed(shape), 1)]
    for card in reversed([*structure, ("EXTEND", True)]):
        header.insert(0, card)
    header["CHECKSUM"], header["DATASUM"] = "0" * 16, "0" * 10
    start = file.tell()
    size = file.write(header.tostring().encode("ascii"))
    total, written = 0, 0
    for plane in planes:
        raw = np.ascontiguousarray(plane, ">f4").tobytes()
        total = _added(total, raw)
        written += file.write(raw)
    file.write(b"\0" * (-written % BLOCK))
    complete(header)
    header["DATASUM"] = str(total)
    text = header.tostring().encode("ascii")
    header["CHECKSUM"] = _encoded(_WORD - 1 - _added(total, text))
    end = file.tell()
    file.seek(start)
    assert file.write(header.tostring().encode("ascii")) == size, "the header has changed its size"
    file.seek(end)


def _added(total: int, raw: bytes) -> int:
    """The ones' complement sum of 32 bits of what was added before and of these bytes."""
    total += int(np.frombuffer(raw, ">u4").sum(dtype=np.uint64))
    while total >= _WORD:
        total = total % _WORD + total // _WORD
    return total


def _encoded(value: int) -> str:
    """The text of a CHECKSUM whose characters, without ASCII 0, sum to this value (FITS standard 4.0, J)."""
    text = [0] * 16
    for place, byte in enumerate(value.to_bytes(4, "big")):
        four = [byte // 4 + (byte % 4 if n == 0 else 0) + 0x30 for n in range(4)]
        while any(each in _PUNCTUATION for each in four):
            for one in (0, 2):
                if four[one] in _PUNCTUATION or four[one + 1] in _PUNCTUATION:
                    four[one] += 1
                    four[one + 1] -= 1
        for n, each in enumerate(four):
            text[4 * n + place] = each
    return bytes(text[-1:] + text[:-1]).decode("ascii")

"""Cubes of CRISPEX and of the Swedish telescope's older pipeline (.icube, .fcube): "La Palma" files.

512 bytes of text, then planes (y, x) without gaps: datatype=4 (float), dims=3, nx=1024, ny=1024, nt=84,
endian=l. Polarised cubes begin with stokes=[I,Q,U,V], ns=4. The planes run through the wavelengths, then
Stokes, then time, but only the spectral cube beside it (NAME_sp.fcube, with the axes wavelength and time
first) says how many wavelengths there are.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import BinaryIO

from heliorestore.errors import BurstError
from heliorestore.fits.files import length_of, read_exactly
from heliorestore.fits.hdus import Image

SUFFIXES = (".icube", ".fcube")
_HEADER = 512  # bytes
_BITPIX = {1: 8, 2: 16, 3: 32, 4: -32, 5: -64}  # by IDL's numbers of types


def is_lapalma(start: bytes) -> bool:
    """Whether a file that begins with these 512 bytes is such a cube."""
    return b"datatype=" in start and b"nx=" in start and b"ny=" in start


def is_spectral(path: Path) -> bool:
    """Whether it is the copy of a cube in which spectra, not images, are contiguous."""
    return path.suffix.lower() in SUFFIXES and path.stem.endswith("_sp")


def image_of(file: BinaryIO, path: Path) -> Image:
    """The shape and number type of the cube; no pixel is read."""
    if is_spectral(path):
        raise BurstError(
            f"{path} is a spectral cube (wavelength, time, pixel): open the cube of images beside it, which "
            "has the name without _sp, or with _im."
        )
    text = read_exactly(file, 0, min(length_of(file), _HEADER), path).decode("ascii", "replace")
    shape, kind = _shape(text), _number(text, "datatype")
    if kind not in _BITPIX or not all(shape):
        raise BurstError(
            f"{path} is no cube of images that can be read: its header says {text.strip(chr(0) + ' ')!r}; it "
            f"must have nx, ny, nt for three dims, and a datatype of {', '.join(map(str, _BITPIX))}."
        )
    size = math.prod(shape) * abs(_BITPIX[kind]) // 8
    if length_of(file) < _HEADER + size:
        raise BurstError(
            f"{path} is cut off: its header declares {size} bytes of pixels, but only "
            f"{max(0, length_of(file) - _HEADER)} follow; copy it again."
        )
    return Image(
        path,
        cards={"TEXT": text.partition(chr(0))[0].strip()},
        shape=shape,
        bitpix=_BITPIX[kind],
        data_at=_HEADER,
        data_size=size,
        code="lapalma",
        little="endian=b" not in text,
    )


def axes_beside(image: Image) -> str:
    """The axes of the cube, as a user names them, if the spectral cube beside it gives their lengths."""
    path = image.path
    stem = path.stem.removesuffix("_im")
    spectral = path.with_name(f"{stem}_sp{path.suffix}")
    try:
        with spectral.open("rb") as file:
            beside = file.read(_HEADER).decode("ascii", "replace")
    except OSError:
        return ""
    text = str(image.cards["TEXT"])
    stokes = _number(text, "ns") or 1
    waves, frames = _number(beside, "nx"), _number(beside, "ny")
    if len(image.shape) != 3 or waves * frames * stokes != image.shape[0]:
        return ""
    named = re.search(r"stokes=\[([A-Z, ]*)\]", text)
    states = re.findall("[A-Z]", named[1]) if named else []
    word = "stokes" if states == list("IQUV")[:stokes] else "state"
    polarised = f"{word}={stokes}," if stokes > 1 else ""
    return f"frame={frames},{polarised}wavelength={waves},y,x"


def _shape(text: str) -> tuple[int, ...]:
    names = ("nt", "ny", "nx") if _number(text, "dims") != 2 else ("ny", "nx")
    return tuple(_number(text, name) for name in names)


def _number(text: str, name: str) -> int:
    """The number of an entry of the header, 0 if there is none."""
    found = re.search(rf"\b{name}=\s*(\d{{1,9}})", text)
    return int(found[1]) if found else 0

"""The meaning of an image's axes, from their CTYPE names and their number: pure functions of headers.

Axes are counted as numpy does, slowest first; the WCS keywords of axis k of n end in n - k.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.fits.hdus import Image, card_number

WAVE = ("WAVE", "AWAV", "FREQ", "ENER", "WAVELENGTH", "WAVELEN", "LAMBDA")
TIME = ("TIME", "UTC", "TAI", "TT", "UT1", "TDB", "TCB", "TCG", "GPS", "LOCAL")
_STOKES = {
    1: "I",
    2: "Q",
    3: "U",
    4: "V",
    -1: "RR",
    -2: "LL",
    -3: "RL",
    -4: "LR",
    -5: "XX",
    -6: "YY",
    -7: "XY",
    -8: "YX",
}
_NM_PER_UNIT = {
    "m": 1e9,
    "mm": 1e6,
    "um": 1e3,
    "micron": 1e3,
    "nm": 1.0,
    "angstrom": 0.1,
    "a": 0.1,
    "aa": 0.1,
}
_SECONDS_PER_UNIT = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "ms": 1e-3,
    "min": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "d": 86400.0,
}
_MOST_AXES = 4
_NAME_THEM = (
    "name them, the slowest first, as in --axes wavelength,stokes,frame,y,x (in Python axes=, in a panel the "
    "field axes)."
)

Coordinates = Mapping[int, npt.NDArray[np.float64]]
"""Tabulated coordinates (-TAB) by FITS axis number, where the file has them."""


@dataclass(frozen=True)
class Axes:
    """The axes y, x and frame of an image, and those that together number the objects.

    `names` are what a user calls the axes of the objects.
    """

    y: int
    x: int
    frame: int | None = None
    objects: tuple[int, ...] = ()
    named: bool = False
    names: tuple[str, ...] = ()

    def object_kinds(self, image: Image) -> list[str]:
        """wave, stokes or empty for each axis of the objects, as the user or else CTYPE says."""
        if self.names:
            return [{"wavelength": "wave", "stokes": "stokes"}.get(name, "") for name in self.names]
        return [_kind(image.cards, len(image.shape) - axis) for axis in self.objects]


def axes_of(image: Image) -> Axes:
    """Identify the axes: by name if CTYPE names wavelength, Stokes or time, else by position."""
    shape = image.shape
    if len(shape) < 2:
        raise BurstError(
            f"{image.path}: HDU {image.number} has {len(shape)} axis, and an image needs y and x."
        )
    kinds = [_kind(image.cards, len(shape) - axis) for axis in range(len(shape))]
    # Axes without a known name may be y and x: many writers name the others only.
    sky = [axis for axis, kind in enumerate(kinds) if kind in ("", "x", "y")]
    if len(shape) > 2 and len(sky) >= 2 and len(sky) < len(shape):
        return _named(image, kinds, sky)
    longer = [axis for axis in range(len(shape) - 2) if shape[axis] > 1]
    if len(longer) + 2 > _MOST_AXES:
        raise BurstError(
            f"{image.path}: HDU {image.number} has the shape {shape}, more axes than (object, frame, y, "
            f"x), and no CTYPE that names them; {_NAME_THEM}"
        )
    last = len(shape)
    leading = list(range(last - 2))[-2:] if len(longer) < 2 else longer
    frame = leading[-1] if leading else None
    return Axes(
        last - 2, last - 1, frame, tuple(longer_axis for longer_axis in longer if longer_axis != frame)
    )


def _kind(cards: Mapping[str, Any], number: int) -> str:
    """The kind of a FITS axis by its CTYPE: wave, stokes, time, x, y, or empty."""
    ctype = str(cards.get(f"CTYPE{number}") or "").strip().upper()
    word = ctype.partition("-")[0]
    if word in WAVE:
        return "wave"
    if word == "STOKES":
        return "stokes"
    if word in TIME:
        return "time"
    # Helioprojective, heliographic and Carrington longitudes: HPLN, HGLN, CRLN.
    if word in ("RA", "SOLX", "SOLARX", "SOLAR_X") or word[2:4] == "LN" or ctype == "SOLAR-X":
        return "x"
    if word in ("DEC", "SOLY", "SOLARY", "SOLAR_Y") or word[2:4] == "LT" or ctype == "SOLAR-Y":
        return "y"
    return ""


def _named(image: Image, kinds: Sequence[str], sky: list[int]) -> Axes:
    shape = image.shape
    # An axis of length 1 still gives its wavelength or time.
    objects = tuple(axis for axis, kind in enumerate(kinds) if kind in ("wave", "stokes"))
    times = [axis for axis, kind in enumerate(kinds) if kind == "time"]
    # The plane: named sky axes first, then longer ones, then the faster; remaining axes of length 1 do not
    # matter.
    plane = sorted(sorted(sky, key=lambda axis: (kinds[axis] == "", shape[axis] == 1, -axis))[:2])
    frames = [axis for axis in times if shape[axis] > 1]
    frames += [axis for axis in sky if axis not in plane and shape[axis] > 1]
    frames = frames or times[:1]
    if len(frames) > 1:
        names = [
            str(image.cards.get(f"CTYPE{len(shape) - axis}", "")).strip() or "unnamed"
            for axis in range(len(shape))
        ]
        raise BurstError(
            f"{image.path}: HDU {image.number} has the shape {shape} with the axes {', '.join(names)}: "
            f"more axes than wavelength, Stokes, time, y and x; {_NAME_THEM}"
        )
    y, x = plane
    if kinds[y] == "x" or kinds[x] == "y":
        y, x = x, y
    return Axes(y, x, frames[0] if frames else None, objects, named=True)


def world_values(image: Image, axis: int, coordinates: Coordinates) -> npt.NDArray[np.float64] | None:
    """The coordinates of the pixels along an axis in the header's unit; None if it does not give them."""
    number, length = len(image.shape) - axis, image.shape[axis]
    if str(image.cards.get(f"CTYPE{number}", "")).strip().upper().endswith("-TAB"):
        values = coordinates.get(number)
        return values if values is not None and len(values) == length else None
    numbers = [card_number(image.cards, f"{key}{number}", None) for key in ("CRVAL", "CRPIX", "CDELT")]
    if numbers[2] is None:
        numbers[2] = card_number(image.cards, f"CD{number}_{number}", None)
    start, reference, step = numbers
    if step is None and length == 1:  # CRVAL alone is the value of a single pixel
        reference, step = 1.0, 1.0
    if start is None or step is None:
        return None
    # FITS counts pixels from 1.
    pixels = np.arange(1, length + 1, dtype=np.float64) - (1.0 if reference is None else reference)
    values = np.asarray(start + step * pixels, np.float64)
    return values if bool(np.isfinite(values).all()) else None


def object_labels(image: Image, axes: Axes, coordinates: Coordinates) -> list[tuple[str, float | None]]:
    """Label and wavelength in nm of every object that the image's axes number, the slowest axis first."""
    parts: list[list[tuple[str, float | None]]] = []
    kinds, names = axes.object_kinds(image), axes.names or ("object",) * len(axes.objects)
    for axis, kind, name in zip(axes.objects, kinds, names, strict=True):
        length = image.shape[axis]
        # A user's name may contradict CTYPE, whose coordinates are then of something else.
        told = kind and kind == _kind(image.cards, len(image.shape) - axis)
        values = world_values(image, axis, coordinates) if told else None
        if length == 1 and (kind == "stokes" or values is None):
            parts.append([("", None)])
        elif kind == "wave":
            waves = _wave_labels(_in_nm(image, axis, values), length)
            # Our own cubes name positions that share a wavelength, such as the wide band.
            said = [str(image.cards.get(f"LABEL{i + 1}") or "") for i in range(length)]
            parts.append(
                [(f"{word} {label}".strip(), nm) for word, (label, nm) in zip(said, waves, strict=True)]
            )
        elif kind == "stokes":
            # Without coordinates the standard's order from 1: I, Q, U, V.
            stokes = np.arange(1, length + 1) if values is None or length > len(_STOKES) else values
            parts.append([(_STOKES.get(round(float(s)), f"Stokes {i}"), None) for i, s in enumerate(stokes)])
        else:
            given = [image.cards.get(f"LABEL{i + 1}") if name == "object" else None for i in range(length)]
            parts.append([(str(label or f"{name} {i}"), None) for i, label in enumerate(given)])
    # Wavelength comes before Stokes in a label, in whichever order the axes are.
    front = sorted(range(len(parts)), key=lambda i: kinds[i] != "wave")
    shape = tuple(len(part) for part in parts)
    found = []
    for flat in range(math.prod(shape)):
        where = np.unravel_index(flat, shape) if shape else ()
        chosen = [parts[i][int(where[i])] for i in front]
        found.append(
            (
                ", ".join(filter(None, (label for label, _ in chosen))),
                next((w for _, w in chosen if w is not None), None),
            )
        )
    return found


def _wave_labels(waves_nm: npt.NDArray[np.float64] | None, length: int) -> list[tuple[str, float | None]]:
    if waves_nm is None:
        return [(f"wavelength {i}", None) for i in range(length)]
    # As many digits as it takes to tell the wavelengths of a scan apart.
    digits = 2
    distinct = len(set(waves_nm.tolist()))
    while digits < 6 and len({f"{wave:.{digits}f}" for wave in waves_nm}) < distinct:
        digits += 1
    return [(f"{wave:.{digits}f} nm", round(float(wave), 6)) for wave in waves_nm]


def _in_nm(image: Image, axis: int, values: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64] | None:
    """Wavelengths in nm; None for frequencies, energies and values that are no wavelength."""
    number = len(image.shape) - axis
    word = str(image.cards.get(f"CTYPE{number}", "")).strip().upper().partition("-")[0]
    if values is None or word in ("FREQ", "ENER"):
        return None
    unit = str(image.cards.get(f"CUNIT{number}") or "").strip().lower()
    factor = _NM_PER_UNIT.get(unit)
    if factor is None and not unit:
        # Without a unit the size of the numbers decides between metres, Angstrom and nm.
        middle = abs(float(np.median(values)))
        factor = 1e9 if middle < 1e-3 else 0.1 if middle > 2000 else 1.0
    waves = values * factor if factor is not None else None
    return waves if waves is not None and bool((waves > 0).all()) else None


def seconds_along(image: Image, axis: int, coordinates: Coordinates) -> npt.NDArray[np.float64] | None:
    """Seconds of every pixel along a time axis, from the header's own origin, or None."""
    if _kind(image.cards, len(image.shape) - axis) != "time":
        return None
    values, unit = world_values(image, axis, coordinates), seconds_per_unit(image, axis)
    return None if values is None or unit is None else values * unit


def seconds_per_unit(image: Image, axis: int) -> float | None:
    """The unit of a time axis in seconds, or None if it is none."""
    unit = str(image.cards.get(f"CUNIT{len(image.shape) - axis}") or "s").strip().lower()
    return _SECONDS_PER_UNIT.get(unit)

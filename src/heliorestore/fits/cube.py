"""Which image goes where in one cube (time, Stokes, wavelength, y, x) made of many restorations.

Nothing but headers is read here; `cube_writer` writes the cube.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst, FloatArray, Source
from heliorestore.errors import BurstError
from heliorestore.fits.files import silent_astropy
from heliorestore.fits.layouts import date_of, natural, parse_time
from heliorestore.fits.reader import SUFFIXES, read_burst
from heliorestore.fits.steps import last_step
from heliorestore.fits.wcs import planar
from heliorestore.instrument import Instrument
from heliorestore.selection import Chosen

if TYPE_CHECKING:
    from astropy.io.fits import Header

Floats = npt.NDArray[np.float64]

STOKES = "IQUV"
_STOKES_WORD = re.compile(r"(?:\A|.*[\s,_-])([IQUV])\Z")
_WIDE = re.compile(r"\b(WB|WIDE\W?BAND|BROAD\W?BAND|BB|CONT\w*)\b", re.IGNORECASE)
_R0 = re.compile(r"\br0\b[^.;]*?(\d+(?:\.\d+)?) cm")
_SAME_NM = 4  # decimals to which wavelengths are one
_SAME_SCALE = 0.01  # relative difference of pixel scales that still count as equal
_OVERLAP = 0.5  # fields whose centres are further apart, in units of their size, are different ones
_UNKNOWN = np.datetime64("NaT", "us")


@dataclass(frozen=True, kw_only=True, eq=False)
class Restoration:
    """A file with the restored images of one moment; `image(object)` reads one of them (y, x).

    `corners` ([first row, last row], [first column, last column], [longitude, latitude]) are the places of
    the centres of the corner pixels in arcsec, None if unknown. Times are UTC, NaT where unknown.
    """

    source: Source
    header: Header
    labels: tuple[str, ...]
    instruments: tuple[Instrument, ...]
    unit: str
    shape: tuple[int, int]
    began: np.datetime64
    ended: np.datetime64
    corners: Floats | None
    image: Callable[[int], FloatArray]

    @property
    def middle(self) -> np.datetime64:
        return self.began + (self.ended - self.began) // 2

    @property
    def r0_m(self) -> float:
        """Fried's parameter by the record of the run, or by the header; NaN if neither has it."""
        number = last_step(self.header)
        if found := _R0.search(str(self.header.get(f"PRLOG{number}", ""))):
            return float(found[1]) / 100
        try:
            told = json.loads(str(self.header.get(f"PRPARA{number}", "{}"))).get("r0_cm")
            return float(self.header.get("ATMOS_R0", "nan") if told is None else float(told) / 100)
        except (AttributeError, TypeError, ValueError):
            return float("nan")


@dataclass(frozen=True, kw_only=True, eq=False)
class Cube:
    """Restorations and the `places` (time, Stokes, wavelength, [restoration, object]) of their images, -1
    where there is none.

    `positions` are (name, wavelength in nm) along the wavelength axis. `parameters` tell what was done to the
    images, and `series` are columns with a value per restoration about it.
    """

    restorations: tuple[Restoration, ...]
    positions: tuple[tuple[str, float], ...]
    stokes: str
    places: npt.NDArray[np.int64]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    series: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    messages: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Numbers of times, Stokes parameters, wavelengths, rows and columns."""
        times, stokes, waves = self.places.shape[:3]
        return times, stokes, waves, *self.restorations[0].shape

    def each(self, value: Callable[[Restoration], Any], missing: Any) -> npt.NDArray[Any]:
        """A value of the restoration of every image (time, Stokes, wavelength)."""
        values = [value(restoration) for restoration in self.restorations]
        # Place -1 is the last of the array: what is missing.
        return np.array([*values, missing])[self.places[..., 0]]


def gather(paths: Sequence[Path], *, objects: Chosen = slice(None), instrument: str = "") -> Cube:
    """Read the headers of restorations and decide the place of each of their images in a cube.

    `objects` chooses some of each file's; `instrument` corrects what the headers say about it.
    """
    opened = [_opened(path, objects, instrument) for path in _listed(paths)]
    # By time, else by name: files of one scan may have any names.
    opened.sort(key=lambda each: natural(each.source.path.name))
    opened.sort(key=lambda each: np.inf if np.isnat(each.began) else each.began.astype(np.int64))
    _check(opened)
    planes = [
        [
            (_position(label, i, each), _stokes(label))
            for label, i in zip(each.labels, each.instruments, strict=True)
        ]
        for each in opened
    ]
    for each, own in zip(opened, planes, strict=True):
        if len(set(own)) < len(own):
            raise BurstError(
                f"{each.source.path} has two objects of one name, wavelength and Stokes parameter "
                f"({', '.join(each.labels)}): choose others with --objects."
            )
    found = dict.fromkeys(position for own in planes for position, _ in own)
    # A name tells two positions of one wavelength apart, as those of the wide and the narrow band.
    positions = sorted(found, key=lambda position: (position[1], position[0]))
    used = sorted({stokes for own in planes for _, stokes in own})
    stokes = range(used[0], used[-1] + 1)
    rows = _rows(opened, planes, list(found))
    places = np.full((rows[-1] + 1, len(stokes), len(positions), 2), -1)
    for number, own in enumerate(planes):
        for object_, (position, parameter) in enumerate(own):
            place = rows[number], parameter - stokes[0], positions.index(position)
            if (other := places[place][0]) >= 0:
                raise BurstError(
                    f"{opened[other].source.path} and {opened[number].source.path} belong to one scan "
                    "(SCANNUM), wavelength and Stokes parameter: leave one of them out."
                )
            places[place] = number, object_
    return Cube(
        restorations=tuple(opened),
        positions=tuple(positions),
        stokes="".join(STOKES[n] for n in stokes),
        places=places,
        messages=_remarks(opened, places),
    )


def _listed(paths: Sequence[Path]) -> list[Path]:
    """The files, with the images of folders listed."""
    found = []
    for path in paths:
        if path.is_dir():
            found += [p for p in path.iterdir() if p.name.lower().endswith(SUFFIXES) and p.name[0] != "."]
        else:
            found.append(path)
    if not found:
        raise BurstError(f"{paths[0] if paths else 'The list'} holds no FITS file: name the restored files.")
    return found


def _opened(path: Path, objects: Chosen, instrument: str) -> Restoration:
    burst = read_burst(path).with_instrument(instrument).select(objects)
    if burst.shape[1] > 1:
        raise BurstError(
            f"{path} holds {burst.shape[1]} frames and is no restoration: a cube is made of files that "
            "heliorestore or others restored, with one image per object."
        )
    header = burst.headers[0]
    began, ended = _times(burst, header)
    return Restoration(
        source=burst.sources[0],
        header=header,
        labels=burst.labels,
        instruments=burst.instruments,
        unit=burst.unit,
        shape=burst.shape[2:],
        began=began,
        ended=ended,
        corners=corners_of(header, burst.shape[2:]),
        image=partial(_image, burst),
    )


def _image(burst: Burst, object_: int) -> FloatArray:
    return burst.image(object_, 0)


def _times(burst: Burst, header: Header) -> tuple[np.datetime64, np.datetime64]:
    """When the observation began and ended."""
    system = str(header.get("TIMESYS") or "UTC")
    began, ended = (parse_time(header.get(key), system) for key in ("DATE-BEG", "DATE-END"))
    began = began or date_of(header)
    if began is None:
        return (_UNKNOWN, _UNKNOWN) if burst.times is None else (burst.times[0], burst.times[0])
    return np.datetime64(began, "us"), np.datetime64(max(began, ended or began), "us")


def corners_of(header: Header, shape: tuple[int, int]) -> Floats | None:
    """The places of the centres of an image's corner pixels by its WCS, None if it is not helioprojective."""
    from astropy.wcs import WCS

    x, y = np.meshgrid([0, shape[1] - 1], [0, shape[0] - 1])
    with silent_astropy():
        try:
            wcs = WCS(planar(header), naxis=2)
            if not wcs.has_celestial or not wcs.wcs.lngtyp.startswith(("HPLN", "SOLX")):
                return None
            places = np.stack(wcs.all_pix2world(x, y, 0), -1) * 3600
        except Exception:  # an odd header only costs the place
            return None
    half = 180 * 3600.0
    corners = places[..., [wcs.wcs.lng, wcs.wcs.lat]]
    corners[..., 0] = (corners[..., 0] + half) % (2 * half) - half
    return corners if bool(np.isfinite(corners).all()) else None


def is_wide(label: str) -> bool:
    """Whether a label names the wide band."""
    return bool(_WIDE.search(label))


def _stokes(label: str) -> int:
    """The number of a label's Stokes parameter, 0 for I and for labels that name none."""
    found = _STOKES_WORD.match(label)
    return STOKES.index(found[1]) if found else 0


def _position(label: str, instrument: Instrument, each: Restoration) -> tuple[str, float]:
    if instrument.wavelength_nm is None:
        raise BurstError(
            f"The wavelength of {label} in {each.source.path} is unknown, and a cube needs it: give it with "
            "--instrument wavelength_nm=630.2."
        )
    return "WB" if is_wide(label) else "", round(instrument.wavelength_nm, _SAME_NM)


def _check(opened: Sequence[Restoration]) -> None:
    """Refuse restorations that cannot be one cube."""
    first = opened[0]
    scale = first.instruments[0].pixel_arcsec
    camera = str(first.header.get("INSTRUME") or "").strip()
    for before, each in itertools.pairwise(opened):
        pair = f"{first.source.path} and {each.source.path}"
        if each.shape != first.shape:
            sizes = (f"{shape[1]} x {shape[0]}" for shape in (first.shape, each.shape))
            raise BurstError(f"{pair} have {' and '.join(sizes)} pixels; a cube has one size of images.")
        other = each.instruments[0].pixel_arcsec
        if scale and other and abs(other / scale - 1) > _SAME_SCALE:
            raise BurstError(
                f"{pair} have pixels of {scale:.4g} and {other:.4g} arcsec; a cube has one scale."
            )
        word = str(each.header.get("INSTRUME") or "").strip()
        if word != camera:
            raise BurstError(f"{pair} are of the instruments {camera or 'unknown'} and {word or 'unknown'}.")
        if each.unit != first.unit:
            raise BurstError(f"{pair} have the units {first.unit or 'none'} and {each.unit or 'none'}.")
        if np.isnat(each.began) != np.isnat(first.began):
            dated = first if np.isnat(each.began) else each
            raise BurstError(f"Of {pair} only {dated.source.path.name} says when it was observed.")
        _check_field(before, each)


def _check_field(before: Restoration, each: Restoration) -> None:
    """Refuse a jump to another field; over a day a field that follows a spot moves far, but slowly."""
    if before.corners is None or each.corners is None:
        return
    apart = np.hypot(*(each.corners - before.corners).mean((0, 1)))
    size = np.hypot(*np.ptp(before.corners, axis=(0, 1))) / np.sqrt(2)
    if apart > _OVERLAP * size:
        raise BurstError(
            f"{before.source.path} and {each.source.path} show different fields: their centres are "
            f"{apart:.4g} arcsec apart, and a field is "
            f"{size:.3g} arcsec wide."
        )


def _rows(
    opened: Sequence[Restoration], planes: Sequence[Sequence[Any]], order: Sequence[tuple[str, float]]
) -> list[int]:
    """The time, counted from 0, to which each file belongs: a scan ends where a position comes again, or an
    earlier one than the last.
    """
    scans = [each.header.get("SCANNUM") for each in opened]
    if all(isinstance(scan, int) for scan in scans):
        return [sorted(set(scans)).index(scan) for scan in scans]
    rows, taken, last, before = [0], set(planes[0]), 0, opened[0].began
    for each, own in zip(opened[1:], planes[1:], strict=True):
        first = min(order.index(position) for position, _ in own)
        back = bool(each.began > before) and first < last
        again = bool(taken & set(own)) or back
        taken = set(own) if again else taken | set(own)
        rows.append(rows[-1] + again)
        last = max(order.index(position) for position, _ in own)
        before = each.began
    return rows


def _remarks(opened: Sequence[Restoration], places: npt.NDArray[np.int64]) -> tuple[str, ...]:
    """What a user should know about the cube."""
    found = []
    if missing := int((places[..., 0] < 0).sum()):
        found.append(f"{missing} of {places[..., 0].size} images are missing: NaN stands in their place.")
    if np.isnat(opened[0].began):
        found.append("No file says when it was observed: the time axis counts seconds from 0 for each.")
    if any(each.corners is None for each in opened):
        found.append("The pointing is unknown: the coordinates count from the middle of the field.")
    return tuple(found)

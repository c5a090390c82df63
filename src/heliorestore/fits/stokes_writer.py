"""Write Stokes images as one FITS cube (stokes, wavelength, y, x), with their place on the Sun and the record
of what made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import FloatArray, Source
from heliorestore.coordinates import Coordinates
from heliorestore.fits.files import silent_astropy
from heliorestore.fits.layouts import OWN_FORMAT
from heliorestore.fits.object_table import object_columns
from heliorestore.fits.provenance import Card, inputs_table, table_of, to_ascii
from heliorestore.fits.readback import OWN_CARDS
from heliorestore.fits.steps import last_step, plain_step
from heliorestore.fits.writer import cleaned
from heliorestore.storage import check_output, replacing

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.io.fits import Header

_TABLE = "WCS-TAB"
_EVEN = 1e-3  # relative difference of steps along the line that still count as equal


@dataclass(frozen=True, kw_only=True, eq=False)
class StokesFile:
    """What a file of Stokes images holds: `images` and `sigmas` (stokes, wavelength, y, x).

    `step` is the kind of processing step with its parameters, `cards` are further ones, `header` is that of
    the states, with the place on the Sun.
    """

    images: FloatArray
    sigmas: FloatArray
    places: tuple[Coordinates, ...]
    header: Header
    unit: str
    sources: Sequence[Source]
    parameters: Mapping[str, Any]
    cards: Sequence[Card]
    messages: Sequence[str]
    extensions: Mapping[str, FloatArray]


def write_stokes(shown: StokesFile, path: Path, *, overwrite: bool = False) -> Path:
    """Write the file and return its path; it appears under its name when it is complete."""
    from astropy.io import fits

    target = check_output(path, overwrite=overwrite, inputs=[source.path for source in shown.sources])
    records = inputs_table(shown.sources, {})  # takes time for checksums: not under astropy's lock
    with silent_astropy():
        header = _header(shown)
        hdus = [
            fits.PrimaryHDU(shown.images, header),
            fits.ImageHDU(shown.sigmas, _unit(shown), name="UNCERTAINTY"),
            *(fits.ImageHDU(array, name=name) for name, array in shown.extensions.items()),
            *_table(shown.places),
            *_objects(shown.places),
            records,
        ]
        with replacing(target) as file:
            fits.HDUList(hdus).writeto(file, checksum=True, output_verify="exception")
    return target


def _header(shown: StokesFile) -> Header:
    """The states' header, with axes 3 and 4 of the cube and this step behind the others."""
    header = cleaned(shown.header)
    for key in set(header):
        if key == OWN_FORMAT or (key.rstrip("0123456789") in OWN_CARDS and key[-1:].isdigit()):
            header.remove(key, remove_all=True)
    for key in ("CTYPE", "CUNIT", "CNAME", "CRPIX", "CRVAL", "CDELT"):
        for axis in (3, 4, 5):
            header.remove(f"{key}{axis}", ignore_missing=True, remove_all=True)
    number = last_step(header) + 1
    added: list[Card] = [
        ("DATE", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "when this file was written (UTC)"),
        *_axes(shown.places),
        *((("BUNIT", to_ascii(shown.unit), "unit of the images"),) if shown.unit else ()),
        *plain_step(number, "STOKES-DEMODULATION", "demodulate", dict(shown.parameters), shown.sources),
        (f"PRLOG{number}", to_ascii(" ".join(shown.messages)), "Messages of the procedure"),
        *shown.cards,
    ]
    for keyword, value, comment in added:
        header.remove(keyword, ignore_missing=True, remove_all=True)
        header.append((keyword, value, comment), bottom=True)
    return header


def _axes(places: tuple[Coordinates, ...]) -> Iterator[Card]:
    """Wavelength as the third axis, by a table where it is not evenly spaced, and Stokes as the fourth."""
    waves = _waves_nm(places)
    even = waves is not None and _is_even(waves)
    yield "CTYPE3", "WAVE" if even or waves is None else "WAVE-TAB", "wavelength"
    if waves is not None:
        yield "CUNIT3", "nm", ""
        yield "CRPIX3", 1.0 if even else 0.0, ""
        yield "CRVAL3", float(waves[0]) if even else 0.0, ""
        yield "CDELT3", float(waves[1] - waves[0]) if even and len(waves) > 1 else 1.0, ""
    if waves is not None and not even:
        yield "PS3_0", _TABLE, "EXTNAME of the table"
        yield "PS3_1", "WAVE", "TTYPE of the column with coordinates"
        yield "PV3_3", 1, "number of the coordinate in the table"
    yield "CTYPE4", "STOKES", "I, Q, U, V"
    yield "CRPIX4", 1.0, ""
    yield "CRVAL4", 1.0, ""
    yield "CDELT4", 1.0, ""


def _waves_nm(places: tuple[Coordinates, ...]) -> npt.NDArray[np.float64] | None:
    """The wavelengths of the places in nm, None where one is unknown."""
    waves = [
        each.wavelength_nm + (each.offset_pm or 0.0) / 1000
        for each in places
        if each.wavelength_nm is not None
    ]
    return np.array(waves) if waves and len(waves) == len(places) else None


def _is_even(waves: npt.NDArray[np.float64]) -> bool:
    steps = np.diff(waves)
    return len(waves) < 2 or bool(np.ptp(steps) <= _EVEN * abs(steps[0]))


def _table(places: tuple[Coordinates, ...]) -> Iterator[fits.BinTableHDU]:
    """The wavelengths of places that are not evenly spaced."""
    from astropy.io import fits

    waves = _waves_nm(places)
    if waves is not None and not _is_even(waves):
        column = fits.Column("WAVE", f"{len(waves)}D", dim=f"(1,{len(waves)})", array=waves[None, :, None])
        yield fits.BinTableHDU.from_columns([column], name=_TABLE)


def _objects(places: tuple[Coordinates, ...]) -> Iterator[fits.BinTableHDU]:
    """The coordinates of the images, Stokes parameter by Stokes parameter."""
    if places:
        each = tuple(replace(place, stokes=name) for name in "IQUV" for place in places)
        yield table_of("OBJECTS", {"LABEL": [one.label for one in each]} | object_columns(each, None))


def _unit(shown: StokesFile) -> Header:
    from astropy.io.fits import Header

    header = Header()
    header["BUNIT"] = to_ascii(shown.unit)
    header["COMMENT"] = "One standard deviation of the images (stokes, wavelength, y, x)."
    return header

"""Write a cube of restorations after SOLARNET's recommendations, as SSTRED does it.

Its axes are x, y, wavelength, Stokes and time, with coordinates in a table; one image at a time is read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import RestorationError
from heliorestore.fits.cube import STOKES, Cube, Floats, Restoration
from heliorestore.fits.files import silent_astropy
from heliorestore.fits.hdus import BLOCK
from heliorestore.fits.layouts import OWN_FORMAT
from heliorestore.fits.provenance import Card, inputs_table, table_of, to_ascii
from heliorestore.fits.readback import OWN_CARDS
from heliorestore.fits.steps import last_step, plain_step, step_number
from heliorestore.fits.streamed import write_primary
from heliorestore.fits.wcs import placeless
from heliorestore.fits.writer import cleaned
from heliorestore.storage import check_output, replacing

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.io.fits import Header

_TABLE = "WCS-TAB"
_COLUMN = "HPLN+HPLT+WAVE+TIME"
_VARIABLE = "VAR-EXT-PLANES"
_AXES = (
    ("HPLN-TAB", "arcsec", "Spatial X", 1),
    ("HPLT-TAB", "arcsec", "Spatial Y", 2),
    ("WAVE-TAB", "nm", "Wavelength", 3),
    ("STOKES", "", "Stokes parameter", 0),
    ("UTC--TAB", "s", "Time since DATEREF, increases with axes 3 and 5", 4),
)
_NO_PLACE = 959.63  # arcsec, the Sun's radius: the error of a field of unknown pointing
_TEXT = 26  # characters of a time to a microsecond


def write_cube(cube: Cube, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
    """Write the cube and return the file's path; images that are missing are NaN.

    The file appears under its name when it is complete.
    """
    target = check_output(path, overwrite=overwrite, inputs=[r.source.path for r in cube.restorations])
    if target.suffix.lower() == ".gz":
        raise RestorationError(f"{target} would be gzipped, and a cube is written in place: name it .fits.")
    header = _header(cube)
    figures = np.full((3, *cube.places.shape[:3]), np.nan)  # mean, contrast and r0 of every image

    def planes() -> Iterator[npt.NDArray[np.float32]]:
        for place in np.ndindex(*cube.places.shape[:3]):
            number, object_ = (int(n) for n in cube.places[place])
            if number < 0:
                yield np.full(cube.shape[3:], np.nan, np.float32)
                continue
            image = cube.restorations[number].image(object_)
            figures[(slice(None), *place)] = *_mean_and_contrast(image), cube.restorations[number].r0_m
            yield image

    def complete(header: Header) -> None:
        for key, values in zip(_FIGURES, figures, strict=True):
            if key in header and np.isfinite(values).any():
                header[key] = float(np.nanmean(values))

    inputs = inputs_table([each.source for each in cube.restorations], {})
    with silent_astropy(), replacing(target) as file:
        write_primary(file, header, cube.shape, planes(), complete)
        tables = [_coordinates(cube), _variable(cube, figures), inputs]
        if cube.series:
            tables.append(table_of("SERIES", {k: _column(v) for k, v in cube.series.items()}))
        file.write(_extensions(tables))
    return target


_FIGURES = {
    "DATAMEAN": "[BUNIT] mean of the images",
    "DATANRMS": "contrast: rms over mean of the images",
    "ATMOS_R0": "[m] Fried's parameter",
}


def _column(values: Any) -> Any:
    return values if isinstance(values[0], str) else np.asarray(values)


def _extensions(tables: list[fits.BinTableHDU]) -> bytes:
    """The bytes of the tables as they follow a primary HDU."""
    from astropy.io import fits

    packed = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(packed, checksum=True, output_verify="exception")
    return packed.getvalue()[BLOCK:]


def _mean_and_contrast(image: npt.NDArray[np.float32]) -> tuple[float, float]:
    values = image[np.isfinite(image)].astype(np.float64)
    mean = float(values.mean()) if len(values) else np.nan
    return mean, float(values.std() / mean) if mean else np.nan


# -- the header ----------------------------------------------------------------------------------------------


def _header(cube: Cube) -> Header:
    header = _shared([each.header for each in cube.restorations])
    for keyword, value, comment in (*_cards(cube), *_axis_cards(cube), *_history(cube, header)):
        header.remove(keyword, ignore_missing=True, remove_all=True)
        header.append((keyword, value, comment), bottom=True)
    return header


def _shared(headers: list[Header]) -> Header:
    """The cards in which all headers agree, with the first one's processing steps; none about places, times
    and objects.
    """
    from astropy.io.fits import Header

    kept = Header()
    for card in placeless(cleaned(headers[0])).cards:
        key = card.keyword
        own = key.rstrip("0123456789") in OWN_CARDS or key == OWN_FORMAT
        dated = key.startswith(("DATE", "TIME-OBS")) or key in ("STARTOBS", "ENDOBS", "VAR_KEYS", "SCANNUM")
        told_twice = key in ("COMMENT", "HISTORY", "") or step_number(key)
        if own or dated:
            continue
        if told_twice or all(other.get(key) == card.value for other in headers[1:]):
            kept.append(card, bottom=True)
    return kept


def _cards(cube: Cube) -> Iterator[Card]:
    first = cube.restorations[0]
    yield "DATE", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "when this file was written (UTC)"
    yield "SOLARNET", 0.5, "partially SOLARNET-compliant"
    yield "OBS_HDU", 1, "this HDU holds observations"
    yield "BTYPE", str(first.header.get("BTYPE") or "Intensity"), "type of the data"
    if first.unit:
        yield "BUNIT", to_ascii(first.unit), "unit of the images"
    if not np.isnat(first.began):
        began = min(each.began for each in cube.restorations)
        ended = max(each.ended for each in cube.restorations)
        yield "TIMESYS", "UTC", "time system of all times"
        yield "DATEREF", _text(_midnight(cube)), "time from which axis 5 counts"
        yield "DATE-BEG", _text(began), "when the first image began"
        yield "DATE-AVG", _text(began + (ended - began) // 2), "middle of the observation"
        yield "DATE-END", _text(ended), "when the last image ended"
        yield "DATE_OBS", _text(began), "the same as DATE-BEG, for CRISPEX"
    for number, (name, _) in enumerate(cube.positions, 1):
        if name:
            yield f"LABEL{number}", name, f"position {number} along axis 3"
    columns = _columns(cube)
    yield "VAR_KEYS", f"{_VARIABLE};{','.join(columns)}", "SOLARNET variable-keywords"
    for key, comment in _FIGURES.items():
        if key in columns:
            yield key, 0.0, comment


def _axis_cards(cube: Cube) -> Iterator[Card]:
    """The axes as SSTRED writes them; they are tabulated also where they are linear, because CRISPEX then
    finds wavelengths and times in the table.
    """
    for axis in range(1, 6):
        yield f"PC{axis}_{axis}", 1.0, "no rotation: it is in the table"
    for axis, (ctype, unit, name, which) in enumerate(_AXES, 1):
        yield f"CTYPE{axis}", ctype, ""
        if unit:
            yield f"CUNIT{axis}", unit, ""
        yield f"CNAME{axis}", name, ""
        if which:
            yield f"PS{axis}_0", _TABLE, "EXTNAME of the table"
            yield f"PS{axis}_1", _COLUMN, "TTYPE of the column with coordinates"
            if which < 3:
                yield f"PS{axis}_2", ctype.replace("-TAB", "-INDEX"), "TTYPE of the INDEX"
            yield f"PV{axis}_3", which, "number of the coordinate in the table"
        start = 0 if which else 1
        yield f"CRPIX{axis}", float(start), ""
        yield f"CRVAL{axis}", float(start if which else STOKES.index(cube.stokes[0]) + 1), ""
        yield f"CDELT{axis}", 1.0, ""
    if any(each.corners is None for each in cube.restorations):
        for axis in (1, 2):
            yield f"CSYER{axis}", _NO_PLACE, "[arcsec] pointing unknown"


def _history(cube: Cube, header: Header) -> Iterator[Card]:
    number = last_step(header) + 1
    sources = [each.source for each in cube.restorations]
    if cube.parameters:
        yield from plain_step(number, "DESTRETCHING-REGISTRATION", "cube", dict(cube.parameters), sources)
        number += 1
    names = {"positions": [" ".join(filter(None, (name, f"{nm:g} nm"))) for name, nm in cube.positions]}
    yield from plain_step(number, "CONCATENATION", "cube", names, sources)
    if cube.messages:
        yield f"PRLOG{number}", to_ascii(" ".join(cube.messages)), "Messages of the procedure"


# -- the tables ----------------------------------------------------------------------------------------------


def _midnight(cube: Cube) -> np.datetime64:
    first: np.datetime64 = min(each.began for each in cube.restorations).astype("M8[D]").astype("M8[us]")
    return first


def _text(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="us"))


def _coordinates(cube: Cube) -> fits.BinTableHDU:
    """The coordinates (time, wavelength, y, x, [longitude, latitude, wavelength, time]) of the corners."""
    from astropy.io import fits

    times, _, waves, rows, columns = cube.shape
    table = np.empty((times, waves, 2, 2, 4))
    table[..., :2] = _filled(_over_stokes(cube, _corners, np.full((2, 2, 2), np.nan)))
    table[..., 2] = np.array([nm for _, nm in cube.positions])[:, None, None]
    table[..., 3] = _seconds(cube)[..., None, None]
    made = [
        fits.Column(_COLUMN, f"{table.size}D", dim=f"(4,2,2,{waves},{times})", array=table[None]),
        fits.Column("HPLN-INDEX", "2E", array=[[1, columns]]),
        fits.Column("HPLT-INDEX", "2E", array=[[1, rows]]),
    ]
    return fits.BinTableHDU.from_columns(made, name=_TABLE)


def _corners(each: Restoration) -> Floats:
    if each.corners is not None:
        return each.corners
    x, y = (
        np.array([-0.5, 0.5]) * (n - 1) * (each.instruments[0].pixel_arcsec or 1.0) for n in each.shape[::-1]
    )
    return np.stack(np.meshgrid(x, y), -1)


def _seconds(cube: Cube) -> Floats:
    """Seconds of the middle of every image (time, wavelength) since midnight before the first."""
    if np.isnat(cube.restorations[0].began):
        return np.repeat(np.arange(cube.shape[0], dtype=float)[:, None], cube.shape[2], 1)
    start = _midnight(cube)
    return _filled(_over_stokes(cube, lambda each: (each.middle - start) / np.timedelta64(1, "s"), np.nan))


def _over_stokes(cube: Cube, value: Any, missing: Any) -> Floats:
    """The mean over the Stokes parameters of a value of each image, NaN where all are missing."""
    values = cube.each(value, missing).astype(np.float64)
    known = np.isfinite(values)
    total, count = np.where(known, values, 0).sum(1), known.sum(1)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _filled(values: Floats) -> Floats:
    """Values (time, wavelength, ...) with what is missing from the known ones of its time, as a table must
    have a number everywhere.
    """
    filled = values.copy()
    for row in filled:
        known = np.isfinite(row).reshape(len(row), -1).all(1)
        row[~known] = row[known].mean(0)
    return filled


def _columns(cube: Cube) -> list[str]:
    dated = [] if np.isnat(cube.restorations[0].began) else ["DATE-BEG", "DATE-END"]
    seen = any(np.isfinite(each.r0_m) for each in cube.restorations)
    return [*dated, "DATAMEAN", "DATANRMS", *(["ATMOS_R0"] if seen else [])]


def _variable(cube: Cube, figures: Floats) -> fits.BinTableHDU:
    """The values of keywords that differ from image to image, pixel to pixel on axes 3 to 5."""
    from astropy.io import fits

    shape = cube.places.shape[:3]
    size, axes = int(np.prod(shape)), ",".join(map(str, (1, 1, *reversed(shape))))
    known: dict[str, Any] = dict(zip(_FIGURES, figures, strict=True))
    if not np.isnat(cube.restorations[0].began):
        known["DATE-BEG"] = cube.each(lambda each: _text(each.began), "")
        known["DATE-END"] = cube.each(lambda each: _text(each.ended), "")
    made = []
    for key in _columns(cube):
        values = known[key].reshape(1, *shape, 1, 1)
        if key in _FIGURES:
            made.append(fits.Column(key, f"{size}D", dim=f"({axes})", array=values))
        else:
            text = values.astype(f"S{_TEXT}")
            made.append(fits.Column(key, f"{size * _TEXT}A", dim=f"({_TEXT},{axes})", array=text))
    table = fits.BinTableHDU.from_columns(made, name=_VARIABLE)
    for number in range(1, len(made) + 1):
        table.header[f"WCSN{number}"] = ("PIXEL-TO-PIXEL", "every value is that of one image")
    return table

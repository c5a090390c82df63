"""What tables add to images: coordinates of axes (CTYPE ends in -TAB), times of frames (table FRAMES),
coordinates of objects and which images are missing (table OBJECTS).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.fits.axes import Coordinates, seconds_per_unit
from heliorestore.fits.files import Opened, silent_astropy
from heliorestore.fits.hdus import Image
from heliorestore.fits.layouts import Piece, Plan, parse_time
from heliorestore.fits.object_table import COLUMNS, read_objects
from heliorestore.fits.sky import arcsec_per_unit, fit_planes, is_celestial
from heliorestore.fits.tabulated import Address, Lookup, is_tabulated, lookup

# largest coordinate table that is read, in bytes; SSTRED's have 128 times wavelengths times scans
_LARGEST = 32 * 2**20
_MOST_IMAGES = 2**20
_POINTS = 5  # along x and y, to which the place of an image is fitted; tables with the corners alone have 2


def tabulated_axes(piece: Piece, opened: Opened) -> Coordinates:
    """The coordinates that tables give for the wavelength, Stokes and time axes; None for what fails."""
    image = piece.image
    shape = image.shape
    wanted = [*piece.axes.objects, *([] if piece.axes.frame is None else [piece.axes.frame])]
    found: dict[int, npt.NDArray[np.float64]] = {}
    for axis in wanted:
        number = len(shape) - axis
        if (
            is_tabulated(image.cards, number)
            and shape[axis] <= _MOST_IMAGES
            and (table := _lookup(image, number, opened)) is not None
        ):
            pixels = {k: np.ones(1) for k in range(1, len(shape) + 1)} | {
                number: np.arange(1.0, shape[axis] + 1)
            }
            with np.errstate(all="ignore"):  # for nonsense values in a table
                values = np.broadcast_to(table.at(image.cards, pixels), shape[axis])
            if bool(np.isfinite(values).all()):
                found[number] = values
    return found


def tabulated_sky(piece: Piece, opened: Opened) -> npt.NDArray[np.float64] | None:
    """The place of each image on the sky by the tables of its x and y axes, or None if they do not give it.

    Returns (object, frame, 2, 3) in arcsec: longitude and latitude at the plane's centre, their change per
    pixel along x, and along y, fitted to points all over the plane; NaN for images whose coordinates do not
    form a plane.
    """
    cards, shape = piece.image.cards, piece.image.shape
    plane = [len(shape) - axis for axis in (piece.axes.x, piece.axes.y)]
    tabulated = is_celestial(cards, *plane) and all(is_tabulated(cards, number) for number in plane)
    if not tabulated or piece.shape[0] * piece.shape[1] > _MOST_IMAGES:
        return None
    tables = [
        table
        for number in plane
        if (table := _lookup(piece.image, number, opened)) is not None and table.complete
    ]
    units = [unit for number in plane if (unit := arcsec_per_unit(cards, number)) is not None]
    if len(tables) < len(plane) or len(units) < len(plane):
        return None
    # No more points than the table has, and enough to see whether it is a plane.
    counts = [min(max(table.count(number) for table in tables), _POINTS) for number in plane]
    x, y = (
        np.linspace(1, size, max(count, 2)) for size, count in zip(piece.shape[:1:-1], counts, strict=True)
    )
    pixels = _pixels_of_images(piece) | {plane[0]: x, plane[1]: y[:, None]}
    with np.errstate(all="ignore"):  # for nonsense values in a table
        longitude, latitude = (
            np.broadcast_to(table.at(cards, pixels) * unit, (*piece.shape[:2], len(y), len(x)))
            for table, unit in zip(tables, units, strict=True)
        )
        planes = fit_planes(longitude, latitude, x, y)
    return planes if bool(np.isfinite(planes).any()) else None


def _pixels_of_images(piece: Piece) -> dict[int, npt.NDArray[np.float64]]:
    """The pixel of every image on axes outside its plane, from 1: (object, frame, 1, 1) by FITS axis."""
    objects, frames = piece.shape[:2]
    first = [piece.key(object_, 0, slice(None), slice(None)) for object_ in range(objects)]
    pixels = {}
    for axis in range(len(piece.image.shape)):
        if axis == piece.axes.frame:
            pixel = np.arange(1.0, frames + 1).reshape(1, frames, 1, 1)
        elif axis not in (piece.axes.x, piece.axes.y):
            pixel = np.array([key[axis] for key in first], np.float64).reshape(objects, 1, 1, 1) + 1
        else:
            continue
        pixels[len(piece.image.shape) - axis] = pixel
    return pixels


def tabulated_seconds(piece: Piece, opened: Opened) -> npt.NDArray[np.float64] | None:
    """The seconds of every image (object, frame) by the table of the time axis, or None.

    A table may give another time to every wavelength of a scan.
    """
    image, axes = piece.image, piece.axes
    if axes.frame is None or piece.shape[0] * piece.shape[1] > _MOST_IMAGES:
        return None
    unit = seconds_per_unit(image, axes.frame)
    table = _lookup(image, len(image.shape) - axes.frame, opened)
    if unit is None or table is None:
        return None
    centre = {len(image.shape) - axis: np.array([(image.shape[axis] + 1) / 2]) for axis in (axes.y, axes.x)}
    with np.errstate(all="ignore"):  # for nonsense values in a table
        values = table.at(image.cards, _pixels_of_images(piece) | centre) * unit
    seconds = np.broadcast_to(values, (*piece.shape[:2], 1, 1))[..., 0, 0]
    return seconds if bool(np.isfinite(seconds).all()) else None


def tabulated_times(piece: Piece, opened: Opened) -> npt.NDArray[np.datetime64] | None:
    """The times of the frames in a table FRAMES (column DATE-OBS, DATE-BEG or TIME), or None."""
    image = piece.image
    if not image.frames_table:
        return None
    columns = _columns(image.path, image.frames_table, ("DATE-OBS", "DATE-BEG", "TIME"), "A", opened)
    texts = next(iter(columns.values()), ())
    if len(texts) != piece.shape[1]:
        return None
    times = [parse_time(str(text)) for text in texts]
    return np.array([np.datetime64("NaT") if time is None else time for time in times], "datetime64[us]")


def tabulated_objects(plan: Plan, opened: Opened) -> dict[str, Any]:
    """Coordinates and missing images of a burst's objects by the table OBJECTS of its only file, if that has
    one that fits.
    """
    image = plan.pieces[0].image
    if len(plan.pieces) > 1 or not image.objects_table:
        return {}
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in COLUMNS:  # of another kind each
        columns |= _columns(image.path, image.objects_table, (name,), "ADKIJB", opened)
    found = read_objects({name: values for name, values in columns.items() if len(values) == plan.shape[0]})
    if "present" in found and found["present"].shape != plan.shape[:2]:
        del found["present"]
    return found


def _lookup(image: Image, number: int, opened: Opened) -> Lookup | None:
    """The table of a FITS axis, or None where it cannot be read."""
    axes = len(image.shape)
    own = Address.of(image.cards, number)
    if own is None:
        return None
    others = [
        other
        for axis in range(1, axes + 1)
        if (other := Address.of(image.cards, axis)) and other.array == own.array
    ]
    names = [own.column, *(other.index for other in others if other.index)]
    columns = _columns(
        image.path, (own.table, own.version) if own.version else own.table, names, "EDIJK", opened
    )
    return lookup(
        image.cards, number, axes, {name: column[0] for name, column in columns.items() if len(column)}
    )


def _columns(
    path: Path, table: str | int | tuple[str, int], names: Sequence[str], kinds: str, opened: Opened
) -> dict[str, npt.NDArray[Any]]:
    """Those of the named columns that a table has, in the order of the names, if they have the kind of a form
    letter and no absurd size.
    """
    try:
        with silent_astropy():
            hdu = opened.hdus(path)[table]
            # FITS ignores the case of column names; of equal names the first counts.
            present = {name.upper(): name for name in reversed(hdu.columns.names)}
            chosen = {name: present[name.upper()] for name in names if name.upper() in present}
            if hdu.size > _LARGEST or not all(
                re.match(rf"\d*[{kinds}]", str(hdu.columns[name].format)) for name in chosen.values()
            ):
                return {}
            return {name: np.array(hdu.data[column]) for name, column in chosen.items()}
    except BurstError:
        raise
    except Exception:  # without a readable table only names, times and places are missing
        return {}

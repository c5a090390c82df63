"""What tables tell of images: coordinates of axes (CTYPE ending in -TAB), and the times of frames (table FRAMES)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.fits.axes import Coordinates
from heliorestore.fits.files import Gunzip, silent_astropy
from heliorestore.fits.layouts import Piece, parse_time

_LARGEST = 32 * 2**20  # bytes of a coordinate table that is worth reading to name the axes


def tabulated_axes(piece: Piece, gunzip: Gunzip) -> Coordinates:
    """Return the coordinates along the wavelength, Stokes and time axes that tables give; what fails is left out."""
    image = piece.image
    wanted = [*piece.axes.objects, *([] if piece.axes.frame is None else [piece.axes.frame])]
    found: dict[int, npt.NDArray[np.float64]] = {}
    for axis in wanted:
        number = len(image.shape) - axis
        if str(image.cards.get(f"CTYPE{number}", "")).strip().upper().endswith("-TAB"):
            values = _column(image.path, image.cards, number, gunzip)
            if values is not None:
                found[number] = values
    return found


def tabulated_times(piece: Piece, gunzip: Gunzip) -> npt.NDArray[np.datetime64] | None:
    """The times that a table FRAMES gives for every frame in its column DATE-OBS, DATE-BEG or TIME, or None."""
    image = piece.image
    if not image.frames_table:
        return None
    texts = _table_column(image.path, image.frames_table, ("DATE-OBS", "DATE-BEG", "TIME"), "A", gunzip)
    if texts is None or len(texts) != piece.shape[1]:
        return None
    times = [parse_time(str(text)) for text in texts]
    return np.array([np.datetime64("NaT") if time is None else time for time in times], "datetime64[us]")


def _table_column(path: Path, table: str | int, names: Sequence[str], kinds: str, gunzip: Gunzip) -> npt.NDArray[Any] | None:
    """The first of the named columns of a table, if it has the kind of a form letter and no absurd size."""
    from astropy.io import fits

    try:
        with gunzip.open(path) as file:
            file.seek(0)
            with silent_astropy(), fits.open(file, memmap=False, lazy_load_hdus=True) as hdus:
                hdu = hdus[table]
                name = next(name for name in names if name in hdu.columns.names)
                if hdu.size > _LARGEST or not re.match(rf"\d*[{kinds}]", str(hdu.columns[name].format)):
                    return None
                return np.array(hdu.data[name])
    except BurstError:
        raise
    except Exception:  # a table that astropy cannot read only costs names and times
        return None


def _column(path: Path, cards: Any, number: int, gunzip: Gunzip) -> npt.NDArray[np.float64] | None:
    """The coordinate PVi_3 of the array in table PSi_0, column PSi_1, along its own axis, at the start of the others."""
    table, column = (str(cards.get(f"PS{number}_{k}") or "").strip() for k in (0, 1))
    which = cards.get(f"PV{number}_3", 1)
    if not table or not column or not isinstance(which, (int, float)):
        return None
    found = _table_column(path, table, (column,), "EDIJK", gunzip)
    if found is None or not len(found):
        return None
    array = np.asarray(found[0], np.float64)
    return _along(array, round(which))


def _along(array: npt.NDArray[np.float64], which: int) -> npt.NDArray[np.float64] | None:
    """Coordinate number `which` along its own axis: FITS has the axes (M, K1, K2 ...), which numpy sees as (..., K2, K1, M)."""
    if array.ndim == 1:
        return array
    own = array.ndim - 1 - which
    if not 1 <= which <= array.shape[-1] or own < 0:
        return None
    index: list[Any] = [0] * array.ndim
    index[own], index[-1] = slice(None), which - 1
    values: npt.NDArray[np.float64] = array[tuple(index)]
    return values

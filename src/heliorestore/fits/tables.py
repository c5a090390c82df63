"""Tabulated coordinates of axes (CTYPE ending in -TAB), read from the table that the header names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.fits.axes import Coordinates
from heliorestore.fits.files import Gunzip, silent_astropy
from heliorestore.fits.layouts import Piece

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


def _column(path: Path, cards: Any, number: int, gunzip: Gunzip) -> npt.NDArray[np.float64] | None:
    """The coordinate PVi_3 of the array in table PSi_0, column PSi_1, along its own axis, at the start of the others."""
    table, column = (str(cards.get(f"PS{number}_{k}") or "").strip() for k in (0, 1))
    which = cards.get(f"PV{number}_3", 1)
    if not table or not column or not isinstance(which, (int, float)):
        return None
    from astropy.io import fits

    try:
        with gunzip.open(path) as file:
            file.seek(0)
            with silent_astropy(), fits.open(file, memmap=False, lazy_load_hdus=True) as hdus:
                hdu = hdus[table]
                if hdu.size > _LARGEST or not re.match(r"\d*[EDIJK]", str(hdu.columns[column].format)):
                    return None
                array = np.asarray(hdu.data[column][0], np.float64)
    except BurstError:
        raise
    except Exception:  # a table that astropy cannot read only costs the names of the axes
        return None
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

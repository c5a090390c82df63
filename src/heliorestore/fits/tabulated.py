"""Coordinates of axes by interpolation in a table (CTYPE ending in -TAB).

After Greisen et al. 2006 (A&A 446, 747), section 6: an array of the dimensions (M, K1, ..., KM) has M
coordinates on a grid, and axis m of the grid belongs to the image axis i with PVi_3 = m. A vector PSi_2 gives
the positions of the grid's points along the image axis; without it they are at 1, 2, 3 ... Numbers of FITS
axes and pixels count from 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.fits.hdus import card_number

Floats = npt.NDArray[np.float64]

_MOST_COORDINATES = 8  # of one table: interpolation reads 2**M of its points


def is_tabulated(cards: Mapping[str, Any], number: int, letter: str = "") -> bool:
    """Whether a table gives the coordinates along a FITS axis: then its CDELT is not a scale."""
    return str(cards.get(f"CTYPE{number}{letter}") or "").strip().upper().endswith("-TAB")


@dataclass(frozen=True, eq=False)
class Address:
    """Where the coordinates of an axis are: table, its version (0 for any), columns of the array and of the
    index, and which coordinate.
    """

    table: str
    version: int
    column: str
    index: str
    which: int

    @property
    def array(self) -> tuple[str, int, str]:
        return self.table, self.version, self.column

    @classmethod
    def of(cls, cards: Mapping[str, Any], number: int) -> Address | None:
        """The address in PSi_0 to PSi_2, PVi_1 and PVi_3, or None if they are not usable."""
        texts = [str(cards.get(f"PS{number}_{k}") or "").strip() for k in range(3)]
        version, which = (cards.get(f"PV{number}_{k}", default) for k, default in ((1, 0), (3, 1)))
        sound = all(isinstance(value, (int, float)) and math.isfinite(value) for value in (version, which))
        if not is_tabulated(cards, number) or not texts[0] or not texts[1] or not sound:
            return None
        return cls(texts[0], round(version), texts[1], texts[2], round(which))


@dataclass(frozen=True, eq=False)
class Lookup:
    """One coordinate on its grid (K1, ..., KM), of the FITS `axes` (0 if unknown), at these `points`."""

    values: Floats
    axes: tuple[int, ...]
    points: tuple[Floats, ...]

    @property
    def complete(self) -> bool:
        """Whether the image has an axis for every axis of the grid."""
        return all(axis or count == 1 for axis, count in zip(self.axes, self.values.shape, strict=True))

    def count(self, number: int) -> int:
        """The points of the grid along a FITS axis."""
        return max(
            (count for axis, count in zip(self.axes, self.values.shape, strict=True) if axis == number),
            default=1,
        )

    def at(self, cards: Mapping[str, Any], pixels: Mapping[int, Floats]) -> Floats:
        """The coordinate at pixels, arrays by FITS axis that broadcast together; NaN outside the table.

        For a grid axis that belongs to no axis of the image the first point is used.
        """
        cells, parts = [], []
        for count, axis, points in zip(self.values.shape, self.axes, self.points, strict=True):
            start = np.ones(1) if not axis else _along_grid(_intermediate(cards, axis, pixels), points)
            # The cell to the left of the place; places beyond the ends extrapolate the outermost cells. At
            # the very last point the cell is that point, so that a coordinate on the grid reads one value
            # only.
            cell = (
                np.where(
                    start == count, count, np.clip(np.floor(np.nan_to_num(start)), 1, max(count - 1, 1))
                ).astype(np.intp)
                - 1
            )
            cells.append(cell)
            parts.append(start - 1 - cell if count > 1 else np.where(np.isnan(start), start, 0.0))
        total: Floats = np.zeros(np.broadcast_shapes(*(cell.shape for cell in cells)))
        for corner in itertools.product((0, 1), repeat=len(cells)):
            weights = [part if side else 1 - part for side, part in zip(corner, parts, strict=True)]
            if all(weight.any() for weight in weights):  # most places are on the grid
                there = tuple(
                    np.minimum(c + side, n - 1)
                    for c, side, n in zip(cells, corner, self.values.shape, strict=True)
                )
                total = total + math.prod(weights) * self.values[there]
        return total


def lookup(
    cards: Mapping[str, Any], number: int, axes: int, columns: Mapping[str, npt.NDArray[Any]]
) -> Lookup | None:
    """The table of an axis, from the columns that its address names (one row of them), or None where they
    make no sense.

    `axes` is the number of axes of the image.
    """
    address = Address.of(cards, number)
    if address is None or address.column not in columns:
        return None
    array = _grid(np.asarray(columns[address.column], np.float64))
    if array is None or not 1 <= address.which <= array.shape[-1]:
        return None
    shape = array.shape[-2::-1]
    owners, points = [0] * len(shape), [np.arange(1.0, count + 1) for count in shape]
    for axis in range(1, axes + 1):
        other = Address.of(cards, axis)
        if other is None or other.array != address.array or not 1 <= other.which <= len(shape):
            continue
        place = other.which - 1
        if owners[place]:
            return None
        # Two image axes along one axis of the grid would be ambiguous: refused above.
        owners[place] = axis
        if other.index:
            index = np.asarray(columns.get(other.index, ()), np.float64).ravel()
            steps = np.diff(index)
            if (
                len(index) != shape[place]
                or not np.isfinite(index).all()
                or not ((steps > 0).all() or (steps < 0).all())
            ):
                return None
            points[place] = index
    return Lookup(array[..., address.which - 1].T, tuple(owners), tuple(points))


def _grid(array: Floats) -> Floats | None:
    """The array with the axes (KM, ..., K1, M), with axes of length 1 added or removed as needed."""
    if array.ndim == 1:
        array = array[:, None]
    wanted = array.shape[-1] + 1
    if not array.size or wanted > _MOST_COORDINATES + 1:
        return None
    if array.ndim < wanted:  # IDL leaves out the slowest axes where their length is 1
        array = array.reshape((1,) * (wanted - array.ndim) + array.shape)
    while array.ndim > wanted and 1 in array.shape[:-1]:
        array = array.squeeze(array.shape.index(1))
    return array if array.ndim == wanted else None


def _along_grid(values: Floats, points: Floats) -> Floats:
    """Positions of values along the grid, counted from 1, NaN more than half a cell outside of it."""
    if len(points) == 1:
        place = values - points[0] + 1
    else:
        # The index vector may fall: `searchsorted` needs it rising.
        rising = 1.0 if points[1] > points[0] else -1.0
        cell = np.clip(np.searchsorted(rising * points, rising * values, "right") - 1, 0, len(points) - 2)
        place = cell + 1 + (values - points[cell]) / (points[cell + 1] - points[cell])
    # The paper extrapolates by half a cell: a pixel extends so far around its centre.
    return np.where((place >= 0.5) & (place <= len(points) + 0.5), place, np.nan)


def _intermediate(cards: Mapping[str, Any], number: int, pixels: Mapping[int, Floats]) -> Floats:
    """Intermediate coordinate by CRPIX, CRVAL, CD or CDELT and PC: in most tables, the pixel's number."""
    # CD includes the scale; PC, which defaults to the unit matrix, needs CDELT.
    row = {axis: card_number(cards, f"CD{number}_{axis}", 0.0) for axis in pixels}
    if not any(row.values()):
        step = card_number(cards, f"CDELT{number}", 1.0)
        row = {
            axis: step * card_number(cards, f"PC{number}_{axis}", float(axis == number)) for axis in pixels
        }
    total: Floats = np.full(1, card_number(cards, f"CRVAL{number}", 0.0))
    for axis, factor in row.items():
        if factor:
            total = total + factor * (pixels[axis] - card_number(cards, f"CRPIX{axis}", 0.0))
    return total

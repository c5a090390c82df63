"""World coordinates of a plane: two linear axes when read, moved to finer pixels when written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heliorestore.fits.sky import pixel_sizes
from heliorestore.fits.tabulated import is_tabulated
from heliorestore.instrument import RADIAN_ARCSEC

if TYPE_CHECKING:
    from astropy.io.fits import Header

# Cards are renamed and scaled one by one rather than read and written again by astropy.wcs, which changes
# units (arcsec to deg), adds cards, and refuses a header for one odd card, whereas the output is to have
# every card of the input as it was. Tests compare the result with what astropy.wcs reads from it.
_ONE_AXIS = re.compile(
    r"(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA|CNAME|CRDER|CSYER|CRDATE|CZPHS|CPERI)(\d+)([A-Z]?)\Z"
)
_TWO_AXES = re.compile(r"(PC|CD)(\d+)_(\d+)([A-Z]?)\Z")
_PARAMETER = re.compile(r"(PV|PS)(\d+)_(\d+[A-Z]?)\Z")
_ORIENTATION = re.compile(r"(LONPOLE|LATPOLE|WCSNAME)([A-Z]?)\Z")
# Corrections by images in other extensions (DW3 EXTVER, DP1.AXIS.1 ...), which an export does not have.
_DISTORTION = re.compile(r"(C[PQW](DIS|ERR)\d+[A-Z]?|D[PQW]\d+[A-Z]?\W.+)\Z")
_NUMBER_OF_AXES = re.compile(r"WCSAXES[A-Z]?\Z")


def planar(header: Header, x: int = 1, y: int = 2) -> Header:
    """Return the header with the WCS of FITS axes x and y alone, as axes 1 and 2; all other cards stay."""
    from astropy.io.fits import Header

    axes = {str(x): "1", str(y): "2"}
    kept: list[Any] = []
    for card in header.cards:
        keyword = _renamed(card.keyword, axes)
        if keyword == card.keyword:
            kept.append(card)
        elif keyword:
            kept.append((keyword, card.value, card.comment))
    return Header(kept)


def _renamed(keyword: str, axes: Mapping[str, str]) -> str:
    """The keyword with its axis numbers exchanged, or empty if it belongs to another axis."""
    # It would count the axes that are gone.
    if _NUMBER_OF_AXES.match(keyword) or _DISTORTION.match(keyword):
        return ""
    if found := _ONE_AXIS.match(keyword):
        return f"{found[1]}{axes[found[2]]}{found[3]}" if found[2] in axes else ""
    if found := _TWO_AXES.match(keyword):
        both = found[2] in axes and found[3] in axes
        return f"{found[1]}{axes[found[2]]}_{axes[found[3]]}{found[4]}" if both else ""
    if found := _PARAMETER.match(keyword):
        return f"{found[1]}{axes[found[2]]}_{found[3]}" if found[2] in axes else ""
    return keyword


def untabulated(header: Header) -> Header:
    """The planar header without the coordinate systems whose tables are missing; all other cards stay."""
    from astropy.io.fits import Header

    broken = {
        letter for letter in _systems(header) if any(is_tabulated(header, axis, letter) for axis in (1, 2))
    }
    return Header([card for card in header.cards if _system(card.keyword) not in broken])


def placeless(header: Header) -> Header:
    """The header without any coordinate system; all other cards stay."""
    from astropy.io.fits import Header

    kept = Header()
    for card in header.cards:
        if _system(card.keyword) is None and not _NUMBER_OF_AXES.match(card.keyword):
            kept.append(card, bottom=True)
    return kept


def _system(keyword: str) -> str | None:
    """The letter of a keyword's coordinate system, or None if it belongs to none."""
    for pattern in (_ONE_AXIS, _TWO_AXES, _PARAMETER, _ORIENTATION):
        if found := pattern.match(keyword):
            return str(found[found.re.groups]).lstrip("0123456789")
    return None


def pointed(header: Header, planes: npt.NDArray[np.float64], shape: tuple[int, int] | None = None) -> Header:
    """The planar header with a linear WCS where images (..., 2, 3) lie in the mean, and with the median size
    of their pixels.

    `shape` (y, x) of the plane sets CRPIX to its centre; without it the header has CRPIX there already.
    """
    known = planes.reshape(-1, 2, 3)
    known = known[np.isfinite(known).all((1, 2))]
    if not len(known):
        return header
    # Names and errors of the axes stay valid when their table is gone.
    named = [
        header.cards[key]
        for kind in ("CNAME", "CSYER")
        for axis in (1, 2)
        if (key := f"{kind}{axis}") in header
    ]
    words = [
        str(header.get(f"CTYPE{axis}", default)).partition("-")[0]
        for axis, default in ((1, "HPLN"), (2, "HPLT"))
    ]
    # An older name of the same coordinates.
    words = [word.replace("SOLX", "HPLN").replace("SOLY", "HPLT") for word in words]
    centre, sizes = known[:, :, 0].mean(0), np.median(pixel_sizes(known), 0)
    # If the frames rotate, the mean of their steps is too short: it gives the direction, the median distance
    # the length.
    steps = known[:, :, 1:].mean(0) * [[np.cos(centre[1] / RADIAN_ARCSEC)], [1.0]]
    steps *= sizes / np.hypot(*steps)
    scale = sizes.copy()
    if np.linalg.det(steps) < 0:  # a mirrored image: the axis that runs backwards gets the negative scale
        scale[np.argmin(np.diag(steps))] *= -1
    # CDELT has the size of a pixel and the mirror, PC the rotation.
    pc = steps / scale[:, None]
    made = untabulated(header)
    for axis in (1, 2):
        cards: dict[str, Any] = {
            "CTYPE": f"{words[axis - 1]:-<4}-TAN",
            "CUNIT": "arcsec",
            "CRVAL": centre[axis - 1],
        }
        if shape is not None:
            cards["CRPIX"] = (shape[2 - axis] + 1) / 2
        cards |= {"CDELT": scale[axis - 1]}
        made.update(
            {
                f"{key}{axis}": value if isinstance(value, str) else float(value)
                for key, value in cards.items()
            }
        )
        made.update({f"PC{axis}_{other}": float(pc[axis - 1, other - 1]) for other in (1, 2)})
    for card in named:
        made[card.keyword] = (card.value, card.comment)
    return made


def zoomed(header: Header, zoom: float) -> Header:
    """Return the planar header for `zoom` pixels along each axis instead of one, in all its coordinate
    systems.

    Pixel centres are whole numbers, so the first image edge lies at 1/2 in both: CRPIX' = zoom CRPIX - (zoom
    - 1)/2. The scale goes into CDELT, or into the CD matrix, and never into PC.
    """
    fine = header.copy()
    for letter in _systems(header) if zoom != 1 else ():
        matrix = [
            key
            for key in header
            if (found := _TWO_AXES.match(key)) and found[1] == "CD" and found[4] == letter
        ]
        scales = [f"CDELT{axis}{letter}" for axis in (1, 2)]
        for key in matrix + [key for key in scales if not matrix or key in header]:
            # CDELT defaults to 1.
            fine[key] = _number(header, key, 1.0) / zoom
        for axis in (1, 2):
            fine[f"CRPIX{axis}{letter}"] = (
                zoom * _number(header, f"CRPIX{axis}{letter}", 0.0) - (zoom - 1) / 2
            )
    return fine


def mapped(header: Header, matrix: npt.NDArray[np.float64], shape: tuple[int, int]) -> Header:
    """Return the planar header for other pixels of `shape` (y, x), from which `matrix` (3, 3) leads to these,
    (x, y, 1) of pixels counted from 0, in all its coordinate systems.

    A projective matrix is replaced by its tangent in the middle. The change of scale goes into CDELT, or all
    of it into the CD matrix; rotation and mirror go into PC.
    """
    made = header.copy()
    middle = np.array([shape[1] - 1, shape[0] - 1, 2]) / 2
    x, y, w = matrix @ middle
    slope = (matrix[:2, :2] - np.outer([x / w, y / w], matrix[2, :2])) / w
    scale = float(np.sqrt(abs(np.linalg.det(slope))))
    for letter in _systems(header):
        pixel = np.array([_number(header, f"CRPIX{axis}{letter}", 0.0) for axis in (1, 2)]) - 1
        pixel = middle[:2] + np.linalg.solve(slope, pixel - [x / w, y / w])
        kind, linear = _linear(header, letter)
        turned = linear @ slope / (scale if kind == "PC" else 1.0)
        if f"CROTA2{letter}" in made:
            del made[f"CROTA2{letter}"]
        for axis in (1, 2):
            made[f"CRPIX{axis}{letter}"] = float(pixel[axis - 1]) + 1
            if kind == "PC":
                made[f"CDELT{axis}{letter}"] = scale * _number(header, f"CDELT{axis}{letter}", 1.0)
            for other in (1, 2):
                made[f"{kind}{axis}_{other}{letter}"] = float(turned[axis - 1, other - 1])
    return made


def _linear(header: Header, letter: str) -> tuple[str, npt.NDArray[np.float64]]:
    """The CD matrix of a coordinate system, else its PC matrix, for which CROTA2 may stand."""
    for kind in ("CD", "PC"):
        if any(f"{kind}{i}_{j}{letter}" in header for i in (1, 2) for j in (1, 2)):
            # Missing elements of PC are those of the unit matrix, of CD they are 0.
            values = [
                [_number(header, f"{kind}{i}_{j}{letter}", float(kind == "PC" and i == j)) for j in (1, 2)]
                for i in (1, 2)
            ]
            return kind, np.array(values)
    angle = np.radians(_number(header, f"CROTA2{letter}", 0.0))
    ratio = _number(header, f"CDELT2{letter}", 1.0) / (_number(header, f"CDELT1{letter}", 1.0) or 1.0)
    cosine, sine = np.cos(angle), np.sin(angle)
    return "PC", np.array([[cosine, -sine * ratio], [sine / ratio, cosine]])


def _systems(header: Header) -> list[str]:
    """The letters of the coordinate systems that a header describes, empty for the primary one."""
    found = {
        m[3] for key in header if (m := _ONE_AXIS.match(key)) and m[1] in ("CTYPE", "CRVAL", "CRPIX", "CDELT")
    }
    return sorted(found | {m[4] for key in header if (m := _TWO_AXES.match(key))})


def _number(header: Header, key: str, default: float) -> float:
    value = header.get(key, default)
    return float(value) if isinstance(value, (int, float)) else default

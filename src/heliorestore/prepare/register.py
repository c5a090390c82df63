"""Find the map between two cameras, or two images, of the same: from pinholes, or from the Sun."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import FloatArray
from heliorestore.errors import BurstError
from heliorestore.optics.noise import GAUSSIAN_MAD
from heliorestore.prepare.camera_map import CameraMap, Floats, projected
from heliorestore.prepare.coarse_map import coarse_maps
from heliorestore.prepare.interpolation import values_at
from heliorestore.prepare.mapped import warped
from heliorestore.prepare.pinholes import find_spots, pair_spots

Kind = Literal["shift", "affine", "projective"]
Image = npt.NDArray[np.floating]

_FEWEST: dict[str, int] = {
    "shift": 4,
    "affine": 8,
    "projective": 12,
}  # places: twice what the numbers need, and more
_WORST_PX = 0.5  # residual beyond which a map is not believed
_WORST_OF_CODES_PX = 1.5  # between images that were restored, or averaged, in different ways
_WINDOW = 64  # pixels along a side of the compared windows
_ROUNDS = 6
_MOST_SCALE = 4.0  # between the pixels of two cameras
_LIKE = 0.3  # correlation of a window that counts
_VALID = 0.98  # fraction of a window that must be in both images
_MOST = 1200  # pixels along a side; larger images are averaged first
_OUTLIER = 4.0  # robust standard deviations


def find_map(
    wide: Image,
    narrow: Image,
    *,
    kind: Kind = "affine",
    near: CameraMap | None = None,
    scale: float | None = None,
    worst_px: float = _WORST_PX,
) -> CameraMap:
    """The map from the pixels of `wide` (y, x) to those of `narrow`; a BurstError if it is not certain.

    `near` is a rough map to begin with, `scale` the number of pixels of `narrow` in one of `wide`, if known.
    A `shift` is for images of one camera. `worst_px` is the largest residual that is believed.
    """
    if scale is not None and not 1 / _MOST_SCALE <= scale <= _MOST_SCALE:
        raise BurstError(
            f"By their headers a pixel of one camera is {max(scale, 1 / scale):.3g} times as large as one of "
            f"the other; up to {_MOST_SCALE:g} times are two cameras of one telescope."
        )
    spots = find_spots(wide), find_spots(narrow)
    if spots[0] is not None and spots[1] is not None:
        pairs = pair_spots(spots[0], spots[1], near)
        if pairs is not None:
            return _believed(pairs, kind, "pinholes", (wide, narrow), worst_px)
    return _from_scene((wide, narrow), kind, near, scale, worst_px)


def brought_onto(
    ours: Image, theirs: Image, *, kind: Kind = "affine", scale: float | None = None
) -> tuple[CameraMap, FloatArray]:
    """Another code's image on the pixels of ours, and the map; NaN beyond it. More residual is allowed than
    between cameras, as two restorations differ by what the air displaced.
    """
    found = find_map(ours, theirs, kind=kind, scale=scale, worst_px=_WORST_OF_CODES_PX)
    rows, columns = (range(n) for n in ours.shape)
    return found, warped(theirs, (), found, rows, columns)


# -- the Sun -------------------------------------------------------------------------------------------------


def _from_scene(
    observed: tuple[Image, Image], kind: Kind, near: CameraMap | None, scale: float | None, worst_px: float
) -> CameraMap:
    many = -(-max(*observed[0].shape, *observed[1].shape) // _MOST)
    images = [_binned(image, many) for image in observed]
    starts = [_in_bins(near.matrix, many)] if near is not None else coarse_maps(images[0], images[1], scale)
    reason = BurstError("The images do not resemble each other in any orientation: no map was found.")
    for start in starts:
        try:
            places, there = _followed(images[0], images[1], start, kind)
            # Centre of bin b: many b + (many - 1) / 2.
            pairs = many * places + (many - 1) / 2, many * there + (many - 1) / 2
            return _believed(pairs, kind, "images", observed, worst_px)
        except BurstError as error:
            reason = error
    raise reason


def _followed(wide: torch.Tensor, narrow: torch.Tensor, matrix: Floats, kind: Kind) -> tuple[Floats, Floats]:
    """Places (window, [x, y]) of the wide image, and where the narrow one shows the same."""
    places, corners, size = _windows((wide.shape[0], wide.shape[1]))
    there, used = places, np.zeros(0, np.int64)
    grid = np.stack(np.meshgrid(np.arange(wide.shape[1]), np.arange(wide.shape[0])), -1).astype(np.float64)
    for number in range(_ROUNDS):
        at = torch.from_numpy(np.nan_to_num(projected(matrix, grid), nan=-1e6))
        seen = values_at(narrow, at[..., 1], at[..., 0])
        moved, like = _displacements(seen, wide, corners, size)
        there = projected(matrix, places + moved)
        used = np.flatnonzero(like > _LIKE)
        if len(used) < 3:
            raise BurstError(
                f"Only {len(used)} windows of {size} pixels of the two images resemble each other: no map "
                "was found."
            )
        # The first rounds are for a rough start, which a projective map would exaggerate.
        matrix, inliers = _robust(places[used], there[used], kind if number > 1 else "affine")
        used = used[inliers]
    return places[used], there[used]


def _windows(shape: tuple[int, int]) -> tuple[Floats, list[tuple[int, int]], int]:
    """Centres (window, [x, y]) and first pixels (y, x) of windows that overlap by half, and their size."""
    size = min(_WINDOW, min(shape) // 3 // 2 * 2)
    if size < 12:
        raise BurstError(f"The images are {shape[1]} x {shape[0]} pixels, too small to find a map.")
    along = [np.linspace(0, n - size, max(2, 2 * (n // size) - 1)).astype(int).tolist() for n in shape]
    corners = list(itertools.product(*along))
    return np.array([[x, y] for y, x in corners]) + (size - 1) / 2, corners, size


def _displacements(
    seen: torch.Tensor, wanted: torch.Tensor, corners: Sequence[tuple[int, int]], size: int
) -> tuple[Floats, Floats]:
    """By how much (window, [x, y]) `seen` shows things displaced, and the correlation of each window."""
    window = torch.hann_window(size, periodic=True)
    window = window[:, None] * window
    pieces = [
        torch.stack([image[y : y + size, x : x + size] for y, x in corners]) for image in (seen, wanted)
    ]
    valid = (torch.isfinite(pieces[0]) & torch.isfinite(pieces[1])).float().mean((1, 2)) >= _VALID
    spectra, powers = [], []
    for piece in pieces:
        known = torch.isfinite(piece)
        mean = torch.where(known, piece, 0.0).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
        part = torch.where(known, piece - mean[:, None, None], 0.0) * window
        part -= part.sum((1, 2), keepdim=True) / window.sum() * window
        spectra.append(torch.fft.rfft2(part))
        powers.append(part.square().sum((1, 2)))
    peaks = torch.fft.irfft2(spectra[0] * spectra[1].conj(), s=(size, size))
    peaks = peaks / (powers[0] * powers[1]).sqrt().clamp(min=1e-20)[:, None, None]
    half = size // 2
    peaks = peaks.roll((half, half), (1, 2))
    reach = size // 4
    near = peaks[:, half - reach : half + reach + 1, half - reach : half + reach + 1]
    best = near.flatten(1).argmax(1)
    side = 2 * reach + 1
    y, x = (best // side).clamp(1, side - 2), (best % side).clamp(1, side - 2)
    each = torch.arange(len(near))
    middle = near[each, y, x]
    moved = [
        at - reach + _vertex(near[each, y - dy, x - dx], middle, near[each, y + dy, x + dx])
        for at, dy, dx in ((x, 0, 1), (y, 1, 0))
    ]
    found = torch.stack(moved, 1).double().numpy()
    return found, torch.where(valid, middle, 0.0).double().numpy()


def _vertex(before: torch.Tensor, peak: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Where a parabola through three values one pixel apart is highest, from the middle one."""
    curvature = 2 * peak - before - after
    return torch.where(curvature > 0, 0.5 * (after - before) / curvature.clamp(min=1e-20), 0.0).clamp(-1, 1)


def _binned(image: Image, many: int) -> torch.Tensor:
    """Means over blocks of pixels, in units of the image's standard deviation about its mean."""
    rows, columns = (n // many * many for n in image.shape)
    values = torch.tensor(np.asarray(image[:rows, :columns], np.float32))
    known = values[torch.isfinite(values)]
    if not len(known) or not float(known.std(correction=0)) > 0:
        raise BurstError("One of the images shows nothing: all its valid pixels have the same value.")
    values = (values - known.mean()) / known.std()
    return values.reshape(rows // many, many, columns // many, many).mean((1, 3))


def _in_bins(matrix: Floats, many: int) -> Floats:
    """A map of pixels as one of blocks of pixels."""
    to_pixels = np.array([[many, 0, (many - 1) / 2], [0, many, (many - 1) / 2], [0, 0, 1]])
    return np.asarray(np.linalg.inv(to_pixels) @ matrix @ to_pixels)


# -- a matrix from places ------------------------------------------------------------------------------------


def fit(places: Floats, there: Floats, kind: Kind) -> Floats:
    """The matrix (3, 3) that takes places (place, [x, y]) there by least squares."""
    if kind == "shift":
        matrix = np.eye(3)
        matrix[:2, 2] = (there - places).mean(0)
        return matrix
    if kind == "affine":
        design = np.concatenate([places, np.ones((len(places), 1))], 1)
        matrix = np.eye(3)
        matrix[:2] = np.linalg.lstsq(design, there, rcond=None)[0].T
        return matrix
    # In units of the field, so that all nine numbers are of order one.
    middles, sizes = zip(
        *((each.mean(0), np.abs(each - each.mean(0)).max()) for each in (places, there)), strict=True
    )
    a, b = (
        (each - middle) / size for each, middle, size in zip((places, there), middles, sizes, strict=True)
    )
    weight = np.ones(len(a))
    matrix = np.eye(3)
    for _ in range(4):
        rows = []
        for axis in (0, 1):
            row = np.zeros((len(a), 8))
            row[:, 3 * axis : 3 * axis + 3] = np.concatenate([a, np.ones((len(a), 1))], 1)
            row[:, 6:] = -a * b[:, axis, None]
            rows.append(row / weight[:, None])
        target = np.concatenate([b[:, 0] / weight, b[:, 1] / weight])
        matrix = np.append(np.linalg.lstsq(np.concatenate(rows), target, rcond=None)[0], 1.0).reshape(3, 3)
        # Divided by the third number the error is one of places.
        weight = a @ matrix[2, :2] + 1
    ends = [
        np.array([[1, 0, -m[0]], [0, 1, -m[1]], [0, 0, s]]) / s for m, s in zip(middles, sizes, strict=True)
    ]
    whole: Floats = np.linalg.inv(ends[1]) @ matrix @ ends[0]
    return np.asarray(whole / whole[2, 2], np.float64)


def _robust(places: Floats, there: Floats, kind: Kind) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The fit without outliers, and which places it is of."""
    used = np.arange(len(places))
    matrix = np.eye(3)
    for number in range(8):
        fewest = _FEWEST[kind] if number else 3
        if len(used) < fewest:
            raise BurstError(
                f"Only {len(used)} places of the two images agree on a map, and {kind} needs {fewest}: none "
                "was found."
            )
        matrix = fit(places[used], there[used], kind)
        away = np.hypot(*(projected(matrix, places) - there).T)
        # Three quarters of the places agree even in a bad start; later the median does.
        spread = float(np.median(away[used])) / GAUSSIAN_MAD
        now = np.flatnonzero(away <= max(_OUTLIER * spread / 2, 0.05))
        if np.array_equal(now, used):
            break
        used = now
    return matrix, used


def _believed(
    pairs: tuple[Floats, Floats], kind: Kind, method: str, images: tuple[Image, Image], worst_px: float
) -> CameraMap:
    """The map, if places that were not used for it are where it says."""
    places, there = pairs
    total = len(places)
    matrix, used = _robust(places, there, kind)
    places, there = places[used], there[used]
    halves = np.arange(len(places)) % 2 == 0
    missed = []
    for half in (halves, ~halves):
        other = fit(places[half], there[half], kind)
        missed.append(projected(other, places[~half]) - there[~half])
    residual = float(np.sqrt(np.square(np.concatenate(missed)).sum(1).mean()))
    if residual > worst_px or len(places) < total / 2:
        raise BurstError(
            f"No map fits: {len(places)} of {total} places agree, and places that were not used for the fit "
            f"are off by {residual:.2f} px; take images of one moment with more structure, or pinholes."
        )
    return CameraMap(
        matrix=matrix,
        kind=kind,
        residual_px=residual,
        points=len(places),
        method=method,
        wide_shape=(images[0].shape[0], images[0].shape[1]),
        narrow_shape=(images[1].shape[0], images[1].shape[1]),
    )

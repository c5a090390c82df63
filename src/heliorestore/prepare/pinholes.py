"""Spots of pinhole images: their centroids, their lattice, and which is which on two cameras."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.errors import BurstError
from heliorestore.optics.noise import GAUSSIAN_MAD
from heliorestore.prepare.camera_map import CameraMap, Floats

_ABOVE = 8.0  # standard deviations of the noise by which a spot is brighter than the background
_OF_USUAL = 0.25  # of the usual height, below which something is no spot
_MOST_AREA = 0.15  # of the field, in spots: more is no pinhole image
FEWEST = 6  # spots
_ROUNDS = 30  # of the centroids
_OFF_LATTICE = 0.2  # cells by which a spot may be away from its place
_UNEQUAL = 1.08  # ratio of scales along two axes, beyond which it is another lattice vector
_MOST_TURN = 25.0  # degrees from one of the eight orientations
_SMALLEST_OVERLAP = 0.5  # of the smaller number of spots
_MISSED = 3.0  # cost of a spot that should be seen and is not
_SURE = 5.0  # by which the cost of any other assignment is higher
_EQUAL_FLUX = 0.02  # relative accuracy of a spot's flux


@dataclass(frozen=True, eq=False)
class Spots:
    """Centroids (spot, [x, y]) in pixels, fluxes (spot), the radius in which both were measured, and the
    `shape` of the image.
    """

    places: Floats
    fluxes: Floats
    radius: int
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Lattice:
    """Spots `kept` as whole multiples `numbers` (spot, 2) of the columns of `basis` (2, 2) from `origin`."""

    basis: Floats
    origin: Floats
    numbers: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]


def find_spots(image: npt.NDArray[np.floating]) -> Spots | None:
    """The spots of a pinhole image (y, x); None if it shows something else."""
    good = np.isfinite(image)
    level = float(np.median(image[good]))
    values = torch.from_numpy(np.where(good, image, level).astype(np.float32) - level)
    noise = float(values.abs().median()) / GAUSSIAN_MAD
    # The median of 3 x 3 pixels has no hot pixels.
    around = torch.nn.functional.pad(values[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    smooth = around.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2).median(-1).values
    highest = torch.nn.functional.max_pool2d(smooth[None, None], 9, 1, 4)[0, 0]
    peaks = (smooth == highest) & (smooth > max(_ABOVE * noise, 0.02 * float(smooth.max())))
    heights = smooth[peaks]
    if len(heights) < FEWEST:
        return None
    usual = float(heights[heights > _OF_USUAL * heights.max()].median())
    bright = smooth > usual / 2
    peaks &= smooth > _OF_USUAL * usual
    y, x = (each.numpy().astype(np.float64) for each in torch.nonzero(peaks, as_tuple=True))
    if len(y) < FEWEST or float(bright.float().mean()) > _MOST_AREA:
        return None
    # The width of a Gauss function that is above its half in the same area.
    sigma = max(1.0, float(np.sqrt(int(bright.sum()) / len(y) / np.pi) / np.sqrt(2 * np.log(2))))
    radius = int(np.ceil(3 * sigma))
    places, fluxes = _centroids(values.numpy().astype(np.float64), np.stack([x, y], 1), sigma, radius)
    # Two maxima of one spot end in one centroid.
    single = [
        n for n in range(len(places)) if np.hypot(*(places[:n] - places[n]).T).min(initial=99) > radius / 2
    ]
    edge = np.array([image.shape[1], image.shape[0]]) - 1 - radius
    kept = [n for n in single if (places[n] >= radius).all() and (places[n] <= edge).all() and fluxes[n] > 0]
    if len(kept) < FEWEST:
        return None
    return Spots(places[kept], fluxes[kept], radius, (image.shape[0], image.shape[1]))


def _centroids(image: Floats, places: Floats, sigma: float, radius: int) -> tuple[Floats, Floats]:
    """Centroids (spot, [x, y]) under a Gaussian window that moves with them, and fluxes in it."""
    padded = np.pad(image, radius)
    offsets = np.arange(-radius, radius + 1)
    flux = np.zeros(len(places))
    for _ in range(_ROUNDS):
        whole = np.rint(places).astype(int)
        rows = np.clip(whole[:, 1, None] + offsets + radius, 0, padded.shape[0] - 1)
        columns = np.clip(whole[:, 0, None] + offsets + radius, 0, padded.shape[1] - 1)
        pieces = padded[rows[:, :, None], columns[:, None, :]]
        dx, dy = ((whole - places)[:, axis, None] + offsets for axis in (0, 1))
        weighted = pieces * np.exp(-0.5 * (dx[:, None, :] ** 2 + dy[:, :, None] ** 2) / sigma**2)
        flux = weighted.sum((1, 2))
        # Twice: the window draws the centroid halfway back to its own centre.
        step = [
            2 * (weighted * d).sum((1, 2)) / np.where(flux > 0, flux, np.inf)
            for d in (dx[:, None, :], dy[:, :, None])
        ]
        places = places + np.clip(np.stack(step, 1), -1, 1)
    return places, flux


def find_lattice(spots: Spots) -> Lattice | None:
    """The lattice of a grid of spots; None if they are not on one."""
    places = spots.places
    apart = places[None] - places[:, None]
    distance = np.hypot(apart[..., 0], apart[..., 1])
    np.fill_diagonal(distance, np.inf)
    usual = float(np.median(distance.min(1)))
    near = apart[(distance < 1.5 * usual)]
    # Of every vector and its opposite one.
    near = near[(near[:, 0] > 0) | ((near[:, 0] == 0) & (near[:, 1] > 0))]
    first = _most_common(near, usual)
    across = np.abs(near @ [[-first[1]], [first[0]]])[:, 0] / (np.hypot(*first) * np.hypot(*near.T))
    if not (across > 0.5).any():
        return None
    basis = np.stack([first, _most_common(near[across > 0.5], usual)], 1)
    origin = places[np.argmin(np.hypot(*(places - places.mean(0)).T))]
    numbers, reach = np.zeros((len(places), 2), np.int64), 3.0
    kept = np.arange(len(places))
    # From the middle outwards: the basis is not exact enough at once for a count over the whole field.
    while True:
        exact = (places - origin) @ np.linalg.inv(basis).T
        numbers = np.rint(exact).astype(np.int64)
        on = np.abs(exact - numbers).max(1) < _OFF_LATTICE
        inside = np.abs(exact).max(1) <= reach
        kept = np.flatnonzero(on & inside)
        if len(kept) >= FEWEST:
            design = np.concatenate([numbers[kept], np.ones((len(kept), 1))], 1)
            solved = np.linalg.lstsq(design, places[kept], rcond=None)[0]
            basis, origin = solved[:2].T, solved[2]
        if inside.all():
            break
        reach *= 1.5
    if len(kept) < max(FEWEST, 0.7 * len(places)) or len(np.unique(numbers[kept], axis=0)) < len(kept):
        return None
    return Lattice(basis, origin, numbers[kept], kept)


def _most_common(vectors: Floats, usual: float) -> Floats:
    """The mean of the vectors in the largest group of similar ones."""
    close = np.hypot(*(vectors[None] - vectors[:, None]).transpose(2, 0, 1)) < 0.1 * usual
    mean: Floats = vectors[close[np.argmax(close.sum(1))]].mean(0)
    return mean


def pair_spots(wide: Spots, narrow: Spots, near: CameraMap | None) -> tuple[Floats, Floats] | None:
    """Places (spot, [x, y]) of the same spots on both cameras; None if they are on no lattice.

    With a rough map the assignment that is nearest to it is taken.
    """
    lattices = find_lattice(wide), find_lattice(narrow)
    if lattices[0] is None or lattices[1] is None:
        return None
    found = list(_assignments(wide, narrow, lattices[0], lattices[1]))
    if not found:
        raise BurstError(
            "The grids of pinholes of the two cameras do not fit onto each other in any orientation."
        )
    if near is not None:
        away = [float(np.hypot(*(near(wide.places[a]) - narrow.places[b]).T).mean()) for a, b, _ in found]
        best = found[int(np.argmin(away))]
    else:
        best = _surest(found, wide, narrow)
    return wide.places[best[0]], narrow.places[best[1]]


Assignment = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]


def _surest(found: list[Assignment], wide: Spots, narrow: Spots) -> Assignment:
    """The assignment that explains positions and fluxes best, if no other does nearly as well."""
    residuals = [_flux_residuals(wide, narrow, *each[:2]) for each in found]
    spread = max(_EQUAL_FLUX, min(float(np.std(each)) for each in residuals))
    costs = np.array(
        [
            _MISSED * missed + 0.5 * float(np.square(each / spread).sum())
            for each, (_, _, missed) in zip(residuals, found, strict=True)
        ]
    )
    counts = np.array([len(a) for a, _, _ in found])
    order = np.lexsort((-counts, np.rint(costs / counts * 1e6)))
    best = int(order[0])
    worse = costs / counts * counts[best] - costs[best]
    rivals = int((worse < _SURE).sum()) - 1
    if rivals:
        raise BurstError(
            f"The pinholes fit onto each other in {rivals + 1} ways, because a regular grid looks the same "
            "after a turn or a step: give a rough map with --near, for instance one found with the Sun."
        )
    return found[best]


def _flux_residuals(wide: Spots, narrow: Spots, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> Floats:
    """Logarithm of the ratio of fluxes of paired spots, without a plane: illumination may differ."""
    ratio = np.log(narrow.fluxes[b] / wide.fluxes[a])
    design = np.concatenate([wide.places[a], np.ones((len(a), 1))], 1)
    return np.asarray(ratio - design @ np.linalg.lstsq(design, ratio, rcond=None)[0])


def _assignments(wide: Spots, narrow: Spots, one: Lattice, two: Lattice) -> Iterator[Assignment]:
    """Numbers of paired spots of both cameras, and of spots that should have a partner and have none."""
    there = {tuple(number): spot for number, spot in zip(two.numbers.tolist(), two.kept, strict=True)}
    low, high = two.numbers.min(0), two.numbers.max(0)
    for turn in _turns(one, two):
        turned = one.numbers @ turn.T
        first, last = low - turned.max(0), high - turned.min(0)
        for step in itertools.product(*(range(a, b + 1) for a, b in zip(first, last, strict=True))):
            partners = [there.get(tuple(number), -1) for number in (turned + step).tolist()]
            spots = np.array(partners)
            seen = spots >= 0
            if seen.sum() < max(FEWEST, _SMALLEST_OVERLAP * min(len(one.kept), len(two.kept))):
                continue
            pairs = one.kept[seen], spots[seen]
            yield *pairs, _missed(wide, narrow, pairs) + _missed(narrow, wide, pairs[::-1])


def _turns(one: Lattice, two: Lattice) -> Iterator[npt.NDArray[np.int64]]:
    """Matrices of whole numbers that take one lattice to the other by a rotation, a mirror and a scale."""
    for entries in itertools.product((-1, 0, 1), repeat=4):
        turn = np.array(entries).reshape(2, 2)
        if abs(round(float(np.linalg.det(turn)))) != 1:
            continue
        linear = two.basis @ turn @ np.linalg.inv(one.basis)
        scales = np.linalg.svd(linear, compute_uv=False)
        angle = np.degrees(np.arctan2(linear[1, 0], linear[0, 0]))
        if scales[0] / scales[1] < _UNEQUAL and abs((angle + 45) % 90 - 45) < _MOST_TURN:
            yield turn


def _missed(here: Spots, there: Spots, pairs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]) -> int:
    """How many spots without a partner should have one, because their place is in the other field."""
    alone = np.setdiff1d(np.arange(len(here.places)), pairs[0])
    design = np.concatenate([here.places[pairs[0]], np.ones((len(pairs[0]), 1))], 1)
    solved = np.linalg.lstsq(design, there.places[pairs[1]], rcond=None)[0]
    expected = np.concatenate([here.places[alone], np.ones((len(alone), 1))], 1) @ solved
    edge = np.array([there.shape[1], there.shape[0]]) - 1
    margin = there.radius + 2
    return int(((expected > margin) & (expected < edge - margin)).all(1).sum())

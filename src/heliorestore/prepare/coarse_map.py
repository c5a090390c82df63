"""A first map between two images in any of eight orientations, from where parts of one are in the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch

from heliorestore.prepare.camera_map import Floats

_COARSE = 256  # pixels along a side in which the search is done
_PART = 64  # pixels along a side of the parts that are searched for
_PARTS = 4  # along a side
_LOOSE = (3.0, 0.12)  # pixels, and fraction of the distance, by which two parts may disagree
_LIKE = 0.3  # correlation of a part that counts
_FEWEST = 4  # parts that agree

ORIENTATIONS = [
    np.array([[x, 0.0], [0.0, y]]) @ np.linalg.matrix_power(np.array([[0.0, 1.0], [1.0, 0.0]]), swap)
    for swap, y, x in itertools.product((0, 1), (1, -1), (1, -1))
]
"""Matrices (2, 2) of the eight ways in which a camera may be mounted."""

_TURNS = (0.0, 7.0, -7.0)  # degrees
_STRETCHES = (1.25, 0.8, 1.55, 0.645)


def coarse_maps(wide: torch.Tensor, narrow: torch.Tensor, scale: float | None) -> Iterator[Floats]:
    """Matrices (3, 3) from pixels of `wide` to those of `narrow`, the most probable of each search.

    `scale` is the number of pixels of `narrow` in one of `wide`, if it is known. The first search is without
    a rotation, then come some rotations, and some scales if none is known.
    """
    many = -(-max(*wide.shape, *narrow.shape) // _COARSE)
    coarse = [_smooth(image, many) for image in (wide, narrow)]
    searches = [
        [(turn, scale or 1.0) for turn in _TURNS[:1]],
        [(turn, scale or 1.0) for turn in _TURNS[1:]],
        [] if scale else [(0.0, stretch) for stretch in _STRETCHES],
    ]
    to_pixels = np.array([[many, 0, (many - 1) / 2], [0, many, (many - 1) / 2], [0, 0, 1]])
    for search in searches:
        found = [
            _matched(coarse[0], coarse[1], stretch * _rotation(turn) @ orientation)
            for turn, stretch in search
            for orientation in ORIENTATIONS
        ]
        best = max(found, key=lambda each: each[0], default=(0.0, np.eye(3)))
        if best[0] > 0:
            yield to_pixels @ best[1] @ np.linalg.inv(to_pixels)


def _rotation(degrees: float) -> Floats:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _smooth(image: torch.Tensor, many: int) -> torch.Tensor:
    """Means over blocks of pixels, bad ones at the mean of all."""
    rows, columns = (n // many * many for n in image.shape)
    blocks = image[:rows, :columns].reshape(rows // many, many, columns // many, many).nanmean((1, 3))
    return torch.where(torch.isfinite(blocks), blocks, blocks.nanmean())


def _matched(wide: torch.Tensor, narrow: torch.Tensor, linear: Floats) -> tuple[float, Floats]:
    """How well the images agree with that linear part (2, 2), and the map (3, 3) with the best offset."""
    # The narrow image as the wide camera would see it, on a field that holds all of it.
    ends = np.array(list(itertools.product((0, narrow.shape[1] - 1), (0, narrow.shape[0] - 1))), float)
    corners = ends @ np.linalg.inv(linear).T
    first = np.floor(corners.min(0))
    columns, rows = (np.ceil(corners.max(0)) - first + 1).astype(int).tolist()
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1) + first
    seen = _seen(narrow, torch.from_numpy(grid @ linear.T))
    size = min(_PART, min(wide.shape) // 2, rows, columns)
    if size < 12:
        return 0.0, np.eye(3)
    tops, lefts = (np.linspace(0, n - size, _PARTS).astype(int).tolist() for n in wide.shape)
    corners_wide = list(itertools.product(tops, lefts))
    parts = torch.stack([wide[y : y + size, x : x + size] for y, x in corners_wide])
    offsets, like = _peaks(parts, seen)
    # By how much each part is displaced, [x, y]: where it was found less where it was.
    moved = offsets + first - np.array(corners_wide, float)[:, ::-1]
    score, matrix = _agreed(moved, np.array(corners_wide, float)[:, ::-1] + (size - 1) / 2, like)
    whole = np.eye(3)
    whole[:2, :2] = linear
    return score, whole @ matrix


def _seen(image: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """The image at places (y, x, [x, y]), linearly interpolated, NaN outside: enough for a search."""
    unit = 2 * at.float() / torch.tensor([image.shape[1] - 1, image.shape[0] - 1]) - 1
    values = torch.nn.functional.grid_sample(image[None, None].float(), unit[None], align_corners=True)[0, 0]
    return torch.where((unit.abs() <= 1).all(-1), values, torch.nan)


def _peaks(parts: torch.Tensor, image: torch.Tensor) -> tuple[Floats, Floats]:
    """Where (part, [x, y]) each of `parts` (part, y, x) is in an image, and its correlation there."""
    size = parts.shape[-1]
    known = torch.isfinite(image).float()
    filled = torch.where(known > 0, image, 0.0)
    parts = parts - parts.mean((1, 2), keepdim=True)
    parts = parts / parts.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1e-20)
    # To a size whose transform is fast.
    shape = [-(-n // 32) * 32 for n in image.shape]
    spectrum = torch.fft.rfft2(filled, s=shape)
    products = torch.fft.irfft2(spectrum * torch.fft.rfft2(parts, s=shape).conj(), s=shape)
    last = [n - size + 1 for n in image.shape]
    products = products[:, : last[0], : last[1]]
    counts, sums, squares = (
        torch.nn.functional.avg_pool2d(each.double()[None, None], size, 1)[0, 0] * size**2
        for each in (known, filled, filled.square())
    )
    # The deviation of the image within each place of the part.
    spread = (squares - sums.square() / counts.clamp(min=1)).clamp(min=1e-12).sqrt().float()
    like = torch.where(counts > 0.7 * size**2, products / spread, -1.0).flatten(1)
    best = like.argmax(1)
    places = torch.stack([best % last[1], best // last[1]], 1).double().numpy()
    return places, like.max(1).values.double().numpy()


def _agreed(moved: Floats, places: Floats, like: Floats) -> tuple[float, Floats]:
    """The summed correlations of parts whose displacements agree, 0 if too few do, and their map (3, 3)."""
    away = np.hypot(*(moved[None] - moved[:, None]).transpose(2, 0, 1))
    apart = np.hypot(*(places[None] - places[:, None]).transpose(2, 0, 1))
    agree = (away <= _LOOSE[0] + _LOOSE[1] * apart) & (like > _LIKE)
    scores = (agree * like).sum(1)
    best = int(np.argmax(scores))
    kept = agree[best]
    matrix = np.eye(3)
    matrix[:2, 2] = np.median(moved[kept], 0) if kept.any() else 0.0
    for _ in range(2):
        design = np.concatenate([places[kept], np.ones((int(kept.sum()), 1))], 1)
        if kept.sum() < _FEWEST or np.linalg.matrix_rank(design) < 3:
            break
        plane = np.linalg.lstsq(design, moved[kept], rcond=None)[0]
        matrix[:2] = np.eye(3)[:2] + plane.T
        left = moved - places @ plane[:2] - plane[2]
        kept = kept & (np.hypot(*left.T) <= _LOOSE[0])
    return (float((kept * like).sum()) if kept.sum() >= _FEWEST else 0.0), matrix

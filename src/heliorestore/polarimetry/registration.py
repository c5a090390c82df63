"""Restored states brought onto one another before they are subtracted.

What moves or blurs one state and not the next becomes polarised light that does not exist, with the shape of
the intensity's gradient and of its fine structure. Both are measured between images of one scene: a state's
anchor, the wide band restored from the state's frames alone, and the wide band restored from all. Around
every pixel a few parameters (a displacement, the strength of some filters) bring the one onto the other, by
least squares; they act on the state alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.optics.filters import filter_grid, filtered, frequency
from heliorestore.prepare.destretch import Distortion, local
from heliorestore.prepare.interpolation import values_at

Images = npt.NDArray[np.floating]

_AROUND = 8.0  # px, sigma of the surroundings in which parameters are one
_MOVES, _BLURS = 2, 2  # rounds: each sees what the linear approximation took from the last
_BLUR, _WIDE_BLUR, _ODD = 1.5, 4.0, 2.0  # px, sigmas of the filters
_FIRM = 1e-4  # of a parameter's own information, for places without structure


@dataclass(frozen=True, eq=False)
class Registered:
    """States (state, y, x) on one another; `moved_px` is the rms of what displaced them along an axis,
    `blurred` the rms of what else was changed, in units of the reference's standard deviation.
    """

    states: Images
    moved_px: float
    blurred: float


def registered(states: Images, seen: Images, reference: Images, *, filters: bool = True) -> Registered:
    """Bring states (state, y, x) onto the reference (y, x) as images `seen` (state, y, x) of the same frames
    are brought onto it; `filters` also makes them equally sharp.
    """
    target = _filled(_tensor(reference))
    moved, blurred, found = [], [], []
    for state, image in zip(states, seen, strict=True):
        bad = ~np.isfinite(state)
        one, other = _filled(_tensor(state)), _filled(_tensor(image))
        displacement = _displacement(other, target)
        one, other = (_displaced(each, displacement) for each in (one, other))
        before = one
        for _ in range(_BLURS if filters else 0):
            strengths = _fitted(other, target, _filters)
            one, other = (each + _sum(strengths, _filters(each)) for each in (one, other))
        moved.append(float(displacement.square().mean()))
        blurred.append(float((one - before).square().mean()))
        found.append(np.where(bad, np.nan, one.numpy()))
    scale = float(target.std()) or 1.0
    return Registered(
        np.stack(found), math.sqrt(float(np.mean(moved))), math.sqrt(float(np.mean(blurred))) / scale
    )


def _displacement(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Displacements ([y, x], y, x) in pixels of an image (y, x) from the target: by correlation first, then
    by least squares to a small fraction of a pixel.
    """
    shape = (image.shape[0], image.shape[1])
    coarse = Distortion(local(image[None].float(), target[None].float())[None], shape)
    found = coarse.everywhere(0).double()
    for _ in range(_MOVES):
        found = found + _fitted(_displaced(image, found), target, _gradient)
    return found


def _displaced(image: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """The image without displacements ([y, x], y, x): what it shows at p + d belongs in p."""
    rows, columns = image.shape
    y = torch.arange(rows, dtype=image.dtype)[:, None] + displacement[0]
    x = torch.arange(columns, dtype=image.dtype)[None, :] + displacement[1]
    return values_at(image, y.clamp(0, rows - 1), x.clamp(0, columns - 1))


def _gradient(image: torch.Tensor) -> torch.Tensor:
    return torch.stack(torch.gradient(image))


def _filters(image: torch.Tensor) -> torch.Tensor:
    """By what a little of some filters changes an image: (filter, y, x). None of them changes a constant."""
    slopes = _gradient(image)
    return torch.cat(
        [
            slopes,
            (_smooth(image, _BLUR) - image)[None],
            (_smooth(image, _WIDE_BLUR) - image)[None],
            _smooth(slopes, _ODD) - slopes,
        ]
    )


def _fitted(
    image: torch.Tensor, target: torch.Tensor, changes_of: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The strengths (change, y, x) with which changes (change, y, x) bring the image onto the target."""
    changes = changes_of(image)
    products = _smooth(changes[:, None] * changes[None], _AROUND).permute(2, 3, 0, 1)
    wanted = _smooth(changes * (target - image), _AROUND).permute(1, 2, 0)
    own = torch.diagonal(products, dim1=-2, dim2=-1).clamp(min=1e-30)
    firm = products + torch.diag_embed(_FIRM * own + 1e-12 * own.mean())
    solved: torch.Tensor = torch.linalg.solve(firm, wanted)
    return solved.permute(2, 0, 1)


def _sum(strengths: torch.Tensor, changes: torch.Tensor) -> torch.Tensor:
    return (strengths * changes).sum(0)


def _smooth(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Images (..., y, x) under a Gaussian, continued by their mirror images."""
    rows, columns = images.shape[-2:]
    frequencies = frequency(filter_grid((rows, columns))).to(images.dtype)
    return filtered(images, torch.exp(-2 * (math.pi * sigma * frequencies).square()))


def _tensor(image: Images) -> torch.Tensor:
    return torch.from_numpy(np.array(image, np.float64))


def _filled(image: torch.Tensor) -> torch.Tensor:
    good = torch.isfinite(image)
    return torch.where(good, image, image[good].mean())

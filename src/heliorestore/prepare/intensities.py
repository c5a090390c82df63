"""How bright the frames of a burst are relative to each other: clouds and exposures, which are not the
wavefront's doing.

Seeing moves light about: it stretches a spot in one frame and narrows it in the next, so that the mean of a
field of 256 pixels changes by half a per cent with nothing having become brighter. So frames are compared
where the image is flat.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

# pixels along a side of what is averaged, and from one to the next: seeing blurs less than that
_BLOCK, _EVERY = 12, 4
_MOVED = 1.0  # pixels by which seeing displaces a place
_LEVEL = 1e-3  # of the mean: how well a place without any gradient is trusted
_ROUNDS = 3  # the mean of the frames is made again with what was found
_REGULAR = 0.1  # a frame whose intensity differs by more from the usual one says nothing of the burst's


def relative_intensities(
    read: Callable[[int, int], torch.Tensor], objects: int, frames: int
) -> npt.NDArray[np.float64]:
    """Intensities (object, frame) of the images (y, x) that `read` gives of an object and a frame, 1 for what
    most frames have.

    With blocks of pixels d of a frame and m of the mean of all, s = sum(w m d) / sum(w m^2) over the blocks
    that both know, with the weights w = 1 / (_MOVED^2 |grad m|^2 + _LEVEL^2) that least squares gives to
    blocks that moved a little.
    """
    found = np.ones((objects, frames))
    for object_ in range(objects):
        blocks = torch.stack([_blocks(read(object_, frame)) for frame in range(frames)])
        levels = blocks.flatten(1).nanmean(1)
        if not float(levels.median()) > 0:
            continue  # no intensity: whoever needs one says so
        for _ in range(_ROUNDS):
            levels = levels * _ratios(blocks / levels[:, None, None])
        regular = (levels / levels.median() - 1).abs() <= _REGULAR
        found[object_] = (levels / levels[regular].mean()).numpy()
    return found


def _ratios(blocks: torch.Tensor) -> torch.Tensor:
    """By how much each of the frames (frame, y, x), given in blocks, is brighter than their mean."""
    mean = blocks.nanmean(0)
    weights = 1 / (_MOVED**2 * _steepness(mean) + _LEVEL**2)
    known = torch.isfinite(blocks) & torch.isfinite(weights)
    seen, expected = (
        torch.where(known, weights * mean * values, 0.0).sum((1, 2))
        for values in (blocks, mean.expand_as(blocks))
    )
    return torch.where(expected > 0, seen / expected, 1.0)


def _blocks(image: torch.Tensor) -> torch.Tensor:
    """Means of the pixels in overlapping blocks of an image (y, x); NaN where less than half of them are
    good.
    """
    side = min(_BLOCK, *image.shape)
    good = torch.isfinite(image)
    filled = torch.where(good, image, 0.0)
    total, share = (
        torch.nn.functional.avg_pool2d(part[None, None], side, _EVERY)[0, 0]
        for part in (filled, good.to(image.dtype))
    )
    return torch.where(share >= 0.5, total / share, torch.nan).double()


def _steepness(image: torch.Tensor) -> torch.Tensor:
    """The squared gradient per pixel of an image (y, x) of blocks; 0 along an axis that has but one."""
    steep = torch.zeros_like(image)
    for axis in (0, 1):
        if image.shape[axis] > 1:
            (slope,) = torch.gradient(image, spacing=float(_EVERY), dim=axis)
            steep += slope.square()
    return steep

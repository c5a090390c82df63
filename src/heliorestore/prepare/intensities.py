"""The relative brightness of the frames of a burst: clouds and exposures, which no wavefront explains.

Seeing redistributes light: it stretches a spot in one frame and narrows it in the next, so that the mean of a
field of 256 pixels changes by half a per cent although nothing has become brighter. So frames are compared
where the image is flat.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

# side of the averaged blocks, and distance from one to the next, in pixels: seeing blurs less than that
_BLOCK, _EVERY = 12, 4
_MOVED = 1.0  # pixels by which seeing displaces a place
_LEVEL = 1e-3  # of the mean: uncertainty of a place without any gradient
_ROUNDS = 3  # the mean of the frames is computed again with the new intensities
_REGULAR = 0.1  # a frame whose intensity differs by more from the median does not count for the burst's level


def relative_intensities(
    read: Callable[[int, int], torch.Tensor],
    objects: int,
    frames: int,
    present: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Intensities (object, frame) of the images (y, x) that `read` gives for an object and a frame, 1 for
    most frames, and where an image is not `present`.

    With blocks of pixels d of a frame and m of the mean of all, s = sum(w m d) / sum(w m^2) over the blocks
    that are good in both, with the weights w = 1 / (_MOVED^2 |grad m|^2 + _LEVEL^2) that least squares gives
    to blocks that moved a little.
    """
    found = np.ones((objects, frames))
    for object_ in range(objects):
        shown = np.arange(frames) if present is None else np.flatnonzero(present[object_])
        blocks = torch.stack([_blocks(read(object_, int(frame))) for frame in shown])
        levels = blocks.flatten(1).nanmean(1)  # (frame)
        if not float(levels.median()) > 0:
            continue  # no intensity: a method that needs one reports it
        for _ in range(_ROUNDS):
            levels = levels * _ratios(blocks / levels[:, None, None])
        regular = (levels / levels.median() - 1).abs() <= _REGULAR
        found[object_, shown] = (levels / levels[regular].mean()).numpy()
    return found


def _ratios(blocks: torch.Tensor) -> torch.Tensor:
    """Brightness of each of the frames (frame, y, x), given in blocks, relative to their mean."""
    mean = blocks.nanmean(0)
    weights = 1 / (_MOVED**2 * _steepness(mean) + _LEVEL**2)
    known = torch.isfinite(blocks) & torch.isfinite(weights)
    # sum(w m d) and sum(w m^2). A block beside a bad one has no gradient and so no weight.
    seen, expected = (
        torch.where(known, weights * mean * values, 0.0).sum((1, 2))
        for values in (blocks, mean.expand_as(blocks))
    )
    return torch.where(expected > 0, seen / expected, 1.0)


def _blocks(image: torch.Tensor) -> torch.Tensor:
    """Means of the pixels in overlapping blocks of an image (y, x); NaN if less than half are good."""
    side = min(_BLOCK, *image.shape)
    good = torch.isfinite(image)
    filled = torch.where(good, image, 0.0)
    total, share = (
        torch.nn.functional.avg_pool2d(part[None, None], side, _EVERY)[0, 0]
        for part in (filled, good.to(image.dtype))
    )
    return torch.where(share >= 0.5, total / share, torch.nan).double()


def _steepness(image: torch.Tensor) -> torch.Tensor:
    """The squared gradient per pixel of an image (y, x) of blocks; 0 along an axis with a single block."""
    steep = torch.zeros_like(image)
    for axis in (0, 1):
        if image.shape[axis] > 1:
            (slope,) = torch.gradient(image, spacing=float(_EVERY), dim=axis)
            steep += slope.square()
    return steep

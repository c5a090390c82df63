"""The mean of a burst's frames, and its noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import BurstError
from heliorestore.optics.noise import estimate_sigma
from heliorestore.prepare.spikes import in_words, without_spikes


@dataclass(frozen=True, eq=False)
class Average:
    """The mean of each object's frames (object, y, x), NaN where none is good, its sigma (object), and what
    was left out of it, in words.
    """

    images: FloatArray
    sigmas: FloatArray
    messages: tuple[str, ...] = ()


def average_frames(burst: Burst, *, points: bool = False) -> Average:
    """The mean of the frames; those of one value all over, as a camera that failed writes them, are left out
    where others show something, and values that stand alone, unless the image is one of `points`.
    """
    means, messages, spikes = [], [], 0
    for object_ in range(burst.shape[0]):
        total, count, blank, alone = _sum(burst, object_, range(burst.shape[1]), points=points)
        spikes += alone
        if blank and count.any():
            messages.append(
                f"{burst.labels[object_]}: {'frames' if len(blank) > 1 else 'frame'} "
                f"{', '.join(map(str, blank))} left out of the mean, because all pixels have one value."
            )
        elif blank:
            total, count, *_ = _sum(burst, object_, blank, points=points, all_alike=True)
        if not count.any():
            raise BurstError(f"{burst.labels[object_]} has no valid pixel: every value is NaN.")
        means.append(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))
    return Average(
        np.array(means, np.float32),
        np.array([estimate_sigma(mean) for mean in means], np.float32),
        (*messages, *in_words(spikes)),
    )


def _sum(
    burst: Burst, object_: int, frames: Iterable[int], *, points: bool, all_alike: bool = False
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32], list[int], int]:
    """Sum and number of good values of some frames, those of one value all over, which are in the sum only if
    `all_alike`, and how many values stood alone.
    """
    # Frame by frame in double precision: the burst need not fit into memory.
    total, count = np.zeros(burst.shape[2:], np.float64), np.zeros(burst.shape[2:], np.int32)
    blank, spikes = [], 0
    for frame in frames:
        image, alone = burst.image(object_, frame), 0
        if not points:
            image, alone = without_spikes(image)
        spikes += alone
        good = np.isfinite(image)
        values = image[good]
        if values.size > 1 and values.min() == values.max():
            blank.append(frame)
            if not all_alike:
                continue
        total[good] += values
        count += good
    return total, count, blank, spikes

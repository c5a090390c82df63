"""The mean of a burst's frames, and its noise."""

from __future__ import annotations

import numpy as np

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import BurstError
from heliorestore.optics.noise import estimate_sigma


def average_frames(burst: Burst) -> tuple[FloatArray, FloatArray]:
    """The mean of each object's frames (object, y, x), NaN where none is good, and its sigma (object)."""
    means, sigmas = [], []
    for object_ in range(burst.shape[0]):
        # Frame by frame in double precision: the burst need not fit into memory.
        total = np.zeros(burst.shape[2:], np.float64)
        count = np.zeros(burst.shape[2:], np.int32)
        for frame in range(burst.shape[1]):
            image = burst.image(object_, frame)
            good = np.isfinite(image)
            total[good] += image[good]
            count += good
        if not count.any():
            raise BurstError(f"{burst.labels[object_]} has no valid pixel: every value is NaN.")
        mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        means.append(mean)
        sigmas.append(estimate_sigma(mean))
    return np.array(means, np.float32), np.array(sigmas, np.float32)

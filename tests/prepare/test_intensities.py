"""Frames brighter or fainter than the others are brought to one intensity."""

import numpy as np
import torch

from heliorestore.prepare.intensities import relative_intensities
from heliorestore.samples import sample_path


def test_intensities_are_found_where_the_image_is_flat() -> None:
    """A spot is stretched by the air: the mean of the field changes by half a per cent, and no frame was
    brighter."""
    import heliorestore

    sample = heliorestore.read(sample_path("sunspot_burst.fits"))
    frames = np.asarray(sample.frames[:, :])
    means = frames.mean((2, 3)) / frames.mean((1, 2, 3))[:, None]
    factors = 1 + 0.02 * np.sin(np.arange(12))
    factors /= factors.mean()
    found = relative_intensities(lambda k, f: torch.from_numpy(frames[k, f] * np.float32(factors[f])), 2, 12)
    error, of_means = found / factors - 1, means - 1
    assert np.abs(error).max() < 4e-3
    assert (error.std(1) < 0.5 * of_means.std(1)).all()

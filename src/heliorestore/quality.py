"""Numbers that say how good an image is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def contrast(image: npt.NDArray[np.floating]) -> float:
    """Standard deviation over mean of the valid pixels of an image (y, x)."""
    values = np.asarray(image, dtype=np.float64)
    return float(np.nanstd(values) / np.nanmean(values))

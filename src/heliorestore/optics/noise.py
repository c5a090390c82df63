"""Estimates of the noise from the image itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_GAUSSIAN_MAD = 0.6744897501960817  # median |x| of a unit Gaussian


def estimate_sigma(image: npt.NDArray[np.floating]) -> float:
    """Standard deviation of white noise in an image (y, x); NaN pixels are left out, 0 where too few are left.

    The median modulus of the product of two second differences, which no plane or gentle curve reaches
    (Immerkaer 1996, doi:10.1006/cviu.1996.0060, made robust by the median).
    """
    if min(image.shape) < 3:
        return 0.0
    values = np.asarray(image, dtype=np.float64)
    rows = values[:-2] - 2 * values[1:-1] + values[2:]
    rough = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    rough = np.abs(rough[np.isfinite(rough)])
    return float(np.median(rough) / (6 * _GAUSSIAN_MAD)) if rough.size else 0.0

"""Contrast limits of images: those that enclose most pixels, and symmetric ones of signed quantities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.methods.denoising.polarisation import stokes_of
from heliorestore.quality.metrics import is_signed

DIVERGING = "coolwarm"
"""The colour map of signed quantities."""

COOLWARM = [
    "3b4cc0",
    "4e68d8",
    "6282ea",
    "779af7",
    "8db0fe",
    "a3c2fe",
    "b9d0f9",
    "ccd9ed",
    "dddcdc",
    "ecd3c5",
    "f5c4ac",
    "f7b093",
    "f4987a",
    "eb7d62",
    "dd5f4b",
    "ca3b37",
    "b40426",
]
"""Its colours at equal distances, whose steps are equal to the eye: Moreland 2009,
https://doi.org/10.1007/978-3-642-10520-3_9. Under this name napari would find one that is paler."""

_ENCLOSED = 99.0  # percent of the pixels between the contrast limits
_SAMPLES = 512  # pixels along an axis that are sampled for the contrast limits, fewer of each map of a stack


def cuts(image: npt.NDArray[Any], percent: float = _ENCLOSED) -> tuple[float, float]:
    """Contrast limits that enclose so many percent of the pixels; NaN and infinity are ignored."""
    values = finite_sample(image)
    return apart(*np.percentile(values, (50 - percent / 2, 50 + percent / 2))) if values.size else (0.0, 1.0)


def apart(low: float, high: float) -> tuple[float, float]:
    """Contrast limits, moved apart where they are equal."""
    room = 0.0 if high > low else 0.5 * max(abs(low), 1e-6)
    return float(low) - room, float(high) + room


def symmetric_cuts(image: npt.NDArray[Any]) -> tuple[float, float]:
    """Contrast limits around zero, for maps that have a sign."""
    values = finite_sample(image)
    high = float(np.percentile(np.abs(values), 50 + _ENCLOSED / 2)) if values.size else 0.0
    return (-high, high) if high > 0 else (-1.0, 1.0)


def finite_sample(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Every n-th pixel of all images in a stack: enough for a percentile, not for the extremes."""
    side = max(1, round(_SAMPLES / math.sqrt(max(1, math.prod(image.shape[:-2])))))
    rows, columns = (slice(None, None, max(1, n // side)) for n in image.shape[-2:])
    sample = np.asarray(image[..., rows, columns])
    return sample[np.isfinite(sample)]


def shows_signs(label: str, image: npt.NDArray[Any]) -> bool:
    """Whether an image of an object is one around zero: by its Stokes parameter, or a sample of its
    pixels.
    """
    return stokes_of(label) in ("Q", "U", "V") or is_signed(finite_sample(image))


def first_look(image: npt.NDArray[Any], signed: bool) -> dict[str, Any]:
    """Contrast limits and colour map of an image, as layer arguments."""
    return {
        "contrast_limits": symmetric_cuts(image) if signed else cuts(image),
        "colormap": DIVERGING if signed else "gray",
    }

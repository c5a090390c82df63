"""Values that stand alone, as no telescope shows the Sun: hits of cosmic rays, hot and defective pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.optics.noise import estimate_sigma
from heliorestore.selection import Frames

Places = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Rows and columns."""

# Of the light around, which is that of the third of its neighbours: a streak has two. In the image of a point
# of light, sampled as finely as it must be, four neighbours have half of its height. Only where such a point
# stands on a black sky are its rings streaks too.
_FAR = 1.5
_THIRD = 5  # of eight in order
_SIGMAS = 20.0  # of the noise, also where few photons make it
_ACROSS = 3  # pixels: narrower images have no neighbours
_SAMPLES = 64  # along an axis, for the level of the light
_LEAST = 0.05  # the share of an intensity image that may be around zero, such as sky beyond the limb
_AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]


def spikes(image: npt.NDArray[np.floating]) -> Places:
    """Places of values that stand alone in an intensity image (y, x); none in one of values around zero.

    One is far from the level of the image and, as far, from the brightest three of its neighbours or the
    darkest three.
    """
    sample = image[tuple(slice(None, None, max(1, n // _SAMPLES)) for n in image.shape)]
    sample = sample[np.isfinite(sample)].astype(np.float64)
    none = np.empty(0, np.intp)
    if min(image.shape) < _ACROSS or not sample.size or not np.quantile(sample, _LEAST) > 0:
        return none, none
    level = float(np.median(sample))
    with np.errstate(over="ignore"):
        rows, columns = np.nonzero(np.abs(image - np.float32(level)) > _FAR * level)
    if not rows.size:
        return none, none
    last_row, last_column = (n - 1 for n in image.shape)
    near = [  # mirrored at the borders
        image[last_row - abs(last_row - abs(rows + y)), last_column - abs(last_column - abs(columns + x))]
        for y, x in _AROUND
    ]
    known = np.stack(near).astype(np.float64)
    known = np.sort(np.where(np.isfinite(known), known, level), axis=0)
    values = image[rows, columns].astype(np.float64)
    light = np.where(values > level, known[_THIRD], known[-1 - _THIRD])
    away = np.abs(values - light)
    least = np.maximum(_FAR * np.maximum(np.abs(light), level), _SIGMAS * estimate_sigma(image))
    return rows[away > least], columns[away > least]


def without_spikes(image: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.float32], int]:
    """The image with NaN in the place of values that stand alone, and how many they are."""
    found = spikes(image)
    if not found[0].size:
        return np.asarray(image, np.float32), 0
    cleaned = np.array(image, np.float32)
    cleaned[found] = np.nan
    return cleaned, found[0].size


def in_words(count: int) -> tuple[str, ...]:
    """What is said of so many of them."""
    said = f"Taken as bad, because they stand alone as cosmic rays and hot pixels do: {count} values."
    return (said,) if count else ()


@dataclass(eq=False)
class WithoutSpikes:
    """Frames (object, frame, y, x), read when wanted, with NaN in the place of values that stand alone.

    They are looked for in the whole image when any part of it is read for the first time.
    """

    frames: Frames
    _found: dict[tuple[int, int], Places] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.frames.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def count(self) -> int:
        """How many there are in the images that were read."""
        return sum(len(rows) for rows, _ in self._found.values())

    def __getitem__(self, key: Any, /) -> npt.NDArray[np.float32]:
        """An image (object, frame), or some rows and columns of it."""
        object_, frame, *part = key
        if (object_, frame) not in self._found:
            self._found[object_, frame] = spikes(np.asarray(self.frames[object_, frame]))
        rows, columns = self._found[object_, frame]
        image = np.array(self.frames[key], np.float32)
        if rows.size:
            wrong = np.zeros(self.shape[2:], bool)
            wrong[rows, columns] = True
            image[wrong[tuple(part)]] = np.nan
        return image

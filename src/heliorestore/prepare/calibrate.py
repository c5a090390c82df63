"""The camera's calibration of raw frames when they are read: dark, flat field or gain, bad pixels.

image = (frame - dark) / flat, or (frame - dark) * gain; NaN where the pixel is bad. A flat has a mean of 1
over its good pixels, so that intensities keep their level; a gain is taken as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits.reader import read_burst
from heliorestore.optics.noise import GAUSSIAN_MAD
from heliorestore.preparation import Preparation
from heliorestore.selection import Frames

Mask = npt.NDArray[np.bool_]

_NAN = np.float32(np.nan)
_ALIKE = 0.1  # relative difference of exposure times that is not worth a word
_EXPOSURES = ("XPOSURE", "EXPTIME")
_FAINTEST = 0.1  # of the flat's median: a pixel with less light cannot be corrected
_UNLIKE = 2.0  # ratio to the neighbours in the flat, upwards or downwards: dust and fringes stay below it
_HOT = 50.0  # standard deviations above the neighbours in the dark: what is hot beyond doubt
_LEAST = 1e-3  # of the dark: its standard deviation, if its pixels are as good as equal
_ROWS = 256  # whose neighbours are compared at once, which bounds the memory
# Beyond the pixels next to it, since defects touch each other.
_AROUND = [(dy, dx) for dy in (-2, 0, 2) for dx in (-2, 0, 2) if dy or dx]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Frames (object, frame, y, x) that are calibrated when they are sliced: (frame - dark) * gain.

    dark and gain (object, y, x) have one entry for each object, or one for all; NaN marks bad pixels.
    """

    frames: Frames
    dark: FloatArray
    gain: FloatArray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.frames.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)

    def __getitem__(self, key: Any) -> Any:
        # Both are seen as long as the burst, without any copy: the same key picks the same pixels.
        dark, gain = (np.broadcast_to(each[:, None], self.shape)[key] for each in (self.dark, self.gain))
        return (np.asarray(self.frames[key], np.float32) - dark) * gain


def calibrated(burst: Burst, preparation: Preparation) -> Burst:
    """The burst with its frames calibrated when they are read; the calibration files are read now.

    Its messages say how many pixels are bad, and what does not fit.
    """
    if preparation.flat and preparation.gain:
        raise SettingsError(
            "Both a flat field and a gain are given: a gain is the inverse of a flat, so give one of them."
        )
    if not any((preparation.dark, preparation.flat, preparation.gain, preparation.bad_pixels)):
        return burst
    dark, flat, gain, marked = (
        _Master.read(text, what, burst) if text else None
        for text, what in (
            (preparation.dark, "dark"),
            (preparation.flat, "flat field"),
            (preparation.gain, "gain"),
            (preparation.bad_pixels, "map of bad pixels"),
        )
    )
    given = [each for each in (dark, flat, gain, marked) if each is not None]
    darks = np.zeros((1, *burst.shape[2:]), np.float32)
    if dark is not None:
        darks = np.array([_without_hot(image) for image in dark.images])
    cameras = range(max(len(each.images) for each in given))
    gains = np.array([
        _gain(_of(darks, k), *(_of(each.images, k) if each else None for each in (flat, gain, marked)))
        for k in cameras
    ])  # fmt: skip
    bad = np.isnan(darks + gains)
    if (name := next((burst.labels[k] for k in cameras if bad[k].all()), None)) is not None:
        raise BurstError(f"The calibration leaves no good pixel of {name}: look at {given[-1].name}.")
    said = (*(each.note for each in given if each.note), *_unlike(burst, dark, flat), *_counted(burst, bad))
    frames = Calibrated(burst.frames, darks, gains)
    return dataclasses.replace(burst, frames=frames, messages=burst.messages + said)


# -- the files -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Master:
    """A calibration file's mean images (object, y, x), one for each object of a burst or one for all."""

    name: str
    images: FloatArray
    burst: Burst
    note: str = ""

    @classmethod
    def read(cls, text: str, what: str, frames: Burst) -> _Master:
        """Read a file of one image, of one for each object, or of many frames, which are averaged."""
        path = Preparation(dark=text).files()["dark"]
        if path.is_dir():
            raise BurstError(f"The {what} {path} is a folder: give one file, so that it can be recorded.")
        found, name, note = read_burst(path), f"the {what} {path.name}", ""
        size, wanted = found.shape[2:], frames.shape[2:]
        if size != wanted:
            raise BurstError(
                f"The {what} {path} has {size[1]} x {size[0]} pixels and the frames have {wanted[1]} x "
                f"{wanted[0]}: it must be of the same camera and the same part of it."
            )
        if found.shape[:2] == (1, frames.shape[0]) and frames.shape[0] > 1:
            headers = found.headers * frames.shape[0]
            found = Burst(frames=found.frames[0][:, None], headers=headers, unit=found.unit)
            note = f"The images of {name} were taken as one for each of the {frames.shape[0]} objects."
        if found.shape[0] not in (1, frames.shape[0]):
            raise BurstError(
                f"The {what} {path} has {found.shape[0]} objects and the burst {frames.shape[0]}: there must "
                "be one for each of them, or one for all."
            )
        images = np.array([_mean(found, object_) for object_ in range(found.shape[0])])
        return cls(name, images, found, note)


def _of(images: FloatArray, object_: int) -> FloatArray:
    """The image (y, x) for an object, of one for each or of one for all."""
    image: FloatArray = images[min(object_, len(images) - 1)]
    return image


def _mean(burst: Burst, object_: int) -> FloatArray:
    """The mean of an object's frames (y, x), NaN where none is good."""
    total, count = np.zeros((2, *burst.shape[2:]))
    for frame in range(burst.shape[1]):
        image = burst.image(object_, frame)
        good = np.isfinite(image)
        total += np.where(good, image, 0.0)
        count += good
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0).astype(np.float32)


# -- pixels: those that are bad become NaN -------------------------------------------------------------------


def _without_hot(dark: FloatArray) -> FloatArray:
    """A dark (y, x) without the pixels that are far above their neighbours."""
    excess = dark - _neighbours(dark)
    known = np.abs(excess[np.isfinite(excess)])
    spread = float(np.median(known)) / GAUSSIAN_MAD if known.size else 0.0
    least = _LEAST * abs(_median(dark))
    return np.where(excess > _HOT * max(spread, least), _NAN, dark)


def _gain(
    dark: FloatArray, flat: FloatArray | None, gain: FloatArray | None, marks: FloatArray | None
) -> FloatArray:
    """The factor (y, x) by which a camera's frames without the dark are multiplied."""
    good = np.ones_like(dark) if marks is None else np.where(marks == 0, np.float32(1), _NAN)
    if flat is not None:
        return _inverse((flat - dark) * good)
    return good if gain is None else good * np.where(gain > 0, gain, _NAN)


def _inverse(light: FloatArray) -> FloatArray:
    """The gain of a flat (y, x) without the dark: its mean over the good pixels divided by it.

    Pixels are good that are neither dead nor dark nor unlike their neighbours.
    """
    around = _neighbours(light)
    good = (light > around / _UNLIKE) & (light < around * _UNLIKE)  # False where it is NaN
    good &= (light > 0) & (light > _FAINTEST * _median(light))
    mean = np.mean(light, where=good, dtype=np.float64) if good.any() else 1.0
    return np.divide(np.float32(mean), light, out=np.full_like(light, _NAN), where=good)


def _median(image: FloatArray) -> float:
    """The median of the pixels that are known, 0 if none is."""
    return float(np.nanmedian(image)) if np.isfinite(image).any() else 0.0


def _neighbours(image: FloatArray) -> FloatArray:
    """The median of eight pixels around each, two pixels away; of the whole image where one is unknown."""
    rows, columns = image.shape
    filled = np.where(np.isfinite(image), image, np.float32(_median(image)))
    padded = np.pad(filled, 2, mode="symmetric")
    found = np.empty_like(image)
    for first in range(0, rows, _ROWS):
        last = min(first + _ROWS, rows)
        around = [padded[first + 2 + dy : last + 2 + dy, 2 + dx : 2 + dx + columns] for dy, dx in _AROUND]
        found[first:last] = np.median(np.stack(around, axis=-1), axis=-1)
    return found


# -- messages ------------------------------------------------------------------------------------------------


def _counted(burst: Burst, bad: Mask) -> Iterator[str]:
    """How many pixels are bad, if any."""
    for label, wrong in zip(burst.labels, bad, strict=False):
        if wrong.any():
            of = f" of {label}" if len(bad) > 1 else ""
            number = int(wrong.sum())
            pixels = f"{number} pixel{'s' * (number != 1)}{of}"
            yield f"The calibration marks {pixels} as bad, {100 * wrong.mean():.2g} %."


def _unlike(burst: Burst, dark: _Master | None, flat: _Master | None) -> Iterator[str]:
    """Where the dark does not fit the frames, or the flat, from which it is taken off."""
    if dark is None:
        return
    own = _exposure(dark.burst)
    for other, what in ((burst, "the frames"), (flat.burst if flat else None, "the flat field")):
        seconds = None if other is None else _exposure(other)
        if own and seconds and abs(own / seconds - 1) > _ALIKE:
            yield f"The dark was exposed for {own:.4g} s and {what} for {seconds:.4g} s."
    if burst.unit and dark.burst.unit and burst.unit != dark.burst.unit:
        yield f"The dark is in {dark.burst.unit} and the frames are in {burst.unit}."


def _exposure(burst: Burst) -> float | None:
    """The exposure time in the first header, None if it has none."""
    values = [burst.headers[0].get(key) for key in _EXPOSURES] if burst.headers else []
    return next((float(value) for value in values if isinstance(value, (int, float)) and value > 0), None)

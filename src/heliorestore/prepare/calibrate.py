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

    dark and gain (object, y, x) have one entry for each object, or one for all; gain is NaN where the pixel
    is bad.
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
    cameras = max(len(each.images) for each in given)
    plane = (cameras, *burst.shape[2:])
    offset = np.zeros(plane, np.float32) if dark is None else np.broadcast_to(dark.images, plane)
    bad: Mask = np.zeros(plane, bool) if marked is None else np.broadcast_to(marked.images != 0, plane)
    bad = bad | ~np.isfinite(offset)
    if dark is not None:
        bad |= np.array([_hot(image) for image in dark.images])
    factor = np.ones(plane, np.float32)
    if gain is not None:
        bad |= ~(gain.images > 0)  # also NaN
        factor = np.broadcast_to(gain.images, plane)
    if flat is not None:
        light = flat.images - offset
        bad |= np.array([_unusable(image) for image in light])
        factor = np.array([_inverse(image, wrong) for image, wrong in zip(light, bad, strict=True)])
    if (name := next((burst.labels[k] for k, wrong in enumerate(bad) if wrong.all()), None)) is not None:
        raise BurstError(f"The calibration leaves no good pixel of {name}: look at {given[-1].name}.")
    frames = Calibrated(burst.frames, offset, np.where(bad, np.float32(np.nan), factor))
    said = (*(each.note for each in given if each.note), *_unlike(burst, dark, flat), *_counted(burst, bad))
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
        return cls(name, _means(found), found, note)


def _means(burst: Burst) -> FloatArray:
    """The mean of each object's frames (object, y, x), NaN where none is good."""
    total, count = np.zeros((2, burst.shape[0], *burst.shape[2:]))
    for object_, _, image in burst.images():
        good = np.isfinite(image)
        total[object_] += np.where(good, image, 0.0)
        count[object_] += good
    means = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return means.astype(np.float32)


# -- pixels --------------------------------------------------------------------------------------------------


def _hot(dark: FloatArray) -> Mask:
    """Pixels whose dark signal is far above that of their neighbours."""
    excess = dark - _neighbours(dark)
    known = excess[np.isfinite(excess)]
    spread = float(np.median(np.abs(known))) / GAUSSIAN_MAD if known.size else 0.0
    least = _LEAST * abs(float(np.nanmedian(dark))) if known.size else 0.0
    return np.asarray(excess > _HOT * max(spread, least))


def _unusable(light: FloatArray) -> Mask:
    """Pixels of a flat without the dark that are dead, dark, or unlike their neighbours."""
    around = _neighbours(light)
    usual = np.nanmedian(light) if np.isfinite(light).any() else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = (light > around / _UNLIKE) & (light < around * _UNLIKE)
    return ~(np.isfinite(light) & (light > 0) & (light > _FAINTEST * usual) & alike)


def _inverse(light: FloatArray, bad: Mask) -> FloatArray:
    """The gain of a flat without the dark: its mean over the good pixels divided by it."""
    good = ~bad
    mean = np.mean(light, where=good, dtype=np.float64) if good.any() else 1.0
    return np.divide(np.float32(mean), light, out=np.ones_like(light), where=good)


def _neighbours(image: FloatArray) -> FloatArray:
    """The median of eight pixels around each, two pixels away; of the whole image where one is unknown."""
    rows, columns = image.shape
    usual = float(np.nanmedian(image)) if np.isfinite(image).any() else 0.0
    padded = np.pad(np.where(np.isfinite(image), image, np.float32(usual)), 2, mode="symmetric")
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

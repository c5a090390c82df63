"""The components of a series of polarised light: Stokes parameters, wavelengths, and the noise of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import SettingsError
from heliorestore.optics.noise import GAUSSIAN_MAD

_STOKES = ("I", "Q", "U", "V")
_PAIRS = 3  # of neighbouring frames from which the noise is measured
# Of the spread of an image: single precision resolves no noise beside a value that is farther from the
# others, and a network or a Gaussian would carry it over the image.
_REACH = 1e6
_BOX = 9  # pixels: slower variations are no noise
_BRIGHT = 2.0  # an image whose median exceeds this many standard deviations is an intensity


@dataclass(frozen=True, eq=False)
class Light:
    """One object: its Stokes parameter if labelled, its `noise` (sigma), median, and signal over noise; and
    what no value can be away from the median by.
    """

    stokes: str
    noise: float
    level: float
    strength: float
    reach: float = np.inf

    @property
    def is_intensity(self) -> bool:
        """Whether this is an intensity: polarisation has both signs."""
        return self.stokes == "I" or (
            not self.stokes and abs(self.level) > _BRIGHT * max(self.strength, 1.0) * self.noise
        )

    def is_none(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """Which values no light can have."""
        return np.asarray(np.abs(values - np.float32(self.level)) > self.reach)


def no_light(count: int) -> tuple[str, ...]:
    """What is said of so many values that no light can have."""
    said = f"Too far from all others to be light, and taken as bad pixels: {count} values."
    return (said,) if count else ()


def stokes_of(label: str) -> str:
    """I, Q, U or V if a label ends with it, as those of cubes with a STOKES axis do; else empty."""
    last = label.replace(",", " ").split()[-1:]
    return last[0] if last and last[0] in _STOKES else ""


def spectra(burst: Burst) -> list[tuple[int, ...]]:
    """The objects of every Stokes parameter by wavelength; a SettingsError where some are missing."""
    groups: dict[str, list[int]] = {}
    for number, label in enumerate(burst.labels):
        groups.setdefault(stokes_of(label), []).append(number)
    waves = [_wave(burst, number) for number in range(burst.shape[0])]
    # Neighbouring channels of the network are then neighbouring wavelengths.
    found = {stokes: sorted(numbers, key=lambda k: waves[k] or 0.0) for stokes, numbers in groups.items()}
    sampled = {tuple(waves[k] for k in numbers) for numbers in found.values()}
    if (
        len(sampled) != 1
        or len(next(iter(sampled))) < 2
        or len(set(next(iter(sampled)))) != len(next(iter(sampled)))
    ):
        listed = "; ".join(f"{stokes or 'unnamed'}: {len(numbers)}" for stokes, numbers in found.items())
        raise SettingsError(
            "Spectra need the same wavelengths, at least two, for every Stokes parameter; this burst "
            f"has {listed}. A cube whose CTYPEs are WAVE and STOKES has them; --objects can choose "
            "parts of it."
        )
    return [tuple(numbers) for numbers in found.values()]


def _wave(burst: Burst, number: int) -> float | None:
    """The wavelength of an object in nm, by its coordinates or else by its instrument."""
    known = burst.coordinates[number] if burst.coordinates else None
    if known is None or known.wavelength_nm is None:
        return burst.instruments[number].wavelength_nm
    return known.wavelength_nm + (known.offset_pm or 0.0) / 1000


def light_of(burst: Burst, number: int) -> Light:
    """Measure an object; its noise is the difference of neighbouring frames or, in one frame, pixels."""
    count = burst.shape[1]
    first = next(showing(burst, number), None)
    if first is None:
        raise SettingsError(
            f"{burst.labels[number]} shows nothing, because its frames have no value, or one all over: leave "
            "it out (--objects)."
        )
    found = []
    for begin in sorted({0, (count - 1) // 2, max(count - 2, 0)})[:_PAIRS]:
        pair = list(islice(showing(burst, number, begin), 2))
        if len(pair) == 2:  # A difference has the noise of two frames.
            found.append(_deviation(pair[1] - pair[0]) / np.sqrt(2))
    # The median of several pairs: one with a jump in seeing or pointing does not count.
    noise = float(np.median(found)) if found else _deviation(_detail(first))
    if not noise > 0:
        raise SettingsError(
            f"{burst.labels[number]} shows no noise, because neighbouring frames, or pixels, are equal: "
            "leave it out (--objects)."
        )
    good = first[np.isfinite(first)]
    level = float(np.median(good))
    reach = _REACH * max(_deviation(good), noise)
    # The noise is part of the spread: subtracted below.
    spread = float(np.sqrt(np.mean((good[np.abs(good - level) < reach] - level) ** 2)))
    strength = float(np.sqrt(max((spread / noise) ** 2 - 1, 0)))
    return Light(stokes_of(burst.labels[number]), noise, level, strength, reach)


def showing(burst: Burst, number: int, begin: int = 0) -> Iterator[npt.NDArray[np.float64]]:
    """The images of an object from a frame on, without those that have no value, or one all over, as a camera
    that failed writes them.
    """
    for frame in range(begin, burst.shape[1]):
        image = burst.image(number, frame).astype(np.float64)
        good = image[np.isfinite(image)]
        if good.size and good.min() < good.max():
            yield image


def block_means(residual: npt.NDArray[np.floating], side: int = 16) -> npt.NDArray[np.float64]:
    """Means (y, x) over squares of `side` pixels; for white noise of sigma s their rms is s / side."""
    rows, columns = (n // side * side for n in residual.shape)
    blocks = np.asarray(residual[:rows, :columns], np.float64).reshape(
        rows // side, side, columns // side, side
    )
    return np.asarray(blocks.mean((1, 3)))


def statistics(residual: FloatArray, noise: float, side: int = 16) -> dict[str, float]:
    """Statistics of a residual (y, x): its deviation relative to the noise, and the rms of its local means
    relative to pure noise's.

    Where structure was removed, the local means exceed 1; those of correlated noise do too.
    """
    # Noise averages out over a block, structure that was removed with it does not.
    means = block_means(residual, side)
    means = means[np.isfinite(means)]
    values = residual[np.isfinite(residual)]
    facts = {"residual_sigma": float(values.std()) / noise} if values.size else {}
    return facts | (
        {"residual_local_mean": float(np.sqrt(np.mean(means**2))) * side / noise} if means.size else {}
    )


def _deviation(values: npt.NDArray[np.float64]) -> float:
    """Sigma of the noise from the median modulus, which signals in a minority of pixels do not change."""
    good = values[np.isfinite(values)]
    return float(np.median(np.abs(good - np.median(good)))) / GAUSSIAN_MAD if good.size else 0.0


def _detail(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """An image minus its mean over the good pixels around each; white noise keeps its sigma."""
    side = min(_BOX, *(n if n % 2 else n - 1 for n in image.shape))
    good = np.isfinite(image)
    values, count = _box_sums(np.where(good, image, 0.0), side), _box_sums(good.astype(np.float64), side)
    # The mean of n pixels contains the pixel itself: subtracting it leaves (n - 1) / n of the variance.
    return np.asarray((image - values / np.maximum(count, 1.0)) * np.sqrt(side**2 / max(side**2 - 1, 1)))


def _box_sums(image: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """Sums over a square of `side` pixels (odd) around every pixel of an image continued by reflection."""
    total = np.pad(image, side // 2, mode="symmetric")
    for axis in (0, 1):
        # Running sums: the cost does not depend on the size of the box.
        running = np.cumsum(total, axis=axis)
        running = np.insert(running, 0, 0.0, axis=axis)
        count = running.shape[axis] - side
        total = np.take(running, range(side, side + count), axis=axis) - np.take(
            running, range(count), axis=axis
        )
    return np.asarray(total)

"""A series of restorations at one place and one level: field rotation, registration, destretching and gain.

All of it is measured on one leading object, the wide band if there is one, and done to every object of the
same restoration. An image is interpolated once, whatever is done to it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import FloatArray
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits.cube import Cube, Restoration, is_wide
from heliorestore.optics.convolve import interpolate
from heliorestore.prepare.destretch import Distortion, local, sample
from heliorestore.prepare.intensities import relative_intensities
from heliorestore.quality.metrics import contrast, registered
from heliorestore.settings import Settings, option

Floats = npt.NDArray[np.float64]

_RECENT = 4  # restorations whose mean is the reference of the next one
_NEAR = 4  # neighbours on either side to which a restoration is destretched
_ROUNDS = 3  # of destretching: the first mean is blurred by the displacements that it should show
_FLATTEST = 0.5  # of the usual contrast: flatter restorations do not enter a reference
_UNLIKE = 0.7  # of the usual correlation with the reference: below it likewise
_LOST = 0.4  # correlation below which a measured shift means nothing


@dataclass(frozen=True, kw_only=True)
class SeriesSettings(Settings):
    """What is taken off a series of restorations."""

    method: ClassVar[str] = "cube"

    align: bool = option(
        False, help="Register every restoration to those before it, to a fraction of a pixel."
    )
    destretch: bool = option(
        False, help="Take off local displacements from the mean of the neighbours in time; slow motions stay."
    )
    derotate: str = option(
        "", help="Take off the rotation of the field: `header`, or degrees per second, counterclockwise."
    )
    gain: bool = option(False, help="Bring all restorations to one intensity of the flat parts of the image.")
    same_contrast: bool = option(
        False, help="Bring all restorations to the median contrast of the leading object."
    )

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return self != type(self)()


@dataclass(frozen=True, eq=False)
class Motion:
    """How one restoration lies: turned by `angle` [rad] about its middle, then moved by `shift` (y, x) and
    displaced at the nodes ([y, x], gy, gx), in pixels; `gain` and `contrast` are factors of its intensities.
    """

    angle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    displacements: torch.Tensor | None = None
    gain: float = 1.0
    contrast: float = 1.0

    def taken_off(self, image: FloatArray) -> FloatArray:
        """The image (y, x) without all this; NaN where it shows nothing."""
        if not self.still:
            image = self._moved(torch.from_numpy(np.ascontiguousarray(image, np.float32))).numpy()
        if (self.gain, self.contrast) == (1.0, 1.0):
            return image
        values = image / np.float32(self.gain)
        mean = np.nanmean(values, dtype=np.float64)
        return np.asarray(mean + self.contrast * (values - mean), np.float32)

    @property
    def still(self) -> bool:
        """Whether no pixel moves."""
        return self.angle == 0 and self.shift == (0, 0) and self.displacements is None

    def _moved(self, image: torch.Tensor) -> torch.Tensor:
        rows, columns = shape = (int(image.shape[0]), int(image.shape[1]))
        y, x = torch.meshgrid(
            torch.arange(rows) - self.shift[0], torch.arange(columns) - self.shift[1], indexing="ij"
        )
        if self.displacements is not None:
            fine = interpolate(self.displacements, shape, Distortion.step)
            y, x = y + fine[0], x + fine[1]
        middle = (rows - 1) / 2, (columns - 1) / 2
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        v, u = y - middle[0], x - middle[1]
        y, x = middle[0] + sin * u + cos * v, middle[1] + cos * u - sin * v
        seen = (y > -0.5) & (y < rows - 0.5) & (x > -0.5) & (x < columns - 0.5)
        return torch.where(seen, sample(image, y.float(), x.float()), math.nan)


def steady(cube: Cube, settings: SeriesSettings) -> Cube:
    """The cube with its restorations at one place and one level, and how each was changed in `series`."""
    if not settings.changes:
        return cube
    if len(cube.restorations) < 2:
        raise BurstError("A series has at least two restorations; there is one.")
    series = _Series(cube.restorations, _leading(cube))
    if settings.derotate:
        series.derotate(settings.derotate)
    if settings.align:
        series.align()
    if settings.destretch:
        for _ in range(_ROUNDS):
            series.destretch()
    if settings.gain:
        series.level()
    if settings.same_contrast:
        series.same_contrast()
    return dataclasses.replace(
        cube,
        restorations=series.result(aligned=settings.align),
        parameters=dataclasses.asdict(settings),
        series=series.columns(),
        messages=(*cube.messages, *series.in_words()),
    )


def _leading(cube: Cube) -> list[int]:
    """The object of each restoration on which everything is measured: the wide band, or one that all have."""
    every = cube.restorations
    wide = [next((n for n, label in enumerate(each.labels) if is_wide(label)), None) for each in every]
    if all(n is not None for n in wide):
        return [n for n in wide if n is not None]
    names = [
        [(label, i.wavelength_nm) for label, i in zip(each.labels, each.instruments, strict=True)]
        for each in every
    ]
    common = [name for name in names[0] if all(name in own for own in names)]
    if not common:
        raise BurstError(
            "The files have no object in common on which a series could be measured: restore the wide band "
            "with each, or make a cube of each wavelength."
        )
    return [own.index(common[0]) for own in names]


class _Series:
    """What is known so far of the motions of restorations, each seen in its leading object."""

    def __init__(self, restorations: Sequence[Restoration], leading: Sequence[int]) -> None:
        self.restorations = restorations
        self.raw = [partial(each.image, n) for each, n in zip(restorations, leading, strict=True)]
        self.motions = [Motion()] * len(restorations)
        self.contrasts = np.array([contrast(read()) for read in self.raw])
        usual = float(np.nanmedian(self.contrasts))
        self.good = np.isfinite(self.contrasts) & (self.contrasts > _FLATTEST * usual)

    def seen(self, number: int) -> FloatArray:
        """The leading object without what is known so far."""
        return self.motions[number].taken_off(self.raw[number]())

    def derotate(self, how: str) -> None:
        """Turn every image to the orientation of the middle one."""
        for number, angle in enumerate(_angles(self.restorations, how)):
            self.motions[number] = dataclasses.replace(self.motions[number], angle=angle)

    def align(self) -> None:
        """Shift every image onto the mean of the last good ones, from the best one on to both ends."""
        start = int(np.nanargmax(np.where(self.good, self.contrasts, -1)))
        likeness: list[float] = []
        lost: list[int] = []
        for way in (range(start + 1, len(self.raw)), range(start - 1, -1, -1)):
            recent = [self.seen(start)]
            for number in way:
                image, reference = self.seen(number), _mean(recent)
                shift, moved = registered(image, reference)
                alike = _correlation(moved, reference)
                usual = float(np.median(likeness)) if likeness else alike
                if alike < max(_UNLIKE * usual, _LOST):
                    self.good[number] = False
                if alike < _LOST:
                    lost.append(number)
                    continue
                self.motions[number] = dataclasses.replace(self.motions[number], shift=shift)
                if self.good[number]:
                    likeness.append(alike)
                    recent = [*recent[1 - _RECENT :], self.seen(number)]
        self._interpolate(lost)

    def _interpolate(self, lost: Sequence[int]) -> None:
        """Images that resemble nothing get the shift that their neighbours suggest."""
        known = [n for n in range(len(self.raw)) if n not in lost]
        shifts = np.array([self.motions[n].shift for n in known])
        for number in lost:
            y, x = (float(np.interp(number, known, shifts[:, axis])) for axis in (0, 1))
            self.motions[number] = dataclasses.replace(self.motions[number], shift=(y, x))

    def destretch(self) -> None:
        """Measure local displacements from what the good neighbours in time show, whose steady motion is no
        displacement.
        """
        images: dict[int, torch.Tensor] = {}
        found = {}
        for number in range(len(self.raw)):
            near = range(max(0, number - _NEAR), min(len(self.raw), number + _NEAR + 1))
            images = {n: images[n] if n in images else _whole(self.seen(n)) for n in near}
            good = [n for n in near if self.good[n] and n != number]
            if good and self.good[number]:
                weights = torch.from_numpy(_at(number, good)).float()
                reference = (weights[:, None, None] * torch.stack([images[n] for n in good])).sum(0)
                found[number] = local(images[number][None], reference[None])
        for number, displacements in found.items():
            before = self.motions[number].displacements
            # Small displacements add up: reading through their sum interpolates once, not twice.
            total = displacements if before is None else before + displacements
            self.motions[number] = dataclasses.replace(self.motions[number], displacements=total)

    def level(self) -> None:
        """Find the brightness of every image in flat parts; an unlike one is compared by its median."""
        good = [n for n in range(len(self.raw)) if self.good[n]]
        images = {n: torch.from_numpy(self.seen(n)) for n in good}
        gains = dict(
            zip(good, relative_intensities(lambda _, n: images[good[n]], 1, len(good))[0], strict=True)
        )
        median = float(np.median([images[n].nanmedian() / gains[n] for n in good]))
        for number in range(len(self.raw)):
            gain = gains.get(number) or float(np.nanmedian(self.seen(number))) / median
            self.motions[number] = dataclasses.replace(self.motions[number], gain=float(gain))

    def same_contrast(self) -> None:
        """Bring every image to the median contrast."""
        usual = float(np.median(self.contrasts[self.good]))
        for number, own in enumerate(self.contrasts):
            factor = usual / float(own) if own > 0 else 1.0
            self.motions[number] = dataclasses.replace(self.motions[number], contrast=factor)

    def result(self, *, aligned: bool) -> tuple[Restoration, ...]:
        """The restorations as they are now, with their places on the sky."""
        reference = self.restorations[int(np.nanargmax(np.where(self.good, self.contrasts, -1)))]
        return tuple(
            dataclasses.replace(
                each,
                image=partial(_changed, each.image, motion),
                corners=reference.corners if aligned else _turned(each, motion.angle),
            )
            for each, motion in zip(self.restorations, self.motions, strict=True)
        )

    def columns(self) -> dict[str, list[object]]:
        """What was done to each restoration, for a table."""
        moves = [motion.displacements for motion in self.motions]
        return {
            "FILE": [each.source.path.name for each in self.restorations],
            "ANGLE_DEG": [math.degrees(motion.angle) for motion in self.motions],
            "SHIFT_Y": [motion.shift[0] for motion in self.motions],
            "SHIFT_X": [motion.shift[1] for motion in self.motions],
            "STRETCH": [0.0 if m is None else float(m.square().mean().sqrt()) for m in moves],
            "GAIN": [motion.gain for motion in self.motions],
            "CONTRAST": [float(value) for value in self.contrasts],
            "REFERENCE": [int(good) for good in self.good],
        }

    def in_words(self) -> tuple[str, ...]:
        """What was found, in sentences."""
        low, high = np.nanmin(self.contrasts), np.nanmax(self.contrasts)
        found = [f"The contrast of the leading object goes from {low:.2%} to {high:.2%}."]
        if not self.good.all():
            names = ", ".join(
                each.source.path.name
                for each, good in zip(self.restorations, self.good, strict=True)
                if not good
            )
            found.append(f"Not used as reference, because flat or unlike the others: {names}.")
        gains = [motion.gain for motion in self.motions]
        if np.ptp(gains):
            found.append(f"The intensity differed by {np.ptp(gains):.2%} peak to peak.")
        shifts = np.array([motion.shift for motion in self.motions])
        if shifts.any():
            found.append(f"Shifts reach {np.abs(shifts).max():.2f} pixels along an axis.")
        return tuple(found)


def _at(time: int, times: Sequence[int]) -> Floats:
    """The weights with which values at some times give that of a straight line through them at another: their
    mean, if they lie around it evenly.
    """
    away = np.array(times, float) - np.mean(times)
    spread = float((away**2).sum())
    slope = (time - float(np.mean(times))) * away / spread if spread else 0 * away
    return np.asarray(1 / len(times) + slope)


def _changed(image: Callable[[int], FloatArray], motion: Motion, object_: int) -> FloatArray:
    return motion.taken_off(image(object_))


def _mean(images: Sequence[FloatArray]) -> FloatArray:
    """The mean of images where all of them show something."""
    return np.asarray(np.mean(images, axis=0), np.float32)


def _whole(image: FloatArray) -> torch.Tensor:
    """An image with its mean where it shows nothing."""
    return torch.from_numpy(np.where(np.isfinite(image), image, np.nanmean(image)).astype(np.float32))


def _correlation(moved: Floats, reference: FloatArray) -> float:
    """The correlation of the inner part of an image with the same part of a reference."""
    border = [(whole - part) // 2 for whole, part in zip(reference.shape, moved.shape, strict=True)]
    inner = reference[border[0] : border[0] + moved.shape[0], border[1] : border[1] + moved.shape[1]]
    seen = np.isfinite(moved) & np.isfinite(inner)
    if seen.sum() < 2:
        return 0.0
    return float(np.nan_to_num(np.corrcoef(moved[seen], inner[seen])[0, 1]))


def _angles(restorations: Sequence[Restoration], how: str) -> list[float]:
    """By how much [rad] each field is turned against that of the middle restoration."""
    middle = restorations[len(restorations) // 2]
    if how == "header":
        unknown = next((each for each in restorations if each.corners is None), None)
        if unknown is not None:
            raise BurstError(
                f"{unknown.source.path} does not say how its field lies on the sky: give the rotation in "
                "degrees per second, for instance --derotate 0.004."
            )
        turned = [np.linalg.solve(_plane(each), _plane(middle)) for each in restorations]
        return [math.atan2(a[1, 0] - a[0, 1], a[0, 0] + a[1, 1]) for a in turned]
    try:
        rate = math.radians(float(how))
    except ValueError:
        raise SettingsError(f"derotate is {how!r}; it must be header, or degrees per second.") from None
    if any(np.isnat(each.middle) for each in restorations):
        raise BurstError(
            "The times of the restorations are unknown: a rotation per second cannot be taken off."
        )
    return [rate * float((each.middle - middle.middle) / np.timedelta64(1, "s")) for each in restorations]


def _plane(each: Restoration) -> Floats:
    """The change ([longitude, latitude], [x, y]) of the place on the sky over the field, per pixel."""
    assert each.corners is not None
    along_x = (each.corners[:, 1] - each.corners[:, 0]).mean(0) / (each.shape[1] - 1)
    along_y = (each.corners[1] - each.corners[0]).mean(0) / (each.shape[0] - 1)
    return np.stack([along_x, along_y], -1)


def _turned(each: Restoration, angle: float) -> Floats | None:
    """The corners of the field once it is turned back by an angle about its middle."""
    if each.corners is None or not angle:
        return each.corners
    x, y = (np.array([-0.5, 0.5]) * (n - 1) for n in each.shape[::-1])
    pixels = np.stack(np.meshgrid(x, y), -1)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    corners: Floats = each.corners.mean((0, 1)) + pixels @ (_plane(each) @ turn).T
    return corners

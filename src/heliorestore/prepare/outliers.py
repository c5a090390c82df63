"""Frames that would spoil a restoration: empty, dark, without structure, or of another scene than the others.

One such frame displaces the mean to which the others are aligned, and enters the fit with the weight of a
good one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heliorestore.prepare.align import LowFrequencies

_VALID = 0.5  # fraction of the others' good pixels that a frame must have
_MOST_UNLIKE = 3.0  # times brighter or darker than the others: beyond that it is another scene
_FLATTEST = 0.2  # of the others' contrast: seeing alone reduces large scales less
# Correlations with the rest of the burst: where most frames have the first, one with less than the second
# shows another scene.
_ALIKE, _UNLIKE = 0.8, 0.42
_FEWEST = 4  # frames: with fewer no majority shows what the scene is

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Selection:
    """Numbers of the frames used, their displacements (frame, [y, x]) in pixels, why others are not."""

    used: tuple[int, ...]
    shifts: npt.NDArray[np.int64]
    reasons: Mapping[int, str]


def select(seen: LowFrequencies) -> Selection:
    """Leave out outliers: frames that are bad in themselves, then those that resemble none."""
    reasons: dict[int, str] = {}
    used = list(range(seen.means.shape[1]))
    for criterion in (_valid, _bright, _structured):
        if used:
            reasons |= criterion(seen, used)
            used = [frame for frame in used if frame not in reasons]
    shifts = seen.only(used).shifts() if used else np.zeros((0, 2), np.int64)
    if len(used) >= _FEWEST:
        reasons |= _alike(seen.only(used), used, shifts)
        if any(frame in reasons for frame in used):
            used = [frame for frame in used if frame not in reasons]
            shifts = seen.only(used).shifts()
    return Selection(tuple(used), shifts, dict(sorted(reasons.items())))


def _valid(seen: LowFrequencies, used: Sequence[int]) -> dict[int, str]:
    good = _shown(seen, seen.good, used)
    least = _VALID * _usual(good)

    def say(share: float, _: float) -> str:
        return "no valid pixel" if share == 0 else f"only {_percent(share)} of its pixels are valid"

    return _left_out(good, (good > 0) & (good >= least), used, say)


def _bright(seen: LowFrequencies, used: Sequence[int]) -> dict[int, str]:
    means = _shown(seen, seen.means, used)
    usual = np.array([[np.median(row[row > 0]) if (row > 0).any() else 1.0] for row in means])
    fitting = (means > usual / _MOST_UNLIKE) & (means < usual * _MOST_UNLIKE)
    # an object without any light is another matter than a frame without
    if not (means > 0).any(axis=1).all():
        return {}
    return _left_out(
        means, fitting, used, lambda mean, usual: f"its mean is {mean / usual:.3g} times the others'"
    )


def _structured(seen: LowFrequencies, used: Sequence[int]) -> dict[int, str]:
    contrasts = _shown(seen, seen.contrasts(), used)
    fitting = contrasts >= _FLATTEST * _usual(contrasts)
    return _left_out(
        contrasts,
        fitting,
        used,
        lambda own, usual: f"its contrast is {_percent(own)}, the others' {_percent(usual)}",
    )


def _alike(seen: LowFrequencies, used: Sequence[int], shifts: npt.NDArray[np.int64]) -> dict[int, str]:
    alike = _shown(seen, seen.likeness(shifts), range(len(used)))
    fitting = (alike >= _UNLIKE) | (_usual(alike) < _ALIKE)
    return _left_out(
        alike,
        fitting,
        used,
        lambda own, usual: f"its correlation with the others is {own:.2f}, theirs {usual:.2f}",
    )


def _shown(seen: LowFrequencies, values: Array, used: Sequence[int]) -> Array:
    """Values (object, frame) of the images of the frames used, NaN where one is missing."""
    numbers = list(used)
    return np.where(seen.missing[:, numbers], np.nan, values[:, numbers])


def _usual(values: Array) -> Array:
    """The median (object, 1) of values (object, frame) of images that are not missing."""
    return np.array([[np.median(row[~np.isnan(row)]) if (~np.isnan(row)).any() else 0.0] for row in values])


def _left_out(
    values: Array, fitting: npt.NDArray[np.bool_], used: Sequence[int], say: Callable[[float, float], str]
) -> dict[int, str]:
    """The frames that do not fit in one object at least, each with the reason of the first such object;
    missing images have no value and cannot be wrong.
    """
    found, fitting = {}, fitting | np.isnan(values)
    for place in np.flatnonzero(~fitting.all(axis=0)).tolist():
        object_ = int(np.flatnonzero(~fitting[:, place])[0])
        others = values[object_][fitting[object_] & ~np.isnan(values[object_])]
        usual = float(np.median(others)) if len(others) else 1.0
        found[used[place]] = say(float(values[object_, place]), usual)
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"

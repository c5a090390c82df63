"""Intensity that has leaked into Q, U and V: fitted where there is no polarised light, and taken off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heliorestore.errors import RestorationError

Floats = npt.NDArray[np.float64]

_ROUNDS = 12
_WEAK = 2.5  # sigmas, beyond which a pixel has a signal of its own
_FEWEST = 100  # pixels without signal
_BORDER = 0.04  # of the field, left out: restorations know it badly


@dataclass(frozen=True, eq=False)
class Crosstalk:
    """What leaks from I into one parameter: `offset` of its mean and `intensity` times I - <I>, fitted in
    `weak` pixels (y, x).

    `moved` is the rms over these pixels, in units of <I>, of what is explained by I's gradient, and `rms`
    that of all that I and its gradient explain: the sign of states that were not registered or not equally
    sharp.
    """

    offset: float
    intensity: float
    rms: float
    moved: float
    weak: npt.NDArray[np.bool_]

    def removed(self, image: Floats, intensity: Floats) -> Floats:
        """The image (y, x) without the offset and what follows I; the gradient's part stays."""
        mean = float(np.nanmean(intensity))
        return np.asarray(image - self.offset * mean - self.intensity * (intensity - mean))


def fit_crosstalk(image: Floats, intensity: Floats, weak: npt.NDArray[np.bool_] | None = None) -> Crosstalk:
    """Fit image = <I> (a + b i + c di/dx + d di/dy) with i = I / <I> - 1, in the pixels that no signal of
    their own sets apart, or in those that are `weak`.
    """
    if not np.isfinite(intensity).any():
        raise RestorationError("No pixel has a value in all states: there is nothing to demodulate.")
    mean = float(np.nanmean(intensity))
    if not mean > 0:
        raise RestorationError(f"The intensity has a mean of {mean:.3g}: cross-talk from it has no meaning.")
    relative = intensity / mean - 1
    terms = np.stack([np.ones_like(relative), relative, *np.gradient(relative)], axis=-1)
    usable = np.isfinite(terms).all(-1) & np.isfinite(image) & _inner(image.shape)
    chosen = usable if weak is None else usable & weak
    _check(chosen)
    for _ in range(_ROUNDS if weak is None else 1):
        found, *_ = np.linalg.lstsq(terms[chosen], image[chosen] / mean, rcond=None)
        left = image / mean - terms @ found
        middle = np.median(left[chosen])
        sigma = 1.4826 * np.median(np.abs(left[chosen] - middle))
        if weak is not None:
            break
        following = usable & (np.abs(left - middle) <= max(_WEAK * sigma, 1e-12))
        if np.array_equal(following, chosen):
            break
        chosen = following
        _check(chosen)
    explained = terms[chosen][:, 1:] @ found[1:]
    moved = terms[chosen][:, 2:] @ found[2:]
    return Crosstalk(float(found[0]), float(found[1]), float(explained.std()), float(moved.std()), chosen)


def _inner(shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    inner = np.zeros(shape, bool)
    rows, columns = (int(_BORDER * n) for n in shape)
    inner[rows : shape[0] - rows, columns : shape[1] - columns] = True
    return inner


def _check(chosen: npt.NDArray[np.bool_]) -> None:
    if np.count_nonzero(chosen) < _FEWEST:
        raise RestorationError(
            f"Only {np.count_nonzero(chosen)} pixels are without polarised light, too few to fit the "
            "cross-talk: take a larger field."
        )

"""A value of lambda_object from the data: two halves of the burst share no noise.

The frames are split into two halves, each solved for every lambda on a grid with the wavefronts that a short
run finds. What one half gives with a lambda is compared with what the other gives almost without smoothing:
the noise of the two is independent, so that the mean squared difference is the error that lambda makes, plus
a constant (the idea of Noise2Noise, of cross-validation before it).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.budget import budget_bytes
from heliorestore.burst import Burst
from heliorestore.diagnose.fitted_air import fitted_wavefronts
from heliorestore.errors import SettingsError
from heliorestore.methods.base import pick_device, stream
from heliorestore.methods.blind.forward import Flow
from heliorestore.methods.blind.object_solver import solve_objects
from heliorestore.methods.blind.wavefronts import Wavefronts
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.optics.psf import telescope_psf
from heliorestore.prepare.observe import Observation, observe
from heliorestore.settings import Settings

Array = npt.NDArray[np.float64]

GRID = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""The values that are tried, from smooth to sharp."""

# conjugate-gradient steps: from the mean, and from the solution of the value before
_FIRST_SOLVE, _SOLVE = 12, 6
# Iterations after the patches: enough to know wavefronts and air (of an air that is believed too strong a
# larger lambda would make up), few enough not to fit the noise of both halves.
_REFINED = 11
# of the least difference: values that differ by no more are taken to be equally good, and the smoothest is
# suggested
_EQUAL = 0.02
_BORDER = 8  # px
_FEWEST_FRAMES = 4


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A suggested value for a setting, with the reason.

    `difference` (value) is the mean squared difference of one half with each of `values` from the other
    almost without smoothing, as seen through the telescope, in units of the image's variance; `noise` (value)
    is that of the two halves with the same value.
    """

    setting: str
    value: float
    values: Array
    difference: Array
    noise: Array
    reason: str


Progress = Callable[[str, int, int], None]
"""Is called with the stage, the steps done and the steps in all; an error that it raises ends the work."""


def suggest(
    burst: Burst,
    settings: Settings,
    *,
    device: str = "auto",
    size: int = 192,
    progress: Progress | None = None,
) -> Suggestion:
    """Suggest lambda_object of SV-MOMFBD for a burst, from the `size` pixels in its middle.

    All other settings are used unchanged. lambda_modes is not suggested: it shapes the wavefronts, which both
    halves share.
    """
    if not isinstance(settings, SvMomfbdSettings):
        raise SettingsError(
            f"A value can be suggested for sv-momfbd's lambda_object, not for {settings.method}."
        )
    if burst.shape[1] < _FEWEST_FRAMES:
        raise SettingsError(
            f"The burst has {burst.shape[1]} frames; a suggestion needs at least {_FEWEST_FRAMES}, "
            "because it compares two halves."
        )
    step = _Steps(progress, settings.patch_iterations + _REFINED + 2 * len(GRID))
    ready = prepare(burst, settings, device=device, size=size, fitted=lambda: step("wavefronts"))
    # Every second frame: both halves see the same seeing.
    halves = [
        ready.solutions(slice(number, None, 2), lambda: step("values of lambda object")) for number in (0, 1)
    ]
    return _weighed(halves, settings.lambda_object)


class _Steps:
    """Counts the steps of a suggestion and says so."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, stage: str) -> None:
        self._done = min(self._done + 1, self._total)
        if self._progress is not None:
            self._progress(stage, self._done, self._total)


def _nothing() -> None:
    """A step that nobody counts."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The middle of a burst, aligned, with the modes (frame, mode, gy, gx) in radian of a short run."""

    burst: Burst
    wavefronts: Wavefronts
    modes: torch.Tensor
    settings: SvMomfbdSettings

    def solutions(self, frames: slice, solved: Callable[[], None] = _nothing) -> Array:
        """Objects (value, object, y, x) of some frames with every value, as the telescope sees them."""
        numbers = range(self.burst.shape[1])[frames]
        return _solutions(
            self.burst.select(frames=frames),
            self.wavefronts,
            self.modes[list(numbers)],
            self.settings,
            solved,
        )


def prepare(
    burst: Burst,
    settings: SvMomfbdSettings,
    *,
    device: str,
    size: int,
    fitted: Callable[[], None] = _nothing,
) -> Prepared:
    """Cut out the middle and find its wavefronts; `fitted` is called after every iteration."""
    place = pick_device(device)
    middle = burst.middle(min(256, size))
    # In memory, and of no file: it is read again and again.
    pixels = np.asarray(middle.frames[:, :], np.float32)
    part = Burst(frames=pixels, instruments=burst.instruments, labels=burst.labels)
    fit = settings.replace(
        start="patches",
        optimiser="alternating",
        iterations=settings.patch_iterations + _REFINED,
        # A short run of its own: it neither ends early nor touches the user's state.
        checkpoint="",
        stop_early=False,
        residual_frame=None,
    )
    with closing(stream(part, fit, device=device)) as results:
        for snapshot in results:
            result = snapshot
            fitted()
    observation = observe(part, place, align=fit.align)
    # The run's own choice of frames and their alignment, so that modes and frames belong together.
    known = torch.from_numpy(observation.of_used(result.maps["modes"].array)).to(place)
    return Prepared(_aligned(part, observation), fitted_wavefronts(result, fit).to(place), known, fit)


def _aligned(burst: Burst, observation: Observation) -> Burst:
    """The burst as that run saw it: the frames it used, aligned with the mean of all, not of a half."""
    pixels = observation.read()
    images = pixels.images if pixels.good is None else torch.where(pixels.good, pixels.images, torch.nan)
    return Burst(frames=images.cpu().numpy(), instruments=burst.instruments, labels=burst.labels)


def _solutions(
    burst: Burst,
    wavefronts: Wavefronts,
    modes: torch.Tensor,
    settings: SvMomfbdSettings,
    step: Callable[[], None],
) -> Array:
    """Objects (value, object, y, x) with every value, as the telescope sees them, over their mean."""
    device = modes.device
    # Already aligned; half of the frames would have another mean.
    observation = observe(burst, device, align=False)
    flow = Flow(
        observation,
        wavefronts,
        settings.psf,
        settings.grid_step,
        budget_bytes(settings.memory_gb, device) / 3,
        one_object=bool(settings.diversity),
    )
    transfers = flow.transfers(modes[list(observation.selection.used)])
    objects, solved = flow.surround(observation.mean), []
    knobs = settings.knobs(settings.weights(observation.objects, device))
    through = [torch.fft.rfft2(telescope_psf(i, observation.shape)).to(device) for i in burst.instruments]
    for number, value in enumerate(GRID):
        knobs = replace(knobs, lambda_object=value)
        # From smooth to sharp: the solution before is a good start for the next.
        objects = solve_objects(transfers, objects, knobs, _SOLVE if number else _FIRST_SOLVE)
        images = flow.sharp(objects, knobs)[(slice(None), *flow.inner)]
        seen = [
            torch.fft.irfft2(torch.fft.rfft2(image) * otf, s=observation.shape)
            for image, otf in zip(images, through, strict=True)
        ]
        # The edge pixels are barely constrained by data, and would decide.
        inner = torch.stack(seen)[:, _BORDER:-_BORDER, _BORDER:-_BORDER] * observation.scales[:, None, None]
        solved.append(inner.cpu().numpy().astype(np.float64))
        step()
    return np.stack(solved)


def _weighed(halves: list[Array], present: float) -> Suggestion:
    """The value at which a half is nearest to the other's sharpest solution; all objects count alike."""
    first, second = halves
    signal = np.mean((first[-1] - first[-1].mean((-2, -1), keepdims=True)) ** 2, axis=(-2, -1))
    # The other half almost without smoothing is the object plus independent noise, which shifts all values
    # alike.
    crossed = [
        np.mean((one - other[-1]) ** 2, axis=(-2, -1)) for one, other in ((first, second), (second, first))
    ]
    difference = np.mean((crossed[0] + crossed[1]) / 2 / signal, axis=-1)
    # What the same value makes of noise alone: the object is the same in both.
    noise = np.mean(np.mean((first - second) ** 2, axis=(-2, -1)) / signal, axis=-1)
    best = int(np.argmin(difference))
    value = _smoothest(difference, (1 + _EQUAL) * float(difference[best]))
    # The present value need not be on the grid.
    nearest = int(np.argmin(np.abs(np.log(np.array(GRID) / max(present, GRID[-1] / 10)))))
    worth = difference[nearest] / difference[best] - 1
    gain = "as good as" if worth < 2 * _EQUAL else f"{worth:.0%} better than"
    reason = (
        f"lambda object {value:g} predicts one half of the frames best from the other; their difference is "
        f"{difference[best]:.2g} of the image's variance, {gain} with {present:g}. Smaller values leave "
        "noise, larger ones smooth too much."
    )
    if value >= GRID[0]:
        reason += (
            " It is the largest value that was tried: the data are noisy, or the wavefronts are poorly known."
        )
    return Suggestion("lambda_object", value, np.array(GRID), difference, noise, reason)


def _smoothest(difference: Array, limit: float) -> float:
    """The largest value with a difference within the limit, interpolated in its logarithm; two digits."""
    first = int(np.argmax(difference <= limit))
    if first == 0:
        return GRID[0]
    # The difference falls from one value of the grid to the next: a straight line finds where it is at
    # the limit.
    part = (limit - difference[first]) / (difference[first - 1] - difference[first])
    return float(f"{GRID[first] * (GRID[first - 1] / GRID[first]) ** part:.2g}")

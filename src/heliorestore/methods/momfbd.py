"""MOMFBD on patches: blind deconvolution of a burst in overlapping patches, each with one PSF per frame, all at once.

van Noort, Rouppe van der Voort & Loefdahl (2005), doi:10.1007/s11207-005-5782-z; the metric is in `patches`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from heliorestore.burst import Burst
from heliorestore.errors import SettingsError
from heliorestore.methods.blind import BlindSettings, numbers
from heliorestore.methods.checkpoint import Saver, resume
from heliorestore.methods.descent import Moments, descend, fresh
from heliorestore.methods.layout import budget_bytes, share
from heliorestore.methods.observation import Observation, observe, preparation
from heliorestore.methods.patches import Levels, Patches, Tally, blend, make_patches
from heliorestore.methods.roughness import roughness
from heliorestore.methods.wavefronts import Wavefronts
from heliorestore.settings import option
from heliorestore.snapshot import Snapshot, StopReason

_PATIENCE = 5  # iterations without a gain at the held-out frequencies before the run ends
_GAIN = 0.005  # a gain is at least this fraction
_UNJUDGED = 15  # iterations before that: from no aberrations, frequencies kept out of the fit are at first explained worse


@dataclass(frozen=True, kw_only=True)
class MomfbdSettings(BlindSettings):
    """Settings of MOMFBD on patches."""

    method: ClassVar[str] = "momfbd"

    patch_step: int = option(32, unit="px", minimum=4, maximum=512, help="Distance from patch to patch; they must overlap.")
    iterations: int = option(20, minimum=1, maximum=10_000, live=True, help="Iterations at most; too many fit what the model leaves out.")
    stop_early: bool = option(True, live=True, help="Stop when frequencies kept out of the fit are no longer explained better.")
    diversity: str = option(
        "", unit="waves", help="Known defocus of each object, separated by commas: then all objects are one, seen through them."
    )


@dataclass(frozen=True, eq=False)
class PatchState:
    """Where the fit stands: whitened modes (patch, frame, mode), their moments, the levels, and how the stop rule sees it."""

    step: int
    modes: torch.Tensor
    moments: Moments
    levels: Levels
    best: float = float("inf")
    best_step: int = 0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the modes of a state are worth: the gradient, the restored spectra and the losses."""

    gradient: torch.Tensor
    restored: torch.Tensor
    tally: Tally
    losses: dict[str, float]


@dataclass(frozen=True, eq=False)
class PatchProblem:
    """The patches of a burst with what the metric needs besides the modes; spectra are kept where they fit."""

    patches: Patches
    spectra: tuple[torch.Tensor, ...] | None

    def spectra_of(self, number: int, some: slice) -> torch.Tensor:
        return self.spectra[number] if self.spectra is not None else self.patches.spectra(some)


class Momfbd:
    """The method as `methods.base` loads it."""

    name = MomfbdSettings.method
    settings = MomfbdSettings

    def stream(
        self, burst: Burst, settings: MomfbdSettings, *, device: torch.device, seed: int, start: Snapshot | None = None
    ) -> Generator[Snapshot, MomfbdSettings | None, None]:
        """Yield a snapshot per iteration; nothing is random. `start` gives the modes to begin with.

        A generator that is closed before it ends by itself leaves its state in the checkpoint.
        """
        saver = Saver(settings.checkpoint, burst, settings, start)
        defocus = numbers("diversity", settings.diversity, burst.shape[0])
        wavefronts = settings.wavefronts(burst.instruments, device, defocus)
        shares = share(budget_bytes(settings.memory_gb, device), burst.shape)
        observation = observe(burst, device, align=settings.align, destretch=settings.destretch, hold_bytes=shares.held)
        patches = (settings.patch, settings.patch_step)
        problem = make_problem(observation, wavefronts, patches, shares.work, one_object=bool(defocus))
        state, messages = resume(saver, initial(problem, start)), preparation(burst, observation)
        stop = None
        try:
            while stop is None:
                weights = settings.weights(burst.shape[0], device)
                evaluation = evaluate(problem, state, weights, settings.prior)
                state = judged(state, evaluation.losses["held out"])
                stop = reason(state, settings.iterations, settings.stop_early)
                shown = saver.noted(snapshot(problem, state, evaluation, settings, stop, messages), settings)
                if stop is None:  # with the settings that are shown, so that state and history agree wherever the run is cut off
                    state = advanced(problem, state, evaluation, settings.rate_modes)
                sent = yield shown
                settings, messages = sent or settings, ()
                if stop is None:
                    saver.save(state)
        except GeneratorExit:
            if stop is None:
                saver.write(state)
            raise
        saver.done()


METHOD = Momfbd()


def make_problem(
    observation: Observation, wavefronts: Wavefronts, patch_and_step: tuple[int, int], memory_bytes: float, *, one_object: bool = False
) -> PatchProblem:
    """Patches with their spectra, kept if they take no more than a third of the memory."""
    patch, step = patch_and_step
    if step >= patch:
        raise SettingsError(f"Patches of {patch} pixels every {step} pixels leave gaps: patch_step must be smaller than patch.")
    patches = make_patches(observation, wavefronts, patch=patch, step=step, memory_bytes=memory_bytes / 3, one_object=one_object)
    frames = observation.objects * observation.frames
    keep = patches.count * frames * 8 * patches.grid * (patches.grid // 2 + 1) <= memory_bytes / 3
    return PatchProblem(patches, tuple(patches.spectra(some) for some in patches.batches()) if keep else None)


def initial(problem: PatchProblem, start: Snapshot | None = None) -> PatchState:
    """No aberrations, or those of an earlier result on the same patches."""
    patches = problem.patches
    frames = patches.observation.frames
    modes = torch.zeros((patches.count, frames, patches.wavefronts.count), device=patches.mean.device)
    step = 0
    found = None if start is None else start.maps.get("modes")
    if found is not None and found.shape == (patches.observation.burst_frames, patches.wavefronts.count, *patches.tiling.grid):
        radian = torch.from_numpy(patches.observation.of_used(found)).to(modes)
        modes = (radian.permute(2, 3, 0, 1).flatten(0, 1) / patches.wavefronts.sigmas).contiguous()
        step = start.step if start is not None else 0
    return PatchState(step, modes, fresh(modes), patches.start_levels(), best_step=step)


def evaluate(problem: PatchProblem, state: PatchState, weights: torch.Tensor, prior: float, coupling: float = 0.0) -> Evaluation:
    """The metric and its gradient in all patches, a batch at a time.

    `prior` weighs sum(a^2) of the whitened modes, `coupling` the squared differences between neighbouring patches.
    """
    patches = problem.patches
    gradient = torch.empty_like(state.modes)
    restored, tally, data, held = [], None, 0.0, 0.0
    for number, some in enumerate(patches.batches()):
        modes = state.modes[some].detach().requires_grad_(True)
        metric = patches.metric(modes, problem.spectra_of(number, some), state.levels, weights)
        (gradient[some],) = torch.autograd.grad(metric.loss.sum(), modes)
        restored.append(metric.restored)
        tally = metric.tally if tally is None else tally + metric.tally
        data, held = data + float(metric.loss.detach().sum()), held + float(metric.held.sum())
    assert tally is not None
    rough, rough_gradient = roughness(patches.maps(state.modes))
    small = float(state.modes.square().sum())
    gradient += 2 * prior * state.modes + 2 * coupling * rough_gradient.permute(2, 3, 0, 1).flatten(0, 1)
    power = float(tally.signal.sum())
    # The normalisation of the likelihood: with it the loss falls although the measured level of the noise falls too.
    data += patches.log_noise(state.levels, weights)
    losses = {
        "loss": (data + prior * small + coupling * rough) / patches.count,
        "data": data / patches.count,
        "prior": prior * small / patches.count,
        "held out": held / power,
        "residual": float((tally.misfit.sum() / tally.signal.sum()).clamp(min=0).sqrt()),
    }
    return Evaluation(gradient, torch.cat(restored), tally, losses)


def advanced(problem: PatchProblem, state: PatchState, evaluation: Evaluation, rate: float) -> PatchState:
    """The state after one step: modes against the gradient without a common tilt, and levels as measured with the old modes."""
    modes, moments = descend(state.modes, evaluation.gradient, state.moments, rate)
    tilts = modes[..., :2] - modes[..., :2].mean(1, keepdim=True)
    modes = torch.cat([tilts, modes[..., 2:]], dim=-1)
    return replace(state, step=state.step + 1, modes=modes, moments=moments, levels=problem.patches.levels(evaluation.tally))


def judged(state: PatchState, held: float) -> PatchState:
    """The state with the held-out misfit taken down where it is a gain."""
    return replace(state, best=held, best_step=state.step) if held < state.best * (1 - _GAIN) else state


def reason(state: PatchState, iterations: int, stop_early: bool) -> StopReason | None:
    """Why to stop, if there is a reason."""
    if state.step >= iterations:
        return StopReason.DONE
    waited = state.step >= _UNJUDGED and state.step - state.best_step >= _PATIENCE
    return StopReason.CONVERGED if stop_early and waited else None


def snapshot(
    problem: PatchProblem, state: PatchState, evaluation: Evaluation, settings: MomfbdSettings, stop: StopReason | None,
    messages: tuple[str, ...],
) -> Snapshot:  # fmt: skip
    """The restored image and the mode maps of a state."""
    patches = problem.patches
    images = patch_images(patches, evaluation.restored, settings.filter_width, settings.filter_smoothness)
    images = images * patches.observation.scales[:, None, None]
    modes = patches.observation.of_burst(patches.maps(state.modes * patches.wavefronts.sigmas).cpu().numpy())
    return Snapshot(
        step=state.step, total=max(settings.iterations, state.step), images=images.cpu().numpy(), maps={"modes": modes},
        losses=evaluation.losses, stop=stop, messages=messages,
    )  # fmt: skip


def patch_images(patches: Patches, restored: torch.Tensor, width: float, smoothness: float) -> torch.Tensor:
    """Restored spectra through the filter and blended: (object, y, x) in units of the mean."""
    return blend(patches, patches.images(restored, patches.filters(width, smoothness)))

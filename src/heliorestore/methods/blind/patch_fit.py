"""The fit of modes in overlapping patches, an iteration at a time: MOMFBD itself, and the start of
SV-MOMFBD.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from heliorestore.errors import SettingsError
from heliorestore.methods.blind.optimiser import MODE_ARRAYS, Moments, descend, fresh
from heliorestore.methods.blind.patch_metric import (
    Levels,
    Tally,
    log_noise,
    measured_levels,
    metric,
    start_levels,
)
from heliorestore.methods.blind.patches import CPU_BATCH, GRADIENT_BYTES, Patches, blend, make_patches
from heliorestore.methods.blind.wavefronts import Wavefronts
from heliorestore.optics.penalties import roughness
from heliorestore.prepare.observe import Observation
from heliorestore.snapshot import Snapshot

# of sigma: at no aberrations the slope in the even modes is rounding, and Adam's first step its sign
_BEGIN = 0.1
_COARSE = (9, 20)  # modes in the first and the second third of a fit that goes from coarse to fine
_CUT = 0.75  # side of the spectra of patches in that of the patch: they end at the diffraction limit


@dataclass(frozen=True, eq=False)
class PatchState:
    """Where the fit stands: whitened modes (patch, frame, mode), their moments, the levels, and how the stop
    rule sees it.
    """

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
    """The patches of a burst with what the metric needs besides the modes; spectra are kept where they
    fit.
    """

    patches: Patches
    spectra: tuple[torch.Tensor, ...] | None

    def spectra_of(self, number: int, some: slice) -> torch.Tensor:
        return self.spectra[number] if self.spectra is not None else self.patches.spectra(some)


def make_problem(
    observation: Observation,
    wavefronts: Wavefronts,
    patch_and_step: tuple[int, int],
    memory_bytes: float,
    *,
    one_object: bool = False,
    exact_flux: bool = False,
) -> PatchProblem:
    """Patches with their spectra, kept if they take no more than a third of the memory."""
    patch, step = patch_and_step
    if step >= patch:
        raise SettingsError(
            f"Patches of {patch} pixels every {step} pixels leave gaps: patch_step must be "
            "smaller than patch."
        )
    patches = make_patches(
        observation,
        wavefronts,
        patch=patch,
        step=step,
        memory_bytes=memory_bytes / 3,
        one_object=one_object,
        exact_flux=exact_flux,
    )
    keep = (
        patches.count * observation.image_count * 8 * patches.grid * (patches.grid // 2 + 1)
        <= memory_bytes / 3
    )
    return PatchProblem(patches, tuple(patches.spectra(some) for some in patches.batches()) if keep else None)


def patch_bytes(
    burst_shape: tuple[int, int, int, int], patch: int, step: int, modes: int, memory_bytes: float
) -> float:
    """Bytes that the patches of a burst take: their spectra, if a third of the memory holds them, a batch,
    and what is restored.
    """
    objects, frames, rows, columns = burst_shape
    size = min(patch, rows, columns)
    count = math.prod(math.ceil((n + size // 2 - size) / min(step, size)) + 1 for n in (rows, columns))
    spectrum = 8.0 * _CUT**2 * size * size / 2
    spectra = count * objects * frames * spectrum
    batch = min(memory_bytes / 3, min(CPU_BATCH, count) * GRADIENT_BYTES * size**2 * objects * frames)
    restored = count * (objects * (2 * spectrum + 4 * 4.0 * size**2) + 4.0 * MODE_ARRAYS * frames * modes)
    return (spectra if spectra <= memory_bytes / 3 else 0.0) + batch + restored


def initial(problem: PatchProblem, start: Snapshot | None = None) -> PatchState:
    """No aberrations, or those of an earlier result on the same patches."""
    patches = problem.patches
    frames = patches.observation.frames
    modes = torch.full((patches.count, frames, patches.wavefronts.count), _BEGIN, device=patches.mean.device)
    modes[..., :2] = 0
    step = 0
    found = None if start is None else start.array("modes")
    if found is not None and found.shape == (
        patches.observation.burst_frames,
        patches.wavefronts.count,
        *patches.tiling.grid,
    ):
        radian = torch.from_numpy(patches.observation.of_used(found)).to(modes)
        modes = (radian.permute(2, 3, 0, 1).flatten(0, 1) / patches.wavefronts.sigmas).contiguous()
        step = start.step if start is not None else 0
    return PatchState(step, modes, fresh(modes), start_levels(patches), best_step=step)


def evaluate(
    problem: PatchProblem, state: PatchState, weights: torch.Tensor, prior: float, coupling: float = 0.0
) -> Evaluation:
    """The metric and its gradient in all patches, a batch at a time.

    `prior` weighs sum(a^2) of the whitened modes, `coupling` the squared differences between neighbouring
    patches.
    """
    patches = problem.patches
    gradient = torch.empty_like(state.modes)
    restored, tally, sums = [], None, []
    for number, some in enumerate(patches.batches()):
        modes = state.modes[some].detach().requires_grad_(True)
        found = metric(patches, modes, problem.spectra_of(number, some), state.levels, weights)
        (gradient[some],) = torch.autograd.grad(found.loss.sum(), modes)
        restored.append(found.restored)
        tally = found.tally if tally is None else tally + found.tally
        sums.append(torch.stack([found.loss.detach().sum(), found.held.sum()]))
    assert tally is not None
    rough, rough_gradient = roughness(patches.maps(state.modes))
    gradient += 2 * prior * state.modes + 2 * coupling * rough_gradient.permute(2, 3, 0, 1).flatten(0, 1)
    residual = (tally.misfit.sum() / tally.signal.sum()).clamp(min=0).sqrt()
    noise = log_noise(patches, state.levels, weights)
    more = torch.stack([rough, state.modes.square().sum(), tally.signal.sum(), noise, residual])
    # All at once: each number that is read makes a GPU wait.
    *found_sums, rough_sum, small, power, noise_sum, residual_sum = torch.cat([*sums, more]).tolist()
    # The normalisation of the likelihood: with it the loss falls although the measured level of the noise
    # falls too.
    data, held = sum(found_sums[::2]) + noise_sum, sum(found_sums[1::2])
    losses = {
        "loss": (data + prior * small + coupling * rough_sum) / patches.count,
        "data": data / patches.count,
        "modes": (prior * small + coupling * rough_sum) / patches.count,
        "held out": held / power,
        "residual": residual_sum,
    }
    return Evaluation(gradient, torch.cat(restored), tally, losses)


def coarse_first(step: int, steps: int, count: int) -> int:
    """How many of `count` modes move in a step of so many: whole radial orders, more in every third.

    Free at once, fine modes take what strong aberrations do, and the fit ends in wavefronts that explain the
    frames nearly as well as the true ones with up to three times the power in fine modes.
    """
    part = min(len(_COARSE), 3 * step // max(1, steps))
    return min((*_COARSE, count)[part], count)


def advanced(
    problem: PatchProblem, state: PatchState, evaluation: Evaluation, rate: float, modes: int | None = None
) -> PatchState:
    """The state after one step: modes, the first so many of them, against the gradient without a common tilt,
    and levels as measured with the old modes.
    """
    gradient = evaluation.gradient
    if modes is not None:
        gradient = torch.cat([gradient[..., :modes], torch.zeros_like(gradient[..., modes:])], dim=-1)
    found, moments = descend(state.modes, gradient, state.moments, rate)
    tilts = found[..., :2] - found[..., :2].mean(1, keepdim=True)
    found = torch.cat([tilts, found[..., 2:]], dim=-1)
    return replace(
        state,
        step=state.step + 1,
        modes=found,
        moments=moments,
        levels=measured_levels(problem.patches, evaluation.tally),
    )


def patch_images(patches: Patches, restored: torch.Tensor, width: float, smoothness: float) -> torch.Tensor:
    """Restored spectra through the filter and blended: (object, y, x) in units of the mean."""
    return blend(patches, patches.images(restored, patches.filters(width, smoothness)))

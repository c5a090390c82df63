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
from heliorestore.methods.blind.patches import (
    Patches,
    blend,
    gradient_bytes,
    grid_of,
    make_patches,
    patches_at_once,
)
from heliorestore.methods.blind.wavefronts import Wavefronts
from heliorestore.optics.penalties import roughness
from heliorestore.prepare.observe import Observation
from heliorestore.snapshot import Snapshot

# of sigma: at no aberrations the slope in the even modes is rounding, and Adam's first step its sign
_BEGIN = 0.1
_COARSE = (9, 20)  # modes in the first and the second third of a fit that goes from coarse to fine
_LIMIT = 0.36  # the diffraction limit in cycles per pixel, where no instrument is known
_FIELD_ARRAYS = 8  # images of the field: means, those that are blended, and those that are shown


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
    """Patches with their spectra, kept if they take no more than half of the memory; the other half is for a
    batch.
    """
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
        memory_bytes=memory_bytes / 2,
        one_object=one_object,
        exact_flux=exact_flux,
    )
    keep = patches.count * observation.image_count * _spectrum_bytes(patches.grid) <= memory_bytes / 2
    return PatchProblem(patches, tuple(patches.spectra(some) for some in patches.batches()) if keep else None)


def patch_bytes(
    burst_shape: tuple[int, int, int, int],
    patch: int,
    step: int,
    memory_bytes: float,
    optics: int,
    device: torch.device,
) -> float:
    """Bytes of the memory that the patches of a burst take, with so many distinct optics: their spectra,
    where half of it holds them, and a batch.
    """
    objects, frames, *_ = burst_shape
    count, grid = _patches_of(burst_shape, patch, step)
    spectra = count * objects * frames * _spectrum_bytes(grid)
    each = gradient_bytes(grid, objects * frames, optics * frames)
    batch = each * min(count, patches_at_once(memory_bytes / 2 / each, device))
    return (spectra if spectra <= memory_bytes / 2 else 0.0) + batch


def patch_state_bytes(burst_shape: tuple[int, int, int, int], patch: int, step: int, modes: int) -> float:
    """Bytes of what stays whole while patches are fitted: the restored spectra, the modes, and images of the
    field.
    """
    objects, frames, rows, columns = burst_shape
    count, grid = _patches_of(burst_shape, patch, step)
    restored = count * objects * _spectrum_bytes(grid)
    images = 4.0 * _FIELD_ARRAYS * objects * rows * columns
    return restored + images + 4.0 * MODE_ARRAYS * count * frames * modes


def _patches_of(burst_shape: tuple[int, int, int, int], patch: int, step: int) -> tuple[int, int]:
    """The number of patches and the side of their spectra."""
    rows, columns = burst_shape[2:]
    size = min(patch, rows, columns)
    count = math.prod(math.ceil((n + size // 2 - size) / min(step, size)) + 1 for n in (rows, columns))
    return count, grid_of(size, _LIMIT)


def _spectrum_bytes(grid: int) -> float:
    return 8.0 * grid * (grid // 2 + 1)


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
    restored, tally, sums = patches.mean.new_zeros(0), None, []
    for number, some in enumerate(patches.batches()):
        modes = state.modes[some].detach().requires_grad_(True)
        found = metric(patches, modes, problem.spectra_of(number, some), state.levels, weights)
        (gradient[some],) = torch.autograd.grad(found.loss.sum(), modes)
        if not number:
            restored = found.restored.new_empty(patches.count, *found.restored.shape[1:])
        restored[some] = found.restored
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
    return Evaluation(gradient, restored, tally, losses)


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
    filters = patches.filters(width, smoothness)
    images = (image for some in patches.batches() for image in patches.images(restored[some], filters))
    return blend(patches, images)

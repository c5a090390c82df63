"""Objects and modes refined on the space-variant model: in turns, or both at once as in the paper.

In turns the objects are solved for with the modes held, and the modes take a step on the residual that is
left: at the minimum in the objects the gradient in the modes alone is that of the loss with the objects
eliminated (variable projection).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch

from heliorestore.burst import FloatArray
from heliorestore.methods.blind.air import Air, Fitted, Nodes, expected_air, first_air, response, strengthened
from heliorestore.methods.blind.forward import Flow, Images, Transfers
from heliorestore.methods.blind.joint_loss import JointLoss
from heliorestore.methods.blind.noise_model import Noise, measured_level
from heliorestore.methods.blind.object_solver import Knobs, objects_and_rest
from heliorestore.methods.blind.optimiser import MODE_ARRAYS, Moments, descend, fresh
from heliorestore.methods.blind.patches import Patches
from heliorestore.methods.blind.posterior import Posterior, make_posterior
from heliorestore.methods.blind.wavefronts import Wavefronts, centre_tilts
from heliorestore.optics.convolve import node_grid
from heliorestore.optics.penalties import roughness
from heliorestore.optics.pupil import cutoff

# conjugate-gradient steps: from the average, and from the last iteration's objects
_FIRST_SOLVE, _SOLVE = 4, 1
_WARM_UP = 3  # steps of the modes until they have their full rate
_MEMORY = 0.95  # of Adam's mean square: the slopes fall fast, and an older one would hold the steps back
# of the size of the objects: their state, filters, and what is shown
_OBJECT_ARRAYS = 16
# Iterations on the field from one look at the air to the next, and those in which the modes that the patches
# did not have grow: until then they do not count.
_LOOK, _GROWN = 5, 10
# By how much a look may change the standard deviation of a mode: the first one takes what the patches say at
# its word, to later ones the fit must follow.
_FIRST_CHANGE, _CHANGE = 4.0, 1.5
_FOLLOWED = 25  # iterations after which modes have followed what the first look said
# The air stands still when r0 changes by less than this fraction from one look to the next, twice.
_SETTLED, _ALIKE = 0.02, 2
_SLOWEST = 0.02  # of the rate, at which modes move of which nothing is known
_STALLED = 0.005  # noise that falls by less than this fraction of its rms stands still


@dataclass(frozen=True, eq=False)
class FlowProblem:
    """The forward model, the nodes of its wavefronts and, where the air is learned from the data, what tells
    how well they determine the modes.

    Where `known_r0_cm` was given, the data shape only what adaptive optics may have `corrected`. From patches
    come `fitted` modes.
    """

    flow: Flow
    nodes: Nodes
    fitted: int = 0
    posterior: Posterior | None = None
    known_r0_cm: float | None = None
    corrected: bool = True

    @property
    def wavefronts(self) -> Wavefronts:
        return self.flow.wavefronts

    @property
    def step_arcsec(self) -> float:
        """Distance of the nodes on the sky."""
        return self.flow.step * self.wavefronts.instruments[0].pixel_arcsec

    def radian(self, modes: torch.Tensor) -> torch.Tensor:
        return modes * self.wavefronts.sigmas[:, None, None]

    def given(self, air: Air) -> FlowProblem:
        """The problem in this air."""
        return self if self.posterior is None else self._in_air(air)

    @cached_property
    def _in_air(self) -> Callable[[Air], FlowProblem]:
        """Makes the problem in an air, which lasts for some iterations."""
        return lru_cache(maxsize=2)(
            lambda air: replace(self, flow=self.flow.given(air.applied(self.wavefronts)))
        )

    def model(self, state: FlowState, known: Transfers | None) -> Transfers:
        """The model with a state's modes and air; `known` is one that may have these modes."""
        flow, radian = self.given(state.air).flow, self.radian(state.modes)
        if known is not None and torch.equal(known.modes, radian):
            return known.given(flow)
        return flow.transfers(radian)


def make_flow_problem(
    flow: Flow,
    *,
    fitted: int = 0,
    patch: int = 0,
    known_r0_cm: float | None = None,
    corrected: bool = True,
) -> FlowProblem:
    """The problem of a forward model; with a `patch` in pixels the air is learned from patches that large."""
    nodes = Nodes.of(flow.grid)
    if not patch:
        return FlowProblem(flow, nodes, fitted)
    seen, wavefronts = flow.observation, flow.wavefronts
    posterior = make_posterior(
        seen, wavefronts, nodes, step=flow.step, patch=patch, memory_bytes=flow.memory_bytes
    )
    return FlowProblem(flow, nodes, fitted, posterior, known_r0_cm, corrected)


@dataclass(frozen=True, eq=False)
class FlowState:
    """Objects (object, y, x) with their surroundings, whitened modes (frame, mode, gy, gx), and the moments
    of both.

    `slope` is the gradient of half the squared residuals, weighted as the noise says, in the modes in radian,
    `squares` (object, y, x) their sum over the frames, without weights; `flux`
    (object) is the rms of the smooth flux error. `stalled` says for how many iterations the noise has not
    fallen, `looks_alike` in how many looks at the air it stood still, `solved` whether the objects were ever
    solved for, and `solved_with` with which knobs they were last.
    """

    objects: torch.Tensor
    modes: torch.Tensor
    object_moments: Moments
    mode_moments: Moments
    slope: torch.Tensor
    squares: torch.Tensor
    flux: torch.Tensor
    air: Air
    noise: Noise
    stalled: torch.Tensor | int = 0
    solved: bool = False
    looks_alike: int = 0
    solved_with: tuple[float, ...] | None = None

    @property
    def settled(self) -> bool:
        return self.looks_alike >= _ALIKE


def flow_state_bytes(burst_shape: tuple[int, int, int, int], modes: int, step: int, psf: int) -> float:
    """Bytes of what stays whole while objects and modes are sought together: both, their moments, and what
    solvers make of them.
    """
    objects, frames, rows, columns = burst_shape
    nodes = math.prod(node_grid((rows, columns), step))
    return 4.0 * (
        _OBJECT_ARRAYS * objects * (rows + psf) * (columns + psf) + MODE_ARRAYS * frames * modes * nodes
    )


@dataclass(frozen=True)
class Earlier:
    """Images (object, y, x) in the burst's units and modes (frame, mode, gy, gx) in radian of an earlier
    result, where it has them.
    """

    images: FloatArray | None
    modes: FloatArray | None


def begin(problem: FlowProblem, earlier: Earlier | None = None) -> FlowState:
    """The mean of the frames and no aberrations, or what an earlier result knows; objects are solved for
    before a mode moves.
    """
    observation = problem.flow.observation
    images, frames = observation.mean, observation.frames
    modes = torch.zeros((frames, problem.wavefronts.count, *problem.flow.grid), device=images.device)
    if earlier is not None and earlier.images is not None and earlier.images.shape == tuple(images.shape):
        before = torch.from_numpy(np.array(earlier.images)).to(images) / observation.scales[:, None, None]
        images = torch.where(torch.isfinite(before), before, images)
    if earlier is not None and earlier.modes is not None and len(earlier.modes) == observation.burst_frames:
        count = min(earlier.modes.shape[1], modes.shape[1])
        radian = torch.from_numpy(observation.of_used(earlier.modes)[:, :count]).to(modes)
        if radian.shape[2:] != modes.shape[2:]:
            radian = torch.nn.functional.interpolate(
                radian, modes.shape[2:], mode="bilinear", align_corners=True
            )
        modes[:, :count] = radian / problem.wavefronts.sigmas[:count, None, None]
    if problem.flow.one_object:
        images = images[:1].expand_as(images)
    objects = problem.flow.surround(images)
    known = problem.wavefronts.count if problem.posterior is None else problem.fitted
    limits = torch.tensor([cutoff(optics.instrument) for optics in problem.flow.optics])
    return FlowState(
        objects,
        modes,
        fresh(objects),
        fresh(modes),
        slope=torch.zeros_like(modes),
        squares=torch.zeros_like(images),
        flux=torch.zeros_like(observation.sigmas),
        air=first_air(problem.wavefronts, problem.nodes, problem.step_arcsec, known),
        noise=Noise(observation.sigmas.square(), limits.to(images)),
        stalled=torch.zeros((), dtype=torch.int64, device=images.device),
    )


def add_patch_modes(
    problem: FlowProblem, state: FlowState, patches: Patches, modes: torch.Tensor
) -> FlowState:
    """The state with the modes (patch, frame, mode) that the patches found, interpolated to the nodes."""
    rows, columns = (torch.arange(n, device=modes.device) * problem.flow.step for n in problem.flow.grid)
    found = state.modes.clone()
    found[:, : modes.shape[-1]] = centre_tilts(patches.at(modes, rows, columns))
    return replace(state, modes=found, mode_moments=fresh(found), solved=False)


def refine_step(
    problem: FlowProblem, state: FlowState, knobs: Knobs, used: Transfers | None = None
) -> tuple[FlowState, Transfers]:
    """Solve for the objects; from the second time on the modes take a step first. With the state comes the
    model with its modes, to measure it by; the memory of one that is no longer needed can be used for it.
    """
    modes, moments = state.modes, state.mode_moments
    problem = problem.given(state.air)
    if state.solved:
        gradient = mode_gradient(problem, state, knobs)
        # Adam's first steps are as large as the rate whatever the slope, and would undo a good start.
        rate = knobs.rate_modes * min(1.0, (moments.steps + 1) / _WARM_UP)
        # Strong modes, the tilts above all, are steep: no mode moves by more than the rate in radian.
        rates = (rate / problem.wavefronts.sigmas).clamp(max=rate)
        # All would move alike, and noise would fill those that the data hardly know.
        rates = rates * (1 - state.air.unknown).clamp(min=0).sqrt().clamp(min=_SLOWEST)
        modes, moments = descend(modes, gradient, moments, rates[:, None, None], second=_MEMORY)
        modes = centre_tilts(modes)
    transfers = problem.flow.transfers(problem.radian(modes), used)
    steps = _SOLVE if state.solved else _FIRST_SOLVE
    objects, left = objects_and_rest(transfers, state.objects, knobs, steps)
    following = compared(
        problem,
        replace(
            state,
            objects=objects,
            modes=modes,
            mode_moments=moments,
            solved=True,
            solved_with=knobs.of_objects,
        ),
        transfers,
        knobs,
        left,
    )
    stands = following.noise.rms > state.noise.rms * (1 - _STALLED)
    stalled = torch.where(stands, state.stalled + 1, 0) if state.solved else 0
    return learned(problem, replace(following, stalled=stalled)), transfers


def turned(state: FlowState, knobs: Knobs) -> bool:
    """Whether a state has objects that were solved for with other knobs."""
    return state.solved and state.solved_with is not None and state.solved_with != knobs.of_objects


def object_step(problem: FlowProblem, state: FlowState, transfers: Transfers, knobs: Knobs) -> FlowState:
    """Solve for the objects alone, with the model of the state's modes.

    The slope in the modes stays that of the objects before: with it `refine_step` goes on as if the knobs had
    been turned there.
    """
    objects, left = objects_and_rest(transfers, state.objects, knobs, _SOLVE)
    squares = transfers.squares(transfers.flow.sharp(objects, knobs), left)
    return replace(
        state,
        objects=objects,
        squares=squares,
        solved_with=knobs.of_objects,
    )


def compared(
    problem: FlowProblem, state: FlowState, transfers: Transfers, knobs: Knobs, left: Images | None = None
) -> FlowState:
    """The state with what its model leaves of the data (`left`, if that is known) and the slope of that: one
    pass for what is shown and for the next step.
    """
    flow, observation = problem.flow, problem.flow.observation
    found = transfers.compared(flow.sharp(state.objects, knobs), state.noise, knobs.weights, left)
    # Of as many residuals as it has images the object takes one.
    lost = observation.images / (observation.images - 1).clamp(min=1)
    measured = measured_level(found.power, state.noise.limits) * lost
    level = torch.maximum(measured, observation.sigmas.square())
    return replace(
        state,
        slope=found.modes * (state.noise.level.mean() / level.mean()),
        squares=found.squares,
        flux=found.flux,
        noise=replace(state.noise, level=level),
    )


def learned(problem: FlowProblem, state: FlowState) -> FlowState:
    """The state with what its modes say of the air, in the iterations in which they are asked."""
    done = state.mode_moments.steps
    if problem.posterior is None or done % _LOOK:
        return state
    left = problem.posterior.left(problem.radian(state.modes), problem.wavefronts, state.air, state.noise)
    air = before = replace(state.air, unknown=left[0].to(state.air.unknown).clamp(max=1))
    # Modes that were never fitted say nothing of their strength.
    if done >= _GROWN or (done == 0 and bool(state.modes.any())):
        count = problem.fitted if done <= _GROWN else len(air.sigmas)
        squares = state.modes.square().mean((0, 2, 3))
        fitted = Fitted(squares, left, problem.flow.observation.frames, count, growing=done <= _GROWN)
        expected = expected_air(problem.wavefronts, problem.known_r0_cm, problem.corrected)
        air = strengthened(air, fitted, expected, most=_CHANGE if done else _FIRST_CHANGE)
    ratio = (air.sigmas / state.air.sigmas)[:, None, None]
    grown = response(before.unknown, air.unknown)[:, None, None]
    moments = state.mode_moments
    stands = done >= _FOLLOWED and abs(air.d_over_r0 / state.air.d_over_r0 - 1) < _SETTLED
    looks = state.looks_alike + 1 if stands else 0
    return replace(
        state,
        air=air,
        modes=state.modes * (grown / ratio),
        mode_moments=Moments(moments.first * ratio, moments.second * ratio**2, moments.steps),
        stalled=state.stalled if looks else 0,
        looks_alike=looks,
    )


def mode_gradient(problem: FlowProblem, state: FlowState, knobs: Knobs) -> torch.Tensor:
    """Gradient in the whitened modes of [sum |r|^2 / N + s (prior |a|^2 + c |difference of neighbours|^2)]
    / 2.

    The slope has the noise of each object in it but for the level, which is as the residual has it now: what
    the model cannot explain is noise to it.
    """
    _, rough = roughness(state.modes)
    weights = problem.nodes.weights(state.air.couplings)
    weights, couplings = (part.to(rough)[:, None, None] for part in (weights, state.air.couplings))
    believed = weights * (knobs.prior * state.modes + knobs.coupling * couplings * rough)
    return problem.radian(state.slope) + believed


def joint_step(problem: FlowProblem, state: FlowState, knobs: Knobs) -> tuple[FlowState, Transfers]:
    """One step of AdamW on objects (from 0 to 1) and modes (in radian) at once, on the loss of eq. 17; with
    the state comes the model with its modes, to measure it by.
    """
    flow, sigmas = problem.flow, problem.wavefronts.sigmas[:, None, None]
    loss, radian = JointLoss.of(flow, knobs), state.modes * sigmas
    in_objects, in_modes = loss.gradient(state.objects, radian)
    scaled, object_moments = descend(
        (state.objects - loss.lowest) / loss.span,
        in_objects * loss.span,
        state.object_moments,
        knobs.rate_objects,
        decay=0.01,
        second=0.999,
    )
    objects = scaled * loss.span + loss.lowest
    radian, mode_moments = descend(
        radian, in_modes, state.mode_moments, knobs.rate_modes, decay=0.01, second=0.999
    )
    radian = centre_tilts(radian)
    transfers = flow.transfers(radian)
    squares = transfers.squares(flow.sharp(objects, knobs))
    following = replace(
        state,
        objects=objects,
        modes=radian / sigmas,
        object_moments=object_moments,
        mode_moments=mode_moments,
        squares=squares,
    )
    return following, transfers

"""What a fit on the field shows: images, losses and the residual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from heliorestore.methods.blind.forward import Transfers
from heliorestore.methods.blind.joint_loss import JointLoss
from heliorestore.methods.blind.object_solver import Knobs
from heliorestore.methods.blind.refinement import FlowProblem, FlowState
from heliorestore.optics.penalties import penalty, roughness


@dataclass(frozen=True, eq=False)
class Measured:
    """What a state shows: filtered images (object, y, x), the losses by term, and the residual (object, y, x)
    where it has one.
    """

    images: torch.Tensor
    terms: Mapping[str, torch.Tensor | float]
    residual: torch.Tensor | None = None

    @property
    def losses(self) -> dict[str, float]:
        """The losses as numbers, each of which a GPU is waited for."""
        return {name: float(value) for name, value in self.terms.items()}


def measure(
    problem: FlowProblem, state: FlowState, transfers: Transfers, knobs: Knobs, frame: int | None
) -> Measured:
    """Images, losses by term as in eq. 17, and the residual: its rms over the frames, or that of one frame as
    it is. `transfers` is the model with the state's modes.
    """
    flow, observation = problem.flow, problem.flow.observation
    with torch.no_grad():
        sharp = flow.sharp(state.objects, knobs)
        square, seen = state.squares, None
        if frame in observation.selection.used:
            number = observation.selection.used.index(frame)
            seen = transfers.residual(sharp, number)
        terms = _terms(problem, state, sharp, knobs)
    count = observation.frames if observation.counts is None else observation.counts.clamp(min=1)
    losses: dict[str, torch.Tensor | float] = {
        "loss": sum(terms.values()),
        **terms,
        "residual": (square.sum() / max(1.0, observation.values)).sqrt(),
        "fitted noise": state.noise.rms,
        "noise": observation.sigmas.square().mean().sqrt(),
    }
    return Measured(
        sharp[(slice(None), *flow.inner)], losses, (square / count).sqrt() if seen is None else seen
    )


def _terms(
    problem: FlowProblem, state: FlowState, sharp: torch.Tensor, knobs: Knobs
) -> dict[str, torch.Tensor]:
    """The terms of the loss: those of eq. 17 or, in turns, with lambda_object once per object and with
    differences of modes from node to node.
    """
    shape = problem.flow.observation.shape
    radian = problem.radian(state.modes)
    if knobs.at_once:
        loss = JointLoss.of(problem.flow, knobs)
        data = (state.squares * loss.gamma[:, None, None]).sum()
        return {"data": data, "object": loss.of_objects(sharp)[0], "modes": loss.of_modes(radian)[0]}
    pixels = shape[0] * shape[1]
    smooth, _ = penalty(sharp, knobs.regulariser, pixels, positive=knobs.positive)
    rough, _ = roughness(radian)
    return {
        "data": (state.squares * knobs.weights[:, None, None]).sum() / pixels,
        "object": knobs.lambda_object * smooth,
        "modes": knobs.lambda_modes * rough / state.modes[0].numel(),
    }

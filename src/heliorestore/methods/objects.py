"""The objects that belong to given modes.

With the modes known the loss of eq. 17 of Asensio Ramos (2024) is quadratic in the objects: conjugate gradients solve it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from heliorestore.methods.flow import Transfers
from heliorestore.methods.regularisers import Kind, penalty
from heliorestore.optics.filters import filtered


@dataclass(frozen=True, kw_only=True, eq=False)
class Knobs:
    """What may turn while the solver runs: weights of eq. 17 and the filter of eq. 16; `weights` (object) are gamma."""

    weights: torch.Tensor
    lambda_object: float = 0.1
    filter_width: float = 1.8
    filter_smoothness: float = 20.0
    regulariser: Kind = "tikhonov"
    positive: bool = False
    lambda_modes: float = 0.01
    prior: float = 1.0
    rate_modes: float = 0.1
    rate_objects: float = 0.02

    @property
    def coupling(self) -> float:
        """lambda_modes as a weight of the squared differences of whitened modes: 1 where it has its usual value."""
        return self.lambda_modes / 0.01


def solve_objects(transfers: Transfers, objects: torch.Tensor, knobs: Knobs, iterations: int) -> torch.Tensor:
    """Objects that minimise eq. 17 for the given modes, by conjugate gradients from `objects`; they come back unfiltered.

    (H F^T gamma F H + lambda B^T w B) o = H F^T gamma d, with the data's mean over pixels and the sum over frames and objects.
    """
    flow = transfers.flow
    rows, columns = flow.observation.shape
    gamma = knobs.weights[:, None, None, None] / (rows * columns)
    transfer_filter = flow.filters(knobs)
    _, half_gradient = penalty(filtered(objects, transfer_filter), knobs.regulariser, positive=knobs.positive)
    weights = knobs.weights[:, None, None]

    def operator(x: torch.Tensor) -> torch.Tensor:
        sharp = filtered(x, transfer_filter)
        # What the filter takes away nothing else would hold: it weighs as much as the penalty of the sharpest structure.
        lost = (x - sharp) / (rows * columns)
        return filtered(transfers.normal(sharp, gamma) + knobs.lambda_object * weights * half_gradient(sharp), transfer_filter) + (
            knobs.lambda_object * weights * (lost - filtered(lost, transfer_filter))
        )

    with torch.no_grad():
        residual = filtered(transfers.back(gamma), transfer_filter) - operator(objects)
        direction, square = residual, residual.square().sum()
        for _ in range(iterations):
            if float(square) == 0:
                break
            image = operator(direction)
            objects = objects + (square / (direction * image).sum()) * direction
            residual = residual - (square / (direction * image).sum()) * image
            following = residual.square().sum()
            direction = residual + (following / square) * direction
            square = following
    return objects

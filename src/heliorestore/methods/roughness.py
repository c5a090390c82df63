"""How much maps differ from node to node."""

from __future__ import annotations

import torch


def roughness(maps: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Sum of the squared differences of neighbours in maps (..., y, x), and half of its gradient."""
    gradient, total = torch.zeros_like(maps), 0.0
    for axis in (-2, -1):
        difference = maps.diff(dim=axis)
        total += float(difference.square().sum())
        size = maps.shape[axis] - 1
        gradient.narrow(axis, 1, size).add_(difference)
        gradient.narrow(axis, 0, size).sub_(difference)
    return total, gradient

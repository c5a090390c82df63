"""Adam's steps as a function of a small record, so that a run can be stopped, stored and continued to the
last bit.

Kingma & Ba (2014), arXiv:1412.6980; with weight decay Loshchilov & Hutter (2017), arXiv:1711.05101.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_FIRST, _SECOND = 0.9, 0.99


MODE_ARRAYS = 9
"""Arrays of the modes' size that are alive while modes are sought: them, their moments, slopes and steps."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Running means of the gradient and of its square, and the number of steps taken."""

    first: torch.Tensor
    second: torch.Tensor
    steps: int = 0


def fresh(like: torch.Tensor) -> Moments:
    """No steps yet."""
    return Moments(torch.zeros_like(like), torch.zeros_like(like))


def descend(
    values: torch.Tensor,
    gradient: torch.Tensor,
    moments: Moments,
    rate: float | torch.Tensor,
    *,
    decay: float = 0.0,
    second: float = _SECOND,
) -> tuple[torch.Tensor, Moments]:
    """Values after one step of about `rate` (a number, or one for each value) against the gradient, and the
    moments for the next step.
    """
    steps = moments.steps + 1
    mean = _FIRST * moments.first + (1 - _FIRST) * gradient
    square = second * moments.second + (1 - second) * gradient.square()
    size = (square / (1 - second**steps)).sqrt() + torch.finfo(values.dtype).tiny
    moved = values * (1 - rate * decay) - rate * (mean / (1 - _FIRST**steps)) / size
    return torch.where(square > 0, moved, values), Moments(mean, square, steps)

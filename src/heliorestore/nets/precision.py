"""Layers that must not be computed in half precision."""

from __future__ import annotations

import torch
from torch import nn


def precisely(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The layer in the precision of its weights, also where half precision is on for all others."""
    # not every torch knows autocast on mps
    with torch.autocast("cuda" if x.is_cuda else "cpu", enabled=False):
        out: torch.Tensor = layer(x.to(next(layer.parameters()).dtype))
    return out

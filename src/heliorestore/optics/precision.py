"""Where half precision is used, and where it must not be."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

_HALF = ("cuda",)


def half(device: torch.device) -> AbstractContextManager[object]:
    """Networks compute in half precision (bfloat16) in what follows, on devices that are faster with it."""
    return torch.autocast(device.type, torch.bfloat16) if device.type in _HALF else nullcontext()


def single(device: torch.device) -> AbstractContextManager[object]:
    """Single precision in what follows, also where half precision is on."""
    # not every torch knows autocast on mps
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def precisely(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The layer in the precision of its weights, also where half precision is on for all others."""
    with single(x.device):
        out: torch.Tensor = layer(x.to(next(layer.parameters()).dtype))
    return out

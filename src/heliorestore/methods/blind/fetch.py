"""What is shown, brought from the device in one copy.

Every copy, and every number that is read there, makes a GPU wait until it has done all that it was given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from heliorestore.burst import FloatArray

# Into memory that is not paged they write by themselves, and faster.
_WRITING = ("cuda",)


def fetched(parts: Mapping[str, torch.Tensor | float]) -> dict[str, FloatArray]:
    """Arrays of tensors of single precision on one device, and of numbers, by name."""
    there = {name: part.detach() for name, part in parts.items() if isinstance(part, torch.Tensor)}
    found = {name: np.asarray(part) for name, part in parts.items() if not isinstance(part, torch.Tensor)}
    device = next(iter(there.values())).device
    if device.type == "cpu":
        return found | {name: part.numpy() for name, part in there.items()}
    packed = torch.cat([part.float().flatten() for part in there.values()])
    writes = device.type in _WRITING
    here = torch.empty(packed.shape, pin_memory=writes)
    here.copy_(packed, non_blocking=writes)
    if writes:
        torch.cuda.current_stream(device).synchronize()
    pieces = torch.split(here, [math.prod(part.shape) for part in there.values()])
    return found | {
        name: piece.reshape(part.shape).numpy()
        for (name, part), piece in zip(there.items(), pieces, strict=True)
    }

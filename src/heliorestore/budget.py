"""How much memory is free and may be used, and for what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SHARE = 0.5
_PER_PIXEL = 5.0  # bytes of a frame that is held, with the mask of its good pixels
HEAP_BYTES = (
    0.05e9  # that the allocator of the system holds without using it: between blocks, and for the next ones
)


def budget_bytes(memory_gb: float | None, device: torch.device) -> float:
    """Bytes for the work of a method on a device: a setting, or half of the free memory."""
    if memory_gb is not None:
        return memory_gb * 1e9
    if device.type == "cuda":
        import torch  # at first use: what only asks for the free memory starts faster without it

        # torch 2.4 refuses a device without a number; None is the current one
        return _SHARE * torch.cuda.mem_get_info(device.index)[0]
    return _SHARE * free_bytes()


@dataclass(frozen=True)
class Shares:
    """Bytes of the budget for frames held in memory (0: they are read when needed), for what stays whole
    while a method works, and for its work.
    """

    held: float
    state: float
    work: float


def share(memory_bytes: float, burst_shape: tuple[int, int, int, int], state_bytes: float) -> Shares:
    """Frames (object, frame, y, x) are held if they fit a third and leave a quarter for the work, which has
    an eighth at least.
    """
    frames, state = _PER_PIXEL * math.prod(burst_shape), state_bytes + HEAP_BYTES
    held = frames if frames <= min(memory_bytes / 3, memory_bytes * 3 / 4 - state) else 0.0
    return Shares(held, state, max(memory_bytes - held - state, memory_bytes / 8))


def free_bytes() -> float:
    """Main memory that is available without swapping."""
    import psutil  # at first use: a command that only reads files starts faster without it

    return float(psutil.virtual_memory().available)

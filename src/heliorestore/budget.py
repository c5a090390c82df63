"""How much memory is free and may be used, and for what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SHARE = 0.5


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
    """Bytes of the budget for frames held in memory (0: they are read when needed), and for work."""

    held: float
    work: float


def share(memory_bytes: float, burst_shape: tuple[int, int, int, int], state_bytes: float = 0.0) -> Shares:
    """Frames (object, frame, y, x) are held if they fit a third; a quarter at least is for the work."""
    frames = 4.0 * math.prod(burst_shape)
    held = frames if frames <= memory_bytes / 3 else 0.0
    return Shares(held, max(memory_bytes - held - state_bytes, memory_bytes / 4))


def free_bytes() -> float:
    """Main memory that is available without swapping."""
    import psutil  # at first use: a command that only reads files starts faster without it

    return float(psutil.virtual_memory().available)

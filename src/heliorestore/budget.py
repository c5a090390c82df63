"""What memory is free and may be used."""

from __future__ import annotations

from pathlib import Path

import torch

_FALLBACK_BYTES = 4e9
_SHARE = 0.5


def budget_bytes(memory_gb: float | None, device: torch.device) -> float:
    """Bytes for the work of a method on a device: a setting, or half of what the machine has free."""
    if memory_gb is not None:
        return memory_gb * 1e9
    if device.type == "cuda":
        # torch 2.4 refuses a device without a number; None is the current one
        return _SHARE * torch.cuda.mem_get_info(device.index)[0]
    return _SHARE * _free_bytes()


def _free_bytes() -> float:
    """Available main memory; a cautious guess where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return _FALLBACK_BYTES
    return next(
        (float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), _FALLBACK_BYTES
    )

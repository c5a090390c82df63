"""The accelerator that tests may use: a real GPU, or one that this process pretends to have."""

from __future__ import annotations

import torch


def accelerator() -> str:
    """Its name for torch; empty where there is none."""
    if torch.cuda.is_available():
        return "cuda"
    return "pretend" if torch._C._get_privateuse1_backend_name() == "pretend" else ""

"""Read checkpoints that torch pickled, without executing what is in them, and recognise their network by its layers."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from heliorestore.errors import WeightsError
from heliorestore.nets.weights import ARCHITECTURES, build

_STATES = ("state_dict", "model_state_dict", "model")
_KINDS_OF_NUMBERS = (np.float64, np.float32, np.int64, np.int32, np.bool_)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors by name of a file that `torch.save` wrote; a dictionary may hold them beside an optimiser's state and numbers."""
    try:
        with torch.serialization.safe_globals(_harmless()):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path.name} is refused: it holds more than tensors and numbers, which could run as a program ({reason}). "
            "Whoever made it can save its state_dict alone."
        ) from error
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise WeightsError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}: {error}): is it one that torch saved?"
        ) from error
    if isinstance(content, Mapping):
        content = next((content[name] for name in _STATES if isinstance(content.get(name), Mapping)), content)
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{path.name} holds no weights: possible are a state_dict, or a dictionary with one under {', '.join(_STATES)}.")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def recognise(path: Path, state: dict[str, torch.Tensor]) -> tuple[str, nn.Module]:
    """The network whose layers these are, filled with them."""
    reasons = []
    for architecture in ARCHITECTURES:
        name = architecture + _frames(architecture, state)
        net = build(name)
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            wrong = str(error).split("\n")
            reasons.append(f"{architecture}: {wrong[1].strip()[:120] if len(wrong) > 1 else wrong[0][:120]}")
        else:
            return name, net
    raise WeightsError(f"{path.name} fits none of the networks. {' '.join(reasons)}")


def _frames(architecture: str, state: dict[str, torch.Tensor]) -> str:
    """What an encoder-decoder of another number of frames adds to its architecture's name."""
    first = state.get("A01.conv.weight")
    if architecture not in ("mfbd", "mfbd-quarter") or first is None or first.ndim != 4 or first.shape[1] == build(architecture).frames:
        return ""
    return f":{first.shape[1]}"


def _harmless() -> list[Any]:
    """Numbers of numpy, which training scripts leave beside the weights; files of numpy 1 know them by an older name."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(kind)) for kind in _KINDS_OF_NUMBERS}
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *dtypes]

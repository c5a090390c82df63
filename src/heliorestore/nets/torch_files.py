"""Read checkpoints that torch pickled, without executing what is in them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heliorestore.errors import WeightsError, pickle_trouble

_STATES = ("state_dict", "model_state_dict", "model")
_KINDS_OF_NUMBERS = (np.float64, np.float32, np.int64, np.int32, np.bool_)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors by name of a `torch.save` file, which may hold an optimiser's state beside them."""
    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of strange pickles, which are refused below if they are too strange
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} is refused: it holds more than tensors and numbers, and could run a program "
            f"({pickle_trouble(error)}). Ask its author to save the state_dict alone."
        ) from error
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise WeightsError(
            f"The checkpoint {path} cannot be read: {pickle_trouble(error)}. Is it one that torch saved?"
        ) from error
    if isinstance(content, Mapping):
        content = next((content[name] for name in _STATES if isinstance(content.get(name), Mapping)), content)
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(value, torch.Tensor) for value in content.values())
    ):
        raise WeightsError(
            f"{path.name} holds no weights: possible are a state_dict, or a dictionary with "
            f"one under {', '.join(_STATES)}."
        )
    # torch's DataParallel adds this prefix to every name.
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _harmless() -> list[Any]:
    """Types of numpy numbers that training scripts save; in numpy 1 they have an older name."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(kind)) for kind in _KINDS_OF_NUMBERS}
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *dtypes,
    ]

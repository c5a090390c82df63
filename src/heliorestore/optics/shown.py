"""Which frames have an image of which object, and the parts of tensors that belong to some of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

Shown = npt.NDArray[np.bool_] | None
"""(object, frame): whether there is an image; None where there are all."""


def run(places: Sequence[int]) -> slice | list[int]:
    """Ascending places along an axis as an index: a slice, which copies nothing and makes no GPU wait, where
    they stand at equal distances.
    """
    if len(places) == 0:
        return slice(0)
    step = places[1] - places[0] if len(places) > 1 else 1
    equal = range(places[0], places[-1] + 1, step)
    return slice(equal.start, equal.stop, equal.step) if list(equal) == list(places) else list(places)


def runs(first: Sequence[int], second: Sequence[int]) -> tuple[slice | list[int] | torch.Tensor, ...]:
    """The index of places along the first two axes."""
    rows, columns = run(first), run(second)
    if isinstance(rows, list) and isinstance(columns, list):
        return torch.tensor(rows)[:, None], torch.tensor(columns)
    return rows, columns

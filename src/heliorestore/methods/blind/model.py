"""What a model of the blur must be able to do, and the one that is used by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.node_patches import at_once
from heliorestore.optics.psf import Optics
from heliorestore.optics.shown import Shown


class Model(Protocol):
    """What a space-variant model of one tile offers; `FilterFlow` does.

    Images (object, frame, y, x) are made of objects (object, y, x), which reach beyond the image by the
    margins of the PSFs (the model's borders are "given"), and of modes (frame, mode, gy, gx) in radian at the
    nodes. A call is differentiable in both. `transfer` gives what can be kept while the modes stay as they
    are, whatever that is, in the memory of an earlier one, `into`, if that is no longer needed; `apply` makes
    images with it, and `adjoint` is the transpose of `apply`, summed over the frames (of a model that is not
    linear in the objects: of its slope). Where `shown` says that there is no image the model need not compute
    one, and gives 0. A model must be local, images seeing no further than the margins,
    for tiles to be what the whole field is.
    """

    def __call__(self, objects: torch.Tensor, modes: torch.Tensor, shown: Shown = None) -> torch.Tensor: ...
    def transfer(self, modes: torch.Tensor, shown: Shown = None, into: Any = None) -> Any: ...
    def apply(self, objects: torch.Tensor, transfer: Any, shown: Shown = None) -> torch.Tensor: ...
    def adjoint(self, images: torch.Tensor, transfer: Any, shown: Shown = None) -> torch.Tensor: ...
    def slope(
        self, objects: torch.Tensor, modes: torch.Tensor, images: torch.Tensor, shown: Shown = None
    ) -> torch.Tensor: ...


# Of the optics of each object, the shape of the image, the distance of the nodes, and bytes that a gradient
# may keep.
MakeModel = Callable[[Sequence[Optics], tuple[int, int], int, float], Model]


def filter_flow(
    optics: Sequence[Optics],
    shape: tuple[int, int],
    step: int,
    memory_bytes: float,
    between: Callable[[], None] = at_once,
) -> Model:
    """The model that is used by default; `between` is called between small parts of its work."""
    return FilterFlow(
        optics=optics, shape=shape, step=step, borders="given", kept_bytes=memory_bytes, between=between
    )

"""The end of a restoration in the middle of an iteration, as if its generator had been closed there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from heliorestore.selection import Frames

_MOMENT_S = 1.0  # longer than what lies between two frames


class StopBetweenOperations(TorchFunctionMode):
    """In this context each operation on a tensor in this thread first asks whether the run is to `stop`.

    An iteration on a large burst takes many seconds, one operation in it hardly a second. It ends by
    GeneratorExit, which no method takes for an error, and on which it saves its state; what it then does is
    left alone.
    """

    def __init__(self, stop: Callable[[], bool]) -> None:
        super().__init__()
        self._stop, self._stopped = stop, False

    def look(self) -> None:
        """End the run here if it is to stop."""
        if not self._stopped and self._stop():
            self._stopped = True
            raise GeneratorExit

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # The end of `torch.no_grad` comes by here too: without it no later run in this thread had gradients.
        if any(isinstance(each, Tensor) for each in args):
            self.look()
        return func(*args, **(kwargs or {}))


class StopBetweenFrames:
    """The frames of a burst, before each reading of which the run asks whether it is to stop."""

    def __init__(self, frames: Frames, look: Callable[[], None]) -> None:
        self._frames, self._look = frames, look
        self.shape, self.dtype = frames.shape, frames.dtype
        self._reads, self._last = False, time.monotonic()

    def __getitem__(self, key: Any) -> Any:
        self._look()
        self._reads = True
        try:
            return self._frames[key]
        finally:
            self._reads, self._last = False, time.monotonic()

    @property
    def being_read(self) -> bool:
        """Whether a frame is being read, or was a moment ago, so that the next one may follow."""
        return self._reads or time.monotonic() - self._last < _MOMENT_S

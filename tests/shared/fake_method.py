"""A small method for the tests of the napari side, and its settings."""

import time
import weakref
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from heliorestore.burst import Burst
from heliorestore.settings import Settings, option, weights_option
from heliorestore.snapshot import Snapshot, StopReason


@dataclass(frozen=True, kw_only=True)
class FakeSettings(Settings):
    """One setting of every kind."""

    method: ClassVar[str] = "fake"

    iterations: int = option(5, minimum=1, maximum=100_000, live=True, help="Iterations.")
    strength: float = option(
        0.1, minimum=1e-6, maximum=10.0, live=True, log=True, unit="rad", help="What is added."
    )
    count: int = option(
        100, minimum=1, maximum=10_000, log=True, help="A whole number on a logarithmic scale."
    )
    offset: float = option(0.0, help="Any number.")
    kind: Literal["a", "b"] = option("a", help="One of two.")
    size: Literal[1, 2] = option(1, help="One of two numbers.")
    flag: bool = option(False, help="Yes or no.")
    text: str = option("", help="Some text.")
    net: str = weights_option("", of="mfbd", help="Some weights.")
    limit: float | None = option(None, minimum=0.0, help="A number or none.")
    pace_s: float = option(0.0, minimum=0.0, unit="s", help="How long an iteration takes.")
    fail: Literal["", "runtime", "memory", "gpu", "warning"] = option(
        "", help="What goes wrong at the third iteration."
    )


class FakeMethod:
    """Adds `strength` per iteration to the mean of the frames; remembers what became of its generators and
    arrays."""

    name = "fake"
    settings = FakeSettings

    def __init__(self) -> None:
        self.closed = 0
        self.made: list[weakref.ref[Any]] = []
        self.strengths: list[float] = []

    def stream(
        self, burst: Burst, settings: FakeSettings, *, device: Any, seed: int, start: Snapshot | None = None
    ) -> Generator[Snapshot, FakeSettings | None, None]:
        work = torch.tensor(np.stack([burst.image(k, 0) for k in range(burst.shape[0])]))
        self.made.append(weakref.ref(work))
        began = time.perf_counter()
        try:
            number = 0
            while number < settings.iterations:
                number += 1
                if settings.pace_s:
                    time.sleep(settings.pace_s)
                if number == 3:
                    _go_wrong(settings.fail)
                work += settings.strength
                self.strengths.append(settings.strength)
                images = work.numpy().copy().repeat(settings.size, 1).repeat(settings.size, 2)
                sent = yield Snapshot(
                    step=number,
                    total=max(settings.iterations, number),
                    images=images,
                    maps={"residual": np.full(burst.shape[:1] + burst.shape[2:], -0.5 / number)},
                    losses={"loss": 1 / number},
                    elapsed_s=time.perf_counter() - began,
                    zoom=settings.size,
                    stop=StopReason.DONE if number >= settings.iterations else None,
                )
                settings = sent or settings
        finally:
            self.closed += 1


def _go_wrong(how: str) -> None:
    if how == "runtime":
        raise RuntimeError("shapes do not fit")
    if how == "memory":
        raise MemoryError("4 TB")
    if how == "gpu":
        raise torch.OutOfMemoryError("CUDA out of memory")
    if how == "warning":
        _ = np.float32(1) / np.zeros(1, np.float32)

"""Where a run stands, in words: which stage, which of its iterations, and how long it will still take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heliorestore.snapshot import Snapshot

_OF = 8  # iterations whose median gives the time of one
_SURPRISE = 3.0  # times that median: an iteration which takes longer makes the estimate worthless


@dataclass(frozen=True)
class Course:
    """The iteration that is being computed, `number` of the `count` of its stage.

    `each_s` is the time of an iteration, None where the stage has not shown it yet; `more` whether another
    stage follows.
    """

    stage: str
    number: int
    count: int
    each_s: float | None
    more: bool

    def left_s(self, since_s: float) -> float | None:
        """Seconds until the stage ends, `since_s` after the last result; None where that is not known."""
        if self.each_s is None or since_s > _SURPRISE * self.each_s + 1:
            return None
        return max(0.0, (self.count - self.number + 1) * self.each_s - since_s)

    def __str__(self) -> str:
        return f"{self.stage} {self.number} of {self.count}"


def course(snapshot: Snapshot) -> Course | None:
    """What follows this snapshot; None where all iterations are done."""
    first, stages = 0, snapshot.stages or (("iteration", snapshot.total),)
    for place, (name, last) in enumerate(stages):
        if snapshot.step < last:
            each_s = _each_s(snapshot, first)
            return Course(name, snapshot.step - first + 1, last - first, each_s, place + 1 < len(stages))
        first = last
    return None


def _each_s(snapshot: Snapshot, first: int) -> float | None:
    """The time of an iteration after step `first`, without the first one, which prepares the others."""
    steps, seconds = (snapshot.history.get(name, np.empty(0)) for name in ("step", "seconds"))
    spent = np.diff(seconds[steps > first])[-_OF:]
    return float(np.median(spent)) if spent.size and (spent > 0).all() else None


def clock(seconds: float) -> str:
    """Minutes and seconds, hours where there are any."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"

"""What the chart of a run shows: the losses of its stages, and the knobs that were turned."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.float64]

_POINTS = 400  # as many as a panel has pixels
_PAUSE = 2  # iterations without a change after which a slider has arrived
_MARKS = 6  # ends of a slider's way that are named
_KNOBS = 3  # turned knobs that are shown
_NO_LOSS = ("step", "seconds", "restart")

LOSS, RELATIVE, GAIN = "loss", "relative", "x sharpest frame"
KINDS = {
    **dict.fromkeys(("residual", "fitted noise", "noise", "held out", "spread"), RELATIVE),
    "contrast_gain": GAIN,
}
"""The kinds of figures that are no terms of a loss: relative to the images, or a ratio of contrasts."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves by name over the iterations `steps`; what is not known or not positive is NaN.

    Another stage has another loss: the curves of each are scaled to meet those of the next one, so that only
    the last one's have the values of their axes. `begins` has the first iteration and name of each stage.
    `knobs` are those that were turned, and `turned` where, which and to what; at `end` the last stage ends.
    """

    steps: Column = field(default_factory=lambda: np.empty(0))
    losses: Mapping[str, Column] = field(default_factory=dict)
    begins: tuple[tuple[float, str], ...] = ()
    knobs: Mapping[str, Column] = field(default_factory=dict)
    turned: tuple[tuple[float, str, float], ...] = ()
    end: float = math.inf


def curves_of(
    history: Mapping[str, Column],
    losses: Collection[str],
    knobs: Collection[str] = (),
    stages: Sequence[tuple[str, int]] = (),
) -> Curves:
    """The named columns of a history over its `step` column; `stages` are those of its snapshot."""
    steps = history.get("step", np.empty(0))
    known = {name: np.where(history[name] > 0, history[name], np.nan) for name in losses if name in history}
    known = {name: values for name, values in known.items() if np.isfinite(values).sum() > 1}
    if not known:
        return Curves()
    rows = np.flatnonzero(np.isfinite(np.stack([*known.values()])).any(0))
    # A last row by itself repeats what was reached before; it is no point of the curves.
    end = int(rows[-1 if len(rows) < 3 or rows[-1] == rows[-2] + 1 else -2]) + 1
    known = {name: values[:end] for name, values in known.items()}
    history, steps = {name: values[:end] for name, values in history.items()}, steps[:end]
    others = {name for name in history if name not in _NO_LOSS and name.split(" ")[0] not in knobs}
    starts = [0, *_breaks([history[name] for name in sorted(others | set(known))])]
    shown = slice(None, None, max(1, len(steps) // _POINTS))
    named = _named(stages, steps[-1], len(starts))
    turned = _turned(history, knobs)
    return Curves(
        steps[shown],
        {name: values[shown] for name, values in _meeting(known, starts[1:]).items()},
        tuple(zip(steps[starts].tolist(), named, strict=True)) if len(starts) > 1 else (),
        {name: history[name][shown] for name in dict.fromkeys(name for _, name, _ in turned)},
        turned,
        float(max(steps[-1], stages[-1][1])) if stages else math.inf,
    )


def _named(stages: Sequence[tuple[str, int]], step: float, count: int) -> list[str]:
    """The names of so many stages up to the one that made this step; an older run's are not known."""
    ends = [0, *(last for _, last in stages)]
    reached = [name for (name, _), before in zip(stages, ends, strict=False) if before < step]
    return [*[""] * count, *reached][-count:]


def _breaks(columns: Sequence[Column]) -> list[int]:
    """The rows at which one stage follows another: a figure ends where another one begins."""
    there = np.isfinite(np.stack(columns)).astype(int)
    changed = np.diff(there, axis=1)
    return (1 + np.flatnonzero((changed > 0).any(0) & (changed < 0).any(0))).tolist()


def _meeting(known: Mapping[str, Column], breaks: Sequence[int]) -> dict[str, Column]:
    """The curves, those before each break scaled by one factor for each kind of figure."""
    scaled = {name: values.copy() for name, values in known.items()}
    for place in reversed(breaks):
        for kind in {KINDS.get(name, LOSS) for name in known}:
            ours = [values for name, values in scaled.items() if KINDS.get(name, LOSS) == kind]
            factors = [values[place] / values[place - 1] for values in ours]
            factor = next((each for each in factors if np.isfinite(each)), 1.0)
            for values in ours:
                values[:place] *= factor
    return scaled


def _turned(history: Mapping[str, Column], knobs: Collection[str]) -> tuple[tuple[float, str, float], ...]:
    """The last steps at which knobs got another value, and which to what; of a slider's way only its end."""
    steps, found = history.get("step", np.empty(0)), list[tuple[float, str, float]]()
    for name in knobs:
        values = history.get(name, np.empty(0))
        places = 1 + np.flatnonzero(np.diff(np.nan_to_num(values)) * np.isfinite(np.diff(values)))
        ends = places[np.diff(places, append=len(steps) + 2 * _PAUSE) > _PAUSE]
        found += [(float(steps[p]), name, float(values[p])) for p in ends]
    last = sorted(found)[-_MARKS:]
    shown = list(dict.fromkeys(name for _, name, _ in reversed(last)))[:_KNOBS]
    return tuple(each for each in last if each[1] in shown)

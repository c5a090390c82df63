"""A run's history: per iteration its losses and live settings, from which the run can be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst
from heliorestore.settings import Option, Settings, options, to_rows, to_text
from heliorestore.snapshot import Run, Snapshot

Columns = Mapping[str, npt.NDArray[np.float64]]

RESTART = "restart"
"""The column that marks iterations which restarted from the images and modes of a result: 1 of the row
before, 0 of another result.
"""

OF_THE_MACHINE = ("memory_gb", "checkpoint")  # settings that do not change the result


class History:
    """The rows so far, including those of the run from which `start` comes."""

    def __init__(self, burst: Burst, settings: Settings, start: Snapshot | None) -> None:
        self._live = [o.name for o in options(type(settings)) if _is_numeric_knob(o)]
        self._lists = [o.name for o in options(type(settings)) if _is_list_knob(o)]
        self.columns: dict[str, Any] = {}
        # A file that a setting names is in the record of the run, and needs no mark.
        named = start is not None and start.step == 0 and "start" in settings.files()
        self._restart = {} if start is None or named else {RESTART: 0.0}
        if start is not None and start.run is not None and start.run.settings.method == settings.method:
            self.columns = dict(start.history)
            self._restart = {RESTART: float(bool(self.columns) and _leads_to(start.run, burst, settings))}

    def resume(self, columns: Columns | None) -> None:
        """Take over the rows of an interrupted run; None if they were not kept."""
        self.columns = dict(columns or {})
        self._restart = {} if columns else {RESTART: 0.0}

    def add(self, snapshot: Snapshot, settings: Settings, seconds: float | None = None) -> None:
        """Add the row of a snapshot made after so many seconds, or take over all rows if it has them."""
        if snapshot.history:
            self.columns = dict(snapshot.history)
            return
        row = (
            {"step": float(snapshot.step), "seconds": snapshot.elapsed_s if seconds is None else seconds}
            | dict(snapshot.losses)
            | self._restart
        )
        row |= {
            name: float(getattr(settings, name)) for name in self._live if getattr(settings, name) is not None
        }
        for name in self._lists:
            row |= _numbers(name, getattr(settings, name))
        length = len(self.columns.get("step", ()))
        for name in {**self.columns, **row}:
            # A loss that begins later has no values before, and one that ends none after.
            column = self.columns.get(name, np.full(length, np.nan))
            self.columns[name] = np.append(column, row.get(name, np.nan))
        self._restart = {}


def gap(columns: Columns, settings: Settings) -> str:
    """Why the rows are not the whole run, as a sentence for the user, or nothing."""
    steps = columns.get("step", np.empty(0))
    unknown = steps[columns[RESTART] == 0] if RESTART in columns else steps[:0]
    # resumed from a checkpoint of a version that did not save the rows
    if hasattr(settings, "checkpoint") and len(steps) and steps[0] > 1:
        unknown = steps[:1]
    if not len(unknown):
        return ""
    return (
        f"The run cannot be repeated exactly: iteration {unknown[0]:.0f} continued an earlier state "
        "whose origin is not recorded."
    )


def restarts(columns: Columns) -> list[int]:
    """The numbers of the rows that restarted from the result of the row before."""
    return [int(number) for number in np.flatnonzero(columns.get(RESTART, np.empty(0)) == 1)]


def with_row(settings: Settings, columns: Columns, number: int) -> Settings:
    """The settings with the live values of one row; an optional one that is missing there was None."""
    values: dict[str, Any] = {}
    for opt in options(type(settings)):
        if _is_numeric_knob(opt) and opt.name in columns:
            value = columns[opt.name][number]
            # NaN is None for an optional setting; for another one the column began later, and the setting
            # stays.
            if opt.optional or not np.isnan(value):
                values[opt.name] = None if np.isnan(value) else opt.type(value)
        parts = (
            [columns[name][number] for name in columns if name.startswith(f"{opt.name} ")]
            if _is_list_knob(opt)
            else []
        )
        if parts:
            values[opt.name] = ",".join(to_text(float(part)) for part in parts if not np.isnan(part))
    return settings.replace(**values)


def _leads_to(before: Run, burst: Burst, settings: Settings) -> bool:
    """Whether these settings on this burst, with the live ones of its rows, repeat an earlier run."""
    kept = [o.name for o in options(type(settings)) if not o.live and o.name not in OF_THE_MACHINE]
    now = Run.of(burst, settings, "", 0)
    was = {
        name: text
        for name, text, *_ in (
            to_rows(before.settings) if isinstance(before.settings, Settings) else before.settings.rows
        )
    }
    text = {name: value for name, value, *_ in to_rows(settings)}
    files = [[(each.path, each.size, each.mtime_ns) for each in run.sources] for run in (before, now)]
    same = ("instruments", "labels", "object_numbers", "frame_numbers", "preparation")
    return (
        all(was.get(name) == text[name] for name in kept)
        and files[0] == files[1]
        and all(getattr(before, name) == getattr(now, name) for name in same)
    )


def _is_numeric_knob(opt: Option) -> bool:
    """Whether a live setting fits into a column of numbers."""
    return opt.live and opt.type in (int, float, bool)


def _is_list_knob(opt: Option) -> bool:
    """Whether a live setting is a text, whose numbers separated by commas fill a column each."""
    return opt.live and opt.type is str


def _numbers(name: str, text: str) -> dict[str, float]:
    """Numbers of a text by column title, as `object_weights 1`; none where it is empty or a word."""
    try:
        values = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        return {}
    return {f"{name} {place}": value for place, value in enumerate(values, 1)}

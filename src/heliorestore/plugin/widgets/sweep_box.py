"""A sweep in a panel: a setting, its values, one run after another into one stack."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QLineEdit, QWidget

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.sweep import (
    Sweep,
    SweepLayers,
    export_sweep,
    parse_values,
    spaced_values,
    suggested_ends,
    sweepable,
)
from heliorestore.plugin.runs.task import End, Outcome, start_task
from heliorestore.plugin.runs.versions import keep, short_name
from heliorestore.plugin.runs.worker import Job
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.result_layers import next_name
from heliorestore.plugin.widgets.closing import follow
from heliorestore.plugin.widgets.numbers import FloatBox, IntBox
from heliorestore.plugin.widgets.run_controls import RunPanel
from heliorestore.plugin.widgets.sections import button, note, row, say, stack
from heliorestore.settings import Option, Settings


class SweepBox(QWidget):
    """Runs `job` for every value by the panel's run buttons; Stop ends it and keeps its results."""

    began = Signal()

    def __init__(
        self, viewer: Any, run_panel: RunPanel, job: Callable[[], Job], inputs: Callable[[Job], Sequence[Any]]
    ) -> None:
        super().__init__()
        self._viewer, self._run_panel, self._job, self._inputs = viewer, run_panel, job, inputs
        self._options: list[Option] = []
        self._base: Job | None = None
        self._number = 0
        self.layers: SweepLayers | None = None
        self._build()
        run_panel.ended.connect(self._ended)
        run_panel.state_changed.connect(self._enable)
        follow(self, [viewer.layers.events.removed], self._forget_deleted)
        self._enable()

    @property
    def running(self) -> bool:
        return self._base is not None

    def set_class(self, settings_class: type[Settings] | None) -> None:
        """Offer the settings of this method."""
        self._options = sweepable(settings_class) if settings_class is not None else []
        self.setting.clear()
        self.setting.addItems([option.label for option in self._options])
        if settings_class is not None and not self._options:
            say(self.said, f"{settings_class.method} has no number that changes its result.")
        self._enable()

    def start(self) -> None:
        """Begin with the first value; errors are shown here."""
        try:
            option = self._options[self.setting.currentIndex()]
            sweep = Sweep(option.name, parse_values(option, self.values.text()))
            base = self._job()
            for value in sweep.values:
                base.settings.replace(**{sweep.setting: value})  # raises if the values do not fit together
            inputs = self._inputs(base)
        except HeliorestoreError as error:
            say(self.said, f"⚠ {error}")
            return
        if self.layers is not None:
            self.layers.close()
        name = next_name(self._viewer, f"sweep of {short_name(sweep.setting)}")
        self.layers = SweepLayers(self._viewer, name, sweep, inputs)
        self._base, self._number = base, 0
        self.began.emit()
        self._next()

    def export(self, folder: str | Path | None = None) -> None:
        """Write a file per value into a folder, in a thread; without one ask for it."""
        if self.layers is None:
            return
        if folder is None:
            folder = QFileDialog.getExistingDirectory(self, "Export sweep: folder for a FITS file per value")
            if not folder:
                return
        snapshots, sweep, target = list(self.layers.snapshots), self.layers.sweep, Path(folder)
        say(self.said, "Writing…")
        start_task(
            f"Write the sweep of {sweep.setting}",
            lambda: export_sweep(snapshots, sweep, target),
            self._written,
        )

    def keep_all(self) -> None:
        """Make a version of every value."""
        for snapshot in self.layers.snapshots if self.layers is not None else ():
            if snapshot is not None and snapshot.run is not None:
                keep(self._viewer, snapshot, snapshot.run.settings, snapshot.run.settings.method)

    def _next(self) -> None:
        if self._base is None or self.layers is None or self._run_panel.busy:
            return
        sweep = self.layers.sweep
        settings = self._base.settings.replace(**{sweep.setting: sweep.values[self._number]})
        say(self.said, f"{self._number + 1} of {len(sweep.values)}: {sweep.title(self._number)}")
        self._run_panel.start(
            dataclasses.replace(self._base, settings=settings), self.layers.part(self._number)
        )
        self._enable()

    def _ended(self, outcome: Outcome) -> None:
        if self._base is None or self.layers is None:
            return
        self._number += 1
        sweep = self.layers.sweep
        if outcome.end is End.FINISHED and self._number < len(sweep.values):
            # The run panel takes a new run only after this signal.
            QTimer.singleShot(0, self._next)
            return
        done = sum(snapshot is not None for snapshot in self.layers.snapshots)
        self._base = None
        how = {End.FINISHED: "Done", End.STOPPED: "Stopped", End.FAILED: "Failed"}[outcome.end]
        say(
            self.said,
            f"{how}: {done} of {len(sweep.values)} values; the slider {sweep.axis} shows them.",
        )
        self._enable()

    def _forget_deleted(self, event: Any) -> None:
        """A deleted sweep cannot be exported: its results, as large as the fields of all runs, go too."""
        if self.layers is not None and self.layers.deleted and not self.running:
            self.layers.close()
            self.layers = None
            self._enable()

    def _written(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            say(self.said, f"⚠ {explain(outcome.error)}")
        elif outcome.end is End.FINISHED:
            say(self.said, "Written: " + ", ".join(path.name for path in outcome.value))

    def _suggest(self, index: int) -> None:
        """Fill in values around the default of the chosen setting."""
        if not 0 <= index < len(self._options):
            self.values.clear()
            return
        low, high = suggested_ends(self._options[index])
        self.low.setValue(low)
        self.high.setValue(high)
        self._fill()

    def _fill(self) -> None:
        try:
            option = self._options[self.setting.currentIndex()]
            self.values.setText(
                spaced_values(option, self.low.value(), self.high.value(), int(self.count.value()))
            )
            say(self.said, "")
        except HeliorestoreError as error:
            say(self.said, f"⚠ {error}")

    def _enable(self, *_: Any) -> None:
        ready = bool(self._options) and not self._run_panel.busy and not self.running
        self.start_button.setEnabled(ready)
        has_result = self.layers is not None and any(
            snapshot is not None for snapshot in self.layers.snapshots
        )
        for part in (self.export_button, self.keep_button):
            part.setEnabled(has_result and not self.running)

    def _build(self) -> None:
        self.setting = QComboBox()
        self.setting.setToolTip(
            "The setting that takes several values, one run after another; all others keep their "
            "values in the form."
        )
        self.setting.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setting.currentIndexChanged.connect(self._suggest)
        self.values = QLineEdit()
        self.values.setToolTip("The values in the unit of the setting, separated by commas.")
        self.low, self.high, self.count = FloatBox(0.0), FloatBox(0.0), IntBox(2, 50)
        for box, value, tip in (
            (self.low, 0.01, "The first of the values to fill in."),
            (self.high, 1.0, "The last of the values to fill in."),
            (self.count, 5, "How many values to fill in."),
        ):
            box.setValue(value)  # type: ignore[arg-type] # each box its own kind of number
            box.setToolTip(tip)
        fill = button(
            "Fill in",
            "Fill in values from the first to the last, evenly spaced on a logarithmic scale.",
            self._fill,
        )
        self.start_button = button(
            "Sweep",
            "Run once for every value; the results become one stack with a slider for the values.",
            self.start,
        )
        self.export_button = button(
            "Export…",
            "Write a FITS file per value, each with its full provenance, into a folder.",
            self.export,
        )
        self.keep_button = button(
            "As versions",
            "Make a version of every value, to compare them or to return to its settings.",
            self.keep_all,
        )
        self.said = note("Progress of the sweep.")
        stack(
            self,
            self.setting,
            self.values,
            row(self.low, "to", self.high),  # in one line with the rest their numbers would be cut off
            row("n", self.count, fill),
            row(self.start_button, self.export_button, self.keep_button),
            self.said,
        )

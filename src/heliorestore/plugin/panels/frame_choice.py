"""The choice of frames by their sharpness, which writes the field *frames* of a panel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLineEdit

from heliorestore.burst import Burst
from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.task import End, Latest, Outcome
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.widgets.chart import ChartView
from heliorestore.plugin.widgets.sections import Section, note, row, say
from heliorestore.quality.charts import draw_sharpness
from heliorestore.quality.metrics import Array
from heliorestore.selection import choose, evenly, numbers_text


class FrameChart(ChartView):
    """The sharpness of every frame; a click tells the frame."""

    clicked = Signal(int)

    def _loaded(self, outcome: Outcome) -> None:
        super()._loaded(outcome)
        if self.canvas is not None:
            self.canvas.mpl_connect("button_press_event", self._pressed)

    def _pressed(self, event: Any) -> None:
        if event.xdata is not None:
            self.clicked.emit(round(event.xdata))


class FrameChoice(Section):
    """A chart of the frames of the input, read in a thread when it is opened, and how many are wanted."""

    def __init__(self, frames: QLineEdit, burst: Callable[[], Burst]) -> None:
        self.frames, self._of_input = frames, burst
        self.best = QLineEdit()
        self.best.setPlaceholderText("30 or 30%")
        self.best.setToolTip(
            "Use so many of the sharpest frames, or so many percent; their numbers go to the field frames."
        )
        self.chart = FrameChart(
            "The sharpness of every frame of the first object: its detail, without the noise. A click "
            "takes a frame out, or in again; hollow frames are not used.",
            height=180,
        )
        self.said = note("What the chart shows, or why there is none.")
        super().__init__("Sharpness", self.chart, row("best", self.best), self.said, opened=False)
        self.values: Array | None = None
        self._burst: Burst | None = None  # that is being measured, or was
        self._measure = Latest("Measure the sharpness", self._measured)
        self.title.toggled.connect(self.look)
        self.best.editingFinished.connect(self._choose_best)
        self.chart.clicked.connect(self._toggle)
        frames.textChanged.connect(self._draw)

    def forget(self) -> None:
        """The input is another one."""
        self._burst = self.values = None
        self.look()

    def look(self) -> None:
        """Measure the frames of the input if the section is open and they are not known."""
        if not self.title.isChecked() or self._burst is not None:
            return
        try:
            burst = self._of_input()
        except HeliorestoreError as error:
            say(self.said, explain(error))
            return
        self._burst = burst

        def go_on(done: int, total: int) -> None:
            if self._burst is not burst:  # nobody waits for it any more
                raise HeliorestoreError("The input has changed.")

        def work() -> Array:
            from heliorestore.prepare.sharpness import sharpness

            return sharpness(burst, progress=go_on)

        say(self.said, f"Reading {burst.shape[1]} frames…")
        self._measure.ask(work)

    def _measured(self, outcome: Outcome) -> None:
        if self._burst is None:
            return
        if outcome.end is not End.FINISHED:
            say(self.said, f"⚠ {outcome.error}")
            return
        self.values = outcome.value
        self._choose_best()
        self._draw()

    def _used(self) -> tuple[int, ...]:
        """The frames that the field names; all as long as it cannot be read."""
        total = 0 if self.values is None else len(self.values)
        try:
            return tuple(choose(self.frames.text(), total, "frames"))
        except HeliorestoreError:
            return tuple(range(total))

    def _choose_best(self) -> None:
        text = self.best.text().strip()
        if self.values is None or not text:
            return
        from heliorestore.prepare.sharpness import how_many, sharpest  # loads torch: not before it is

        try:
            chosen = sharpest(self.values, how_many(text, len(self.values)))
        except HeliorestoreError as error:
            say(self.said, f"⚠ {error}")
            return
        self.frames.setText(numbers_text(evenly(chosen)))

    def _toggle(self, frame: int) -> None:
        """Take a frame out, or in again; the last one stays."""
        changed = sorted({*self._used()} ^ {frame})
        if self.values is not None and changed and 0 <= frame < len(self.values):
            self.best.clear()
            self.frames.setText(numbers_text(evenly(tuple(changed))))

    def _draw(self) -> None:
        if self.values is None or self._burst is None:
            return
        used = self._used()
        self.chart.show_chart(
            partial(draw_sharpness, values=self.values, name=self._burst.labels[0], used=used)
        )
        say(self.said, f"{len(used)} of {len(self.values)} frames are used.")

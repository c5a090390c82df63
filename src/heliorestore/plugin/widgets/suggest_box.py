"""A suggested value beside the form: computed from the data in a thread, and shown with its reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QWidget

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.task import End, Outcome, Task, start_task
from heliorestore.plugin.runs.worker import Job
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.widgets.chart import ChartView
from heliorestore.plugin.widgets.sections import button, note, row, say, stack
from heliorestore.quality.charts import draw_curve, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from heliorestore.diagnose.lambda_object import Suggestion

SETTING = "lambda_object"  # of which a value can be suggested


class SuggestBox(QWidget):
    """`job` returns the restoration to look at; `use` receives the value that the user accepts."""

    _went_on = Signal(str, int, int)  # from the thread: stage, steps done, steps in all

    def __init__(self, job: Callable[[], Job], use: Callable[[str, float], None]) -> None:
        super().__init__()
        self._job, self._use = job, use
        self._suggestion: Suggestion | None = None
        self._asked: Event | None = None  # set when nobody wants the answer any more
        searches: list[Event] = []  # outlives the widget
        self._searches = searches
        self.destroyed.connect(_giving_up(searches))
        self.ask_button = button(
            "Suggest lambda object",
            "Estimate from the data how much smoothing they need: two halves of the frames, 192 pixels "
            "of the field, ten seconds to a minute.",
            self.ask,
        )
        self.use_button = button("Use it", "Put the suggested value into the form.", self._take)
        self.cancel_button = button("Cancel", "End the search; nothing changes.", self.cancel)
        self.progress = QProgressBar()
        self.progress.setFormat("%v of %m")
        self.progress.setToolTip("Steps done: iterations for the wavefronts, then values of lambda object.")
        self._went_on.connect(self._show_progress)
        self.said = note("Why this value is suggested.")
        self.chart = ChartView(
            "Difference of the two halves of the frames over lambda object, in units of the image's "
            "variance: too small a value leaves noise, a too large one removes detail of the Sun.",
            200,
        )
        stack(
            self,
            row(self.ask_button, self.cancel_button, self.use_button),
            self.progress,
            self.said,
            self.chart,
        )
        self._set_searching(False)
        self._show(None)

    def ask(self) -> None:
        """Look for a value in a thread."""
        try:
            job = self._job()
        except HeliorestoreError as error:
            say(self.said, f"⚠ {error}")
            return

        given_up = self._asked = Event()
        self._searches[:] = [given_up]
        tasks: list[Task] = []  # the one that begins before it is known here

        def go_on(stage: str, done: int, total: int) -> None:
            try:
                self._went_on.emit(stage, done, total)
            except RuntimeError:  # the panel is gone
                given_up.set()
            if given_up.is_set() or any(task.abort_requested for task in tasks):
                raise HeliorestoreError("The search has been cancelled.")

        def work() -> Suggestion:
            from heliorestore.diagnose.lambda_object import suggest

            return suggest(job.burst, job.settings, device=job.device, progress=go_on)

        self._set_searching(True)
        self._show(None)
        say(self.said, "Loading…")
        title = f"Suggest lambda object for {job}"
        tasks.append(start_task(title, work, lambda outcome: self._found(outcome, given_up)))

    def cancel(self) -> None:
        """End the search at its next step; the panel is free at once."""
        if self._asked is not None:
            self._asked.set()
            self._set_searching(False)
            say(self.said, "Cancelled.")

    def _set_searching(self, searching: bool) -> None:
        if not searching:
            self._asked = None
        self.ask_button.setVisible(not searching)
        self.cancel_button.setVisible(searching)
        self.progress.setVisible(searching)
        self.progress.setRange(0, 0)

    def _show_progress(self, stage: str, done: int, total: int) -> None:
        if self._asked is not None:
            self.progress.setRange(0, total)
            self.progress.setValue(done)
            say(self.said, f"Comparing two halves of the frames: {stage}.")

    def _found(self, outcome: Outcome, given_up: Event) -> None:
        if given_up.is_set() or given_up is not self._asked:
            return
        self._set_searching(False)
        self._show(outcome.value if outcome.end is End.FINISHED else None)
        if outcome.error is not None:
            say(self.said, f"⚠ {explain(outcome.error)}")

    def _show(self, suggestion: Suggestion | None) -> None:
        self._suggestion = suggestion
        self.use_button.setVisible(suggestion is not None)
        self.chart.setVisible(suggestion is not None)
        if suggestion is None:
            say(self.said, "")
            return
        self.use_button.setText(f"Use {suggestion.value:g}")
        say(self.said, suggestion.reason)
        self.chart.show_chart(partial(draw_suggestion, suggestion=suggestion))

    def _take(self) -> Any:
        if self._suggestion is not None:
            self._use(self._suggestion.setting, self._suggestion.value)


def _giving_up(searches: list[Event]) -> Callable[..., None]:
    def end(*_: Any) -> None:
        for search in searches:
            search.set()

    return end


def draw_suggestion(axes: Axes, suggestion: Suggestion) -> None:
    """The measurements behind the suggestion, over the values that were tried."""
    draw_curve(axes, suggestion.values, suggestion.difference, "half with it against the other half, sharp")
    draw_curve(axes, suggestion.values, suggestion.noise, "both with it: noise", linestyle="--")
    finish(
        axes,
        "lambda object",
        "difference / variance",
        marks={suggestion.value: f"suggested {suggestion.value:g}"},
    )

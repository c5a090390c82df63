"""A suggested value beside the form: computed from the data in a thread, and shown with its reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.failure import explain
from heliorestore.plugin.runs.task import End, Outcome, start_task
from heliorestore.plugin.runs.worker import Job
from heliorestore.plugin.widgets.chart import ChartView
from heliorestore.plugin.widgets.sections import button, note, row, say, stack
from heliorestore.quality.charts import draw_curve, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from heliorestore.diagnose.lambda_object import Suggestion

SETTING = "lambda_object"  # of which a value can be suggested


class SuggestBox(QWidget):
    """`job` returns the restoration to look at; `use` receives the value that the user accepts."""

    def __init__(self, job: Callable[[], Job], use: Callable[[str, float], None]) -> None:
        super().__init__()
        self._job, self._use = job, use
        self._suggestion: Suggestion | None = None
        self.ask_button = button(
            "Suggest λ object",
            "Estimate from the data how much smoothing they need: two halves of the frames, 192 pixels "
            "of the field, ten seconds to a minute.",
            self.ask,
        )
        self.use_button = button("Use it", "Put the suggested value into the form.", self._take)
        self.said = note("Why this value is suggested.")
        self.chart = ChartView(
            "Difference of the two halves of the frames over λ object, in units of the image's "
            "variance: a too small λ leaves noise, a too large one removes detail of the Sun.",
            200,
        )
        stack(self, row(self.ask_button, self.use_button), self.said, self.chart)
        self._show(None)

    def ask(self) -> None:
        """Look for a value in a thread."""
        try:
            job = self._job()
        except HeliorestoreError as error:
            say(self.said, f"⚠ {error}")
            return

        def work() -> Suggestion:
            from heliorestore.diagnose.lambda_object import suggest

            return suggest(job.burst, job.settings, device=job.device)

        self.ask_button.setEnabled(False)
        self._show(None)
        say(self.said, "Comparing two halves of the frames…")
        start_task(f"Suggest λ object for {job}", work, self._found)

    def _found(self, outcome: Outcome) -> None:
        self.ask_button.setEnabled(True)
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


def draw_suggestion(axes: Axes, suggestion: Suggestion) -> None:
    """The measurements behind the suggestion, over the values that were tried."""
    draw_curve(axes, suggestion.values, suggestion.difference, "half with λ against the other half, sharp")
    draw_curve(axes, suggestion.values, suggestion.noise, "both with λ: noise", linestyle="--")
    finish(
        axes,
        "λ object",
        "squared difference / variance",
        marks={suggestion.value: f"suggested {suggestion.value:g}"},
    )

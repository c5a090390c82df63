"""The panel of Enhance: a before/after split of the result, and Richardson-Lucy to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QPushButton, QSlider

from heliorestore.plugin.panels.restore import RestoreWidget
from heliorestore.plugin.panels.second_method import start_beside
from heliorestore.plugin.viewer.comparison import How, comparison_of
from heliorestore.plugin.viewer.result_layers import show_series
from heliorestore.plugin.widgets.closing import when_closed
from heliorestore.plugin.widgets.numbers import IntBox
from heliorestore.plugin.widgets.sections import Section, button, row
from heliorestore.snapshot import SERIES

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from heliorestore.plugin.runs.worker import Job
    from heliorestore.plugin.viewer.result_layers import ResultLayers

_STEPS = 1000  # of the slider


class EnhanceWidget(RestoreWidget):
    """Enhance, with ways to see what it did."""

    method: ClassVar[str | None] = "enhance"
    before: QSlider
    lucy_iterations: IntBox
    lucy_button: QPushButton

    def __init__(self, napari_viewer: Viewer) -> None:
        self.comparison = comparison_of(napari_viewer)
        self._latest: ResultLayers | None = None
        self._split_pair: tuple[Any, Any] | None = None  # that the slider can compare
        super().__init__(napari_viewer)
        self.run_panel.state_changed.connect(self._compare_when_idle)
        self.run_panel.ended.connect(self._show_series)
        self.run_panel.state_changed.connect(self._show_border)
        self.layer_list.changed.connect(self._show_border)
        self.comparison.changed.connect(self._show_border)
        self.comparison.split_moved.connect(self._show_border)
        when_closed(self, self._end_split)
        self._compare_when_idle()
        self._show_border()

    def make_layers(self, job: Job) -> ResultLayers:
        """As every panel does; the latest result is the one that the slider sets against its input."""
        self._latest = super().make_layers(job)
        return self._latest

    def compare_with_lucy(self) -> None:
        """Run Richardson-Lucy on the same input into layers of its own, on the same finer pixels."""
        from heliorestore.methods.richardson_lucy import RichardsonLucySettings

        start_beside(self, RichardsonLucySettings(iterations=int(self.lucy_iterations.value()), upsampling=2))

    def show_before(self, value: int) -> None:
        """Draw the border between before and after at this step of the slider."""
        pair = self._before_and_after()
        if not value or pair is None:
            self._end_split()
        # The border is moved, not made anew: that would reset what the user sees.
        elif self._splits(pair):
            self.comparison.split.move(value / _STEPS)
        else:
            self.comparison.start(How.SPLIT, *pair, part=value / _STEPS)

    def _show_series(self, outcome: Any = None) -> None:
        if self._latest is not None:
            show_series([each for each in self._latest.layers.values() if each in self.viewer.layers])

    def _before_and_after(self) -> tuple[Any, Any] | None:
        """The input, where it is still chosen, and the latest result: of a series all frames."""
        made = self._latest.layers if self._latest is not None else {}
        result = made.get((SERIES, 0)) or made.get(("image", 0))
        if self._latest is None or result is None or result not in self.viewer.layers:
            return None
        return (
            (self._latest.inputs[0], result) if self._latest.inputs[0] in self.layer_list.chosen() else None
        )

    def _splits(self, pair: tuple[Any, Any] | None) -> bool:
        return pair is not None and self.comparison.how is How.SPLIT and self.comparison.pair == pair

    def _end_split(self) -> None:
        """The border goes; what else is compared is left alone."""
        if self._splits(self._split_pair):
            self.comparison.stop()

    def _show_border(self, *_: Any) -> None:
        """The slider stands where the border does, at 0 without one; the border goes with its input."""
        pair = self._before_and_after()
        # Another input or another result: the old border compares what is gone.
        if pair != self._split_pair:
            self._end_split()
            self._split_pair = pair
        with QSignalBlocker(self.before):
            self.before.setValue(round(_STEPS * self.comparison.split.part) if self._splits(pair) else 0)
        self.before.setEnabled(pair is not None)

    def _compare_when_idle(self) -> None:
        self.lucy_button.setEnabled(self.form is not None and not self.run_panel.busy)

    def _build(self) -> None:
        super()._build()
        self.lucy_iterations = IntBox(1, 10_000)
        self.lucy_iterations.setValue(20)
        self.lucy_iterations.setToolTip(
            "Iterations of Richardson-Lucy: more sharpen further and amplify noise."
        )
        self.lucy_button = button(
            "Compare with Richardson-Lucy",
            "Restore the same input with Richardson-Lucy, which uses the telescope's PSF and knows "
            "nothing about the Sun: structure that both show comes from the data.",
            self.compare_with_lucy,
        )
        self.before = QSlider(Qt.Orientation.Horizontal)
        self.before.setRange(0, _STEPS)
        self.before.setToolTip(
            "Part of the image, from the left, that shows the input instead of the latest result; 0 "
            "ends the comparison. All other layers are hidden meanwhile."
        )
        self.before.valueChanged.connect(self.show_before)
        compare = Section(
            "Compare", row(self.lucy_button, self.lucy_iterations), row("before", self.before, "after")
        )
        self.sections.fill("judge", compare)

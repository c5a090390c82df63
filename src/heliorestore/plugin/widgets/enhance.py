"""The panel of Enhance: a before/after split over the result, and Richardson-Lucy on a button to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QPushButton, QSlider

from heliorestore.plugin.split import Split
from heliorestore.plugin.widgets.beside import start_beside
from heliorestore.plugin.widgets.numbers import IntBox
from heliorestore.plugin.widgets.parts import Section, button, row
from heliorestore.plugin.widgets.restore import RestoreWidget

if TYPE_CHECKING:
    from napari.viewer import Viewer

_STEPS = 1000  # of the slider


class EnhanceWidget(RestoreWidget):
    """Enhance, with ways to see what it did."""

    method: ClassVar[str | None] = "enhance"
    before: QSlider
    lucy_iterations: IntBox
    lucy_button: QPushButton

    def __init__(self, napari_viewer: Viewer) -> None:
        self.split = Split(napari_viewer, self._split_moved)
        self._split_inputs: list[Any] = []
        super().__init__(napari_viewer)
        self.run_panel.state_changed.connect(self._compare_when_idle)
        self.layer_list.changed.connect(self._forget_split)
        self._compare_when_idle()

    def compare_with_lucy(self) -> None:
        """Run Richardson-Lucy on the same input into layers of its own, on the same finer pixels."""
        from heliorestore.methods.richardson_lucy import RichardsonLucySettings

        start_beside(self, RichardsonLucySettings(iterations=int(self.lucy_iterations.value()), upsampling=2))

    def show_before(self, value: int) -> None:
        """Draw the border between before and after at this step of the slider."""
        chosen = self.layer_list.chosen()
        if not self.split.stands:
            if not value or len(chosen) == 0:
                return
            self._split_inputs = chosen
            self.split.take(chosen[0])
        self.split.move(value / _STEPS)

    def _split_moved(self, part: float) -> None:
        with QSignalBlocker(self.before):
            self.before.setValue(round(_STEPS * part))

    def _forget_split(self) -> None:
        """Another input: the border starts anew, and the layer of the old one goes."""
        if self.split.stands and self.layer_list.chosen() != self._split_inputs:
            self.split.drop()
            self.before.setValue(0)

    def _compare_when_idle(self) -> None:
        self.lucy_button.setEnabled(self.form is not None and not self.run_panel.busy)

    def _build(self) -> None:
        super()._build()
        self.lucy_iterations = IntBox(1, 10_000)
        self.lucy_iterations.setValue(20)
        self.lucy_iterations.setToolTip("Iterations of Richardson-Lucy: more sharpen further and amplify noise.")
        self.lucy_button = button(
            "Compare with Richardson-Lucy",
            "Restore the same input with Richardson-Lucy, which knows the telescope and nothing about the Sun: structure that both show "
            "comes from the data.",
            self.compare_with_lucy,
        )
        self.before = QSlider(Qt.Orientation.Horizontal)
        self.before.setRange(0, _STEPS)
        self.before.setToolTip("How much of the image, from the left, shows the input instead of the result.")
        self.before.valueChanged.connect(self.show_before)
        column = self.column
        compare = Section("Compare", row(self.lucy_button, self.lucy_iterations), row("before", self.before, "after"))
        column.insertWidget(column.count() - 1, compare)

"""The panel to compare two layers: blink, a divider, the difference, or side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QSlider, QVBoxLayout, QWidget

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.comparison import Comparison, How
from heliorestore.plugin.widgets.layer_box import LayerBox
from heliorestore.plugin.widgets.numbers import FloatBox
from heliorestore.plugin.widgets.parts import button, note, row, say

if TYPE_CHECKING:
    from napari.viewer import Viewer

_STEPS = 1000  # of the slider
_TIPS = {
    How.BLINK: "Show the two in turns at the same place: the eye sees what moves or changes.",
    How.SPLIT: "Show the first left of a divider and the second right of it; drag the yellow line, or use the slider.",
    How.DIFFERENCE: "Show the first minus the second in the unit of the images, blue below zero, red above.",
    How.SIDE: "Show the first on the left and the second on the right, moved and zoomed together.",
}


class CompareWidget(QWidget):
    """Two layers, and how they are compared; *off* leaves everything as it was before."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.comparison = Comparison(napari_viewer, self._over, self._split_moved)
        self._build()
        # The comparison must not outlive its panel.
        self.destroyed.connect(_closer(self.comparison, self.first, self.second))

    def compare(self, how: How, first: Any, second: Any) -> None:
        """Compare these layers, as if they had been chosen by hand."""
        self.first.choose(first)
        self.second.choose(second)
        with QSignalBlocker(self.how):
            self.how.setCurrentIndex(self.how.findData(how))
        self._start()

    def _start(self, *_: Any) -> None:
        how = self.how.currentData()
        say(self.problem, "")
        if how is None:
            self.comparison.stop()
            return
        first, second = self.first.layer(), self.second.layer()
        try:
            if first is None or second is None:
                raise HeliorestoreError("There are not two image layers to compare: open or restore another image.")
            self.comparison.start(
                how, first, second, rate_hz=self.rate.value(), part=self.border.value() / _STEPS, linked=self.linked.isChecked()
            )
        except HeliorestoreError as error:
            self._over()
            say(self.problem, f"⚠ {error}")
        self._enable()

    def _over(self) -> None:
        with QSignalBlocker(self.how):
            self.how.setCurrentIndex(0)
        self._enable()

    def _swap(self) -> None:
        first, second = self.first.layer(), self.second.layer()
        with QSignalBlocker(self.first), QSignalBlocker(self.second):
            self.first.choose(second)
            self.second.choose(first)
        self._start()

    def _split_moved(self, part: float) -> None:
        with QSignalBlocker(self.border):
            self.border.setValue(round(_STEPS * part))

    def _enable(self) -> None:
        how = self.how.currentData()
        self.rate.setEnabled(how is How.BLINK)
        self.border.setEnabled(how is How.SPLIT)

    def _build(self) -> None:
        self.first = LayerBox(self.viewer, "The first layer: left of the divider, and what the second is subtracted from.")
        self.second = LayerBox(self.viewer, "The second layer: right of the divider, and what is subtracted.", prefer=1)
        self.how = QComboBox()
        self.how.addItem("off", None)
        for how in How:
            self.how.addItem(how.value, how)
            self.how.setItemData(self.how.count() - 1, _TIPS[how], Qt.ItemDataRole.ToolTipRole)
        self.how.setToolTip("How the two are compared; off leaves everything as it was before.")
        self.rate = FloatBox(0.2, 20.0)
        self.rate.setValue(2.0)
        self.rate.setToolTip("How often a second [Hz] a blink changes, 0.2 to 20.")
        self.border = QSlider(Qt.Orientation.Horizontal)
        self.border.setRange(0, _STEPS)
        self.border.setValue(_STEPS // 2)
        self.border.setToolTip("Where the divider stands, from the left edge of the image to the right one.")
        self.linked = QCheckBox("same contrast limits")
        self.linked.setChecked(True)
        self.linked.setToolTip("Show both in the first one's contrast limits while they are compared, or the eye compares the limits.")
        self.problem = note("Why these two cannot be compared.")
        exchange = button("⇄", "Exchange the two layers.", self._swap)
        exchange.setMaximumWidth(40)
        form = QFormLayout()
        form.addRow("first", self.first)
        form.addRow("second", row(self.second, exchange))
        form.addRow("compare", self.how)
        form.addRow("rate [Hz]", self.rate)
        form.addRow("divider", self.border)
        form.addRow(self.linked)
        form.addRow(self.problem)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addStretch(1)
        self.setMinimumWidth(280)
        self.how.currentIndexChanged.connect(self._start)
        self.first.changed.connect(self._restart)
        self.second.changed.connect(self._restart)
        self.linked.toggled.connect(self._restart)
        self.rate.valueChanged.connect(self.comparison.set_rate)
        self.border.valueChanged.connect(lambda value: self.comparison.split.move(value / _STEPS))
        self._enable()

    def _restart(self, *_: Any) -> None:
        """Another layer or another link: begin anew, if something is compared."""
        if self.comparison.active:
            self._start()


def _closer(comparison: Comparison, *boxes: LayerBox) -> Any:
    def close(*_: Any) -> None:
        comparison.close()
        for box in boxes:
            box.disconnect_viewer()

    return close

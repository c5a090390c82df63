"""The panel to compare two layers: blink, a divider, the difference, or side by side."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QSlider, QWidget

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.panels.movies import save_blink
from heliorestore.plugin.viewer.comparison import How, comparison_of
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.meeting import meet
from heliorestore.plugin.widgets.closing import when_closed
from heliorestore.plugin.widgets.layer_box import LayerBox
from heliorestore.plugin.widgets.numbers import FloatBox
from heliorestore.plugin.widgets.sections import button, note, row, say, scroll

if TYPE_CHECKING:
    from napari.viewer import Viewer

_STEPS = 1000  # of the slider
_TIPS = {
    How.BLINK: "Show the two alternately at the same place: the eye sees what moves or changes.",
    How.SPLIT: "Show the first left of a divider and the second right of it; drag the yellow line, or use "
    "the slider.",
    How.DIFFERENCE: "Show the first minus the second in the unit of the images, blue below zero, red above.",
    How.SIDE: "Show the first on the left and the second on the right, moved and zoomed together.",
}


class CompareWidget(QWidget):
    """Two layers, and how they are compared; *off* leaves everything as it was before."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        meet(napari_viewer)
        self.comparison = comparison_of(napari_viewer)
        self._build()
        self.comparison.changed.connect(self._show)
        self.comparison.split_moved.connect(self._split_moved)
        when_closed(self, self.comparison.stop)
        self._show()

    def compare(self, how: How, first: Any, second: Any) -> None:
        """Compare these layers, as if they had been chosen by hand."""
        self._choose(how, first, second)
        self._start()

    def _choose(self, how: How | None, first: Any, second: Any) -> None:
        # Three changes are one comparison.
        with QSignalBlocker(self.how), QSignalBlocker(self.first), QSignalBlocker(self.second):
            self.how.setCurrentIndex(self.how.findData(how))
            self.first.choose(first)
            self.second.choose(second)

    def _start(self, *_: Any) -> None:
        how = self.how.currentData()
        say(self.problem, "")
        if how is None:
            self.comparison.stop()
            return
        first, second = self.first.layer(), self.second.layer()
        try:
            if first is None or second is None:
                raise HeliorestoreError(
                    "Two image layers are needed for a comparison: open or restore another image."
                )
            self.comparison.start(
                how,
                first,
                second,
                rate_hz=self.rate.value(),
                part=self.border.value() / _STEPS,
                linked=self.linked.isChecked(),
            )
        except HeliorestoreError as error:
            self._show(explain(error))

    def _show(self, problem: str = "") -> None:
        """Show what is compared, whoever began or ended it, and why it cannot be compared any more."""
        first, second = self.comparison.pair or (self.first.layer(), self.second.layer())
        self._choose(self.comparison.how, first, second)
        if self.comparison.how is How.SPLIT:
            self._split_moved(self.comparison.split.part)
        say(self.problem, problem and f"⚠ {problem}")
        self.rate.setEnabled(self.comparison.how is How.BLINK)
        self.border.setEnabled(self.comparison.how is How.SPLIT)
        self.movie.setEnabled(self.comparison.how is How.BLINK)

    def _save_blink(self) -> None:
        if self.comparison.how is How.BLINK and self.comparison.pair is not None:
            tell = partial(say, self.problem)
            save_blink(self, self.viewer, self.comparison.pair, self.rate.value(), tell)

    def _swap(self) -> None:
        self._choose(self.how.currentData(), self.second.layer(), self.first.layer())
        self._start()

    def _split_moved(self, part: float) -> None:
        with QSignalBlocker(self.border):
            self.border.setValue(round(_STEPS * part))

    def _build(self) -> None:
        self.first = LayerBox(
            self.viewer, "The first layer: left of the divider; the second is subtracted from it."
        )
        self.second = LayerBox(
            self.viewer, "The second layer: right of the divider; it is subtracted from the first.", prefer=1
        )
        self.how = QComboBox()
        self.how.addItem("off", None)
        for how in How:
            self.how.addItem(how.value, how)
            self.how.setItemData(self.how.count() - 1, _TIPS[how], Qt.ItemDataRole.ToolTipRole)
        self.how.setToolTip("How the two are compared; off restores everything as before.")
        self.rate = FloatBox(0.2, 20.0)
        self.rate.setValue(2.0)
        self.rate.setToolTip("Changes per second [Hz] while blinking, 0.2 to 20.")
        self.border = QSlider(Qt.Orientation.Horizontal)
        self.border.setRange(0, _STEPS)
        self.border.setValue(_STEPS // 2)
        self.border.setToolTip("Position of the divider, from the left edge of the image to the right edge.")
        self.linked = QCheckBox("same contrast limits")
        self.linked.setChecked(True)
        self.linked.setToolTip(
            "Show both with the contrast limits of the first, so that you compare the images and not "
            "their limits."
        )
        self.movie = button(
            "Save blink…",
            "Write a GIF or MP4 of the canvas as it is, with the two layers in turns at this rate.",
            self._save_blink,
        )
        self.problem = note("Why these two cannot be compared, or what was written.")
        exchange = button("⇄", "Exchange the two layers.", self._swap)
        exchange.setMaximumWidth(40)
        inside = QWidget()
        form = QFormLayout(inside)
        form.addRow("first", self.first)
        form.addRow("second", row(self.second, exchange))
        form.addRow("compare", self.how)
        form.addRow("rate [Hz]", row(self.rate, self.movie))
        form.addRow("divider", self.border)
        form.addRow(self.linked)
        form.addRow(self.problem)
        scroll(self, inside)
        self.how.currentIndexChanged.connect(self._start)
        self.first.changed.connect(self._restart)
        self.second.changed.connect(self._restart)
        self.linked.toggled.connect(self.comparison.set_linked)
        self.rate.valueChanged.connect(self.comparison.set_rate)
        self.border.valueChanged.connect(lambda value: self.comparison.split.move(value / _STEPS))

    def _restart(self, *_: Any) -> None:
        """Another layer: restart the comparison, if one is shown."""
        if self.comparison.how is not None:
            self._start()

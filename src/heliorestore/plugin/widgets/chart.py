"""Places for charts on a panel; matplotlib is loaded in a thread when the first chart is shown."""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from heliorestore.plugin.runs.task import Outcome, start_task
from heliorestore.quality.charts import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from heliorestore.plugin.widgets.canvas import Canvas
    from heliorestore.quality.charts import Drawing

_CHARACTER = 5.5  # px of an axis's title
_AROUND = 40  # px of a chart beside its axes


class ChartPlace(QWidget):
    """Room for a canvas, which is made when it is first needed; `compose` draws its content."""

    def __init__(self, tip: str, height: int) -> None:
        super().__init__()
        self.canvas: Canvas | None = None
        self._loading = False
        self._height = height
        self.setMinimumSize(260, min(height, 180))
        self.setToolTip(tip)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)

    def sizeHint(self) -> QSize:
        return QSize(320, self._height)

    def redraw(self) -> None:
        """Compose the figure again when it is visible."""
        if self.canvas is not None:
            self.canvas.draw_idle()
        elif not self._loading:
            self._loading = True
            # While it is imported the window would not react.
            load = partial(importlib.import_module, "heliorestore.plugin.widgets.canvas")
            start_task("Load matplotlib", load, self._loaded, listed=False)

    def compose(self, figure: Figure) -> None:
        """Fill an empty figure of the canvas's size; subclasses implement it."""
        # Qt's metaclass allows no abstract base class.
        raise NotImplementedError(f"{type(self).__name__} must implement compose")

    def _loaded(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._column.addWidget(QLabel(f"⚠ No charts: {outcome.error}"))
            return
        from heliorestore.plugin.widgets.canvas import Canvas

        self.canvas = Canvas(self.compose)
        self._column.addWidget(self.canvas)


class ChartView(ChartPlace):
    """Shows one chart."""

    def __init__(self, tip: str, height: int = 240) -> None:
        super().__init__(tip, height)
        self.drawing: Drawing | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def show_chart(self, drawing: Drawing) -> None:
        """Show another chart."""
        self.drawing = drawing
        self.redraw()

    def compose(self, figure: Figure) -> None:
        figure.set_layout_engine("constrained")
        if self.drawing is None:
            return
        axes = figure.add_subplot()
        self.drawing(axes)
        # The names of layers may be longer than the panel is wide.
        for label, room in zip(
            (axes.xaxis.label, axes.yaxis.label), figure.canvas.get_width_height(), strict=True
        ):
            label.set_text(shortened(label.get_text(), int((room - _AROUND) / _CHARACTER)))

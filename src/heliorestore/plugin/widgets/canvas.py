"""A canvas of matplotlib on a panel; importing this imports matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import QEvent

from heliorestore.quality.charts import style

_TEXT_PT = 8.0


class Canvas(FigureCanvasQTAgg):
    """A figure in the theme's colours; `compose` fills it when it is visible and stale or resized."""

    def __init__(self, compose: Callable[[Figure], None]) -> None:
        super().__init__(Figure(dpi=100))
        self._compose = compose
        self.stale = True

    def draw_idle(self) -> None:
        # Drawn with the next paint event: a hidden chart costs nothing.
        self.stale = True
        self.update()

    def paintEvent(self, event: Any) -> None:
        if self.stale:
            self.stale = False
            colours = self.palette()
            ink, paper = (
                colours.color(self.foregroundRole()).name(),
                colours.color(self.backgroundRole()).name(),
            )
            with style(ink, paper, _TEXT_PT):
                for axes in list(self.figure.axes):
                    self.figure.delaxes(axes)  # `clear` would make the ticks of each anew
                self.figure.clear()
                self.figure.set_facecolor(paper)
                self._compose(self.figure)
                self.draw()
        super().paintEvent(event)

    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self.draw_idle()

    def wheelEvent(self, event: Any) -> None:
        event.ignore()  # the panel scrolls

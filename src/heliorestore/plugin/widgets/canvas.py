"""A canvas of matplotlib on a panel; importing this imports matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from matplotlib import rcParams
from matplotlib.backend_bases import DrawEvent
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import QEvent

from heliorestore.plugin.viewer.turns import in_a_turn
from heliorestore.quality.charts import style

_TEXT_PT = 8.0


class Canvas(FigureCanvasQTAgg):
    """A figure in the theme's colours; `compose` fills it when it is visible and stale or resized."""

    def __init__(self, compose: Callable[[Figure], None]) -> None:
        super().__init__(Figure(dpi=100))
        self._compose = compose
        self.stale = True
        self._parts: Iterator[None] | None = None  # what is left of a drawing in turns

    def draw_idle(self) -> None:
        # Drawn with the next paint event: a hidden chart costs nothing.
        self.stale = True
        self.update()

    @property
    def seen(self) -> bool:
        """Whether any of it is on the screen."""
        return self.isVisible() and not self.visibleRegion().isEmpty()

    @property
    def drawing(self) -> bool:
        """Whether it is being drawn in turns."""
        return self._parts is not None

    def draw_in_turns(self) -> None:
        """Draw anew, a part in each turn of the event loop; the old picture stays until the last one.

        For figures without a layout engine and without artists of their own.
        """
        self._parts = self._drawn_in_parts()
        in_a_turn(self._draw_part)

    def _draw_part(self) -> None:
        if self._parts is None or self.stale:  # it was resized, or has other colours: all is drawn at once
            self._parts = None
            return
        with self._style():
            more = next(self._parts, self) is None
        if more:
            in_a_turn(self._draw_part)
        else:
            self._parts = None
            self.update()

    def _drawn_in_parts(self) -> Iterator[None]:
        self._fill()
        width, height = self.figure.bbox.size
        renderer = RendererAgg(width, height, self.figure.dpi)
        self.figure.patch.draw(renderer)
        for axes in self.figure.axes:
            yield
            for axis in (axes.xaxis, axes.yaxis):
                axis.get_ticklabels()  # makes the ticks
            yield
            legend = axes.get_legend()
            if legend is not None:
                legend.set_visible(False)
            axes.draw(renderer)
            if legend is not None:
                yield
                legend.set_visible(True)
                legend.draw(renderer)
        self.get_renderer()  # is replaced, if it has the right size
        self.renderer = renderer
        self.callbacks.process("draw_event", DrawEvent("draw_event", self, renderer))

    def _style(self) -> AbstractContextManager[None]:
        colours = self.palette()
        ink, paper = (colours.color(role).name() for role in (self.foregroundRole(), self.backgroundRole()))
        return style(ink, paper, _TEXT_PT)

    def _fill(self) -> None:
        for axes in list(self.figure.axes):
            self.figure.delaxes(axes)  # `clear` would make the ticks of each anew
        self.figure.clear()
        self.figure.set_facecolor(rcParams["figure.facecolor"])
        self._compose(self.figure)

    def paintEvent(self, event: Any) -> None:
        if self.stale:
            self.stale = False
            self._parts = None
            with self._style():
                self._fill()
                self.draw()
        super().paintEvent(event)

    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self.draw_idle()

    def wheelEvent(self, event: Any) -> None:
        event.ignore()  # the panel scrolls

"""The loss curve: a few lines over the iterations on a logarithmic axis, in the colours of the theme."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from heliorestore.charts import COLOURS

_MARGIN = 6
_POINTS = 400  # a curve has no more points than a panel has pixels


class LossCurve(QWidget):
    """Losses by name over the step; positive values only, NaN and what is not positive leave a gap."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: npt.NDArray[np.float64] = np.empty(0)
        self._curves: dict[str, npt.NDArray[np.float64]] = {}
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("The losses of every iteration, on a logarithmic axis. A curve that has become flat gains no more.")

    def sizeHint(self) -> QSize:
        return QSize(280, 130)

    def set_history(self, history: Mapping[str, npt.NDArray[np.float64]], losses: tuple[str, ...]) -> None:
        """Show the named columns of a snapshot's history over its `step` column."""
        steps = history.get("step", np.empty(0))
        known = {name: history[name] for name in losses if name in history}
        # A method may begin with another loss: what is not of one kind is not compared.
        whole = np.flatnonzero(np.isfinite(np.stack(list(known.values()))).all(0)) if known else np.empty(0, int)
        first = int(whole[0]) if whole.size > 1 else 0  # one step alone, as the end of a fit, makes no curve
        shown = slice(first, None, max(1, (len(steps) - first) // _POINTS))
        self._steps = steps[shown]
        self._curves = {name: values[shown] for name, values in known.items()}
        self.update()

    def clear(self) -> None:
        """Forget the curves."""
        self.set_history({}, ())

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(self.foregroundRole())
        text_height = painter.fontMetrics().height()
        legend = self._legend(painter)
        area = QRectF(self.rect()).adjusted(_MARGIN, _MARGIN + len(legend) * text_height, -_MARGIN, -_MARGIN - text_height)
        faint = ink
        faint.setAlphaF(0.4)
        painter.setPen(QPen(faint, 1))
        painter.drawRect(area)
        ink.setAlphaF(1.0)
        painter.setPen(ink)
        values = np.concatenate(list(self._curves.values())) if self._curves else np.empty(0)
        values = values[np.isfinite(values) & (values > 0)]
        if not values.size:
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, "loss")
            return
        low, high = math.log10(values.min()), math.log10(values.max())
        if high - low < 0.02:  # a flat curve lies in the middle instead of being noise from edge to edge
            low, high = low - 0.01, high + 0.01
        bottom = QRectF(area.left(), area.bottom(), area.width(), text_height + _MARGIN)
        right, left, middle = Qt.AlignmentFlag.AlignRight, Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignVCenter
        painter.drawText(bottom, left | middle, f"{values.min():.2g} to {values.max():.2g}")
        painter.drawText(bottom, right | middle, f"iteration {self._steps[-1]:.0f}")
        colours = [QColor(COLOURS[n % len(COLOURS)]) for n in range(len(self._curves))]
        for number, curve in enumerate(self._curves.values()):
            painter.setPen(QPen(colours[number] if len(colours) > 1 else ink, 1.5))
            for line in self._lines(curve, area, low, high):
                painter.drawPolyline(line)
        number = 0
        for row, names in enumerate(legend):
            x = area.left()
            for name in names:
                painter.setPen(colours[number] if len(colours) > 1 else ink)
                painter.drawText(QPointF(x, (row + 1) * text_height - 2), name)
                x += painter.fontMetrics().horizontalAdvance(name + "   ")
                number += 1

    def _legend(self, painter: QPainter) -> list[list[str]]:
        """The names of the curves in rows that fit the width."""
        rows: list[list[str]] = [[]]
        for name in self._curves:
            if rows[-1] and painter.fontMetrics().horizontalAdvance("   ".join([*rows[-1], name])) > self.width() - 2 * _MARGIN:
                rows.append([])
            rows[-1].append(name)
        return rows

    def _lines(self, curve: npt.NDArray[np.float64], area: QRectF, low: float, high: float) -> list[QPolygonF]:
        """The curve in pixels, cut where a value is missing."""
        first, last = float(self._steps[0]), float(self._steps[-1])
        span = max(last - first, 1.0)
        there = np.isfinite(curve) & (curve > 0)
        x = area.left() + area.width() * (self._steps - first) / span
        y = area.bottom() - area.height() * (np.log10(curve, where=there, out=np.zeros_like(curve)) - low) / (high - low)
        pieces = np.split(np.arange(len(curve)), np.flatnonzero(np.diff(there)) + 1)
        return [QPolygonF(list(map(QPointF, x[piece], y[piece]))) for piece in pieces if len(piece) > 1 and there[piece[0]]]

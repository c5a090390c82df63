"""A chart on the screen, in the ink of the theme; the layout is that of `heliorestore.charts`."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from heliorestore.charts import Anchor, Axis, Chart, Points, draw

_FAR = 10_000.0  # px, wider than any text


class ChartView(QWidget):
    """Shows one chart."""

    def __init__(self, tip: str, height: int = 240) -> None:
        super().__init__()
        self._height = height
        self.chart = Chart("", Axis(""), Axis(""))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(260, min(height, 180))
        self.setToolTip(tip)

    def sizeHint(self) -> QSize:
        return QSize(320, self._height)

    def set_chart(self, chart: Chart) -> None:
        """Show another chart."""
        self.chart = chart
        self.update()

    def paint(self, painter: QPainter, area: QRect) -> None:
        """Draw the chart into an area of any painter."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.translate(area.topLeft())
        draw(self.chart, QtPen(painter, self.palette().color(self.foregroundRole())), area.width(), area.height())
        painter.restore()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        self.paint(QPainter(self), self.rect())


class QtPen:
    """The `Pen` of a Qt painter."""

    def __init__(self, painter: QPainter, ink: QColor) -> None:
        self._painter, self._ink = painter, ink
        self.text_height = float(painter.fontMetrics().height())

    def text_width(self, text: str) -> float:
        return float(self._painter.fontMetrics().horizontalAdvance(text))

    def line(self, points: Points, colour: str | None, width: float, dashed: bool) -> None:
        self._painter.setPen(QPen(self._colour(colour), width, Qt.PenStyle.DashLine if dashed else Qt.PenStyle.SolidLine))
        self._painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in points]))

    def dots(self, points: Points, colour: str | None, radius: float, filled: bool) -> None:
        self._painter.setPen(QPen(self._colour(colour), 2 * radius if filled else 2.0, cap=Qt.PenCapStyle.RoundCap))
        if filled:
            self._painter.drawPoints(QPolygonF([QPointF(x, y) for x, y in points]))
            return
        for x, y in points:
            self._painter.drawEllipse(QPointF(x, y), radius, radius)

    def text(self, x: float, y: float, text: str, anchor: Anchor, colour: str | None) -> None:
        self._painter.setPen(self._colour(colour))
        left = {"left": x, "middle": x - _FAR / 2, "right": x - _FAR}[anchor]
        side = {"left": Qt.AlignmentFlag.AlignLeft, "middle": Qt.AlignmentFlag.AlignHCenter, "right": Qt.AlignmentFlag.AlignRight}[anchor]
        area = QRectF(left, y - self.text_height, _FAR, 2 * self.text_height)
        self._painter.drawText(area, side | Qt.AlignmentFlag.AlignVCenter, text)

    def turned_text(self, x: float, y: float, text: str) -> None:
        self._painter.save()
        self._painter.translate(x, y)
        self._painter.rotate(-90)
        self.text(0, 0, text, "middle", None)
        self._painter.restore()

    def _colour(self, colour: str | None) -> QColor:
        return self._ink if colour is None else QColor(colour)

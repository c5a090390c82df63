"""Panels by keyboard: Tab goes as the eye does, and the widget with the focus has a ring around it."""

from __future__ import annotations

from contextlib import suppress

from qtpy.QtCore import QEvent, QObject, QPoint, QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QApplication, QScrollArea, QWidget

_LINE = 10  # px: widgets whose middles differ by less stand in one line
_RING = QColor("#d55e00")  # more than 3:1 on napari's dark and light panels, and for colour-blind eyes


class KeyboardArea(QScrollArea):
    """A scroll area in which Tab goes from line to line and from left to right, whatever was made first."""

    def __init__(self) -> None:
        super().__init__()
        self._ring = FocusRing(self)
        application = QApplication.instance()
        if isinstance(application, QApplication):
            application.focusChanged.connect(self._focus_moved)

    def minimumSizeHint(self) -> QSize:
        """As wide as what scrolls in it, of which nothing may be cut off at the side."""
        inside, bar = self.widget(), self.verticalScrollBar()
        least = super().minimumSizeHint()
        if inside is None or bar is None:
            return least
        return QSize(
            max(least.width(), inside.minimumSizeHint().width() + bar.sizeHint().width()), least.height()
        )

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Move the focus, past the last widget out of the area."""
        order, now = self.tab_order(), self.focused()
        if now is None or now not in order:
            return super().focusNextPrevChild(forward)
        number = order.index(now) + (1 if forward else -1)
        target = order[number] if 0 <= number < len(order) else self._outside(now, forward)
        if target is None:
            return super().focusNextPrevChild(forward)
        reason = Qt.FocusReason.TabFocusReason if forward else Qt.FocusReason.BacktabFocusReason
        target.setFocus(reason)
        if self.isAncestorOf(target):
            self.ensureWidgetVisible(target)
        return True

    def tab_order(self) -> list[QWidget]:
        """The widgets that Tab reaches, as they are read."""
        inside = self.widget()
        if inside is None:
            return []
        places = sorted(
            ((each.mapTo(inside, QPoint(0, each.height() // 2)), each) for each in _reached(inside)),
            key=lambda found: (found[0].y(), found[0].x()),
        )
        lines: list[list[tuple[QPoint, QWidget]]] = []
        for place, each in places:
            if not lines or place.y() - lines[-1][0][0].y() > _LINE:
                lines.append([])
            lines[-1].append((place, each))
        return [each for line in lines for _, each in sorted(line, key=lambda found: found[0].x())]

    def focused(self) -> QWidget | None:
        """The widget of this area that has the focus, None if it is elsewhere."""
        now = QApplication.focusWidget()
        while now is not None and self.isAncestorOf(now):
            if now.focusPolicy() & Qt.FocusPolicy.TabFocus and now.focusProxy() is None:
                return now
            now = now.parentWidget()
        return None

    def _outside(self, now: QWidget, forward: bool) -> QWidget | None:
        """The next widget of the window that is not in this area."""
        each = now.nextInFocusChain() if forward else now.previousInFocusChain()
        while each is not None and each is not now:
            if not self.isAncestorOf(each) and _is_reached(each) and each.window() is self.window():
                return each
            each = each.nextInFocusChain() if forward else each.previousInFocusChain()
        return None

    def _focus_moved(self, _: QWidget | None, now: QWidget | None) -> None:
        self._ring.put_around(self.focused() if now is not None else None, self.widget())


class FocusRing(QWidget):
    """A line around a widget, drawn over its surroundings: nothing moves."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)  # a widget without one would outlive the application
        self._around: QWidget | None = None
        self._followed: list[QWidget] = []
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def put_around(self, widget: QWidget | None, inside: QWidget | None) -> None:
        """Surround a widget in the column `inside`, or nothing."""
        for each in self._followed:
            with suppress(RuntimeError):  # deleted by Qt, as a form that has been replaced
                each.removeEventFilter(self)
        self._around, self._followed = widget, []
        if widget is None or inside is None:
            self.hide()
            return
        if self.parent() is not inside:
            self.setParent(inside)
        parent: QWidget | None = widget
        while parent is not None and parent is not inside:
            parent.installEventFilter(self)
            self._followed.append(parent)
            parent = parent.parentWidget()
        self._follow()
        self.show()
        self.raise_()

    def eventFilter(self, _: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() in (QEvent.Type.Move, QEvent.Type.Resize):
            self._follow()
        return False

    def _follow(self) -> None:
        inside = self.parentWidget()
        if self._around is not None and inside is not None and inside.isAncestorOf(self._around):
            corner = self._around.mapTo(inside, QPoint(0, 0))
            self.setGeometry(QRect(corner, self._around.size()).adjusted(-2, -2, 2, 2))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setPen(QPen(_RING, 2))
        painter.drawRect(self.rect().adjusted(1, 1, -1, -1))


def _reached(inside: QWidget) -> list[QWidget]:
    return [each for each in inside.findChildren(QWidget) if _is_reached(each)]


def _is_reached(widget: QWidget) -> bool:
    return bool(
        widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        and widget.isVisible()
        and widget.isEnabled()
        and widget.focusProxy() is None
        and not isinstance(widget, QScrollArea)
    )

"""The small building blocks of panels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QChildEvent, QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from heliorestore.plugin.viewer.words import in_words
from heliorestore.plugin.widgets.keyboard import KeyboardArea

# too long for a panel: may be broken in the middle
_CHECKSUM = re.compile(r"\b([0-9a-f]{32})([0-9a-f]{32})\b")


class Section(QWidget):
    """A title with widgets under it; a click on the title hides or shows them."""

    def __init__(self, title: str, *contents: QWidget, opened: bool = True) -> None:
        super().__init__()
        self.title = QToolButton()
        self.title.setText(title)
        self.title.setToolTip(f"Show or hide {title}.")
        self.title.setCheckable(True)
        self.title.setAutoRaise(True)
        self.title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        font = self.title.font()
        font.setBold(True)
        self.title.setFont(font)
        self.inside = QWidget()
        self._column = stack(self.inside, *contents)
        self._column.setSpacing(3)
        layout = stack(self, self.title, self.inside)
        layout.setContentsMargins(0, 2, 0, 0)
        layout.setSpacing(1)
        self.title.toggled.connect(self._show)
        self.title.setChecked(opened)
        self._show(opened)

    def append(self, widget: QWidget) -> None:
        """Put another widget under the others."""
        self._column.addWidget(widget)

    def set_open(self, opened: bool) -> None:
        """Show or hide the widgets under the title."""
        self.title.setChecked(opened)

    def _show(self, opened: bool) -> None:
        self.inside.setVisible(opened)
        self.title.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)


def side_by_side(*sections: Section) -> QWidget:
    """Sections with their titles in one row; what is opened stands below, in the same order."""
    whole, titles = QWidget(), QWidget()
    line = QHBoxLayout(titles)
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(4)
    for section in sections:
        section.setParent(whole)  # what is left of it is empty
        section.hide()
        line.addWidget(section.title)
    line.addStretch(1)
    stack(whole, titles, *(section.inside for section in sections)).setSpacing(1)
    return whole


class Slots(QWidget):
    """A column with a named place for each of its sections, in this order; an empty place takes no room."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(6, 2, 6, 2)
        self.column.setSpacing(1)
        self._places = {name: QVBoxLayout() for name in names}
        for place in self._places.values():
            self.column.addLayout(place)
        self.column.addStretch(1)

    def fill(self, name: str, *widgets: QWidget) -> None:
        """Add these widgets to the place of that name."""
        for widget in widgets:
            self._places[name].addWidget(widget)


class _WheelScrolls(QObject):
    """The wheel acts only on the widget with the focus, and over any other it scrolls the panel."""

    def __init__(self, area: QScrollArea, inside: QWidget) -> None:
        super().__init__(inside)
        self._viewport = area.viewport()
        self._adopt(inside)

    def eventFilter(self, widget: QObject | None, event: QEvent | None) -> bool:
        if (
            isinstance(event, QChildEvent)
            and event.type() == QEvent.Type.ChildPolished
            and isinstance(child := event.child(), QWidget)
        ):
            self._adopt(child)  # a form that was loaded later
        if not isinstance(event, QWheelEvent) or not isinstance(widget, QWidget):
            return False
        if widget.focusPolicy() == Qt.FocusPolicy.NoFocus or widget.hasFocus():
            return False
        QApplication.sendEvent(self._viewport, event)
        return True

    def _adopt(self, widget: QWidget) -> None:
        widget.installEventFilter(self)
        if widget.focusPolicy() == Qt.FocusPolicy.WheelFocus:
            # With WheelFocus the wheel itself would give the focus.
            widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        for child in widget.children():
            if isinstance(child, QWidget):
                self._adopt(child)


_PANEL = "heliorestore_panel"  # property of every panel


class _JoinsTabs(QObject):
    """A panel that is shown for the first time becomes a tab beside the one that is there."""

    def __init__(self, panel: QWidget) -> None:
        super().__init__(panel)
        self._panel = panel
        panel.setProperty(_PANEL, True)
        panel.installEventFilter(self)
        self._front = QTimer(self)
        self._front.setSingleShot(True)
        self._front.timeout.connect(self._raise)

    def eventFilter(self, panel: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Show:
            self._panel.removeEventFilter(self)  # where the user moves it later is the user's affair
            self._join()
        return False

    def _join(self) -> None:
        dock, window = _dock_of(self._panel), self._panel.window()
        if dock is None or not isinstance(window, QMainWindow):
            return
        others = [
            other
            for other in window.findChildren(QDockWidget)
            if other is not dock
            and not other.isHidden()
            and not other.isFloating()
            and window.dockWidgetArea(other) == window.dockWidgetArea(dock)
            and any(child.property(_PANEL) for child in other.findChildren(QWidget))
        ]
        if others:
            window.tabifyDockWidget(others[-1], dock)
            self._front.start(0)

    def _raise(self) -> None:
        if (dock := _dock_of(self._panel)) is not None:
            dock.raise_()


def _dock_of(widget: QWidget) -> QDockWidget | None:
    parent: QObject | None = widget
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parent()
    return parent


def scroll(panel: QWidget, inside: QWidget) -> None:
    """Fill a panel with a widget that scrolls, by the wheel too, where it is too long for the window; a
    second panel becomes a tab of the first one's place.
    """
    _JoinsTabs(panel)
    area = KeyboardArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setWidget(inside)
    _WheelScrolls(area, inside)
    stack(panel, area)


def button(text: str, tip: str, clicked: Callable[[], Any]) -> QPushButton:
    """A push button; `clicked` gets no argument."""
    made = QPushButton(text)
    made.setToolTip(tip)
    # Qt passes a `checked` argument that is not used here.
    made.clicked.connect(lambda *_: clicked())
    return made


def check(text: str, tip: str, toggled: Callable[[bool], Any]) -> QCheckBox:
    """A box to tick."""
    made = QCheckBox(text)
    made.setToolTip(tip)
    made.toggled.connect(toggled)
    return made


def note(tip: str) -> QLabel:
    """A line of text that wraps, hidden while it is empty."""
    label = QLabel()
    label.setWordWrap(True)
    label.setToolTip(tip)
    label.hide()
    return label


class Place(QWidget):
    """Room for notes: so many lines high at least, whether they say something or not."""

    def __init__(self, lines: int, *notes: QLabel) -> None:
        super().__init__()
        self._lines = lines
        stack(self, *notes).addStretch(1)
        self._reserve()

    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._reserve()

    def _reserve(self) -> None:
        self.setMinimumHeight(self._lines * self.fontMetrics().lineSpacing())


def say(label: QLabel, text: str) -> None:
    """Show the text in a note, in the words of the window, or hide the note."""
    # A zero-width space, at which the label may break the line.
    label.setText(_CHECKSUM.sub("\\1\u200b\\2", in_words(text)))
    label.setVisible(bool(text))


def stack(panel: QWidget, *widgets: QWidget) -> QVBoxLayout:
    """Fill a panel with widgets, one below the other, without margins."""
    layout = QVBoxLayout(panel)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return layout


def row(*widgets: QWidget | str) -> QWidget:
    """Widgets side by side, with their titles before them."""
    whole = QWidget()
    layout = QHBoxLayout(whole)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(QLabel(widget) if isinstance(widget, str) else widget)
    return whole

"""The small parts that panels are built of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget


class Section(QWidget):
    """A title with widgets under it."""

    def __init__(self, title: str, *contents: QWidget) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(QLabel(f"<b>{title}</b>"))
        for content in contents:
            layout.addWidget(content)


def button(text: str, tip: str, clicked: Callable[[], Any]) -> QPushButton:
    """A push button; `clicked` gets no argument."""
    made = QPushButton(text)
    made.setToolTip(tip)
    # Qt hands over a `checked` that nobody here wants.
    made.clicked.connect(lambda *_: clicked())
    return made


def note(tip: str) -> QLabel:
    """A line of text that wraps, hidden until there is something to say."""
    label = QLabel()
    label.setWordWrap(True)
    label.setToolTip(tip)
    label.hide()
    return label


def say(label: QLabel, text: str) -> None:
    """Show the text in a note, or hide the note."""
    label.setText(text)
    label.setVisible(bool(text))


def row(*widgets: QWidget | str) -> QWidget:
    """Widgets side by side, with their titles before them."""
    whole = QWidget()
    layout = QHBoxLayout(whole)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(QLabel(widget) if isinstance(widget, str) else widget)
    return whole

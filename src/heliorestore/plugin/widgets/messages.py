"""What a panel says, in a place of fixed height; a click opens everything that it has said."""

from __future__ import annotations

import itertools
import re
import time

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QMouseEvent, QPainter, QPaintEvent, QTextLayout
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QSizePolicy,
    QStackedWidget,
    QToolButton,
    QWidget,
)

from heliorestore.plugin.viewer.words import in_words
from heliorestore.plugin.widgets.sections import button, row, stack

_CHECKSUM = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b")  # the record of a run has it whole
_KEPT = 5  # messages that `MessageStrip.messages` holds


class Clipped(QLabel):
    """A text in a fixed number of lines: what does not fit ends in an ellipsis, and is in the tooltip."""

    def __init__(self, tip: str, lines: int = 1) -> None:
        super().__init__()
        self._tip, self._lines, self._shown = tip, lines, ""
        self.setToolTip(tip)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def setText(self, text: str | None) -> None:
        self.show_last([text or ""])

    def show_last(self, texts: list[str]) -> None:
        """Hold all of them, and show the last one."""
        super().setText("\n".join(texts))
        self._shown = texts[-1] if texts else ""
        self.setToolTip(f"{self._shown}\n\n{self._tip}" if self._shown else self._tip)
        self.update()

    def sizeHint(self) -> QSize:
        """The same whatever the text is."""
        return QSize(40, self._lines * self.fontMetrics().lineSpacing() + 2)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        for number, line in enumerate(self._wrapped()):
            painter.drawText(
                QRectF(0, number * self.fontMetrics().lineSpacing(), self.width(), self.height()),
                Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop,
                line,
            )

    def _wrapped(self) -> list[str]:
        """The lines that are drawn; the last one is shortened."""
        text = " ".join(self._shown.split())
        layout = QTextLayout(text, self.font())
        layout.beginLayout()
        starts: list[int] = []
        while (line := layout.createLine()).isValid() and len(starts) < self._lines:
            line.setLineWidth(max(self.width(), 1))
            line.setPosition(QPointF(0, 0))
            starts.append(line.textStart())
        layout.endLayout()
        if not starts:
            return []
        whole = [text[begin:end] for begin, end in itertools.pairwise(starts)]
        rest = text[starts[-1] :]
        return [*whole, self.fontMetrics().elidedText(rest, Qt.TextElideMode.ElideRight, self.width())]


class MessageStrip(QWidget):
    """The error, or else the last message, in two lines whose place never changes; and all that was said.

    `problem` and `messages` hold the texts of now; the history also those of earlier runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.problem = Clipped("What went wrong and what to do. A click shows all messages.", 2)
        self.messages = Clipped("Messages of the method. A click shows all of them.", 2)
        self._pages = QStackedWidget()
        for page in (self.messages, self.problem):
            self._pages.addWidget(page)
        self._pages.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.open_button = QToolButton()
        self.open_button.setText("…")
        self.open_button.setToolTip("Show all messages of this panel, to read and to copy.")
        self.open_button.clicked.connect(self.show_history)
        self.history: list[str] = []
        self._window: _History | None = None
        self._now: list[str] = []
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._pages, 1)
        layout.addWidget(self.open_button, 0, Qt.AlignmentFlag.AlignTop)

    def say(self, text: str) -> None:
        """Show an error in front of the messages; an empty one takes it away."""
        text = in_words(text)
        if text and text != self.problem.text():
            self._note(text)
        self.problem.setText(text)
        self._pages.setCurrentWidget(self.problem if text else self.messages)

    def report(self, text: str) -> None:
        """Show a message in place of the earlier ones."""
        self._now = []
        self.messages.show_last(self._now)
        if text:
            self.report_more(text)

    def report_more(self, text: str) -> None:
        """Show a message, with checksums shortened, and keep the earlier ones."""
        text = in_words(_CHECKSUM.sub(r"\1…", text))
        self._now = [*self._now, text][-_KEPT:]
        self.messages.show_last(self._now)
        self._note(text)

    def show_history(self) -> None:
        """Open everything that was said, oldest first."""
        if self._window is None:
            self._window = _History(self)
        self._window.show_lines(self.history)
        self._window.show()
        self._window.raise_()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        if self.history:
            self.show_history()

    def _note(self, text: str) -> None:
        self.history.append(f"{time.strftime('%H:%M:%S')}  {text}")
        if self._window is not None and self._window.isVisible():
            self._window.show_lines(self.history)


class _History(QDialog):
    """A window with lines that wrap and can be copied."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Messages")
        self.resize(560, 320)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        copy = button("Copy all", "Copy all messages to the clipboard.", self._copy)
        close = button("Close", "Close this window; the messages stay.", self.close)
        stack(self, self.text, row(copy, close)).setContentsMargins(6, 6, 6, 6)

    def show_lines(self, lines: list[str]) -> None:
        self.text.setPlainText("\n".join(lines))
        bar = self.text.verticalScrollBar()
        if bar is not None:
            bar.setValue(bar.maximum())

    def _copy(self) -> None:
        if (clipboard := QApplication.clipboard()) is not None:
            clipboard.setText(self.text.toPlainText())

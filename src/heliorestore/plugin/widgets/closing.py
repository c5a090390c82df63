"""Ask before a panel with a run is closed, and notice at once that one was: Qt's `destroyed` waits for
Python's garbage collection.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMessageBox, QWidget

from heliorestore.plugin.runs.redraw_rate import single_shot


class _Watch(QObject):
    def __init__(self, panel: QWidget, act: Callable[[], None], *, hiding: bool) -> None:
        super().__init__(panel)
        self._panel, self._act, self._hiding = panel, act, hiding
        self._later = single_shot(self, self._look)
        panel.installEventFilter(self)

    def eventFilter(self, panel: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.ParentChange and self._panel.parent() is None:
            self._act()
        elif self._hiding and event is not None and event.type() == QEvent.Type.Hide:
            self._later.start(0)
        return False

    def _look(self) -> None:
        """A dock that begins to float is hidden for a moment, and a minimised window's docks are not."""
        dock = self._panel.parentWidget()
        if dock is not None and dock.isHidden():
            self._act()


def when_closed(panel: QWidget, act: Callable[[], None]) -> None:
    """Call `act` whenever the panel's dock is hidden, or the panel is removed from its dock."""
    _Watch(panel, act, hiding=True)


def when_taken_out(panel: QWidget, act: Callable[[], None]) -> None:
    """Call `act` when the panel leaves its dock, as when the dock is closed; hiding does not count."""
    _Watch(panel, act, hiding=False)


class _Question(QObject):
    def __init__(self, panel: QWidget, runs: Callable[[], bool]) -> None:
        super().__init__(panel)
        self._panel, self._runs = panel, runs
        panel.installEventFilter(self)

    def eventFilter(self, panel: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.ParentChange:
            dock: Any = self._panel.parent()
            # The button in the title bar calls it, and is made anew when the dock floats.
            if hasattr(dock, "destroyOnClose"):
                question = weakref.ref(self)  # the dock outlives the panel
                dock.destroyOnClose = lambda: _ask(question())
        return False

    def close(self) -> None:
        dock: Any = self._panel.parent()
        wish = self._asked() if self._runs() else QMessageBox.ButtonRole.DestructiveRole
        if wish is QMessageBox.ButtonRole.AcceptRole:
            dock.close()  # which hides it
        elif wish is QMessageBox.ButtonRole.DestructiveRole:
            del dock.destroyOnClose
            dock.destroyOnClose()

    def _asked(self) -> QMessageBox.ButtonRole:
        box = QMessageBox(self._panel.window())
        box.setWindowTitle("Close the panel")
        box.setText("The run in this panel has not ended.")
        box.setInformativeText(
            "Let it run: the panel is hidden, and the Plugins menu shows it again.\n"
            "Stop: the run ends, its latest images stay, and the panel is closed."
        )
        box.setDefaultButton(box.addButton("Let it run", QMessageBox.ButtonRole.AcceptRole))
        box.addButton("Stop", QMessageBox.ButtonRole.DestructiveRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        box.deleteLater()
        return box.buttonRole(box.clickedButton())


def _ask(question: _Question | None) -> None:
    if question is not None:
        question.close()


def ask_before_closing(panel: QWidget, runs: Callable[[], bool]) -> None:
    """Let the user choose, when the panel's dock is closed while it `runs`: hide it, stop the run, cancel."""
    _Question(panel, runs)


def follow(widget: QObject, events: Sequence[Any], slot: Callable[..., Any]) -> None:
    """Connect these events of napari to `slot` for as long as Qt keeps the widget."""
    for event in events:
        event.connect(slot)

    def end(*_: object) -> None:
        for event in events:
            event.disconnect(slot)

    widget.destroyed.connect(end)

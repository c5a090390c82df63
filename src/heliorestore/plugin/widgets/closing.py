"""Notice at once that a panel was closed: Qt's `destroyed` waits for Python's garbage collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

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


def follow(widget: QObject, events: Sequence[Any], slot: Callable[..., Any]) -> None:
    """Connect these events of napari to `slot` for as long as Qt keeps the widget."""
    for event in events:
        event.connect(slot)

    def end(*_: object) -> None:
        for event in events:
            event.disconnect(slot)

    widget.destroyed.connect(end)

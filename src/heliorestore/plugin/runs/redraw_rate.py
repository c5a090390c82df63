"""The rate at which results are drawn: the refresh rate, but at most half of the GUI's time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QTimer

from heliorestore.plugin.preferences import preferences
from heliorestore.plugin.viewer.turns import in_a_turn


class Pace(QObject):
    """Calls `draw` when it is needed and due; the time that Qt needs for painting counts too.

    `settled` returns whether everything that `draw` started has been handed over.
    """

    def __init__(self, parent: QObject, draw: Callable[[], None], settled: Callable[[], bool]) -> None:
        super().__init__(parent)
        self._draw, self._settled = draw, settled
        self._wanted = False
        self._began = self._due = 0.0
        self._drawing = False
        self._next = single_shot(self, lambda: in_a_turn(self._go))

    def want(self) -> None:
        """There is something new to draw."""
        self._wanted = True
        if not (self._next.isActive() or self._drawing):
            self._next.start(max(0, round(1000 * (self._due - time.monotonic()))))

    def forget(self) -> None:
        """Cancel a pending drawing; the next one is due at once."""
        self._wanted = False
        self._due = 0.0
        self._next.stop()
        self._drawing = False

    def _go(self) -> None:
        if not self._wanted or self._drawing:  # it was called off
            return
        self._wanted, self._drawing = False, True
        self._began = time.monotonic()
        try:
            self._draw()
        finally:
            in_a_turn(self._rest)  # after everything that waits now, including the painting

    def _rest(self) -> None:
        if not self._drawing:
            return
        if not self._settled():
            in_a_turn(self._rest)
            return
        self._drawing = False
        now = time.monotonic()
        # As long a rest as the drawing took, at least: half of the GUI's time stays free.
        self._due = now + max(1 / preferences().refresh_hz, now - self._began)
        if self._wanted:
            self.want()


def single_shot(parent: QObject, act: Callable[[], Any]) -> QTimer:
    """A timer that calls `act` once each time it is started."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.timeout.connect(act)
    return timer

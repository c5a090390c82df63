"""The rate at which results are drawn: the refresh rate, but at most half of the GUI's time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QTimer

from heliorestore.plugin.preferences import preferences


class Pace(QObject):
    """Calls `draw` when it is needed and due; the time that Qt needs for painting counts too.

    `settled` returns whether everything that `draw` started has been handed over.
    """

    def __init__(self, parent: QObject, draw: Callable[[], None], settled: Callable[[], bool]) -> None:
        super().__init__(parent)
        self._draw, self._settled = draw, settled
        self._wanted = False
        self._began = self._due = 0.0
        self._next, self._painted = single_shot(self, self._go), single_shot(self, self._rest)

    def want(self) -> None:
        """There is something new to draw."""
        self._wanted = True
        if not (self._next.isActive() or self._painted.isActive()):
            self._next.start(max(0, round(1000 * (self._due - time.monotonic()))))

    def forget(self) -> None:
        """Cancel a pending drawing; the next one is due at once."""
        self._wanted = False
        self._due = 0.0
        self._next.stop()
        self._painted.stop()

    def _go(self) -> None:
        self._wanted = False
        self._began = time.monotonic()
        self._painted.start(0)  # after all events that are queued now, including the painting
        self._draw()

    def _rest(self) -> None:
        if not self._settled():
            self._painted.start(0)
            return
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

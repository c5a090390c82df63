"""Work of the GUI thread in pieces: between two of them Qt serves mouse and keys, and paints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QObject, Qt, QTimer

_APART_MS = 2  # timers that are due together act in one turn: others come between two pieces


class _Turns(QObject):
    """A queue whose oldest piece is done when Qt has nothing else to do."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._waiting: dict[Callable[[], Any], None] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_APART_MS)
        self._timer.timeout.connect(self._do_one)

    def ask(self, piece: Callable[[], Any]) -> None:
        self._waiting.pop(piece, None)
        self._waiting[piece] = None
        if not self._timer.isActive():
            self._timer.start()

    def _do_one(self) -> None:
        piece = next(iter(self._waiting))
        del self._waiting[piece]
        if self._waiting:
            self._timer.start()
        owner = getattr(piece, "__self__", None)
        if not isinstance(owner, QObject) or isalive(owner):
            piece()


_OF = "heliorestore_turns"


def in_a_turn(piece: Callable[[], Any]) -> None:
    """Call `piece` in a turn of the event loop in which no other piece is done, after those that wait.

    Timers that are due together act in one turn, and the user waits for all of them. A piece that waits
    already becomes the last one; a method of a deleted Qt object is left out.
    """
    application = QCoreApplication.instance()
    assert application is not None  # there is a window
    turns = application.findChild(_Turns, _OF, Qt.FindChildOption.FindDirectChildrenOnly)
    if turns is None:
        turns = _Turns(application)
        turns.setObjectName(_OF)
    turns.ask(piece)

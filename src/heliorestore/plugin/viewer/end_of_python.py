"""The end of Python while the window is open, or while parts of it are left: no crash."""

from __future__ import annotations

import atexit
import functools
import gc
from contextlib import suppress

from napari.qt.threading import WorkerBase
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication

_LONGEST_MS = 3000  # to wait for runs

_held: list[QObject] = []


@functools.cache
def end_safely() -> None:
    """When Python ends, stop all runs, delete what is left of windows, and keep Qt's objects until PyQt has
    deleted them; asked for once per process.

    PyQt goes through a list of all objects then and deletes those that belong to Python, a panel without its
    dock for one. Its parts go with it, and if one of them was the last to refer to it, the entry of the list
    that is being looked at is freed: reading on from there is a segmentation fault.
    """
    atexit.register(_end)  # before what PyQt registered, since it is imported above


def _end() -> None:
    with suppress(RuntimeError):  # a run that takes longer, or Qt has gone already
        WorkerBase.await_workers(_LONGEST_MS)
    Viewer.close_all()  # which ends napari's own thread
    gc.unfreeze()
    # not isinstance: it would ask proxies of what no longer exists
    _held.extend(each for each in gc.get_objects() if issubclass(type(each), QObject))
    # PyQt deletes these too, but what they do then makes its list longer, which it does not expect
    if QApplication.instance() is not None:
        for widget in QApplication.topLevelWidgets():
            widget.deleteLater()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)

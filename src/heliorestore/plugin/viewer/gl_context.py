"""The OpenGL context of a viewer's canvas."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.compat import isalive
from qtpy.QtOpenGLWidgets import QOpenGLWidget

from heliorestore.plugin.viewer.turns import in_a_turn

_GUARDED = "heliorestore_guards_removals"
_PAINTER = "heliorestore_paints_later"


def guard_removals(viewer: Any) -> None:
    """Make the OpenGL context of the viewer's canvas current before any of its layers is removed, as long as
    the viewer lives.

    napari (0.9.2, since its pull request 8122) sends what vispy has queued to OpenGL as soon as a layer is
    removed, whichever context is current then: mostly the one in which Qt composes the window. Programs and
    buffers deleted there are still in use in the canvas's own context, and the next drawings with them end in
    a segmentation fault on Mesa.
    """
    canvas = _canvas(viewer)
    if not canvas.property(_GUARDED):
        canvas.setProperty(_GUARDED, True)
        viewer.layers.events.removing.connect(lambda: canvas.makeCurrent())  # noqa: PLW0108 - napari cannot inspect Qt's own methods


def paint_later(viewer: Any) -> None:
    """Paint the viewer's canvas not before a later turn of the event loop, in which nothing else is done.

    The turn in which a layer was changed would otherwise end with the painting, and the user would wait for
    both. What is changed in several turns, each of which asks for this, is painted once.
    """
    try:
        canvas = _canvas(viewer)
    except RuntimeError:  # the window has been closed
        return
    if (painter := canvas.property(_PAINTER)) is None:
        painter = partial(_paint, canvas)
        canvas.setProperty(_PAINTER, painter)
    canvas.setUpdatesEnabled(False)
    in_a_turn(painter)


def _paint(canvas: QOpenGLWidget) -> None:
    if isalive(canvas):
        canvas.setUpdatesEnabled(True)


def _canvas(viewer: Any) -> Any:
    # The menu is the only public way from a plugin to the Qt window.
    return viewer.window.main_menu.window().centralWidget().findChild(QOpenGLWidget)

"""The OpenGL context of a viewer's canvas."""

from __future__ import annotations

from typing import Any

from qtpy.QtOpenGLWidgets import QOpenGLWidget

_GUARDED = "heliorestore_guards_removals"


def guard_removals(viewer: Any) -> None:
    """Make the OpenGL context of the viewer's canvas current before any of its layers is removed, as long as
    the viewer lives.

    napari (0.9.2, since its pull request 8122) sends what vispy has queued to OpenGL as soon as a layer is
    removed, whichever context is current then: mostly the one in which Qt composes the window. Programs and
    buffers deleted there are still in use in the canvas's own context, and the next drawings with them end in
    a segmentation fault on Mesa.
    """
    # The menu is the only public way from a plugin to the Qt window.
    canvas = viewer.window.main_menu.window().centralWidget().findChild(QOpenGLWidget)
    if not canvas.property(_GUARDED):
        canvas.setProperty(_GUARDED, True)
        viewer.layers.events.removing.connect(lambda: canvas.makeCurrent())  # noqa: PLW0108 - napari cannot inspect Qt's own methods

"""What Qt and OpenGL are here, as a line of JSON: `python -m heliorestore.plugin.screen`.

A process of its own, since a broken driver ends the process that asks it.
"""

from __future__ import annotations

import json


def facts() -> dict[str, str]:
    """The binding and version of Qt, its platform, and what draws OpenGL."""
    import qtpy
    from qtpy.QtCore import qVersion
    from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
    from qtpy.QtWidgets import QApplication

    _application = QApplication.instance() or QApplication([])
    # what was loaded, not what the binding was compiled for
    found = {"qt": f"{qVersion()} ({qtpy.API_NAME} {qtpy.PYQT_VERSION or qtpy.PYSIDE_VERSION})"}
    found["platform"] = QGuiApplication.platformName()
    surface, context = QOffscreenSurface(), QOpenGLContext()
    surface.create()
    if not context.create() or not context.makeCurrent(surface):
        return found | {"opengl": ""}
    from vispy.gloo import gl

    names = (gl.GL_RENDERER, gl.GL_VERSION)
    found["opengl"] = ", ".join(str(gl.glGetParameter(name)) for name in names)
    context.doneCurrent()
    return found


if __name__ == "__main__":
    print(json.dumps(facts()))

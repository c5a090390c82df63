"""napari with files and the panel: for `heliorestore view`, and an automatic run of the whole chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heliorestore.errors import RestorationError
from heliorestore.plugin.npe2.readers import load_layers
from heliorestore.plugin.npe2.session_file import SUFFIX

if TYPE_CHECKING:
    from heliorestore.plugin.panels.restore import RestoreWidget

# Methods with their own panel, by its title.
PANELS = {"denoise": "Noise2Noise", "enhance": "Enhance", "mfbd": "MFBD", "sv-momfbd": "SV-MOMFBD"}
_SIZE = (1400, 900)  # of the window of `demo`


def view(paths: Sequence[str | Path], method: str | None = None, *, started: bool = False) -> None:
    """Open napari with the files as one burst and the panel docked, or with a session, and start the run at
    once if asked; returns when the window is closed.
    """
    import napari

    session = len(paths) == 1 and str(paths[0]).lower().endswith(SUFFIX)
    # An unreadable file is reported before a window opens.
    layers = load_layers(paths) if paths and not session else []
    viewer = napari.Viewer(title="heliorestore")
    if session:
        from heliorestore.plugin.panels.session import open_session

        open_session(viewer, Path(paths[0]))
    else:
        widget = dock(viewer, layers, method)
        if started:
            wait(lambda: widget.form is not None, "the method to load")
            widget.run_panel.run_button.click()
    napari.run()


def demo(path: str | Path, out_fits: str | Path, out_png: str | Path, method: str | None = None) -> None:
    """Open a file in a viewer, restore it with the panel's Run, export FITS, save a screenshot, close."""
    import napari

    layers = load_layers([path])
    viewer = napari.Viewer(title="heliorestore")
    try:
        viewer.window.resize(*_SIZE)
        widget = dock(viewer, layers, method)
        ended: list[Any] = []
        widget.run_panel.ended.connect(ended.append)
        wait(lambda: widget.form is not None, "the method to load")
        widget.run_panel.run_button.click()
        wait(
            lambda: bool(ended) or bool(widget.run_panel.problem.text()),
            "the restoration to end",
            seconds=900,
        )
        if widget.run_panel.problem.text():
            raise RestorationError(widget.run_panel.problem.text())
        written = Path(out_fits)
        # An older file would end the wait below at once.
        written.unlink(missing_ok=True)
        widget.export(written)
        wait(
            lambda: written.exists() and not widget.run_panel.messages.text().startswith("Writing"),
            "the export to end",
        )
        # The canvas draws the last layers before the picture is taken.
        process_events(0.3)
        viewer.screenshot(str(out_png), canvas_only=False, flash=False)
    finally:
        viewer.close()


def dock(viewer: Any, layers: Sequence[tuple[Any, ...]], method: str | None = None) -> RestoreWidget:
    """Add layers to an empty viewer and dock a method's panel, or the general one with it chosen."""
    from napari.layers import Layer

    for data in layers:
        viewer.add_layer(Layer.create(*data))
    viewer.dims.current_step = (0,) * viewer.dims.ndim
    _, widget = viewer.window.add_plugin_dock_widget("heliorestore", PANELS.get(method or "", "Restore"))
    if method is not None and method not in PANELS:
        widget.method_choice.setCurrentIndex(widget.method_choice.findData(method))
    made: RestoreWidget = widget
    return made


def wait(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Let the application work until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RestorationError(f"Timed out after {seconds:.0f} s waiting for {what}.")
        process_events(0.02)


def process_events(seconds: float) -> None:
    """Let the application work for a while."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()

"""What a user does in a window that OpenGL draws, as a program of its own: a segmentation fault would take
the tests with it.

`python scenarios.py NAME...` opens a window for each and ends with 0 where napari survives, and where nothing
was sent to another OpenGL context than the canvas's.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
import torch
from qtpy.QtGui import QOpenGLContext
from vispy.gloo.glir import GlirParser

from heliorestore import Burst
from heliorestore.fits.reader import read
from heliorestore.plugin.launch import dock, process_events, wait
from heliorestore.plugin.runs import autosave
from heliorestore.plugin.viewer.comparison import How
from heliorestore.plugin.viewer.layers import burst_layers
from heliorestore.samples import sample_path

SMALL = {"modes": 6, "psf": 32, "patch": 32, "patch_iterations": 2, "iterations": 4, "stop_early": False}

_strays: list[str] = []  # commands that reached another context than the one their canvas paints in


def _watch_contexts() -> None:
    parse, painted = GlirParser._parse, {}

    def watched(parser: GlirParser, command: tuple[Any, ...]) -> None:
        context = QOpenGLContext.currentContext()
        if command[0] == "CURRENT":  # a painting begins
            painted[parser] = context
        elif parser in painted and painted[parser] is not context:
            _strays.append(str(command[:2]))
        parse(parser, command)

    GlirParser._parse = watched


def opened(**settings: Any) -> tuple[Any, Any]:
    """A window with a part of the small burst and the panel SV-MOMFBD."""
    viewer = napari.Viewer()
    viewer.window.resize(600, 500)
    whole = read(sample_path("small_burst.fits"))
    images = np.stack([whole.image(0, frame)[:64, :64] for frame in range(4)])
    burst = Burst.from_array(images, whole.instruments[0])
    panel = dock(viewer, burst_layers(burst, "sun"), "sv-momfbd")
    wait(lambda: panel.form is not None, "the form")
    for name, value in (SMALL | settings).items():
        panel.form.fields[name].set(value)
    process_events(0.3)
    return viewer, panel


def run(panel: Any, act: Callable[[], Any] | None = None) -> None:
    ended: list[Any] = []
    panel.run_panel.ended.connect(ended.append)
    (act or panel.run_panel.run_button.click)()
    wait(lambda: bool(ended), "the run to end")
    process_events(0.3)


def streams(viewer: Any) -> bool:
    return any(layer.name.startswith("sv-momfbd") for layer in viewer.layers)


def preview_then_run() -> None:
    viewer, panel = opened()
    panel.preview_on.setChecked(True)
    wait(lambda: "at rest" in panel.preview_note.text(), "the preview")
    process_events(0.3)
    run(panel)
    assert streams(viewer)


def probe_then_run() -> None:
    viewer, panel = opened()
    panel.probe.on.setChecked(True)
    process_events(0.5)
    panel.probe.on.setChecked(False)
    process_events(0.2)
    for layer in [layer for layer in viewer.layers if layer.name == "PSF probe"]:
        viewer.layers.remove(layer)  # the user tidies up
    run(panel)
    assert streams(viewer)


def input_deleted_while_results_stream() -> None:
    viewer, panel = opened(iterations=100_000)
    panel.run_panel.run_button.click()
    wait(lambda: streams(viewer), "the first image")
    process_events(1.0)
    viewer.layers.pop(0)
    process_events(1.5)
    run(panel, panel.run_panel.stop_button.click)


def two_windows_that_stream() -> None:
    windows = [opened(iterations=100_000) for _ in range(2)]
    for _, panel in windows:
        panel.run_panel.run_button.click()
    for viewer, panel in windows:
        wait(lambda viewer=viewer: streams(viewer), "the first image")
        panel.modes_on.setChecked(True)
    for viewer, _ in windows:
        viewer.layers.pop(0)
        process_events(0.5)
    (first, _), (_, panel) = windows
    first.close()
    process_events(0.5)
    run(panel, panel.run_panel.stop_button.click)


def compare_then_new_image() -> None:
    viewer = napari.Viewer()
    viewer.window.resize(600, 500)
    pixels = np.random.default_rng(1)
    first, second = (viewer.add_image(pixels.random((64, 64)), name=name) for name in "ab")
    _, panel = viewer.window.add_plugin_dock_widget("heliorestore", "Compare")
    for how in (How.SPLIT, How.DIFFERENCE):
        panel.compare(how, first, second)
        assert len(viewer.layers) > 2
        process_events(0.5)
        panel.how.setCurrentIndex(0)
        process_events(0.2)
        third = viewer.add_image(pixels.random((64, 64)))
        process_events(0.3)
        third.data = pixels.random((64, 64))
        process_events(0.3)
        viewer.layers.remove(third)


if __name__ == "__main__":
    torch.set_num_threads(1)
    unfinished = Path(tempfile.mkdtemp(prefix="scenario-"))
    autosave.folder = lambda: unfinished
    _watch_contexts()
    for name in sys.argv[1:]:
        print(name, file=sys.stderr, flush=True)  # for one that does not end
        globals()[name]()
        napari.Viewer.close_all()
        if _strays:
            sys.exit(f"{name}: sent to another OpenGL context: {', '.join(sorted(set(_strays)))}")

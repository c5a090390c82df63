"""The main walk through the real window, with mouse and keys; each step is checked and leaves a picture.

    xvfb-run -a -s '-screen 0 1600x1000x24' python benchmarks/window_walk.py FOLDER

It needs xdotool, which moves the pointer and types as a person does. The walk: a burst is opened, Tab goes
to the knobs, Run and Pause are clicked, a knob is turned by keys, the chart shows both stages and the turned
knob, the result is kept, two images blink, every other panel is opened in the dark and in the light theme
with nothing cut off, layers that cannot be restored are told so, a session is saved, and opened again in an
empty window.
"""

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLabel,
    QScrollArea,
    QWidget,
)

from heliorestore.plugin import launch
from heliorestore.plugin.npe2.readers import load_layers
from heliorestore.plugin.panels.session import open_session, save_session
from heliorestore.plugin.viewer.comparison import How, comparison_of
from heliorestore.plugin.widgets.layer_box import LayerBox
from heliorestore.plugin.widgets.messages import Clipped
from heliorestore.samples import sample_path

SIZE = (1366, 768)
PANELS = ("Restore", "MFBD", "Enhance", "Noise2Noise", "Compare", "Image quality", "Queue")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    walk = Walk(folder, load_layers([sample_path("sunspot_burst.fits")]))
    walk.tab_to_the_knobs()
    walk.run_and_pause()
    walk.turn_a_knob()
    walk.read_the_chart()
    walk.keep()
    walk.blink()
    walk.open_every_panel()
    walk.add_what_cannot_be_restored()
    walk.save_and_open()
    print("walked")


class Walk:
    """The window with a burst and the panel of SV-MOMFBD, and a hand that moves the mouse."""

    def __init__(self, folder: Path, layers: Any) -> None:
        self.folder, self.step = folder, 0
        self.viewer = napari.Viewer(title="heliorestore")
        self.viewer.window.resize(*SIZE)
        self.panel = launch.dock(self.viewer, layers, "sv-momfbd")
        launch.wait(lambda: self.panel.form is not None, "the form")
        launch.process_events(1.0)
        for name, value in {
            "modes": 12,
            "stop_early": False,
            "patch_iterations": 4,
        }.items():
            self.panel.form.fields[name].set(value)
        self.look("opened")

    def tab_to_the_knobs(self) -> None:
        """From the field *axes* nine steps down, line by line."""
        self.click(self.panel.files.axes)
        seen = []
        for _ in range(9):
            self.key("Tab")
            seen.append(QApplication.focusWidget())
        heights = [self.where(each).y() for each in seen]
        assert all(later > before - 12 for before, later in itertools.pairwise(heights)), heights
        self.look("focus on a knob")

    def run_and_pause(self) -> None:
        """It sharpens until it is paused."""
        run = self.panel.run_panel
        self.click(run.run_button)
        self.wait(lambda: run.snapshot is not None and run.snapshot.step >= 6, "six iterations", 600)
        self.look("it sharpens")
        self.click(run.pause_button)
        self.wait(lambda: run.state.name == "PAUSED", "the pause", 120)
        first = run.snapshot.images[0]
        frame = np.asarray(self.viewer.layers["sunspot_burst wide band"].data[0])
        assert first.std() / first.mean() > frame.std() / frame.mean(), "it has not become sharper"

    def turn_a_knob(self) -> None:
        """Arrow keys on the slider of lambda_object: the image answers while the run is paused."""
        slider = self.panel.form.fields["lambda_object"].editor
        layer = self.result()
        before, value = np.array(layer.data), slider.value()
        self.click(slider.slider)
        self.key(*["Page_Up"] * 4)
        self.wait(lambda: not np.array_equal(layer.data, before), "the glance")
        assert slider.value() != value
        self.look("a knob is turned")

    def read_the_chart(self) -> None:
        """Patches are shaded, the field has the axes, and the knob its history."""
        run = self.panel.run_panel
        self.click(run.run_button)
        self.wait(lambda: run.snapshot.step >= 9, "the field", 600)
        self.click(run.pause_button)
        self.wait(lambda: run.state.name == "PAUSED", "the pause", 120)
        self.wait(lambda: len(run.curve.canvas.figure.axes) == 3, "the strip of the knob")
        losses, _, knob = run.curve.canvas.figure.axes
        assert [text.get_text() for text in losses.texts][-1] == "whole field"
        assert knob.get_ylabel() == "lambda\nobject"
        self.look("the chart")

    def keep(self) -> None:
        """A version, which the table shows."""
        table = self.panel.version_list
        self.panel.kept.section.set_open(True)
        self.click(table.keep_button)
        self.wait(lambda: table.table.rowCount() == 2, "the version")
        self.look("kept")
        self.click(self.panel.run_panel.stop_button)
        self.wait(lambda: not self.panel.run_panel.busy, "the end", 120)

    def blink(self) -> None:
        """The key B shows two images in turns, and ends that."""
        canvas = QPoint(SIZE[0] // 2, SIZE[1] // 2)
        self.point(self.viewer.window._qt_window.mapToGlobal(canvas))
        self.xdotool("click", "1")
        comparison = comparison_of(self.viewer)
        self.key("b")
        self.wait(lambda: comparison.how is How.BLINK, "the blink")
        titles = set[str]()
        overlay = self.viewer.canvas.overlays["compared left"]
        self.wait(lambda: bool(titles.add(overlay.text) or len(titles) == 2), "both names")
        self.look("blinking")
        self.key("b")
        self.wait(lambda: comparison.how is None, "the end of it")

    def open_every_panel(self) -> None:
        """Each in both themes: no text is cut off, and nothing reaches beyond the right edge."""
        for title in PANELS:
            _, panel = self.viewer.window.add_plugin_dock_widget("heliorestore", title)
            self.wait(lambda panel=panel: getattr(panel, "form", panel) is not None, title)
            launch.process_events(2.0)
            for theme in ("light", "dark"):
                self.viewer.theme = theme
                self.look(f"{title} {theme}")
                assert not (cut := cut_off(panel)), (title, theme, cut)
            self.viewer.window.remove_dock_widget(panel)

    def add_what_cannot_be_restored(self) -> None:
        """One sentence each, which says what to do; the burst is ticked again after that."""
        for value, words in ((3.0, "there is nothing to restore"), (np.nan, "are all NaN")):
            layer = self.viewer.add_image(np.full((64, 64), value), name="nothing")
            self.panel.layer_list.choose([layer])
            self.wait(lambda words=words: words in self.panel.hint.text(), words)
            self.look(words)
            self.viewer.layers.remove(layer)
        burst = [each for each in self.viewer.layers if each.name.startswith("sunspot_burst")]
        self.panel.layer_list.choose(burst)
        assert self.panel.hint.text() == ""

    def save_and_open(self) -> None:
        """A session, in an empty window as it was."""
        path = self.folder / "walk.heliosession"
        path.unlink(missing_ok=True)
        names = [layer.name for layer in self.viewer.layers]
        limits = [tuple(layer.contrast_limits) for layer in self.viewer.layers]
        save_session(self.viewer, path)
        self.wait(path.exists, "the session", 120)
        launch.process_events(1.0)
        self.viewer.close()
        again = napari.Viewer(title="heliorestore")
        again.window.resize(*SIZE)
        open_session(again, path)
        self.viewer = again
        self.wait(lambda: [layer.name for layer in again.layers] == names, "the layers", 120)
        assert [tuple(layer.contrast_limits) for layer in again.layers] == limits
        launch.process_events(2.0)
        self.look("opened again")
        again.close()

    # -- the hand and the eye

    def result(self) -> Any:
        return next(layer for layer in reversed(self.viewer.layers) if layer.metadata.get("kind") == "image")

    def click(self, widget: QWidget) -> None:
        """Scroll the panel to a widget and click into its middle."""
        area = self.panel.findChild(QScrollArea)
        area.ensureWidgetVisible(widget, 0, 40)
        launch.process_events(0.5)
        self.point(widget.mapToGlobal(widget.rect().center()))
        self.xdotool("click", "1")

    def point(self, place: QPoint) -> None:
        self.xdotool("mousemove", str(place.x()), str(place.y()))

    def key(self, *names: str) -> None:
        for name in names:
            self.xdotool("key", name)

    def xdotool(self, *arguments: str) -> None:
        """Let it act while the window lives."""
        hand = subprocess.Popen(["xdotool", *arguments])
        launch.wait(lambda: hand.poll() is not None, "xdotool")
        assert hand.returncode == 0
        launch.process_events(0.4)

    def where(self, widget: QWidget) -> QPoint:
        return widget.mapToGlobal(widget.rect().center())

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        launch.wait(condition, what, seconds)

    def look(self, name: str) -> None:
        """A picture of the window."""
        self.step += 1
        launch.process_events(0.5)
        path = self.folder / f"{self.step} {name}.png"
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        print(path)


def cut_off(panel: QWidget) -> list[str]:
    """The texts of a panel that are wider than their widgets, or lie beyond its right edge."""
    found = []
    viewport = panel.findChild(QScrollArea).viewport()
    for widget in panel.findChildren((QAbstractButton, QLabel, QComboBox)):
        if not widget.isVisible() or isinstance(widget, Clipped | LayerBox):  # they may shorten it
            continue
        text = widget.currentText() if isinstance(widget, QComboBox) else widget.text()
        wraps = isinstance(widget, QLabel) and widget.wordWrap()
        narrow = not wraps and widget.width() < widget.fontMetrics().horizontalAdvance(text)
        right = widget.mapTo(panel, widget.rect().topRight()).x()
        if text and (narrow or right > viewport.mapTo(panel, viewport.rect().topRight()).x()):
            found.append(text)
    return found


if __name__ == "__main__":
    main()

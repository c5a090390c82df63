"""Take the pictures of the tutorial from the real application: the whole way, from the sample to the file.

xvfb-run -a -s '-screen 0 1600x1000x24' python docs/make_tutorial_pictures.py [FOLDER]
"""

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import napari
import numpy as np
from make_pictures import take
from PIL import Image, ImageDraw
from qtpy.QtWidgets import QScrollArea

from heliorestore.plugin import launch
from heliorestore.plugin.npe2.readers import load_layers
from heliorestore.plugin.runs.preview import Rectangle
from heliorestore.samples import sample_path

SIZE = (1366, 768)
BOX = Rectangle(88, 40, 216, 168)  # the border of umbra and penumbra
LAMBDAS = (0.05, 0.2, 1.0, 3.0, 10.0, 3.0, 1.0, 0.2, 0.05, 0.02)


def main() -> None:
    """Walk through the tutorial."""
    folder = (
        Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parent / "pictures"
    )
    viewer = napari.Viewer(title="heliorestore")
    viewer.window.resize(*SIZE)
    widget = launch.dock(viewer, load_layers([sample_path("sunspot_burst.fits")]), "sv-momfbd")
    launch.wait(lambda: widget.form is not None, "the form")
    launch.process_events(1.0)
    viewer.fit_to_view()
    take(viewer, folder / "tutorial_opened.png")
    film = preview(viewer, widget, folder)
    film.save(folder / "live.gif")
    whole_field(viewer, widget, folder)
    viewer.close()


def preview(viewer: Any, widget: Any, folder: Path) -> "Film":
    """The box as it gets sharp, and then under a moving slider."""
    film = Film(viewer)
    film.add("a frame of the burst")
    widget.preview_on.setChecked(True)
    box = widget.preview
    box.box.move(BOX)
    launch.wait(lambda: box.rectangle == BOX and box.snapshot is not None, "the box", 300)
    seen = 0
    while "at rest" not in widget.preview_note.text():
        launch.process_events(0.1)
        if box.snapshot is not None and box.snapshot.step > seen:
            seen = box.snapshot.step
            if seen < 16 or seen % 4 == 0:
                film.add(f"preview box: iteration {seen}")
    scroll(widget, widget.preview_note)
    take(viewer, folder / "tutorial_preview.png")
    slider = widget.form.fields["lambda_object"].editor
    for value in LAMBDAS:
        slider.box.setValue(value)
        launch.process_events(0.7)
        film.add(f"lambda_object {value:g}")
    return film


def whole_field(viewer: Any, widget: Any, folder: Path) -> None:
    """The whole field, the PSF at a place, mode maps, and the result beside a frame."""
    ended: list[Any] = []
    widget.run_panel.ended.connect(ended.append)
    for name, value in {"patch_iterations": 8, "iterations": 24}.items():  # enough for the pictures
        widget.form.fields[name].set(value)
    widget.run_panel.run_button.click()
    launch.wait(lambda: bool(ended), "the restoration", seconds=1800)
    result = next(
        layer
        for layer in viewer.layers
        if layer.name.startswith("sv-momfbd 1 wide") and layer.name.endswith("band")
    )
    widget.probe.on.setChecked(True)
    widget.probe.point.put((150.0, 70.0))
    launch.wait(lambda: "Strehl" in widget.probe.text.text(), "the PSF")
    scroll(widget, widget.probe.text)
    take(viewer, folder / "tutorial_psf.png")
    widget.probe.on.setChecked(False)
    widget.modes_on.setChecked(True)
    viewer.dims.set_current_step(0, 3)
    take(viewer, folder / "tutorial_modes.png")
    widget.modes_on.setChecked(False)
    # the panel tells the path: the picture needs no folder
    with tempfile.TemporaryDirectory() as out, contextlib.chdir(out):
        widget.export(Path("sunspot_restored.fits"))
        launch.wait(lambda: widget.run_panel.messages.text().startswith("Written"), "the file")
    scroll(widget, widget.export_button)
    first = viewer.layers[0]
    for layer in list(viewer.layers):
        if layer not in (result, first):
            viewer.layers.remove(layer)
    first.contrast_limits = result.contrast_limits
    viewer.canvas.grid.enabled = True
    viewer.fit_to_view()
    take(viewer, folder / "tutorial_result.png")


def scroll(widget: Any, to: Any) -> None:
    """Scroll the panel until a part of it is seen."""
    launch.process_events(0.3)
    widget.findChild(QScrollArea).ensureWidgetVisible(to, 0, 60)
    launch.process_events(0.3)


class Film:
    """Pictures of the canvas, each with its line of text."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._pictures: list[Image.Image] = []

    def add(self, text: str) -> None:
        """Take a picture now."""
        launch.process_events(0.2)
        picture = Image.fromarray(np.asarray(self._viewer.screenshot(canvas_only=True, flash=False))[..., :3])
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side)).resize(
            (420, 420), Image.Resampling.LANCZOS
        )
        ImageDraw.Draw(picture).text(
            (8, 402), text, fill="white", font_size=15, stroke_width=2, stroke_fill="black"
        )
        self._pictures.append(picture)

    def save(self, path: Path) -> None:
        """Write them, the last of every change a little longer, in the few colours that they have."""
        few = [picture.quantize(64, dither=Image.Dither.NONE) for picture in self._pictures]
        few[0].save(
            path,
            save_all=True,
            append_images=few[1:],
            duration=[1200] + [350] * (len(few) - 2) + [1500],
            loop=0,
            optimize=True,
        )
        print(path, path.stat().st_size // 1000, "kB", len(few), "pictures")


if __name__ == "__main__":
    main()

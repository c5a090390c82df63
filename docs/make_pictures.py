"""Take the pictures of the documentation from the real application.

xvfb-run -a -s '-screen 0 1600x1000x24' python docs/make_pictures.py [FOLDER]
"""

import sys
from pathlib import Path
from typing import Any

import napari
from qtpy.QtGui import QImage

from heliorestore.plugin import launch
from heliorestore.plugin.npe2.readers import load_layers
from heliorestore.samples import sample_path

SIZE = (1400, 900)


def main() -> None:
    """Take all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    sunspot(folder)
    result_of_a_run(folder)
    burst_paused(folder)
    unknown_instrument(folder)
    frames(folder)
    network(folder)
    denoised(folder)


def sunspot(folder: Path) -> None:
    """The sunspot burst beside what MOMFBD makes of it."""
    viewer, widget = opened("sunspot_burst.fits", "momfbd")
    ended: list[Any] = []
    widget.run_panel.ended.connect(ended.append)
    widget.run_panel.run_button.click()
    launch.wait(lambda: bool(ended), "the restoration", seconds=900)
    for layer in [layer for layer in viewer.layers if not layer.visible]:
        viewer.layers.remove(layer)
    viewer.layers[0].contrast_limits = viewer.layers[-1].contrast_limits
    viewer.canvas.grid.enabled = True
    show_curve(widget)
    viewer.fit_to_view()
    take(viewer, folder / "sunspot.png")
    viewer.close()


def result_of_a_run(folder: Path) -> None:
    """The continuum sample restored on twice as many pixels, with the panel; then both images side by
    side.
    """
    viewer, widget = opened("hmi_continuum.fits")
    take(viewer, folder / "opened.png")
    widget.form.fields["upsampling"].set(2)
    widget.form.fields["iterations"].set(15)
    ended: list[Any] = []
    widget.run_panel.ended.connect(ended.append)
    widget.run_panel.run_button.click()
    launch.wait(lambda: bool(ended), "the restoration")
    show_curve(widget)
    take(viewer, folder / "restored.png")
    viewer.canvas.grid.enabled = True
    before, after = viewer.layers["hmi_continuum"], viewer.layers[-1]
    before.contrast_limits = after.contrast_limits  # the same cuts, or the eye compares the cuts
    for layer in list(viewer.layers):
        if not layer.visible:
            viewer.layers.remove(layer)
    viewer.fit_to_view()
    take(viewer, folder / "side_by_side.png")
    viewer.close()


def burst_paused(folder: Path) -> None:
    """The burst of two objects, paused in the middle of a run."""
    viewer, widget = opened("small_burst.fits")
    widget.run_panel.step_button.click()
    launch.wait(lambda: widget.run_panel.state.name == "PAUSED", "the first step")
    for step in range(2, 9):
        widget.run_panel.step_button.click()
        launch.wait(lambda step=step: widget.run_panel.snapshot.step == step, "a step")
    launch.process_events(0.5)
    show_curve(widget)
    take(viewer, folder / "paused.png")
    widget.run_panel.stop()
    launch.wait(lambda: not widget.run_panel.busy, "the stop")
    viewer.close()


def unknown_instrument(folder: Path) -> None:
    """The panel asks for what an image without a header does not say."""
    viewer, widget = opened("small_burst.fits")
    image = viewer.layers[0].data[0]
    viewer.layers.clear()
    viewer.add_image(image, name="image without header")
    widget.run_panel.run_button.click()
    launch.process_events(0.5)
    save(widget.grab().toImage(), folder / "unknown_instrument.png")
    viewer.close()


def frames(folder: Path) -> None:
    """How sharp the frames of the sunspot burst are, the best chosen, and the fields for the calibration."""
    from heliorestore.plugin.widgets.sections import Section

    viewer, widget = opened("sunspot_burst.fits", "sv-momfbd")
    sections = {section.title.text(): section for section in widget.findChildren(Section)}
    for title in ("Sharpness", "Calibrate"):
        sections[title].set_open(True)
    launch.process_events(4.0)
    best = sections["Sharpness"].best
    best.setText("50%")
    best.editingFinished.emit()
    take(viewer, folder / "frames.png")
    viewer.close()


def network(folder: Path) -> None:
    """The sunspot burst restored by a network, a frame of it, the truth and the committee's spread, in the
    panel of MFBD.
    """
    from heliorestore.plugin.panels.mfbd import MfbdWidget

    viewer = napari.Viewer(title="heliorestore")
    viewer.window.resize(*SIZE)
    widget = MfbdWidget(viewer)
    viewer.window.add_dock_widget(widget, name="MFBD")
    for sample in ("sunspot_truth.fits", "sunspot_burst.fits"):
        viewer.add_layer(napari.layers.Layer.create(*load_layers([sample_path(sample)])[0]))
    launch.wait(lambda: widget.form is not None, "the method")
    truth, frame = viewer.layers
    widget.layer_list.choose([frame])
    ended: list[Any] = []
    widget.run_panel.ended.connect(ended.append)
    widget.run_panel.run_button.click()
    launch.wait(lambda: bool(ended), "the restoration", seconds=900)
    widget.spread.setChecked(True)
    restored = viewer.layers[-2]  # below the spread
    for layer in (frame, restored):  # the same cuts, or the eye compares the cuts
        layer.contrast_limits = truth.contrast_limits
    viewer.dims.current_step = (0,) * viewer.dims.ndim
    viewer.canvas.grid.enabled = True
    viewer.window.resize(*SIZE)
    show_curve(widget)
    viewer.fit_to_view()
    take(viewer, folder / "mfbd_panel.png")
    viewer.close()


def denoised(folder: Path) -> None:
    """Stokes V of the sample series beside what Noise2Noise makes of it, and what it took away."""
    viewer = napari.Viewer(title="heliorestore")
    viewer.window.resize(*SIZE)
    for data in load_layers([sample_path("stokes_series.fits")]):
        layer = viewer.add_layer(napari.layers.Layer.create(*data))
        layer.visible = layer.name.endswith("630.24 nm, V")
    viewer.dims.current_step = (0, 0, 0)
    _, widget = viewer.window.add_plugin_dock_widget("heliorestore", "Noise2Noise")
    launch.wait(lambda: widget.form is not None, "the method")
    widget.objects.setText("9:12")
    widget.form.fields["learning_rate"].set(2e-4)
    widget.form.fields["patches"].set(200)
    widget.epochs.setValue(6)
    ended: list[Any] = []
    widget.run_panel.ended.connect(ended.append)
    widget.fit_button.click()
    launch.wait(lambda: bool(ended), "the fit", seconds=900)
    widget.residual_button.click()
    for layer in [layer for layer in viewer.layers if not layer.visible]:
        viewer.layers.remove(layer)
    for layer in viewer.layers:
        layer.contrast_limits = (-0.012, 0.012)
        layer.colormap = "gray"
    viewer.canvas.grid.enabled = True
    show_curve(widget)
    viewer.fit_to_view()
    take(viewer, folder / "denoise_panel.png")
    viewer.close()


def opened(sample: str, method: str = "richardson-lucy") -> tuple[Any, Any]:
    """A viewer with a sample and the panel, ready to run."""
    viewer = napari.Viewer(title="heliorestore")
    viewer.window.resize(*SIZE)
    widget = launch.dock(viewer, load_layers([sample_path(sample)]), method)
    launch.wait(lambda: widget.form is not None, "the method")
    launch.process_events(0.5)
    viewer.fit_to_view()
    return viewer, widget


def show_curve(widget: Any) -> None:
    """Scroll the panel to its end, where the buttons, the progress and the curve are."""
    from qtpy.QtWidgets import QScrollArea

    launch.process_events(0.2)
    bar = widget.findChild(QScrollArea).verticalScrollBar()
    bar.setValue(bar.maximum())


def take(viewer: Any, path: Path) -> None:
    """Save a picture of the whole window."""
    launch.process_events(1.0)
    shot = viewer.screenshot(canvas_only=False, flash=False)
    height, width, _ = shot.shape
    save(QImage(shot.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888), path)


def save(image: QImage, path: Path) -> None:
    """Write a picture and say how large it is."""
    # for PNG: the smallest file
    image.convertToFormat(QImage.Format.Format_RGB888).save(str(path), quality=0)
    print(path, path.stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()

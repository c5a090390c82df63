"""From a slider to the image: the wait for the glance, and for the first iteration with the new value.

    xvfb-run -a python benchmarks/slider_latency.py [--moves 12] [--objects 2] [--sample sunspot_burst.fits]

The preview box covers the sample (256 x 256 pixels, 12 frames) and is being restored while lambda_object is
moved. "glance" ends when a picture made for the new value has been handed to the layer; "iteration" when a
snapshot that was computed with it has. Under Xvfb everything is drawn by software, on the cores that the
restoration uses too.
"""

import argparse
import time

import napari
import numpy as np

from heliorestore.plugin import launch
from heliorestore.plugin.npe2.readers import load_layers
from heliorestore.plugin.runs.live import LiveLayers
from heliorestore.plugin.runs.preview import Rectangle
from heliorestore.samples import sample_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=12)
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--sample", default="sunspot_burst.fits")
    parser.add_argument(
        "--settle", type=float, default=0.5, help="seconds between an iteration's image and the next move"
    )
    arguments = parser.parse_args()

    viewer = napari.Viewer()
    widget = launch.dock(viewer, load_layers([sample_path(arguments.sample)]), "sv-momfbd")
    launch.wait(lambda: widget.form is not None, "the form")
    widget.objects.setText(f":{arguments.objects}")
    widget.form.fields["iterations"].set(10_000)
    widget.form.fields["stop_early"].set(False)
    shown: list[float] = []
    show_ahead = LiveLayers.show_ahead

    def timed(self: LiveLayers, images: object) -> None:
        show_ahead(self, images)
        shown.append(time.perf_counter())

    LiveLayers.show_ahead = timed
    widget.preview_on.setChecked(True)
    preview = widget.preview
    whole = Rectangle(0, 0, *widget.burst().shape[2:])
    preview.box.move(whole)
    launch.wait(lambda: preview.rectangle == whole, "the box to cover the field")
    launch.wait(
        lambda: preview.snapshot is not None and "residual" in preview.snapshot.maps,
        "the first iteration on the field",
        900,
    )
    launch.wait(lambda: preview.snapshot.step >= 15, "a few iterations", 900)
    slider = widget.form.fields["lambda_object"].editor
    random = np.random.default_rng(0)
    glances, iterations, paces = [], [], []
    for number in range(arguments.moves):
        launch.process_events(arguments.settle * random.uniform(0.5, 1.5))
        before = preview.snapshot
        value = float(np.round([0.02, 0.3][number % 2] * random.uniform(0.8, 1.25), 4))
        shown.clear()
        began = time.perf_counter()
        slider.box.setValue(value)
        launch.wait(lambda: bool(shown), "the glance", 120)
        glances.append(1000 * (shown[0] - began))
        launch.wait(
            lambda value=value: preview.snapshot.history["lambda_object"][-1] == value, "the iteration", 300
        )
        iterations.append(1000 * (time.perf_counter() - began))
        seconds = np.diff(preview.snapshot.history["seconds"])[-4:]
        paces.append(1000 * float(np.median(seconds)))
        assert preview.snapshot is not before
    shape = preview.snapshot.images.shape
    print(
        f"{shape[0]} objects, box of {shape[2]} x {shape[1]} pixels, {arguments.moves} moves of "
        "lambda_object while the box is restored"
    )
    for name, values in (("glance", glances), ("iteration", iterations), ("one iteration takes", paces)):
        print(
            f"{name:<20} median {np.median(values):7.0f} ms   least {min(values):7.0f} ms   most "
            f"{max(values):7.0f} ms"
        )
    widget.preview_on.setChecked(False)
    viewer.close()


if __name__ == "__main__":
    main()

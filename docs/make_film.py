"""Film the real window for the top of the docs: a burst is dropped, sharpens, follows a knob, shows its PSF.

xvfb-run -a -s '-screen 0 1600x1000x24' python docs/make_film.py [FOLDER]
"""

import sys
from pathlib import Path
from typing import Any

import napari
import numpy as np
from make_tutorial_pictures import scroll
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from heliorestore.plugin import launch
from heliorestore.plugin.viewer.comparison import How, comparison_of
from heliorestore.samples import sample_path

SIZE = (1366, 768)
WIDTH = 854  # pixels of the film
CAPTION = 34  # pixels below the window
FONT = ImageFont.truetype(findfont("DejaVu Sans"), 17)
EXACT = 24  # colours of each kind that are kept as they are
GREYS = 72  # of the palette
SPREADS = {
    6: 72,
    40: 96,
}  # colours of pixels by the spread of their channels: the window, then lines and marks
LONGEST_S, LARGEST = 30.0, 5_000_000
ITERATIONS = 26  # enough to see
LAMBDAS = (0.03, 0.06, 0.15, 0.4, 1.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.02)
PLACES = ((100.0, 60.0), (150.0, 128.0), (60.0, 190.0))


def main() -> None:
    """Walk through a restoration and write `film.gif`."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"
    viewer = napari.Viewer(title="heliorestore")
    viewer.window.resize(*SIZE)
    _, widget = viewer.window.add_plugin_dock_widget("heliorestore", "SV-MOMFBD")
    launch.wait(lambda: widget.form is not None, "the form")
    launch.process_events(1.0)
    film = Film(viewer)
    dropped(viewer, film)
    sharpened(widget, film)
    turned(widget, film)
    probed(widget, film)
    compared(viewer, film)
    film.save(folder / "film.gif")
    widget.run_panel.stop()  # or it would be offered for resume
    launch.wait(lambda: not widget.run_panel.busy, "the end of the run")
    viewer.close()


def dropped(viewer: Any, film: "Film") -> None:
    """The burst, opened as napari opens what is dropped, and some of its frames."""
    film.add("Drop a burst of short exposures on napari", 1.2)
    viewer.open(sample_path("sunspot_burst.fits"), plugin="heliorestore")
    launch.process_events(1.0)
    viewer.fit_to_view()
    for frame in (0, 4, 8, 0):
        viewer.dims.current_step = (frame, 0, 0)
        film.add("Two objects, twelve frames, all blurred by the air", 0.5)


def sharpened(widget: Any, film: "Film") -> None:
    """Run, until it is paused."""
    for name, value in {"start": "average", "iterations": 2 * ITERATIONS, "stop_early": False}.items():
        widget.form.fields[name].set(value)
    run = widget.run_panel
    run.run_button.click()
    seen = 0
    while seen < ITERATIONS:
        launch.process_events(0.1)
        if run.snapshot is not None and run.snapshot.step > seen:
            seen = run.snapshot.step
            film.add(f"Run: it sharpens while you watch, iteration {seen}", 0.22)
    run.pause_button.click()
    launch.wait(lambda: run.state.name == "PAUSED", "the pause", 120)
    film.add("Pause", 0.8)


def turned(widget: Any, film: "Film") -> None:
    """The smoothness of the object, up and down."""
    for value in LAMBDAS:
        widget.form.fields["lambda_object"].set(value)
        widget.form.changed.emit()
        launch.process_events(0.8)
        film.add(f"Turn a knob: the image answers at once, lambda object {value:g}", 0.4)


def probed(widget: Any, film: "Film") -> None:
    """The PSF at some places."""
    widget.probe.on.setChecked(True)
    for place in PLACES:
        before = widget.probe.text.text()
        widget.probe.point.put(place)
        launch.wait(
            lambda before=before: "Strehl" in widget.probe.text.text() and widget.probe.text.text() != before,
            "the PSF",
        )
        scroll(widget, widget.probe.text)
        film.add("Click anywhere: the PSF of this frame at that place", 1.3)
    widget.probe.on.setChecked(False)


def compared(viewer: Any, film: "Film") -> None:
    """A frame and the result with a divider."""
    frame = viewer.layers["sunspot_burst wide band"]
    result = next(
        each
        for each in viewer.layers
        if (each.metadata.get("kind"), each.metadata.get("object")) == ("image", 0)
    )
    comparison = comparison_of(viewer)
    for part in (0.7, 0.5, 0.3):
        comparison.start(How.SPLIT, frame, result, part=part)
        film.add("A frame on the left, the restoration on the right", 1.0)
    comparison.stop()


class Film:
    """Pictures of the whole window, each with a line of text below and a time."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._pictures: list[Image.Image] = []
        self._seconds: list[float] = []

    def add(self, text: str, seconds: float) -> None:
        """Take a picture now."""
        launch.process_events(0.3)
        shot = np.asarray(self._viewer.screenshot(canvas_only=False, flash=False))
        picture = Image.fromarray(shot[..., :3])
        height = round(picture.height * WIDTH / picture.width)
        page = Image.new("RGB", (WIDTH, height + CAPTION), "#000000")
        page.paste(picture.resize((WIDTH, height), Image.Resampling.LANCZOS))
        ImageDraw.Draw(page).text(
            (WIDTH // 2, height + CAPTION // 2), text, fill="white", font=FONT, anchor="mm"
        )
        self._pictures.append(page)
        self._seconds.append(seconds)

    def save(self, path: Path) -> None:
        """Write them in the few colours that they have; neither too long nor too large."""
        palette = palette_of(self._pictures)
        few = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in self._pictures]
        few[0].save(
            path,
            save_all=True,
            append_images=few[1:],
            duration=[round(1000 * each) for each in self._seconds],
            loop=0,
            optimize=True,
        )
        size, length = path.stat().st_size, sum(self._seconds)
        print(path, f"{size / 1e6:.1f} MB, {length:.0f} s, {len(few)} pictures")
        assert size <= LARGEST
        assert length <= LONGEST_S


def palette_of(pictures: list[Image.Image]) -> Image.Image:
    """Greys for the Sun, evenly, and some of all colours, else one of the two would take every place."""
    pixels = np.concatenate([np.asarray(picture)[::3, ::3].reshape(-1, 3) for picture in pictures])
    spread = np.ptp(pixels.astype(int), axis=1)
    colours: list[int] = []
    for (low, count), high in zip(SPREADS.items(), [*SPREADS, 256][1:], strict=True):
        found, often = np.unique(pixels[(spread > low) & (spread <= high)], axis=0, return_counts=True)
        common = found[np.argsort(-often)[:EXACT]]
        # and of all others each once: there are few pixels in a line, and many in a panel
        others = Image.fromarray(found[None]).quantize(count - EXACT).getpalette() or []
        colours += [*common.ravel().tolist(), *others[: 3 * (count - EXACT)]]
    greys = np.linspace(0, 255, GREYS).round().astype(int).repeat(3).tolist()
    made = Image.new("P", (1, 1))
    made.putpalette([*greys, *colours])
    return made


if __name__ == "__main__":
    main()

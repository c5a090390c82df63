"""Movies of a run and of a blink, from a real panel."""

from types import SimpleNamespace

import numpy as np
from imageio import v3 as imageio
from napari.layers import Image

from heliorestore.plugin.panels.compare import CompareWidget
from heliorestore.plugin.panels.movies import write_blink
from heliorestore.plugin.runs.film import Film
from heliorestore.plugin.viewer.comparison import How
from heliorestore.snapshot import Snapshot
from window import set_fields, wait_for_threads


def test_a_film_is_bounded_and_reaches_from_the_first_iteration_to_the_last(qtbot):
    film = Film()
    for step in range(1, 301):
        film.add(Snapshot(step=step, total=300, images=np.full((2, 6, 8), step, np.float32)))
    steps = [each.step for each in film.pictures]
    assert len(steps) <= 48
    assert steps[0] == 1
    assert steps[-1] > 290
    assert {a - b for a, b in zip(steps[1:], steps, strict=False)} == {8}
    assert float(film.pictures[-1].image.mean()) == steps[-1]
    film.clear()
    large = np.arange(2060 * 20, dtype=np.float32).reshape(1, 2060, 20)
    film.add(Snapshot(step=1, total=1, images=large, zoom=2))
    qtbot.waitUntil(lambda: bool(film.pictures), timeout=20_000)
    (picture,) = film.pictures
    assert (picture.image.shape, picture.zoom) == ((412, 4), 0.4)
    assert picture.image.mean() == large.mean()
    film.add(Snapshot(step=1, total=1, images=np.ones((1, 4, 4), np.float32)))
    assert len(film.pictures) == 1


def test_a_run_and_a_blink_become_movies(panel, viewer, finish, qtbot, tmp_path):
    assert not panel.movie.button.isEnabled()
    set_fields(panel, strength=1.0, pace_s=0.12)
    finish(panel, panel.run_panel.run_button.click)
    viewer.layers["fake 1 WB"].contrast_limits = (0.0, 30.0)
    panel.movie.save(tmp_path / "run")
    qtbot.waitUntil(lambda: "Written" in panel.run_panel.messages.text(), timeout=20_000)
    frames = imageio.imread(tmp_path / "run.gif")
    assert len(frames) >= 3
    # the frame is about 10, and each iteration adds one; away from the words
    levels = [float(frame[150:200, 100:300].mean()) for frame in frames]
    assert abs(levels[0] - 255 * 10 / 30) < 6
    assert abs(levels[-1] - 255 * 15 / 30) < 6
    assert levels == sorted(levels)

    bright, dark = (Image(np.full((20, 20), v), name=f"all {v}", contrast_limits=(0, 1)) for v in (1.0, 0.0))
    viewer.layers.clear()
    pair = [viewer.add_layer(layer) for layer in (bright, dark)]
    compare = CompareWidget(viewer)
    viewer.window.add_dock_widget(compare, name="Compare")
    assert not compare.movie.isEnabled()
    compare.compare(How.BLINK, *pair)
    assert compare.movie.isEnabled()
    said, titles = [], []

    # a hidden window draws nothing: what the canvas would show
    def screenshot(**_):
        titles.append(viewer.canvas.overlays["compared left"].text)
        return np.full((21, 30, 4), 255 if pair[0].visible else 0, np.uint8)

    canvas = SimpleNamespace(screenshot=screenshot, canvas=viewer.canvas)
    write_blink(canvas, compare.comparison.pair, 4.0, tmp_path / "blink.gif", said.append)
    wait_for_threads()
    qtbot.waitUntil(lambda: bool(said), timeout=20_000)
    assert said == [f"Written: {tmp_path / 'blink.gif'}"]
    first, second = imageio.imread(tmp_path / "blink.gif")
    assert (first.shape[:2], first.mean(), second.mean()) == ((20, 30), 255, 0)
    assert sum(layer.visible for layer in pair) == 1
    assert titles == ["all 1.0", "all 0.0"]

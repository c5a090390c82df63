"""Profiles in a real viewer: a click shows the spectrum there, keeps places, and saves them."""

import numpy as np

from heliorestore.burst import Burst
from heliorestore.coordinates import Coordinates
from heliorestore.polarimetry.profiles import noise_of


def draws_a_region(panel, viewer, qtbot, burst):
    """A region is drawn on a layer of its own, and has the mean and its error."""
    panel.draw_region("rectangle")
    regions = viewer.layers["regions of profiles"]
    assert viewer.layers.selection.active == regions
    assert regions.mode == "add_rectangle"
    assert not panel.found
    regions.add([[4.5, 5.5], [4.5, 8.5], [8.5, 8.5], [8.5, 5.5]], shape_type="rectangle")
    qtbot.waitUntil(lambda: bool(panel.found), timeout=20_000)
    (mean,) = panel.found
    assert np.allclose(mean.values.ravel(), np.asarray(burst.frames)[:, 0, 5:9, 6:9].mean((1, 2)), atol=1e-5)
    assert np.allclose(mean.sigmas, noise_of(burst)[mean.grid.objects] / np.sqrt(12))
    assert "12 pixels" in mean.name
    assert list(viewer.layers.selection) == [viewer.layers[0]]


def test_a_click_shows_the_profiles_which_are_kept_and_saved(viewer, qtbot, tmp_path):
    from napari.layers import Layer

    from heliorestore.plugin.panels.profiles import ProfilesWidget
    from heliorestore.plugin.viewer.layers import burst_layers

    coordinates = tuple(
        Coordinates(wavelength_nm=630.0 + n / 100, stokes=name) for name in "IQUV" for n in range(3)
    )
    images = np.arange(12.0)[:, None, None] + np.random.default_rng(0).standard_normal((12, 24, 30))
    burst = Burst(frames=images[:, None].astype(np.float32), coordinates=coordinates, unit="I/Ic")
    for data in burst_layers(burst, "stokes"):
        viewer.add_layer(Layer.create(*data))
    viewer.layers.selection = {viewer.layers[0]}
    panel = ProfilesWidget(viewer)
    viewer.window.add_dock_widget(panel, name="Profiles")
    assert "Click" in panel.said.text()
    (callback,) = (each for each in viewer.mouse_drag_callbacks if each is panel._callback)

    class Event:
        button, modifiers, type, position = 1, (), "mouse_press", (7.2, 11.9)

    click = callback(viewer, Event)
    next(click)
    Event.type = "mouse_release"
    next(click, None)
    qtbot.waitUntil(lambda: bool(panel.found), timeout=20_000)
    assert np.allclose(panel.found[0].values.ravel(), images[:, 7, 12], atol=1e-5)
    assert panel.charts.parameters == list("IQUV")
    assert not panel.said.text()
    crosses = viewer.layers["places of profiles"]
    assert np.allclose(crosses.data, [[7.2, 11.9]])
    panel.keep()
    panel.look((3.0, 4.0))
    both = ["x 12, y 7", "x 4, y 3"]
    qtbot.waitUntil(lambda: [each.name for each in panel.charts.shown] == both, timeout=20_000)
    assert np.allclose(crosses.data, [[7.2, 11.9], [3, 4]])
    assert not np.allclose(*crosses.face_color)
    # A drag moves the image, and looks at nothing.
    panel.found = []
    Event.type = "mouse_press"
    drag = callback(viewer, Event)
    next(drag)
    Event.type = "mouse_move"
    next(drag)
    Event.type = "mouse_release"
    next(drag, None)
    assert not panel.found
    draws_a_region(panel, viewer, qtbot, burst)
    panel.save_csv(tmp_path / "p.csv")
    panel.save_charts(tmp_path / "p.pdf")
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 1 + 2 * 12
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")
    panel.clear()
    assert "Click" in panel.said.text()
    assert not crosses.visible
    assert not viewer.layers[-1].visible
    viewer.window.remove_dock_widget(panel)
    assert panel._callback not in viewer.mouse_drag_callbacks

"""The status bar says where on the Sun the cursor is, as SunPy finds it; the overlay points to north."""

from pathlib import Path

import numpy as np
import pytest
import sunpy.map
from napari.components import ViewerModel
from napari.layers import Layer

import heliorestore
from heliorestore.plugin.viewer.layers import burst_layers, snapshot_layers, stem_of
from heliorestore.plugin.viewer.sky import is_turned, turn_north_up, watch
from observatory_files import write_as_jsoc
from turned_burst import MIRRORED, burst, corners, result


def shown(*layers: tuple) -> ViewerModel:
    viewer = ViewerModel()
    watch(viewer)
    watch(viewer)  # a second panel
    for data in layers:
        viewer.add_layer(Layer.create(*data))
    return viewer


def said(layer: Layer, y: float, x: float) -> tuple[float, float]:
    """What the status says of the place of a pixel of the layer."""
    world = layer.data_to_world((0,) * (layer.ndim - 2) + (y, x))
    text = layer.get_status(world, world=True, view_direction=None, dims_displayed=[0, 1])["coordinates"]
    assert text.count("Solar X") == 1
    longitude, latitude = text.replace('"', "").split("  ")[0].removeprefix("Solar X ").split(", Y ")
    return float(longitude), float(latitude)


@pytest.mark.parametrize("cards", [{}, MIRRORED], ids=["turned", "mirrored and turned"])
def test_the_status_bar_says_where_on_the_sun_the_cursor_is(cards: dict[str, object]) -> None:
    made = burst(frames=2, **cards)
    viewer = shown(*burst_layers(made), *snapshot_layers(result(made)))
    layers = [viewer.layers[0], viewer.layers[-1]]  # observed, and restored on pixels of half the size
    theirs = corners(sunpy.map.Map(made.image(0, 0), made.headers[0]))
    for turned in (False, True):
        for layer, zoom in zip(layers, (1, 2), strict=True):
            rows, columns = layer.data.shape[-2:]
            for number, y in enumerate((-0.5, rows - 0.5)):
                for other, x in enumerate((-0.5, columns - 0.5)):
                    assert said(layer, y, x) == pytest.approx(tuple(theirs[:, number, other]), abs=6e-3), zoom
        if not turned:
            assert turn_north_up(viewer)
            assert all(is_turned(layer) for layer in viewer.layers)
    assert viewer.canvas.overlays["scale_bar"].visible


def test_north_is_where_the_overlay_points_and_can_be_turned_up() -> None:
    viewer = shown(*burst_layers(burst()))
    overlay = viewer.canvas.overlays["north"]
    # turned by 180 degrees, and y downwards: south is down again, and west left
    assert (overlay.visible, overlay.text) == (True, "N ↑  W ←")
    viewer.scene.camera.orientation2d = ("up", "right")
    assert overlay.text == "N ↓  W ←"
    assert turn_north_up(viewer)
    assert overlay.text == "N ↑  W →"
    (layer,) = viewer.layers
    # up on the screen is larger y now
    below, above = said(layer, 20, 10), said(layer, 4, 10)
    assert layer.data_to_world((20, 10))[0] < layer.data_to_world((4, 10))[0]
    assert below[1] < above[1]
    viewer.add_layer(Layer.create(*burst_layers(burst())[0]))  # what comes later is turned too
    np.testing.assert_allclose(viewer.layers[1].affine.affine_matrix, layer.affine.affine_matrix)
    assert turn_north_up(viewer)
    assert not any(is_turned(each) for each in viewer.layers)
    tilted = shown(*burst_layers(burst(CROTA2=20.0)))
    tilted.scene.camera.orientation2d = ("up", "right")
    # CROTA2 is the angle from the latitude axis to y, so north lies that much clockwise of y
    assert tilted.canvas.overlays["north"].text == "N ↑  W →  -20°"


def test_without_coordinates_nothing_is_claimed() -> None:
    viewer = shown(
        (np.ones((4, 4)), {}, "image"), *burst_layers(heliorestore.Burst.from_array(np.ones((4, 4))))
    )
    assert not viewer.canvas.overlays["north"].visible
    assert not turn_north_up(viewer)
    status = viewer.layers[0].get_status((1, 1), world=True, view_direction=None, dims_displayed=[0, 1])
    assert "Solar" not in status["coordinates"]
    odd = burst()
    odd.headers[0]["CTYPE1"] = "HPLN-XYZ"
    assert not shown(*burst_layers(odd)).canvas.overlays["north"].visible


def test_a_layer_of_jsoc_keeps_the_name_of_its_file(tmp_path: Path) -> None:
    made = heliorestore.read(write_as_jsoc(tmp_path))
    assert burst_layers(made)[0][1]["name"] == "hmi.ic_45s.20140301_000000_TAI.2.continuum"
    assert stem_of(Path("a/b.fits.gz")) == "b"
    assert stem_of(Path("a/night.1")) == "night.1"

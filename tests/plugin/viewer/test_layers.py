"""Layers lie where the pixels of the sky are, and lead back to the burst they show."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from fake_method import FakeSettings

pytest.importorskip("napari")
from napari.components import ViewerModel
from napari.layers import Layer

from heliorestore.burst import Burst
from heliorestore.errors import BurstError
from heliorestore.instrument import Instrument, find
from heliorestore.methods.base import restore
from heliorestore.plugin.viewer.contrast import cuts, finite_sample, symmetric_cuts
from heliorestore.plugin.viewer.layers import (  # fmt: skip
    Placement,
    burst_layers,
    burst_of,
    common_burst,
    hint,
    is_restorable,
    snapshot_layers,
)
from heliorestore.plugin.viewer.result_layers import _wide_range
from heliorestore.snapshot import NODE_AXES, Map, Run, Snapshot


class LazyFrames:
    """Frames that count what is read of them."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, []

    def __getitem__(self, key):
        self.read.append(key)
        return self.array[key]


def made(layer_data):
    return [Layer.create(*data) for data in layer_data]


def corners(layer):
    """World positions of the outer corners of the first and the last pixel."""
    shape = np.array(layer.data.shape[-2:])
    place = Placement.of_layer(layer)
    return [np.array(place.translate) + np.array(place.scale) * (edge - 0.5) for edge in (np.zeros(2), shape)]


def test_an_object_that_the_first_frame_does_not_show_has_limits_of_its_own():
    frames = np.stack([np.full((2, 8, 8), 5.0), np.full((2, 8, 8), np.nan)])
    frames[1, 1] = np.arange(64.0).reshape(8, 8) + 100
    beside = Burst(frames=frames, present=np.array([[True, True], [False, True]]))
    low, high = burst_layers(beside)[1][1]["contrast_limits"]
    assert low == pytest.approx(100, abs=2)
    assert high == pytest.approx(163, abs=2)


def test_a_burst_becomes_a_layer_per_object(burst):
    wide, narrow = made(burst_layers(burst, "sun"))
    assert (wide.name, narrow.name) == ("sun WB", "sun NB")
    assert wide.data.shape == (4, 24, 30)
    assert tuple(wide.scale) == (1, 0.05, 0.05)
    assert [str(unit) for unit in wide.units] == ["pixel", "arcsecond", "arcsecond"]
    assert wide.axis_labels == ("t", "y", "x")
    assert (wide.visible, narrow.visible) == (True, False)
    low, high = wide.contrast_limits
    inside = np.mean((wide.data[0] >= low) & (wide.data[0] <= high))
    assert 0.97 < inside < 1


def test_one_frame_has_no_time_axis_and_no_scale_means_pixels():
    (layer,) = made(burst_layers(Burst.from_array(np.ones((5, 6), np.float32)), "flat"))
    assert layer.data.shape == (5, 6)
    assert layer.name == "flat"
    assert [str(unit) for unit in layer.units] == ["pixel", "pixel"]
    assert layer.contrast_limits[0] < 1 < layer.contrast_limits[1]


def test_opening_reads_one_frame_per_object_and_bad_pixels_become_nan():
    frames = LazyFrames(np.arange(2 * 50 * 8 * 9, dtype=">f4").reshape(2, 50, 8, 9))
    layers = burst_layers(Burst(frames=frames), "big")
    assert len(frames.read) == 2
    data = layers[1][0]
    assert data.shape == (50, 8, 9)
    assert data.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(np.asarray(data[7]), frames.array[1, 7])
    assert len(frames.read) == 3


@pytest.mark.parametrize("zoom", [1, 2])
def test_a_result_covers_its_input_corner_on_corner(burst, fake, zoom):
    snapshot = restore(burst, FakeSettings(size=zoom), device="cpu")
    source = made(burst_layers(burst, "sun"))[0]
    source.translate = (0, 3.0, -2.0)
    results = made(snapshot_layers(snapshot, "r", Placement.of_layer(source)))
    for layer in results:
        for mine, theirs in zip(corners(layer), corners(source), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-12)
    assert {layer.data.shape for layer in results} == {(24, 30), (24 * zoom, 30 * zoom)}


def test_a_turned_input_turns_the_result_about_the_same_corner(burst, fake):
    snapshot = restore(burst, FakeSettings(size=2), device="cpu")
    source = made(burst_layers(burst, "sun"))[0]
    turn = np.eye(3)
    turn[1:, 1:] = [[0.8, -0.6], [0.6, 0.8]]
    source.rotate = turn
    result = made(snapshot_layers(snapshot, "r", Placement.of_layer(source)))[-1]
    for edge in ((-0.5, -0.5), (23.5, 29.5)):
        fine = (np.array(edge) + 0.5) * 2 - 0.5
        np.testing.assert_allclose(
            result.data_to_world(fine), source.data_to_world((0, *edge))[1:], atol=1e-12
        )


def test_maps_are_hidden_and_signed_maps_are_symmetric(burst):
    rng = np.random.default_rng(0)
    run = Run.of(burst, FakeSettings(), "cpu", 0)
    maps = {
        "modes": rng.normal(size=(4, 6, 3, 4)),
        "residual": rng.normal(size=(2, 24, 30)),
        "coverage": np.ones((2, 24, 30)),
        "uncertainty": rng.uniform(size=(2, 24, 30)),
    }
    snapshot = Snapshot(step=1, total=2, images=np.ones((2, 24, 30)), maps=maps, losses={"l": 0.5}, run=run)
    layers = {layer.name: layer for layer in made(snapshot_layers(snapshot, "r"))}
    modes = layers["r WB modes"]
    assert modes.data.shape == (6, 4, 3, 4)  # the frame axis stands where the burst's does
    assert modes.axis_labels == ("k", "t", "y", "x")
    assert not modes.visible
    uncertain = layers["r WB uncertainty"]
    assert (uncertain.visible, uncertain.colormap.name) == (False, "inferno")
    assert uncertain.contrast_limits[0] >= 0
    assert modes.contrast_limits[0] == -modes.contrast_limits[1]
    for mine, theirs in zip(corners(modes), corners(layers["r WB"]), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    assert [name for name, layer in layers.items() if layer.visible] == ["r WB"]
    assert layers["r WB"].metadata["losses"] == {"l": 0.5}
    assert layers["r WB"].metadata["settings"]["iterations"] == "5"
    assert layers["r WB"].metadata["run"] is run


def test_nothing_is_said_about_units(burst, fake):
    snapshot = restore(burst, FakeSettings(size=2), device="cpu")
    viewer = ViewerModel()  # warnings are errors here
    for layer in made([*burst_layers(burst, "sun"), *snapshot_layers(snapshot, "r")]):
        viewer.add_layer(layer)
    assert {str(unit) for unit in viewer.layers.extent.units[-2:]} == {"arcsecond"}


def test_untouched_layers_give_their_own_burst_back(burst):
    layers = made(burst_layers(burst, "sun"))
    assert burst_of(layers) is burst
    assert common_burst(layers) is burst
    narrow = burst_of(layers[1:])
    assert narrow.labels == ("NB",)
    assert narrow.object_numbers == range(1, 2)


def test_changed_pixels_make_a_new_burst_with_the_same_instrument(burst):
    layers = made(burst_layers(burst, "sun"))
    layers[0].data = layers[0].data * 2
    made_burst = burst_of(layers)
    assert common_burst(layers) is None
    assert made_burst.sources == ()
    assert made_burst.instruments == burst.instruments
    np.testing.assert_array_equal(made_burst.image(0, 3), 2 * burst.image(0, 3))
    np.testing.assert_array_equal(
        made_burst.select(objects=slice(1, 2), frames=slice(2, None)).image(0, 1), burst.image(1, 3)
    )


def test_a_foreign_layer_gives_what_its_scale_says():
    layer = Layer.create(
        np.ones((3, 5, 6)), {"name": "x", "scale": (1, 1e-4, 1e-4), "units": ("pixel", "deg", "deg")}, "image"
    )
    assert burst_of([layer]).instruments[0].pixel_arcsec == pytest.approx(0.36)
    assert burst_of([Layer.create(np.ones((5, 6)), {}, "image")]).instruments == (Instrument(),)


def test_a_result_can_be_restored_again_on_its_finer_pixels(fake):
    burst = Burst.from_array(np.ones((8, 8), np.float32), find("crisp-8542"))
    layer = made(snapshot_layers(restore(burst, FakeSettings(size=2), device="cpu"), "r"))[-1]
    again = burst_of([layer])
    assert again.shape == (1, 1, 16, 16)
    assert again.instruments[0] == dataclasses.replace(find("crisp-8542"), pixel_arcsec=0.0295)


def test_layers_that_do_not_fit_are_explained(burst):
    layer = made(burst_layers(burst, "sun"))[0]
    with pytest.raises(BurstError, match="No image layer is chosen"):
        burst_of([])
    with pytest.raises(BurstError, match=r"differ in shape \(sun WB 4x24x30, other 5x5\)"):
        burst_of([layer, Layer.create(np.ones((5, 5)), {"name": "other"}, "image")])
    with pytest.raises(BurstError, match="cube is not a burst: it has 4 axes"):
        burst_of([Layer.create(np.ones((2, 2, 5, 5)), {"name": "cube"}, "image")])
    with pytest.raises(BurstError, match="it has colours"):
        burst_of([Layer.create(np.ones((5, 5, 3)), {"name": "photo", "rgb": True}, "image")])


def test_residuals_and_other_layer_types_are_no_input(burst, fake):
    layers = made(snapshot_layers(restore(burst, FakeSettings(), device="cpu"), "r"))
    assert [layer.name for layer in layers if is_restorable(layer)] == ["r NB", "r WB"]
    assert not is_restorable(Layer.create(np.zeros((1, 2)), {}, "points"))


def test_a_cube_read_by_naparis_own_reader_gets_a_hint(tmp_path):
    source = SimpleNamespace(path=str(tmp_path / "cube.fits"), reader_plugin="napari")
    layer = SimpleNamespace(name="cube", metadata={}, source=source)
    assert "only the first plane" in hint(layer)
    source.reader_plugin = "heliorestore"
    assert hint(layer) == ""


def test_cuts_ignore_what_is_not_finite():
    image = np.full((40, 40), np.nan)
    assert cuts(image) == (0.0, 1.0)
    assert symmetric_cuts(image) == (-1.0, 1.0)
    image[:20] = np.linspace(-1, 2, 800).reshape(20, 40)
    image[0, 0] = np.inf
    low, high = cuts(image)
    assert -1 <= low < -0.95
    assert 1.95 < high <= 2


def test_a_stack_of_maps_is_sampled_as_thinly_as_one_image():
    ramp = np.linspace(-1, 1, 129, dtype=np.float32)
    maps = np.broadcast_to(ramp, (12, 44, 129, 129))
    assert finite_sample(maps).size < 2 * 512**2
    assert symmetric_cuts(maps) == pytest.approx((-1, 1), abs=0.01)


def test_the_contrast_slider_reaches_half_as_far_again_as_the_pixels():
    image = np.array([[1, 3], [np.nan, 5]])
    assert _wide_range(image, (2, 4)) == (-1, 7)
    assert _wide_range(image, (0, 6)) == (-3, 9)
    assert _wide_range(np.array([[1, np.inf]]), (2, 4)) == (-0.5, 5.5)


def test_nodes_of_mode_maps_lie_on_their_pixels_in_the_world(burst):
    from heliorestore.methods.sv_momfbd import SvMomfbdSettings

    run = Run.of(burst, SvMomfbdSettings(grid_step=8), "cpu", 0)
    snapshot = Snapshot(
        step=1, total=2, images=np.ones((2, 24, 30)), maps={"modes": np.ones((4, 6, 4, 5))}, run=run
    )
    layers = {layer.name: layer for layer in made(snapshot_layers(snapshot, "r"))}
    node = layers["r WB modes"].data_to_world((2, 1, 2, 3))
    np.testing.assert_allclose(node[-2:], layers["r WB"].data_to_world((16, 24)))
    assert layers["r WB modes"].interpolation2d == "linear"


def test_nodes_that_are_patches_lie_where_the_patches_have_their_centres(burst, fake):
    run = Run.of(burst, FakeSettings(), "cpu", 0)
    modes = Map(np.ones((4, 6, 3, 2)), NODE_AXES, "rad", (8.0, 12.0), (2.0, 5.0), signed=True)
    snapshot = Snapshot(step=1, total=2, images=np.ones((2, 24, 30)), maps={"modes": modes}, run=run)
    layers = {layer.name: layer for layer in made(snapshot_layers(snapshot, "r"))}
    node = layers["r WB modes"].data_to_world((2, 1, 2, 1))
    np.testing.assert_allclose(node[-2:], layers["r WB"].data_to_world((18, 17)))


def test_a_map_is_shown_as_its_record_says_whatever_its_name(burst, fake):
    run = Run.of(burst, FakeSettings(), "cpu", 0)
    maps = {"velocity": Map(np.linspace(-1, 3, 2 * 24 * 30).reshape(2, 24, 30), signed=True)}
    snapshot = Snapshot(step=1, total=2, images=np.ones((2, 24, 30)), maps=maps, run=run)
    layers = {layer.name: layer for layer in made(snapshot_layers(snapshot, "r"))}
    low, high = layers["r WB velocity"].contrast_limits
    assert low == -high
    assert layers["r WB velocity"].colormap.name == "coolwarm"


def test_a_part_of_the_image_lies_where_it_was_cut_from():
    from heliorestore.plugin.viewer.layers import Placement

    turned = np.array([[0.8, -0.6], [0.6, 0.8]])
    whole = Placement(scale=(0.05, 0.05), translate=(3.0, -1.0), rotate=turned, units=("arcsec", "arcsec"))
    part = whole.cropped((10, 20))
    np.testing.assert_allclose(
        np.array(part.translate), np.array([3.0, -1.0]) + turned @ (0.05 * np.array([10, 20]))
    )

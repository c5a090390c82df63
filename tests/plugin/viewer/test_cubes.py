"""Spectra and Stokes parameters are one layer with a slider for each axis, whichever file they come from."""

import dataclasses

import numpy as np
import pytest

from fake_method import FakeSettings

pytest.importorskip("napari")
from napari.components import ViewerModel
from napari.layers import Layer

from heliorestore.burst import Burst
from heliorestore.coordinates import WIDE_BAND, Coordinates
from heliorestore.fits.burst_writer import write_burst
from heliorestore.fits.reader import read
from heliorestore.instrument import Instrument
from heliorestore.methods.base import restore
from heliorestore.plugin.npe2.session_file import SavedLayer, Session, read_session, write_session
from heliorestore.plugin.npe2.writers import save
from heliorestore.plugin.runs.versions import keep, versions
from heliorestore.plugin.viewer.cube_looks import limits_of, show_parameter, watch_cubes
from heliorestore.plugin.viewer.cubes import CUBE, groups_of
from heliorestore.plugin.viewer.layers import TAG, burst_layers, burst_of, common_burst, snapshot_layers
from heliorestore.plugin.viewer.looks import looks_of
from heliorestore.plugin.viewer.shown_plane import shown_plane

INSTRUMENT = Instrument(name="test", diameter_m=1.0, pixel_arcsec=0.05, wavelength_nm=630.25)


def stokes(frames=1, order="IQUV"):
    """A cube of three wavelengths whose object n has values around n, I ones around 100 more."""
    coordinates = tuple(
        Coordinates(wavelength_nm=630.25, offset_pm=offset, stokes=name)
        for name in order
        for offset in (-8.0, 0.0, 8.0)
    )
    values = np.arange(12.0)[:, None, None, None] + np.random.default_rng(1).normal(size=(12, frames, 8, 9))
    for number, each in enumerate(coordinates):
        values[number] += 100 if each.stokes == "I" else -number
    return Burst(
        frames=values.astype(np.float32),
        instruments=(INSTRUMENT,) * 12,
        labels=tuple(each.label for each in coordinates),
        coordinates=coordinates,
        unit="I/Ic",
    )


def states():
    """The wide band, and two states at two wavelengths, each in every fourth frame."""
    places = [Coordinates(camera=WIDE_BAND)] + [
        Coordinates(wavelength_nm=630.25, offset_pm=offset, state=state)
        for offset in (-8.0, 8.0)
        for state in (0, 1)
    ]
    present = np.array([[True] * 4] + [[n == k for n in range(4)] for k in range(4)])
    frames = np.where(present[..., None, None], np.arange(5.0)[:, None, None, None] + 1, np.nan)
    return Burst(
        frames=np.broadcast_to(frames, (5, 4, 8, 9)).astype(np.float32),
        instruments=(INSTRUMENT,) * 5,
        labels=tuple(place.label for place in places),
        coordinates=tuple(places),
        present=present,
    )


def shown(*layers):
    viewer = ViewerModel()
    watch_cubes(viewer)
    for data in layers:
        viewer.add_layer(Layer.create(*data))
    return viewer


def test_a_stokes_cube_is_one_layer_whose_parameters_keep_their_looks():
    burst = stokes()
    viewer = shown(*burst_layers(burst, "sun"))
    (layer,) = viewer.layers
    assert (layer.name, layer.data.shape) == ("sun", (3, 4, 1, 8, 9))
    assert tuple(layer.scale[-2:]) == (0.05, 0.05)
    assert [str(unit) for unit in layer.units[-2:]] == ["arcsecond", "arcsecond"]
    assert tuple(viewer.dims.axis_labels) == ("λ", "Stokes", "t", "y", "x")
    assert viewer.dims.current_step[:2] == (1, 0)
    np.testing.assert_array_equal(shown_plane(viewer, layer), burst.image(1, 0))
    assert layer.colormap.name == "gray"
    assert layer.contrast_limits[0] > 90
    overlay = viewer.canvas.overlays["shown of the cube"]
    assert overlay.text == "I  630.2500 nm (0 pm)"
    show_parameter(viewer, "V")
    np.testing.assert_array_equal(shown_plane(viewer, layer), burst.image(10, 0))
    assert layer.colormap.name == "coolwarm"
    assert layer.colorbar.visible
    low, high = layer.contrast_limits
    assert low == -high
    assert limits_of(layer, 0)[0] > 90
    assert overlay.text == "V  630.2500 nm (0 pm)"
    layer.contrast_limits = (-0.5, 0.5)
    layer.colormap = "gray"
    show_parameter(viewer, "I")
    assert layer.contrast_limits[0] > 90
    assert not layer.colorbar.visible
    show_parameter(viewer, "V")
    assert tuple(layer.contrast_limits) == (-0.5, 0.5)
    assert layer.colormap.name == "gray"
    layer.visible = False
    assert not overlay.visible


def test_a_cube_stays_in_view_beside_a_series():
    viewer = shown(*burst_layers(stokes(), "sun"), (np.ones((6, 8, 9)), {"axis_labels": ("t", "y", "x")}))
    assert tuple(viewer.dims.nsteps)[:3] == (3, 4, 6)
    viewer.dims.set_current_step(2, 5)
    assert not viewer.layers[0]._slice.empty
    np.testing.assert_array_equal(shown_plane(viewer, viewer.layers[0]), stokes().image(1, 0))


def test_states_are_a_layer_beside_the_wide_band_and_so_are_those_of_a_file(tmp_path):
    burst = read(write_burst(states(), tmp_path / "b.fits"))
    wide, narrow = (Layer.create(*data) for data in burst_layers(burst, "b"))
    assert (wide.name, narrow.name) == ("b wide band", "b states")
    assert (wide.visible, narrow.visible) == (True, False)
    assert narrow.data.shape == (2, 2, 4, 8, 9)
    assert narrow.axis_labels == ("λ", "state", "t", "y", "x")
    assert float(np.asarray(narrow.data[1, 0, 2]).mean()) == 4
    assert narrow.contrast_limits[0] < 2 < narrow.contrast_limits[1]
    assert common_burst([wide, narrow]) is burst
    assert burst_of([narrow]).object_numbers == range(1, 5)


@pytest.mark.parametrize("order", ["IQUV", "VIQU"])
def test_a_changed_cube_is_a_burst_with_its_coordinates_and_is_saved_as_one(tmp_path, order):
    burst = stokes(frames=2, order=order)
    (layer,) = (Layer.create(*data) for data in burst_layers(burst, "sun"))
    layer.data = layer.data * 2
    made = burst_of([layer])
    where = {(each.stokes, each.offset_pm): number for number, each in enumerate(made.coordinates)}
    before = {(each.stokes, each.offset_pm): number for number, each in enumerate(burst.coordinates)}
    np.testing.assert_array_equal(made.image(where["V", 8.0], 1), 2 * burst.image(before["V", 8.0], 1))
    again = read(save(tmp_path / "saved.fits", [layer.as_layer_data_tuple()]))
    assert again.coordinates == made.coordinates
    np.testing.assert_array_equal(again.image(where["V", 8.0], 1), made.image(where["V", 8.0], 1))
    assert len(burst_layers(again)) == 1


def test_results_are_grouped_kept_and_reopened(viewer, fake, tmp_path):
    path = write_burst(stokes(frames=3), tmp_path / "sun.fits")
    burst = dataclasses.replace(read(path), instruments=(INSTRUMENT,) * 12)
    snapshot = restore(burst, FakeSettings(size=2), device="cpu")
    watch_cubes(viewer)
    for data in (*burst_layers(burst, "sun"), *snapshot_layers(snapshot, "r")):
        viewer.add_layer(Layer.create(*data))
    result = viewer.layers[-1]
    assert (result.name, result.data.shape) == ("r", (3, 4, 1, 16, 18))
    assert tuple(result.scale[-2:]) == (0.025, 0.025)
    np.testing.assert_array_equal(result.data[2, 3, 0], snapshot.images[11])
    assert all(layer.ndim == 5 for layer in viewer.layers)
    (version,) = versions(viewer.layers)
    assert version.name == "r"
    show_parameter(viewer, "U")
    keep(viewer, snapshot, snapshot.run.settings)
    assert [len(each.layers) for each in versions(viewer.layers) if each.kept] == [1]
    session = Session(
        layers=tuple(
            SavedLayer(
                name=each.name, data=each.data, looks=looks_of(each), record=each.metadata[TAG],
                key=(each.metadata.get("kind", "image"), each.metadata["object"]), metadata=each.metadata,
                more={"parameter": each.metadata["parameter"]},
            )
            for each in (viewer.layers["sun"], result)
        )
    )  # fmt: skip
    opened = read_session(write_session(session, tmp_path / "s.heliosession"))
    assert not opened.problems
    for before, after in zip((viewer.layers["sun"], result), opened.layers, strict=True):
        np.testing.assert_array_equal(np.asarray(after.data), np.asarray(before.data))
        assert after.metadata[CUBE].parameters == ("I", "Q", "U", "V")
        assert after.metadata["parameter"] == "U"


def test_bands_and_cameras_are_no_spectrum(burst):
    assert groups_of(burst) == [0, 1]
    far = Burst(
        frames=np.ones((2, 1, 4, 4)),
        labels=("430.50 nm", "630.25 nm"),
        instruments=(Instrument(wavelength_nm=430.5), Instrument(wavelength_nm=630.25)),
    )
    assert groups_of(far) == [0, 1]

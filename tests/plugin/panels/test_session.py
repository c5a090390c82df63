"""A session that is saved from a real window and opened in another."""

import json
import zipfile

import numpy as np
import pytest
from napari.layers import Image, Layer, Points, Shapes

from fake_method import FakeSettings
from heliorestore.errors import HeliorestoreError
from heliorestore.fits.burst_writer import write_burst
from heliorestore.plugin.npe2.readers import load_layers
from heliorestore.plugin.npe2.session_file import SavedLayer, Session, read_session, write_session
from heliorestore.plugin.panels import session as sessions
from heliorestore.plugin.viewer.comparison import How, comparison_of
from heliorestore.plugin.viewer.cut_levels import set_origin
from heliorestore.plugin.viewer.layers import enter_instrument, entered_instrument
from heliorestore.plugin.viewer.looks import is_picture, looks_of, made_layer
from window import choose_method, set_fields, version_names, wait_for_threads


@pytest.fixture
def said(monkeypatch):
    found = []
    for name in ("show_error", "show_info", "show_warning"):
        monkeypatch.setattr(sessions, name, found.append)
    return found


def looks(viewer):
    return [
        (
            layer.name,
            layer.visible,
            tuple(layer.contrast_limits),
            tuple(layer.contrast_limits_range),
            layer.colormap.name,
            layer.opacity,
            np.asarray(layer.scale).tolist(),
            np.asarray(layer.translate).tolist(),
            [str(unit) for unit in layer.units],
            layer.axis_labels,
        )
        for layer in viewer.layers
        if is_picture(layer)
    ]


def open_burst(viewer, burst, path):
    write_burst(burst, path)
    for data in load_layers([path]):
        viewer.add_layer(Layer.create(*data))


def add_others(viewer):
    viewer.add_layer(Image(np.arange(12.0).reshape(3, 4), name="drawn", colormap="magma", opacity=0.4))
    enter_instrument(viewer.layers["drawn"], "diameter_m=4")  # which is not ticked
    viewer.add_points([[1, 2], [3, 4.5]], name="pores")
    viewer.add_vectors([[[1, 2], [3, 4]]], name="flow")


def open_in(viewer, path, said, qtbot):
    before = len(said)
    sessions.open_session(viewer, path)
    wait_for_threads()
    qtbot.waitUntil(lambda: len(viewer.layers) > 0 or len(said) > before, timeout=20_000)


def test_a_session_comes_back_as_it_was(viewer, fake, burst, finish, qtbot, tmp_path, said):
    open_burst(viewer, burst, tmp_path / "sun.fits")
    _, panel = viewer.window.add_plugin_dock_widget("heliorestore", "Restore")
    viewer.window.add_plugin_dock_widget("heliorestore", "Compare")
    choose_method(panel, "fake", qtbot)
    set_fields(panel, strength=0.7, text="for the record")
    panel.frames.setText("0:3")
    panel.seed.setValue(5)
    panel.instrument.set_text("diameter_m=1.2,pixel_arcsec=0.05,wavelength_nm=630")
    finish(panel, panel.run_panel.run_button.click)
    panel.keep_result()
    add_others(viewer)
    result = viewer.layers["fake 1 WB"]
    result.contrast_limits = (9.5, 13.25)
    viewer.layers["fake 1 NB residual"].visible = True
    set_origin(viewer, lower_left=False)
    viewer.dims.current_step = (2, 0, 0)
    viewer.scene.camera.zoom, viewer.scene.camera.center = 31.0, (0.0, 0.5, 0.7)
    before = looks(viewer)
    pixels = [np.asarray(layer.data) for layer in viewer.layers if is_picture(layer)]
    comparison_of(viewer).start(How.BLINK, viewer.layers[0], result)
    sessions.save_session(viewer, tmp_path / "day.heliosession")
    wait_for_threads()
    qtbot.waitUntil(lambda: bool(said), timeout=20_000)
    assert "Not in it: flow (only images, labels, points and shapes can be saved)" in said.pop()
    comparison_of(viewer).stop()
    viewer.layers.clear()
    viewer.window.remove_dock_widget("all")

    open_in(viewer, tmp_path / "day.heliosession", said, qtbot)
    assert not said
    comparison = comparison_of(viewer)
    assert comparison.how is How.BLINK
    assert [layer.name for layer in comparison.pair] == ["sun WB", "fake 1 WB"]
    comparison.stop()
    assert looks(viewer) == before
    for layer, was in zip(filter(is_picture, viewer.layers), pixels, strict=True):
        np.testing.assert_array_equal(np.asarray(layer.data), was)
    assert entered_instrument(viewer.layers["drawn"]) == "diameter_m=4"
    assert viewer.layers["pores"].data.tolist() == [[1, 2], [3, 4.5]]
    assert viewer.dims.current_step[0] == 2
    assert viewer.scene.camera.zoom == 31.0
    assert "down" in str(viewer.scene.camera.orientation2d[0])
    again = viewer.window.dock_widgets["Restore (heliorestore)"]
    qtbot.waitUntil(lambda: again.form is not None and again.method_name == "fake", timeout=20_000)
    assert again.form.settings() == FakeSettings(strength=0.7, text="for the record")
    assert (again.frames.text(), again.seed.value()) == ("0:3", 5)
    assert "diameter_m=1.2" in again.instrument.text()
    assert [layer.name for layer in again.layer_list.chosen()] == ["sun WB", "sun NB"]
    assert again.burst().shape == (2, 3, 24, 30)
    assert version_names(again) == ["fake 1 kept 1 (strength 0.7)", "fake 1"]
    assert viewer.layers["fake 1 WB"].metadata["heliorestore"].history["strength"].tolist() == [0.7] * 5


def test_points_and_shapes_are_as_they_were(tmp_path):
    known = {"name": ["A", "B {}"], "n": [1, 2]}
    corners = [np.array([[0, 0, 1], [0, 5, 1], [0, 5, 5]]), np.array([[0, 0, 0], [0, 5, 5]])]
    layers = [
        Points([[1, 2], [3, 4.5]], features=known, text="{name}", size=[3, 4], symbol="x"),
        Shapes(corners, shape_type=["polygon", "line"], edge_color=["red", "blue"]),
        Shapes(ndim=3),
    ]
    saved = [
        SavedLayer(name="", data=each.data, looks=looks_of(each), kind=type(each).__name__.lower())
        for each in layers
    ]
    path = write_session(Session(layers=tuple(saved)), tmp_path / "day.heliosession")
    again = [made_layer("", each.data, each.looks, {}, each.kind) for each in read_session(path).layers]
    assert [looks_of(each) for each in again] == [looks_of(each) for each in layers]
    assert again[0].text.values.tolist() == ["A", "B {}"]
    for made, was in zip(again, layers, strict=True):
        assert [mark.tolist() for mark in made.data] == [mark.tolist() for mark in was.data]
    with pytest.raises(ValueError, match="such a text is unknown"):
        made_layer("", [[1, 2]], {"text": {"string": {"format": "{a:99}"}}}, {}, "points")


def test_what_is_missing_changed_or_forged_is_a_sentence(viewer, burst, qtbot, tmp_path, said):
    source, path = tmp_path / "sun.fits", tmp_path / "day.heliosession"
    open_burst(viewer, burst, source)
    viewer.add_layer(Image(np.ones((3, 4)), name="drawn"))
    write_session(sessions.gathered(viewer)[0], path)
    viewer.layers.clear()
    write_burst(burst.select(frames="0:2"), source, overwrite=True)
    open_in(viewer, path, said, qtbot)
    assert [layer.name for layer in viewer.layers] == ["drawn"]
    assert len(said) == 1
    assert f"{source} is gone or has been changed since the session was saved" in said[0]

    text = json.loads(zipfile.ZipFile(path).read("session.json"))
    image = zipfile.ZipFile(path).read("images/0.fits")

    def forged(changes, compress=zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", compress) as archive:
            archive.writestr("session.json", json.dumps(text | changes))
            archive.writestr("images/0.fits", image)
        return path

    path.write_bytes(b"not a session")
    for bad in (
        path,
        lambda: forged({}, zipfile.ZIP_DEFLATED),
        lambda: forged({"format": 99}),
        lambda: forged({"layers": 3}),
        lambda: forged({"view": [[1]]}),
    ):
        with pytest.raises(HeliorestoreError, match=r"is no session of heliorestore, or it is damaged"):
            read_session(bad if bad is path else bad())
    drawn = text["layers"][-1]
    assert read_session(forged({"layers": [drawn | {"image": 7}]})).problems == (
        "drawn is damaged in day.heliosession (KeyError: \"There is no item named 'images/7.fits' in the "
        'archive").',
    )
    for looks_ in (
        {"opacity": "full"},
        {"units": ["9**9**9", "m"]},
        {"callback": 1},
        {"colormap": "none such"},
    ):
        said.clear()
        viewer.layers.clear()
        session = read_session(forged({"layers": [drawn | {"looks": drawn["looks"] | looks_}]}))
        sessions.show(viewer, session, [])
        assert len(said) == 1
        assert said[0].startswith("drawn is damaged in the session (")
        assert not viewer.layers
    said.clear()
    sessions.show(viewer, read_session(forged({"panels": [{"title": "Nothing"}], "view": {}})), [""])
    assert "The view of the session is damaged" in said[0]
    assert "The panel Nothing is not as it was" in said[0]


def test_what_no_window_can_hold_is_left_out(tmp_path):
    """A slider counts to 2^31: a layer beyond it would be half added."""
    path = tmp_path / "day.heliosession"
    layers = [
        SavedLayer(name="spectra", data=np.ones((1, 8, 9), "f4"), looks={}),
        SavedLayer(name="pores", data=np.ones((2, 3)), looks={}, kind="points"),
        SavedLayer(name="drawn", data=np.ones((8, 9), "f4"), looks={}),
    ]
    write_session(Session(layers=tuple(layers)), path)
    parts = {name: zipfile.ZipFile(path).read(name) for name in zipfile.ZipFile(path).namelist()}
    text = json.loads(parts["session.json"])
    text["layers"][0]["shape"][0] = 10**12
    parts["session.json"] = json.dumps(text).encode()
    for far in (1e12, float("nan")):
        parts["drawn/0.json"] = json.dumps({"data": [[far, 1, 1]], "looks": {}}).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
        found = read_session(path)
        assert [layer and layer.name for layer in found.layers] == [None, None, "drawn"]
        assert "spectra is damaged" in found.problems[0]
        assert "its marks are beyond any image" in found.problems[1]


def test_an_encrypted_session_is_a_sentence(tmp_path):
    path = write_session(Session(layers=()), tmp_path / "day.heliosession")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # a flag of its only part
    path.write_bytes(content)
    with pytest.raises(HeliorestoreError, match=r"is no session of heliorestore, or it is damaged"):
        read_session(path)

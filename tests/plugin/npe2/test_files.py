"""Reader, writer, samples, commands and the manifest, as napari meets them."""

import importlib
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import heliorestore
from fake_method import FakeSettings
from heliorestore.fits.reader import SUFFIXES
from heliorestore.methods.base import restore
from heliorestore.plugin.npe2 import readers
from heliorestore.plugin.npe2.writers import save
from heliorestore.plugin.viewer.layers import snapshot_layers
from heliorestore.samples import SAMPLES
from heliorestore.snapshot import Snapshot
from window import choose_method, set_fields

MANIFEST = Path(heliorestore.__file__).parent / "napari.yaml"


def write_cube(path, shape=(3, 8, 9), **cards):
    data = np.random.default_rng(1).normal(100, 5, shape).astype(np.float32)
    fits.PrimaryHDU(
        data, fits.Header({"TELESCOP": "SST", "INSTRUME": "CRISP", "WAVELNTH": 8542.0} | cards)
    ).writeto(path)
    return data


@pytest.fixture
def errors():
    from napari.utils.notifications import notification_manager

    seen = []
    notification_manager.notification_ready.connect(seen.append)
    yield seen
    notification_manager.notification_ready.disconnect(seen.append)


def test_the_manifest_is_valid_and_every_command_can_be_imported():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    assert set(manifest.contributions.readers[0].filename_patterns) == {f"*{suffix}" for suffix in SUFFIXES}
    assert [sample.display_name for sample in manifest.contributions.sample_data] == list(SAMPLES.values())


def test_reading_and_writing_need_neither_torch_nor_qt():
    code = (
        "import sys, heliorestore.plugin.npe2.readers as r, heliorestore.plugin.npe2.writers, "
        "heliorestore.plugin.npe2.samples as s;"
        "s.open_burst(); r.get_reader('.');"
        "assert not {'torch', 'qtpy', 'PyQt6', 'napari'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_ours(tmp_path):
    write_cube(tmp_path / "cube.fits")
    fits.HDUList(
        [fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])])]
    ).writeto(tmp_path / "table.fits")
    write_cube(tmp_path / "packed.fits.gz")
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.fits").write_bytes(b"not FITS")
    assert readers.get_reader(str(tmp_path / "cube.fits"))
    assert readers.get_reader(str(tmp_path / "packed.fits.gz"))
    assert readers.get_reader([str(tmp_path / "cube.fits"), str(tmp_path / "packed.fits.gz")])
    assert readers.get_reader(str(tmp_path))
    assert readers.get_reader(str(tmp_path / "broken.fits"))  # the reader says what is wrong with it
    assert readers.get_reader(str(tmp_path / "table.fits")) is None
    assert readers.get_reader(str(tmp_path / "note.txt")) is None
    assert readers.get_reader(str(tmp_path / "empty")) is None
    assert readers.get_reader([str(tmp_path / "cube.fits"), str(tmp_path / "note.txt")]) is None
    assert readers.get_reader([]) is None


def test_a_cube_opens_whole_with_scale_and_header(viewer, tmp_path):
    data = write_cube(tmp_path / "cube.fits", CDELT1=0.05, CUNIT1="arcsec", CTYPE1="HPLN-TAN")
    (layer,) = viewer.open(str(tmp_path / "cube.fits"), plugin="heliorestore")
    np.testing.assert_array_equal(np.asarray(layer.data), data)
    assert layer.name == "cube"
    assert tuple(layer.scale) == (1, 0.05, 0.05)
    assert layer.metadata["header"]["INSTRUME"] == "CRISP"


def test_several_files_or_a_folder_open_as_one_burst(viewer, tmp_path):
    for number in range(3):
        write_cube(tmp_path / f"frame_{number}.fits", (8, 9))
    paths = [str(tmp_path / f"frame_{number}.fits") for number in range(3)]
    (stack,) = viewer.open(paths, stack=True, plugin="heliorestore")
    (folder,) = viewer.open(str(tmp_path), plugin="heliorestore")
    assert stack.data.shape == folder.data.shape == (3, 8, 9)
    assert folder.name == tmp_path.name


def drop(canvas, paths):
    """Drop files on the window, as a file manager does."""
    from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
    from qtpy.QtGui import QDropEvent

    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    copy, left = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    none = Qt.KeyboardModifier.NoModifier
    canvas.dropEvent(QDropEvent(QPointF(9, 9), copy, mime, left, none))


def test_single_frames_opened_together_are_one_burst(viewer, tmp_path, errors, monkeypatch):
    from napari._qt.qt_main_window import _QtMainWindow
    from napari._qt.qt_viewer import QtViewer

    from heliorestore.plugin.npe2.menu_commands import use_for_fits

    use_for_fits()
    canvas = _QtMainWindow.current()._qt_viewer
    paths = [tmp_path / f"frame_{number}.fits" for number in (9, 10, 11)]
    first, *_ = [write_cube(path, (8, 9)) for path in paths]
    monkeypatch.setattr(QtViewer, "_open_file_dialog_uni", lambda *_: [str(path) for path in paths])
    for act in (lambda: drop(canvas, paths[::-1]), canvas._open_files_dialog):
        act()
        (layer,) = viewer.layers
        assert layer.data.shape == (3, 8, 9)
        np.testing.assert_array_equal(layer.data[0], first)
        assert "3 files of one frame each are one burst" in errors[-1].message
        viewer.layers.clear()
    # Files that are no frames of one burst are opened alone, as before.
    write_cube(tmp_path / "gauss.fits", (8, 9), BUNIT="Gauss")
    write_cube(tmp_path / "cube.fits")
    write_cube(tmp_path / "small.fits", (4, 9))
    (tmp_path / "bad.fits").write_bytes(b"not FITS")
    for name in ("gauss", "cube", "small", "bad"):
        assert readers._one_burst([paths[0], tmp_path / f"{name}.fits"]) is None
    drop(canvas, [paths[0], tmp_path / "gauss.fits"])
    assert [layer.data.shape for layer in viewer.layers] == [(8, 9)] * 2


@pytest.mark.parametrize("content", [b"", b"not FITS", b"SIMPLE  =                    T" + b" " * 50])
def test_a_bad_file_is_one_notification_and_no_layer(viewer, tmp_path, errors, content):
    bad = tmp_path / "bad.fits"
    bad.write_bytes(content)
    assert list(viewer.open(str(bad), plugin="heliorestore")) == []
    assert len(errors) == 1
    assert errors[0].severity.value == "error"
    assert "bad.fits" in errors[0].message
    write_cube(tmp_path / "good.fits")
    assert len(viewer.open(str(tmp_path / "good.fits"), plugin="heliorestore")) == 1


def test_the_samples_open(viewer):
    assert [layer.data.ndim for layer in viewer.open_sample("heliorestore", "hmi_continuum")] == [2]
    assert [layer.data.shape for layer in viewer.open_sample("heliorestore", "small_burst")] == [
        (6, 128, 128)
    ] * 2


def test_the_command_makes_us_the_reader_of_fits(viewer, tmp_path, errors):
    from napari.settings import get_settings

    from heliorestore.plugin.npe2.menu_commands import use_for_fits

    use_for_fits()
    assert get_settings().plugins.extension2reader["*.fits"] == "heliorestore"
    data = write_cube(tmp_path / "cube.fits")
    (layer,) = viewer.open(str(tmp_path / "cube.fits"), plugin=None)
    assert layer.data.shape == data.shape
    assert errors[0].severity.value == "info"
    (tmp_path / "bad.fits").write_bytes(b"not FITS")
    assert list(viewer.open(str(tmp_path / "bad.fits"), plugin=None)) == []
    assert [notice.severity.value for notice in errors] == ["info", "error"]


def test_a_plain_layer_is_saved_with_header_and_scale(viewer, tmp_path):
    data = write_cube(tmp_path / "cube.fits", CDELT1=0.05, CUNIT1="arcsec", CTYPE1="HPLN-TAN")
    viewer.open(str(tmp_path / "cube.fits"), plugin="heliorestore")
    out = tmp_path / "out.fits"
    assert viewer.layers.save(str(out), plugin="heliorestore") == [str(out)]
    with fits.open(out, checksum=True) as hdus:
        np.testing.assert_array_equal(hdus[0].data, data)
        assert hdus[0].header["INSTRUME"] == "CRISP"
        assert hdus[0].header["CDELT1"] == 0.05
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cube.fits", "out.fits"]


def test_layers_without_a_file_are_saved_with_their_scale(tmp_path):
    arguments = {"name": "a", "scale": (0.1, 0.2), "translate": (5.0, 6.0), "units": ("arcsec", "arcsec")}
    save(
        tmp_path / "two.fits",
        [(np.ones((4, 5)), arguments, "image"), (np.ones((3, 3), bool), {"name": "b"}, "image")],
    )
    with fits.open(tmp_path / "two.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["A", "B"]
        header = hdus[0].header
        assert [header[k] for k in ("CDELT1", "CDELT2", "CRVAL1", "CRVAL2", "CUNIT1")] == [
            0.2,
            0.1,
            6.0,
            5.0,
            "arcsec",
        ]
        assert hdus[1].data.dtype == np.uint8


def test_layers_to_work_with_are_not_written_and_other_shapes_are_refused(viewer, tmp_path):
    image = viewer.add_image(np.ones((4, 5)), name="sun")
    viewer.add_points([[1, 1]], name="PSF probe", metadata={"kind": "probe"}, visible=False)
    viewer.add_shapes([[[0, 0], [2, 2]]], name="preview box", metadata={"kind": "box"}, visible=False)
    viewer.add_image(np.zeros((2, 2)), name="preview", metadata={"kind": "preview"}, visible=False)
    out = tmp_path / "all.fits"
    assert viewer.layers.save(str(out), plugin="heliorestore") == [str(out)]
    with fits.open(out) as hdus:
        assert len(hdus) == 1
        np.testing.assert_array_equal(hdus[0].data, image.data)
    with pytest.raises(heliorestore.errors.RestorationError, match="my line is not an image"):
        save(out, [image.as_layer_data_tuple(), (np.zeros((2, 2)), {"name": "my line"}, "shapes")])


def test_restored_layers_are_saved_with_their_provenance_unless_they_were_changed(burst, fake, tmp_path):
    snapshot = restore(burst, FakeSettings(), device="cpu")
    layers = snapshot_layers(snapshot, "r")
    back = heliorestore.read(save(tmp_path / "r.fits", layers))
    assert isinstance(back, Snapshot)
    np.testing.assert_array_equal(back.images, snapshot.images)
    data, arguments, kind = layers[-1]
    with fits.open(save(tmp_path / "changed.fits", [(data + 1, arguments, kind)])) as hdus:
        assert "PRPROC1" not in hdus[0].header
    other = snapshot_layers(restore(burst, FakeSettings(), device="cpu"), "s")
    with pytest.raises(heliorestore.errors.RestorationError, match="do not belong to one restoration"):
        save(tmp_path / "both.fits", [*layers, *other])


def test_a_full_disk_is_a_notification_and_leaves_the_old_file(tmp_path, errors, monkeypatch):
    from heliorestore.plugin.npe2.writers import write_layers

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    old = tmp_path / "old.fits"
    write_cube(old)
    before = old.read_bytes()
    monkeypatch.setattr(fits.HDUList, "writeto", full)
    assert write_layers(str(old), [(np.ones((4, 5)), {"name": "a"}, "image")]) == []
    assert "No space left" in errors[0].message
    assert old.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["old.fits"]


def test_export_and_reading_back_give_the_same_layers(panel, viewer, finish, qtbot, tmp_path):
    set_fields(panel, size=2, strength=1 / 3)
    finish(panel, panel.run_panel.run_button.click)
    snapshot = panel.run_panel.snapshot
    out = tmp_path / "out.fits"
    assert panel.export_button.isEnabled()
    panel.export(out)
    qtbot.waitUntil(lambda: panel.run_panel.messages.text() == f"Written: {out}", timeout=20_000)
    layers = viewer.open(str(out), plugin="heliorestore")
    by_name = {layer.name: layer for layer in layers}
    np.testing.assert_array_equal(by_name["out WB"].data, snapshot.images[0])
    np.testing.assert_array_equal(by_name["out NB residual"].data, snapshot.maps["residual"][1])
    mine = viewer.layers["fake 1 WB"]
    np.testing.assert_allclose(by_name["out WB"].scale, mine.scale)
    np.testing.assert_allclose(by_name["out WB"].translate, mine.translate)
    assert by_name["out WB"].metadata["settings"]["strength"] == repr(1 / 3)


def test_an_export_that_fails_says_why(panel, finish, qtbot, errors, tmp_path):
    finish(panel, panel.run_panel.run_button.click)
    panel.export(tmp_path / "no" / "out.fits")
    qtbot.waitUntil(lambda: bool(panel.run_panel.problem.text()), timeout=20_000)
    assert len(errors) == 1
    assert panel.export_button.isEnabled()


def test_open_fits_adds_the_layers_and_chooses_them(panel, viewer, qtbot, errors, tmp_path):
    write_cube(tmp_path / "cube.fits")
    panel.open_paths([str(tmp_path / "cube.fits")])
    qtbot.waitUntil(lambda: "cube" in viewer.layers, timeout=20_000)
    assert panel.burst().shape == (1, 3, 8, 9)
    assert panel.instrument.text() == ""
    assert "CRISP" in panel.instrument.choice.itemText(0)
    (tmp_path / "bad.fits").write_bytes(b"no")
    count = len(viewer.layers)
    panel.open_paths([str(tmp_path / "bad.fits")])
    qtbot.waitUntil(lambda: "bad.fits" in panel.run_panel.problem.text(), timeout=20_000)
    assert len(errors) == 1
    assert len(viewer.layers) == count
    # A cube whose axes are unknown asks for their names, beside the button.
    cube = write_cube(tmp_path / "five.fits", (2, 3, 4, 8, 9))
    panel.open_paths([str(tmp_path / "five.fits")])
    qtbot.waitUntil(lambda: "in a panel the field axes" in panel.run_panel.problem.text(), timeout=20_000)
    panel.files.axes.setText("tuning,modulation,frame,y,x")
    panel.open_paths([str(tmp_path / "five.fits")])
    qtbot.waitUntil(lambda: len(viewer.layers) == count + 6, timeout=20_000)
    np.testing.assert_array_equal(panel.burst().frames[5], cube[1, 2])
    assert panel.files.axes.text() == ""


def refusals(folder):
    """What was said of the files of a folder that did not open, by name."""
    refused = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or readers.get_reader(str(path)) is None:
            continue
        try:
            for data, _, _ in readers.load_layers([path]):
                assert np.asarray(data[..., :1, :1]).size
        except heliorestore.errors.BurstError as error:
            refused[path.name] = str(error)
    return refused


def test_odd_headers_open_or_are_explained(tmp_path):
    image = np.arange(80, dtype=np.float32).reshape(8, 10)
    for name, cards in (
        ("unit.fits", {"CUNIT1": "furlong", "CDELT1": 0.1, "CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"}),
        ("scale.fits.gz", {"CDELT1": 0.0, "CDELT2": -1.0, "CROTA2": 45.0}),
        ("texts.fits", {"DATE-OBS": "yesterday", "WAVELNTH": "red", "TELESCOP": 7, "EXPTIME": "long"}),
    ):
        fits.writeto(tmp_path / name, image, fits.Header(cards))
    fits.writeto(tmp_path / "unsigned.fits", image.astype(np.uint16))
    (tmp_path / "text.fits").write_text("not FITS at all")
    refused = refusals(tmp_path)
    assert refused.keys() == {"text.fits"}
    assert "text.fits" in refused["text.fits"]


def test_reference_headers_open_or_are_explained(shared_data):
    assert all(name in sentence for name, sentence in refusals(shared_data / "headers").items())


def test_preferences_come_from_the_plugins_page(viewer):
    from napari.settings import get_plugin_settings

    from heliorestore.plugin.preferences import Preferences, preferences

    assert preferences() == Preferences()
    page = get_plugin_settings("heliorestore").restoration
    page.refresh_hz = 4
    try:
        assert preferences().refresh_hz == 4
    finally:
        page.refresh_hz = 10


def test_what_is_copied_gives_the_result_of_the_panel(panel, viewer, finish, qtbot, tmp_path, monkeypatch):
    from qtpy.QtWidgets import QApplication

    from heliorestore import cli

    monkeypatch.chdir(tmp_path)
    choose_method(panel, "richardson-lucy", qtbot)
    panel.layer_list.choose(viewer.open_sample("heliorestore", "small_burst"))
    panel.frames.setText("1:4")
    panel.objects.setText("1")
    panel.device.setCurrentText("cpu")
    panel.instrument.numbers["pixel_arcsec"].setText("0.06")
    set_fields(panel, iterations=3, upsampling=2)
    finish(panel, panel.run_panel.run_button.click)
    mine = panel.run_panel.snapshot
    panel.copy_command()
    assert cli.main([*shlex.split(QApplication.clipboard().text())[1:], "--quiet"]) == 0
    by_command = heliorestore.read("small_burst_restored.fits")
    np.testing.assert_array_equal(by_command.images, mine.images)
    assert by_command.run.instruments == mine.run.instruments
    Path("small_burst_restored.fits").unlink()
    panel.copy_python()
    exec(compile(QApplication.clipboard().text(), "copied", "exec"), {})
    np.testing.assert_array_equal(heliorestore.read("small_burst_restored.fits").images, mine.images)

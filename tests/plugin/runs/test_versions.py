"""Versions, presets and sweeps of a real panel in a real viewer."""

import json

import numpy as np
import pytest

from fake_method import FakeSettings
from heliorestore.fits.reader import read
from heliorestore.methods.base import METHODS, load, restore
from heliorestore.plugin.runs.sweep import parse_values, spaced_values, suggested_ends, sweepable
from window import results, set_fields


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The user's presets, none."""
    monkeypatch.setattr("heliorestore.presets.own_folder", lambda: tmp_path / "own")
    monkeypatch.setattr("heliorestore.plugin.widgets.preset_box.own_folder", lambda: tmp_path / "own")
    return tmp_path / "own"


def names(panel):
    panel.version_list.refresh()
    return [panel.version_list.list.item(n).text() for n in range(panel.version_list.list.count())]


def choose(panel, number):
    panel.version_list.refresh()
    panel.version_list.list.setCurrentRow(number)


def test_a_kept_result_stays_while_the_run_goes_on_and_knows_its_settings(
    panel, viewer, finish, qtbot, tmp_path
):
    run = panel.run_panel
    run.step_button.click()
    qtbot.waitUntil(lambda: run.state.name == "PAUSED" and run.snapshot is not None, timeout=20_000)
    set_fields(panel, strength=2.0)
    run.step_button.click()
    qtbot.waitUntil(lambda: run.snapshot.step == 2, timeout=20_000)
    viewer.layers["fake 1 WB"].contrast_limits = (9.0, 13.0)
    before = (viewer.dims.current_step, viewer.scene.camera.zoom, set(viewer.layers.selection))
    panel.version_list.keep_button.click()
    assert (viewer.dims.current_step, viewer.scene.camera.zoom, set(viewer.layers.selection)) == before
    kept = viewer.layers["fake 1 kept 1 (strength 2.0) WB"]
    pixels = np.array(kept.data)
    set_fields(panel, strength=0.5)
    finish(panel, run.run_button.click)
    np.testing.assert_array_equal(kept.data, pixels)
    assert kept.metadata["settings"]["strength"] == "2.0"
    assert tuple(kept.contrast_limits) == (9.0, 13.0)
    np.testing.assert_allclose(kept.scale, viewer.layers["fake 1 WB"].scale)
    assert names(panel) == ["fake 1 kept 1 (strength 2.0)", "fake 1"]

    choose(panel, 0)
    panel.version_list.back_button.click()
    assert panel.form.settings() == FakeSettings(strength=2.0)
    panel.export(tmp_path / "kept.fits", panel.version_list.chosen().snapshot)
    qtbot.waitUntil(lambda: run.messages.text().startswith("Written"), timeout=20_000)
    again = read(tmp_path / "kept.fits")
    np.testing.assert_array_equal(again.images[0], pixels)
    assert again.history["strength"].tolist() == [0.1, 2.0]


def test_versions_are_renamed_and_deleted_together(panel, viewer, finish, qtbot):
    finish(panel, panel.run_panel.run_button.click)
    panel.keep_result()
    choose(panel, 0)
    item = panel.version_list.list.item(0)
    item.setText("the good one")
    assert {"the good one WB", "the good one NB"} <= {layer.name for layer in viewer.layers}
    qtbot.waitUntil(lambda: names(panel) == ["the good one", "fake 1"], timeout=5000)
    choose(panel, 0)
    panel.version_list.delete_button.click()
    assert names(panel) == ["fake 1"]
    assert set(results(viewer)) == {"fake 1 WB", "fake 1 NB", "fake 1 WB residual", "fake 1 NB residual"}
    viewer.layers.clear()
    assert names(panel) == []
    assert not panel.version_list.back_button.isEnabled()


def test_an_opened_file_is_a_version_whose_settings_come_back(panel, viewer, burst, tmp_path):
    import heliorestore

    heliorestore.write(
        restore(burst, FakeSettings(strength=3.0, kind="b"), device="cpu"), tmp_path / "old.fits"
    )
    from napari.layers import Layer

    from heliorestore.plugin.npe2.readers import load_layers

    for data in load_layers([tmp_path / "old.fits"]):
        viewer.add_layer(Layer.create(*data))
    assert len(names(panel)) == 1
    choose(panel, 0)
    panel.version_list.back_button.click()
    assert panel.form.settings() == FakeSettings(strength=3.0, kind="b")


def test_settings_of_another_method_bring_its_form(panel, qtbot):
    from heliorestore.methods.richardson_lucy import RichardsonLucySettings

    panel.show_settings(RichardsonLucySettings(iterations=7))
    qtbot.waitUntil(
        lambda: panel.form is not None and panel.form.settings_class is RichardsonLucySettings, timeout=30_000
    )
    assert panel.form.settings() == RichardsonLucySettings(iterations=7)


def test_presets_are_saved_chosen_and_deleted(panel, folder, monkeypatch):
    from heliorestore.plugin.widgets import preset_box as module

    box = panel.preset_box
    monkeypatch.setattr(module.QInputDialog, "getText", lambda *_, **__: ("soft", True))
    set_fields(panel, strength=0.03, kind="b", limit=2.0)
    box.save_button.click()
    assert (folder / "soft.toml").exists()
    panel.reset_button.click()
    assert panel.form.settings() == FakeSettings()
    box.menu.setCurrentIndex(box.menu.findData("soft"))
    box.menu.activated.emit(box.menu.currentIndex())
    assert panel.form.settings() == FakeSettings(strength=0.03, kind="b", limit=2.0)
    (folder / "soft.toml").write_text('method = "fake"\n[settings]\nstrength = 1e9\n')
    box.menu.activated.emit(box.menu.currentIndex())
    assert "must be 1e-06 to 10" in box.problem.text()
    box.delete_button.click()
    assert not (folder / "soft.toml").exists()
    assert box.menu.count() == 1
    monkeypatch.setattr(module.QInputDialog, "getText", lambda *_, **__: ("../evil", True))
    box.save_button.click()
    assert "cannot be called" in box.problem.text()


def start_sweep(panel, setting, values):
    box = panel.sweep_box
    box.setting.setCurrentIndex(box.setting.findText(panel.form.fields[setting].option.label))
    box.values.setText(values)
    box.start_button.click()
    return box


def test_a_sweep_becomes_one_stack_with_the_values_on_its_axis(panel, viewer, burst, qtbot, tmp_path):
    viewer.dims.current_step = (2, 0, 0)
    box = start_sweep(panel, "strength", "0.1, 1, 10")
    qtbot.waitUntil(lambda: not box.running and "Done" in box.said.text(), timeout=20_000)
    layer = viewer.layers["sweep of strength 1 WB"]
    assert layer.data.shape == (3, 4, 24, 30)  # the burst's slider stays the burst's
    assert tuple(layer.axis_labels) == ("str", "t", "y", "x")
    for number, value in enumerate((0.1, 1.0, 10.0)):
        alone = restore(burst, FakeSettings(strength=value), device="cpu")
        np.testing.assert_array_equal(layer.data[number, 3], alone.images[0])
        np.testing.assert_array_equal(
            viewer.layers["sweep of strength 1 NB"].data[number, 0], alone.images[1]
        )
    assert viewer.dims.current_step[:2] == (0, 2)
    overlay = viewer.canvas.overlays["text"]
    assert (overlay.visible, overlay.text) == (True, "strength = 0.1")
    viewer.dims.current_step = (2, 2, 0, 0)
    assert overlay.text == "strength = 10"
    np.testing.assert_allclose(layer.scale[-2:], viewer.layers["sun WB"].scale[-2:])
    assert panel.form.settings() == FakeSettings()

    box.export(tmp_path)
    qtbot.waitUntil(lambda: box.said.text().startswith("Written"), timeout=20_000)
    assert {path.name for path in tmp_path.glob("*.fits")} == {
        "strength_0.1.fits",
        "strength_1.fits",
        "strength_10.fits",
    }
    rows = {name: text for name, text, *_ in read(tmp_path / "strength_10.fits").run.settings.rows}
    assert json.loads(rows["strength"]) == 10.0
    box.keep_button.click()
    assert names(panel)[0].startswith("fake kept")
    assert len(names(panel)) == 3
    viewer.layers.remove("sweep of strength 1 WB")
    viewer.layers.remove("sweep of strength 1 NB")
    assert not overlay.visible


def test_stop_ends_a_sweep_and_keeps_what_is_there(panel, viewer, qtbot):
    set_fields(panel, iterations=100_000, pace_s=0.002)
    box = start_sweep(panel, "strength", "0.1, 1, 10")
    qtbot.waitUntil(lambda: box.layers.snapshots[0] is not None, timeout=20_000)
    assert not box.start_button.isEnabled()
    panel.run_panel.stop_button.click()
    qtbot.waitUntil(lambda: not box.running, timeout=20_000)
    assert "Stopped: 1 of 3 values" in box.said.text()
    layer = viewer.layers["sweep of strength 1 WB"]
    assert np.isfinite(layer.data[0]).all()
    assert np.isnan(layer.data[1:]).all()
    assert box.start_button.isEnabled()


def test_values_that_cannot_be_swept_are_explained(panel):
    for values, words in (
        ("0.1", "2 to 50 values"),
        ("0.1, 99", "must be 1e-06 to 10"),
        ("0.1, much", "must be a finite number"),
        ("1, 1.0", "are the same"),
    ):
        box = start_sweep(panel, "strength", values)
        assert words in box.said.text()
        assert not box.running


def test_values_are_filled_in_evenly_on_the_logarithmic_scale(panel):
    box = panel.sweep_box
    box.setting.setCurrentIndex(0)
    box.low.setValue(0.01)
    box.high.setValue(1.0)
    box.count.setValue(5)
    box._fill()
    assert box.values.text() == "0.01, 0.0316, 0.1, 0.316, 1.0"


def test_every_setting_that_can_be_swept_is_offered_with_values_that_it_takes(panel):
    box = panel.sweep_box
    for number, option in enumerate(box._options):
        box.setting.setCurrentIndex(number)
        values = parse_values(option, box.values.text())
        assert all(type(value) is option.type for value in values)
    assert {option.type for option in box._options} == {int, float}


def test_the_values_offered_for_settings_of_every_method_are_around_their_defaults():
    for method in METHODS:
        for option in sweepable(load(method).settings):
            values = parse_values(option, spaced_values(option, *suggested_ends(option), 5))
            if option.default is not None and option.default > 0:
                assert min(values) <= option.default <= max(values)
    committee = next(option for option in sweepable(load("mfbd").settings) if option.name == "committee")
    assert spaced_values(committee, *suggested_ends(committee), 5) == "5, 10, 20, 40, 80"


def test_the_suggestion_belongs_to_sv_momfbd(panel):
    assert panel.suggest_section.isHidden()  # the fake method has no lambda_object


def test_a_version_chosen_while_its_run_goes_on_is_the_present_result(panel, qtbot):
    run = panel.run_panel
    run.step_button.click()
    qtbot.waitUntil(lambda: run.state.name == "PAUSED" and run.snapshot is not None, timeout=20_000)
    choose(panel, 0)
    for step in (2, 3):
        run.step_button.click()
        qtbot.waitUntil(lambda step=step: run.snapshot.step == step, timeout=20_000)
    assert panel.version_list.chosen().snapshot is run.snapshot

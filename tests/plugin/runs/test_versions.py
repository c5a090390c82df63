"""Versions of a real panel's results in a real viewer."""

from types import SimpleNamespace

import numpy as np
import pytest

from fake_method import FakeSettings
from heliorestore.fits.reader import read
from heliorestore.methods.base import restore
from heliorestore.plugin.runs.versions import contrast
from heliorestore.plugin.viewer.layers import enter_instrument, entered_instrument
from heliorestore.snapshot import Snapshot
from window import results, set_fields, version_names, wait_for_threads


def choose(panel, number):
    panel.version_list.refresh()
    panel.version_list.table.setCurrentCell(number, 0)


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
    enter_instrument(viewer.layers["fake 1 WB"], "diameter_m=1.2")
    before = (viewer.dims.current_step, viewer.scene.camera.zoom, set(viewer.layers.selection))
    panel.version_list.keep_button.click()
    assert (viewer.dims.current_step, viewer.scene.camera.zoom, set(viewer.layers.selection)) == before
    kept = viewer.layers["fake 1 kept 1 (strength 2.0) WB"]
    pixels = np.array(kept.data)
    set_fields(panel, strength=0.5)
    finish(panel, run.run_button.click)
    np.testing.assert_array_equal(kept.data, pixels)
    assert kept.metadata["settings"]["strength"] == "2.0"
    assert entered_instrument(kept) == entered_instrument(viewer.layers["fake 1 WB"]) == "diameter_m=1.2"
    assert tuple(kept.contrast_limits) == (9.0, 13.0)
    np.testing.assert_allclose(kept.scale, viewer.layers["fake 1 WB"].scale)
    assert version_names(panel) == ["fake 1 kept 1 (strength 2.0)", "fake 1"]

    table = panel.version_list.table
    assert [table.horizontalHeaderItem(n).text() for n in range(table.columnCount())] == [
        "version", "strength", "iterations", "contrast [%]",
    ]  # fmt: skip
    rows = [[table.item(n, column).text() for column in range(1, 4)] for n in range(2)]
    contrasts = [
        f"{100 * image.std() / image.mean():.2f}" for image in (pixels, results(viewer)["fake 1 WB"].data)
    ]
    assert rows == [["2", "2", contrasts[0]], ["● 0.5", "5", contrasts[1]]]

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
    item = panel.version_list.table.item(0, 0)
    item.setText("the good one")
    assert {"the good one WB", "the good one NB"} <= {layer.name for layer in viewer.layers}
    qtbot.waitUntil(lambda: version_names(panel) == ["the good one", "fake 1"], timeout=20_000)
    choose(panel, 0)
    panel.version_list.delete_button.click()
    assert version_names(panel) == ["fake 1"]
    assert set(results(viewer)) == {"fake 1 WB", "fake 1 NB", "fake 1 WB residual", "fake 1 NB residual"}
    viewer.layers.clear()
    assert version_names(panel) == []
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
    assert len(version_names(panel)) == 1
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
    qtbot.waitUntil(lambda: panel.version_list.chosen().snapshot is run.snapshot, timeout=20_000)


def test_a_suggestion_shows_its_steps_and_is_cancelled(panel, qtbot, monkeypatch):
    import threading

    from heliorestore.diagnose import lambda_object

    box, ended, go_on = panel.suggest_box, threading.Event(), threading.Event()

    def search(*_, progress, **__):
        progress("wavefronts", 3, 9)
        go_on.wait(20)
        try:
            progress("wavefronts", 4, 9)
        finally:
            ended.set()
        raise ValueError("a step after the end")

    monkeypatch.setattr(lambda_object, "suggest", search)
    box.ask_button.click()
    qtbot.waitUntil(lambda: box.progress.maximum() == 9, timeout=20_000)
    assert box.progress.value() == 3
    assert "wavefronts" in box.said.text()
    assert box.ask_button.isHidden()
    box.cancel_button.click()
    assert (box.said.text(), box.ask_button.isHidden(), box.progress.isHidden()) == (
        "Cancelled.",
        False,
        True,
    )
    go_on.set()
    qtbot.waitUntil(ended.is_set, timeout=20_000)
    wait_for_threads()
    qtbot.wait(10)
    assert box.said.text() == "Cancelled."


@pytest.mark.parametrize("offset", [0.0, 0.01])
def test_a_map_around_zero_has_no_contrast(offset):
    stokes_v = np.array([[[-1.0, 1.0], [1.0, -1.0]]], np.float32) + np.float32(offset)
    version = SimpleNamespace(snapshot=Snapshot(step=1, total=1, images=stokes_v))
    assert np.isnan(contrast(version))

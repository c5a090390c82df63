"""Sweeps of a real panel in a real viewer."""

import json

import numpy as np

from fake_method import FakeSettings
from heliorestore.fits.reader import read
from heliorestore.methods.base import restore
from heliorestore.plugin.runs.sweep import parse_values
from window import set_fields, version_names


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
    assert tuple(layer.axis_labels) == ("strength", "t", "y", "x")
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
    assert version_names(panel)[0].startswith("fake kept")
    assert len(version_names(panel)) == 3
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

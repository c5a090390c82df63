"""The panel of Enhance: result over the input, the split, and Richardson-Lucy beside it."""

import numpy as np
import pytest

from heliorestore.burst import Burst
from heliorestore.instrument import KNOWN
from heliorestore.nets import weights
from heliorestore.nets.enhance import small
from heliorestore.plugin.panels.compare import CompareWidget
from window import set_fields, wait_for_threads

IMAGE = (6e4 * (1 + 0.04 * np.random.default_rng(0).standard_normal((24, 30)))).astype(np.float32)


@pytest.fixture
def enhance_panel(viewer, tmp_path, monkeypatch, qtbot):
    """The panel with an HMI image, and small networks that were never trained."""
    from napari.layers import Layer

    from heliorestore.plugin.panels.enhance import EnhanceWidget
    from heliorestore.plugin.viewer.layers import burst_layers

    for kind in ("continuum", "magnetogram"):
        record = weights.WeightsRecord(
            name=f"enhance-{kind}-small", architecture="enhance-small", kind=kind, pixel_arcsec=(0.45, 0.56)
        )
        weights.save(small(), record, tmp_path)
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path, tmp_path))
    for data in burst_layers(Burst.from_array(IMAGE, KNOWN["hmi-6173"]), "sun"):
        viewer.add_layer(Layer.create(*data))
    widget = EnhanceWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Enhance")
    qtbot.waitUntil(lambda: widget.form is not None, timeout=30_000)
    set_fields(widget, network="small")
    yield widget
    wait_for_threads()


def extent(layer) -> np.ndarray:
    """World coordinates of the layer's outer corners."""
    corners = np.array([[-0.5, -0.5], [layer.data.shape[-2] - 0.5, layer.data.shape[-1] - 0.5]])
    return np.array([layer.data_to_world(corner) for corner in corners])


def test_the_result_overlays_the_input_exactly(enhance_panel, viewer, finish):
    assert enhance_panel.method_name == "enhance"
    assert enhance_panel.run_panel.curve.isHidden()  # there is nothing to plot
    outcome = finish(enhance_panel, enhance_panel.run_panel.run_button.click)
    assert " tile row" in enhance_panel.run_panel.status.text()
    assert outcome.end.value == "finished"
    result = viewer.layers["enhance 1 sun"]
    assert result.data.shape == (48, 60)
    np.testing.assert_allclose(extent(result), extent(viewer.layers["sun"]), atol=1e-9)
    assert "Weights enhance-continuum-small" in enhance_panel.run_panel.messages.text()


def test_the_split_shows_the_input_left_of_the_border(enhance_panel, viewer, finish):
    assert not enhance_panel.before.isEnabled()  # there is no result to set it against
    finish(enhance_panel, enhance_panel.run_panel.run_button.click)
    sun, result = viewer.layers["sun"], viewer.layers["enhance 1 sun"]
    enhance_panel.before.setValue(500)
    before = viewer.layers["sun left"]
    np.testing.assert_array_equal(before.data, IMAGE[:, :15])
    np.testing.assert_allclose(extent(before)[0], extent(sun)[0], atol=1e-9)
    assert (before.visible, result.visible, sun.visible) == (True, True, False)
    # or a step at the border would be one of the limits
    assert tuple(before.contrast_limits) == tuple(result.contrast_limits)
    assert enhance_panel.layer_list.chosen() == [sun]  # the split is no input
    enhance_panel.before.setValue(0)
    assert (before.visible, result.visible, sun.visible) == (False, True, True)


def test_compare_knows_what_the_split_shows_and_ends_it(enhance_panel, viewer, finish):
    compare = CompareWidget(viewer)
    viewer.window.add_dock_widget(compare, name="Compare")
    finish(enhance_panel, enhance_panel.run_panel.run_button.click)
    enhance_panel.before.setValue(300)
    assert [box.currentText() for box in (compare.how, compare.first, compare.second)] == [
        "split",
        "sun",
        "enhance 1 sun",
    ]
    assert compare.border.value() == 300
    compare.how.setCurrentIndex(0)
    assert enhance_panel.before.value() == 0
    compare.how.setCurrentIndex(compare.how.findText("blink"))
    enhance_panel.before.setValue(400)
    assert compare.how.currentText() == "split"
    viewer.window.remove_dock_widget(enhance_panel)
    assert compare.how.currentText() == "off"


def test_the_split_goes_with_its_input(enhance_panel, viewer, finish):
    finish(enhance_panel, enhance_panel.run_panel.run_button.click)
    enhance_panel.before.setValue(300)
    viewer.layers.remove(viewer.layers["sun"])
    assert enhance_panel.before.value() == 0
    assert [layer.name for layer in viewer.layers if layer.visible] == ["enhance 1 sun"]
    assert not enhance_panel.before.isEnabled()


def test_a_series_comes_over_the_input_and_moves_with_it(enhance_panel, viewer, finish):
    from napari.layers import Layer

    from heliorestore.plugin.viewer.layers import burst_layers

    viewer.layers.clear()
    for data in burst_layers(Burst.from_array(np.stack([IMAGE, 1.1 * IMAGE]), KNOWN["hmi-6173"]), "time"):
        viewer.add_layer(Layer.create(*data))
    outcome = finish(enhance_panel, enhance_panel.run_panel.run_button.click)
    assert outcome.end.value == "finished"
    image, series = viewer.layers["enhance 1 time"], viewer.layers["enhance 1 time series"]
    assert (series.visible, image.visible) == (True, False)
    assert series.data.shape == (2, 48, 60)
    np.testing.assert_array_equal(series.data[0], image.data)
    np.testing.assert_allclose(series.scale, (1, *(viewer.layers["time"].scale[1:] / 2)))
    enhance_panel.before.setValue(500)  # the slider sets every frame against its own input
    assert [layer.name for layer in viewer.layers if layer.visible][:2] == [
        "enhance 1 time series",
        "time left",
    ]


def test_richardson_lucy_runs_beside_it(enhance_panel, viewer, finish):
    enhance_panel.lucy_iterations.setValue(3)
    outcome = finish(enhance_panel, enhance_panel.lucy_button.click, seconds=60)
    assert outcome.end.value == "finished"
    result = viewer.layers["richardson-lucy 1 sun"]
    assert result.data.shape == (48, 60)
    np.testing.assert_allclose(extent(result), extent(viewer.layers["sun"]), atol=1e-9)
    assert enhance_panel.lucy_button.isEnabled()
    assert enhance_panel.form.settings().method == "enhance"


def test_what_is_missing_is_said(enhance_panel, viewer):
    viewer.layers.clear()
    enhance_panel.lucy_button.click()
    assert enhance_panel.run_panel.problem.text()

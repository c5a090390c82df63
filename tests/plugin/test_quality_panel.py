"""Image quality and cut levels in a real viewer: the right numbers of the right layers, exported and kept up to date."""

import numpy as np
import pytest

from heliorestore.burst import Burst
from heliorestore.instrument import KNOWN
from heliorestore.plugin.cuts import apply_cuts, cut_levels, is_lower_left
from heliorestore.plugin.preferences import Preferences

SUN = (1000 * (1 + 0.1 * np.random.default_rng(0).standard_normal((3, 64, 80)).cumsum(-1) / 5)).astype(np.float32)


@pytest.fixture
def quality(viewer, qtbot):
    """The panel beside a burst of three frames and an image made of it."""
    from napari.layers import Layer

    from heliorestore.plugin.layers import burst_layers
    from heliorestore.plugin.widgets.quality import QualityWidget

    for data in burst_layers(Burst.from_array(SUN[None], KNOWN["crisp-8542"], labels=("WB",)), "sun"):
        viewer.add_layer(Layer.create(*data))
    viewer.add_image(1.5 * SUN[0], name="brighter", scale=(0.059, 0.059), units=("arcsec", "arcsec"), axis_labels=("y", "x"))
    viewer.dims.current_step = (0, 0, 0)
    viewer.layers.selection = {viewer.layers[0]}
    widget = QualityWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Image quality")
    qtbot.waitUntil(lambda: bool(widget.measured), timeout=20_000)
    yield widget
    from .conftest import wait_for_threads

    wait_for_threads()


def cell(widget, row, column):
    return widget.table.item(row, column).text()


def test_the_selected_layer_is_measured_at_the_frame_of_the_slider(quality, viewer, qtbot):
    assert cell(quality, 0, 1) == f"{SUN[0].mean():.5g}"
    assert cell(quality, 0, 2) == f"{SUN[0].std() / SUN[0].mean():.2%}"
    assert cell(quality, 0, 4) == "0.176"
    (mark,) = quality.spectra.chart.marks
    assert mark.x == pytest.approx(1 / KNOWN["crisp-8542"].resolution_arcsec)
    viewer.dims.current_step = (2, 0, 0)
    qtbot.waitUntil(lambda: cell(quality, 0, 1) == f"{SUN[2].mean():.5g}", timeout=20_000)


def test_figures_follow_the_selection_and_the_pixels(quality, viewer, qtbot):
    viewer.layers.selection = set(viewer.layers)
    qtbot.waitUntil(lambda: quality.table.rowCount() == 2, timeout=20_000)
    assert [curve.name for curve in quality.spectra.chart.curves] == ["sun WB", "brighter"] or len(quality.measured) == 2
    viewer.layers["brighter"].data = 3 * SUN[0]
    qtbot.waitUntil(lambda: cell(quality, 1, 1) == f"{3 * SUN[0].mean():.5g}", timeout=20_000)


def test_photometry_compares_two_layers(quality, viewer, qtbot):
    assert quality.first.currentText() == "brighter"
    qtbot.waitUntil(lambda: bool(quality.photometry.chart.curves), timeout=20_000)
    points = quality.photometry.chart.curves[0]
    np.testing.assert_allclose(points.y / points.x, 1.5, rtol=1e-4)
    assert "gain 0.66" in quality.likeness.text()
    assert "within factor 2 1" in quality.likeness.text()


def test_charts_are_saved_as_picture_and_as_numbers(quality, qtbot, tmp_path):
    qtbot.waitUntil(lambda: bool(quality.photometry.chart.curves), timeout=20_000)
    quality.save_png(tmp_path / "chart")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    quality.save_csv(tmp_path / "chart.csv")
    text = (tmp_path / "chart.csv").read_text()
    assert "spatial frequency [cycles/arcsec]" in text
    assert len(text.splitlines()) > 1000
    quality.save_csv(tmp_path / "no" / "such.csv")
    assert "does not exist" in quality.said.text()
    (tmp_path / "folder.csv").mkdir()
    quality.save_csv(tmp_path / "folder.csv")
    assert "is a folder" in quality.said.text()


def test_a_hidden_panel_does_not_compute(quality, viewer, qtbot):
    quality.parent().hide()
    before = quality.measured
    viewer.layers[0].data = SUN * 2
    qtbot.wait(900)
    assert quality.measured is before
    quality.parent().show()
    viewer.layers[0].data = SUN * 3
    qtbot.waitUntil(lambda: quality.measured is not before, timeout=20_000)


def test_every_control_explains_itself(quality):
    from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox

    found = [child for kind in (QAbstractButton, QAbstractSpinBox, QComboBox) for child in quality.findChildren(kind)]
    silent = [
        c
        for c in found
        if not c.toolTip() and not isinstance(c.parent(), (QAbstractSpinBox, QComboBox)) and c.parent() is not quality.table
    ]
    assert silent == []


def test_cut_levels_are_what_their_names_say():
    image = np.arange(10_000, dtype=np.float32).reshape(100, 100)
    image[0, 0] = np.nan
    assert cut_levels(image, "min-max") == (1, 9999)
    assert cut_levels(image, 98) == pytest.approx((100, 9899), abs=2)
    low, high = cut_levels(image, "zscale")
    assert low < high
    assert cut_levels(np.full((4, 4), np.nan), 99) == (0, 1)
    assert cut_levels(np.full((4, 4), 2.0), "min-max") == (1, 3)


def test_cuts_go_to_the_selected_layers_and_the_origin_can_be_below(quality, viewer):
    other = tuple(viewer.layers["brighter"].contrast_limits)
    quality.cut.setCurrentIndex(quality.cut.findText("min-max"))
    quality._cut()
    assert tuple(viewer.layers[0].contrast_limits) == pytest.approx((SUN[0].min(), SUN[0].max()))
    assert tuple(viewer.layers["brighter"].contrast_limits) == other
    viewer.layers.selection.clear()
    assert apply_cuts(viewer, 95.0) == 2
    zoom = viewer.scene.camera.zoom
    quality.origin.click()
    assert is_lower_left(viewer)
    assert viewer.scene.camera.zoom == zoom
    quality.origin.click()
    assert not is_lower_left(viewer)


def test_preferences_set_memory_and_origin_of_a_new_panel(viewer, fake, monkeypatch, qtbot):
    from heliorestore.plugin import cuts
    from heliorestore.plugin.widgets import restore

    for module in (cuts, restore):
        monkeypatch.setattr(module, "preferences", lambda: Preferences(memory_gb=3.0, origin_lower_left=True))
    widget = restore.RestoreWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Restore")
    assert is_lower_left(viewer)
    widget.method_choice.setCurrentIndex(widget.method_choice.findData("momfbd"))
    qtbot.waitUntil(lambda: widget.form is not None and "memory_gb" in widget.form.fields, timeout=30_000)
    assert widget.form.settings().memory_gb == 3.0
    widget.form.fields["memory_gb"].set(None)
    widget.reset_button.click()
    assert widget.form.settings().memory_gb == 3.0

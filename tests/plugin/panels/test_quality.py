"""Image quality in a real viewer: the right numbers of the right layers, exported and kept up to date."""

import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from heliorestore.burst import Burst
from heliorestore.instrument import KNOWN
from heliorestore.plugin.viewer.layers import TAG

SUN = (1000 * (1 + 0.1 * np.random.default_rng(0).standard_normal((3, 64, 80)).cumsum(-1) / 5)).astype(
    np.float32
)


@pytest.fixture
def quality(viewer, qtbot):
    """The panel beside a burst of three frames and an image made of it."""
    from napari.layers import Layer

    from heliorestore.plugin.panels.quality import QualityWidget
    from heliorestore.plugin.viewer.layers import burst_layers

    for data in burst_layers(Burst.from_array(SUN[None], KNOWN["crisp-8542"], labels=("WB",)), "sun"):
        viewer.add_layer(Layer.create(*data))
    viewer.add_image(
        1.5 * SUN[0],
        name="brighter",
        scale=(0.059, 0.059),
        units=("arcsec", "arcsec"),
        axis_labels=("y", "x"),
    )
    viewer.dims.current_step = (0, 0, 0)
    viewer.layers.selection = {viewer.layers[0]}
    widget = QualityWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Image quality")
    qtbot.waitUntil(lambda: bool(widget.measured), timeout=20_000)
    yield widget
    from window import wait_for_threads

    wait_for_threads()


def axes_of(view, qtbot):
    """The axes of the chart, painted."""
    qtbot.waitUntil(lambda: view.canvas is not None, timeout=20_000)
    view.grab()
    (axes,) = view.canvas.figure.axes
    return axes


def cell(widget, row, column):
    return widget.table.item(row, column).text()


def test_the_selected_layer_is_measured_at_the_frame_of_the_slider(quality, viewer, qtbot):
    assert cell(quality, 0, 1) == f"{SUN[0].mean():.5g}"
    assert cell(quality, 0, 2) == f"{SUN[0].std() / SUN[0].mean():.2%}"
    assert cell(quality, 0, 4) == "0.182"
    axes = axes_of(quality.spectra, qtbot)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [line.get_label() for line in axes.lines] == ["sun WB"]
    _, mark = axes.collections  # the level of white noise, and the limit
    assert mark.get_segments()[0][0, 0] == pytest.approx(1 / KNOWN["crisp-8542"].resolution_arcsec, rel=1e-5)
    viewer.dims.current_step = (2, 0, 0)
    qtbot.waitUntil(lambda: cell(quality, 0, 1) == f"{SUN[2].mean():.5g}", timeout=20_000)


def test_figures_follow_the_selection_and_the_pixels(quality, viewer, qtbot):
    viewer.layers.selection = set(viewer.layers)
    qtbot.waitUntil(lambda: quality.table.rowCount() == 2, timeout=20_000)
    assert [line.get_label() for line in axes_of(quality.spectra, qtbot).lines] == ["sun WB", "brighter"]
    viewer.layers["brighter"].data = 3 * SUN[0]
    qtbot.waitUntil(lambda: cell(quality, 1, 1) == f"{3 * SUN[0].mean():.5g}", timeout=20_000)


def test_photometry_compares_two_layers(quality, viewer, qtbot):
    assert quality.first.currentText() == "brighter"
    points = axes_of(quality.photometry, qtbot).lines[0].get_xydata()
    np.testing.assert_allclose(points[:, 1] / points[:, 0], 1.5, rtol=1e-4)
    assert "gain 0.66" in quality.likeness.text()
    assert "within factor 2 1" in quality.likeness.text()


def test_spectra_have_one_axis_also_where_pixels_differ_and_their_size_is_unknown(quality, viewer, qtbot):
    coarse = viewer.add_image(SUN[0], name="coarse", axis_labels=("y", "x"))
    fine = viewer.add_image(SUN[0].repeat(2, 0).repeat(2, 1), name="fine", scale=(0.5, 0.5))
    viewer.layers.selection = {coarse, fine}
    qtbot.waitUntil(lambda: quality.table.rowCount() == 2, timeout=20_000)
    first, second = (line.get_xdata() for line in axes_of(quality.spectra, qtbot).lines)
    np.testing.assert_allclose(first[:-1], second[: len(first) - 1], rtol=1e-6)
    assert second[-1] == pytest.approx(2 * first[-1], rel=0.05)
    viewer.layers.selection = {coarse, viewer.layers["brighter"]}
    qtbot.waitUntil(lambda: "brighter" in {m.name for m in quality.measured}, timeout=20_000)
    assert "have no axis in common" in axes_of(quality.spectra, qtbot).texts[0].get_text()


def test_charts_are_saved_as_picture_and_as_numbers(quality, qtbot, tmp_path):
    quality.save_charts(tmp_path / "chart")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    quality.save_charts(tmp_path / "chart.svg")
    assert {"sun WB", "photometry"} <= set(
        re.findall(r">([^<]+)</text>", (tmp_path / "chart.svg").read_text())
    )
    quality.save_charts(tmp_path / "chart.jpg")
    assert "its name must end in .png, .pdf or .svg" in quality.said.text()
    quality.save_csv(tmp_path / "chart.csv")
    text = (tmp_path / "chart.csv").read_text()
    assert "spatial frequency [cycles/arcsec]" in text
    assert len(text.splitlines()) > 1000
    quality.save_csv(tmp_path / "no" / "such.csv")
    assert "does not exist" in quality.said.text()
    (tmp_path / "folder.csv").mkdir()
    quality.save_csv(tmp_path / "folder.csv")
    assert "is a folder" in quality.said.text()


@pytest.mark.usefixtures("styled")
def test_charts_have_the_colours_of_the_theme_and_fit_a_narrow_panel(quality, viewer, qtbot):
    viewer.layers.selection = set(viewer.layers)
    qtbot.waitUntil(lambda: quality.table.rowCount() == 2, timeout=20_000)
    view = quality.spectra
    for theme in ("light", "dark"):
        viewer.theme = theme
        axes = axes_of(view, qtbot)
        paper, ink = (
            np.mean(to_rgb(colour)) for colour in (axes.get_facecolor(), axes.xaxis.label.get_color())
        )
        assert (paper < 0.4) == (ink > 0.6) == (theme == "dark")
        assert view.canvas.figure.get_facecolor() == axes.get_facecolor()
    view.setFixedSize(300, 240)
    axes = axes_of(view, qtbot)
    figure = view.canvas.figure
    assert view.canvas.get_width_height() == (300, 240)
    assert axes.get_window_extent().width > 0.6 * figure.bbox.width
    inside = axes.get_tightbbox(figure.canvas.get_renderer())
    assert min(inside.x0, inside.y0) >= 0
    assert inside.x1 <= figure.bbox.x1
    assert inside.y1 <= figure.bbox.y1


def test_the_wheel_over_a_chart_scrolls_the_panel(quality, qtbot):
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent

    axes_of(quality.spectra, qtbot)
    no, flat = Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
    turn = QWheelEvent(
        QPointF(9, 9), QPointF(9, 9), QPoint(), QPoint(0, -120), Qt.MouseButton.NoButton, no, flat, False
    )
    turn.accept()
    quality.spectra.canvas.wheelEvent(turn)
    assert not turn.isAccepted()


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
    from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QTableWidget

    found = [
        child
        for kind in (QAbstractButton, QAbstractSpinBox, QComboBox)
        for child in quality.findChildren(kind)
    ]
    silent = [
        c
        for c in found
        if not c.toolTip()
        and not isinstance(c.parent(), (QAbstractSpinBox, QComboBox))
        and not isinstance(c.parent(), QTableWidget)
    ]
    assert silent == []


def test_the_image_of_another_code_is_brought_onto_ours_and_measured(quality, viewer, qtbot):
    viewer.layers["brighter"].data = 1.5 * np.roll(SUN[0], (2, 3), (0, 1))[:, ::-1]
    quality.first.choose(viewer.layers[0])
    quality.second.choose(viewer.layers["brighter"])
    quality.register()
    qtbot.waitUntil(lambda: quality.table.rowCount() == 2, timeout=60_000)
    layer = viewer.layers[-1]
    assert layer.name == "registered brighter"
    np.testing.assert_allclose(layer.scale, (0.059, 0.059))
    good = np.isfinite(layer.data)
    assert 0.8 < good.mean() < 1
    ratio = layer.data[8:-8, 8:-8] / SUN[0][8:-8, 8:-8]
    np.testing.assert_allclose(ratio[np.isfinite(ratio)], 1.5, rtol=0.05)
    assert (quality.first.currentText(), quality.second.currentText()) == ("sun WB", layer.name)
    assert cell(quality, 0, 4) == cell(quality, 1, 4) or cell(quality, 1, 4) == "?"
    qtbot.waitUntil(lambda: "mirrored in x" in quality.said.text(), timeout=20_000)
    quality.second.choose(viewer.layers[0])
    assert quality.second.currentText() == layer.name  # no layer is offered against itself


def test_photometry_offers_the_same_quantity_of_the_same_object(quality, viewer):
    def offered():
        return [quality.second.itemText(n) for n in range(quality.second.count())]

    both = Burst.from_array(np.stack([SUN, SUN]), KNOWN["crisp-8542"], labels=("WB", "NB"))
    viewer.add_image(SUN[0], name="other band", metadata={TAG: both, "object": 1})
    viewer.add_image(SUN[0], name="error", metadata={"kind": "uncertainty"})
    viewer.add_image(SUN[0], name="old error", metadata={"kind": "uncertainty"})
    quality.first.choose(viewer.layers["brighter"])
    assert offered() == ["other band", "sun WB"]
    quality.first.choose(viewer.layers["sun WB"])
    assert offered() == ["brighter"]
    assert quality.second.currentText() == "brighter"
    quality.first.choose(viewer.layers["error"])
    assert offered() == ["old error"]


def test_a_region_and_a_line_are_measured(quality, viewer, qtbot):
    figures = quality.region
    qtbot.waitUntil(lambda: figures.table.rowCount() == 1, timeout=20_000)
    rows, columns = viewer.layers[0].data.shape[-2:]
    assert figures.table.item(0, 1).text() == str(rows * columns)
    assert figures.along.isHidden()
    quality.region._draw("rectangle")
    drawn = viewer.layers["regions of figures"]
    assert drawn.mode == "add_rectangle"
    drawn.add([[9.5, 4.5], [9.5, 8.5], [12.5, 8.5], [12.5, 4.5]], shape_type="rectangle")
    qtbot.waitUntil(lambda: figures.table.item(0, 1).text() == "12", timeout=20_000)
    plane = np.asarray(viewer.layers[0].data).reshape(-1, rows, columns)[0]
    assert float(figures.table.item(0, 2).text()) == pytest.approx(plane[10:13, 5:9].mean(), rel=1e-3)
    figures._draw("line")
    drawn.add([[3.0, 2.0], [3.0, 12.0]], shape_type="line")
    qtbot.waitUntil(lambda: not figures.along.isHidden(), timeout=20_000)
    (line,) = figures.along.drawing.keywords["lines"]
    np.testing.assert_allclose(line.values, plane[3, 2:13], rtol=1e-5)
    assert line.distance[-1] == pytest.approx(10 * 0.059)
    assert figures.table.item(0, 1).text() == "12"
    figures._clear()
    qtbot.waitUntil(figures.along.isHidden, timeout=20_000)
    assert not drawn.visible

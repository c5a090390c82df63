"""Two layers compared in a real viewer: what is seen, and that nothing stays behind."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from qtpy.QtWidgets import QPushButton, QScrollArea, QWidget

from heliorestore.errors import RestorationError
from heliorestore.plugin.npe2.writers import save
from heliorestore.plugin.viewer.comparison import How, comparison_of
from heliorestore.plugin.viewer.layers import is_restorable
from heliorestore.plugin.viewer.shown_plane import is_image
from heliorestore.plugin.viewer.tool_layers import is_exported, is_tool

PLACE = {"scale": (0.1, 0.1), "units": ("arcsec", "arcsec"), "axis_labels": ("y", "x")}
A = np.random.default_rng(0).normal(10, 1, (20, 30)).astype(np.float32)
B = np.random.default_rng(1).normal(11, 1, (20, 30)).astype(np.float32)


@pytest.fixture
def compare(viewer):
    """The panel beside three layers; the topmost one is not compared."""
    from heliorestore.plugin.panels.compare import CompareWidget

    viewer.add_image(A, name="a", contrast_limits=(8, 12), **PLACE)
    viewer.add_image(B, name="b", contrast_limits=(5, 20), visible=False, **PLACE)
    viewer.add_image(np.zeros((20, 30)), name="other", **PLACE)
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Compare")
    widget.first.choose(viewer.layers["a"])
    widget.second.choose(viewer.layers["b"])
    viewer.scene.camera.zoom = 33.0
    return widget


def own(viewer):
    """The layers but for those that only help to compare, of which none is visible while nothing is
    compared."""
    return [layer for layer in viewer.layers if not is_tool(layer.metadata) or layer.visible]


def state(viewer):
    """Everything that comparing must leave as it was."""
    grid = viewer.canvas.grid
    return (
        [
            (
                layer.name,
                layer.visible,
                layer.contrast_limits,
                layer.contrast_limits_range,
                layer.colormap.name,
            )
            for layer in own(viewer)
        ],
        (grid.enabled, tuple(grid.shape), grid.stride),
        (viewer.scene.camera.zoom, tuple(viewer.scene.camera.center), viewer.scene.camera.mouse_pan),
        viewer.dims.current_step,
        {layer.name for layer in viewer.layers.selection},
        len(viewer.mouse_drag_callbacks),
    )


def choose(widget, how):
    widget.how.setCurrentIndex(widget.how.findText(how))


HOWS = ("blink", "split", "difference", "side by side")


def test_off_restores_everything(compare, viewer):
    area = compare.findChild(QScrollArea)
    assert compare.minimumSizeHint().width() > area.widget().minimumSizeHint().width()  # nothing is cut off
    viewer.add_image(B, name="modes", metadata={"kind": "modes"}, visible=False, **PLACE)
    assert type(compare.first)(viewer, "").layer() == viewer.layers["other"]  # the topmost image, no map
    viewer.layers.remove("modes")
    before = state(viewer)
    for how in HOWS:
        choose(compare, how)
        assert not viewer.layers["other"].visible, how
        assert state(viewer)[2:5] == before[2:5], how  # the view is not moved, nothing else is selected
        choose(compare, "off")
        assert state(viewer) == before, how


def test_off_ends_it_after_any_change_and_the_box_says_what_is_shown(compare, viewer):
    viewer.layers.selection = {viewer.layers["b"], viewer.layers["other"]}
    before = state(viewer)
    for how in (*HOWS, *HOWS[::-1], "split"):
        choose(compare, how)
        assert (compare.how.currentText(), compare.comparison.how.value) == (how, how)
    compare.findChild(QPushButton).click()
    assert (compare.how.currentText(), compare.first.currentText()) == ("split", "b")
    compare.second.choose(viewer.layers["other"])
    assert compare.how.currentText() == "split"
    assert not viewer.layers["a"].visible
    compare.linked.setChecked(False)
    assert compare.how.currentText() == "split"
    choose(compare, "off")
    assert state(viewer) == before


def test_without_a_selection_nothing_is_selected(compare, viewer):
    viewer.layers.selection.clear()
    before = state(viewer)
    for how in HOWS:
        choose(compare, how)
        choose(compare, "off")
        assert state(viewer) == before


def test_the_users_own_links_stay_and_what_they_moved_comes_back(compare, viewer):
    first, second, other = viewer.layers
    other.contrast_limits = first.contrast_limits = (8, 12)
    viewer.layers.link_layers([first, other], ["contrast_limits"])
    before = state(viewer)
    choose(compare, "blink")
    second.contrast_limits = (3, 30)
    assert tuple(other.contrast_limits) == (3, 30)
    choose(compare, "off")
    assert state(viewer) == before
    other.contrast_limits = (9, 11)
    assert tuple(first.contrast_limits) == (9, 11)


def test_what_another_panel_compares_is_what_the_box_says(compare, viewer):
    first, second, other = viewer.layers
    choose(compare, "blink")
    compare.compare(How.SIDE, second, other)
    assert [box.currentText() for box in (compare.how, compare.first, compare.second)] == [
        "side by side",
        "b",
        "other",
    ]
    comparison_of(viewer).start(How.SPLIT, other, first, part=0.2)
    assert [box.currentText() for box in (compare.how, compare.first, compare.second)] == [
        "split",
        "other",
        "a",
    ]
    assert compare.border.value() == 200
    comparison_of(viewer).stop()
    assert compare.how.currentText() == "off"
    choose(compare, "blink")
    compare.compare(How.DIFFERENCE, first, first)  # cannot be compared
    assert compare.how.currentText() == "off"
    assert "Both layers are the same one" in compare.problem.text()


def test_a_difference_that_is_lost_says_why(compare, viewer, qtbot):
    choose(compare, "difference")
    viewer.layers["a"].data = A[:7, :9]
    qtbot.waitUntil(lambda: compare.how.currentText() == "off", timeout=20_000)
    assert "a whole multiple" in compare.problem.text()


@pytest.mark.parametrize(
    ("close", "how"),
    [("the x", "split"), ("the x", "blink"), ("remove", "difference"), ("hide", "side by side")],
)
def test_closing_the_panel_undoes_everything(compare, viewer, qtbot, close, how):
    dock = compare.parent()
    dock.window().show()
    before = state(viewer)
    choose(compare, how)
    if close == "remove":
        viewer.window.remove_dock_widget(compare)
    else:
        (dock.title.close_button if close == "the x" else dock.title.hide_button).click()
        qtbot.waitUntil(lambda: compare.how.currentText() == "off", timeout=20_000)
    assert state(viewer) == before
    assert compare.how.currentText() == "off"


def test_a_tab_in_front_of_the_panel_or_a_floating_one_goes_on_comparing(compare, viewer, qtbot):
    compare.window().show()
    other = viewer.window.add_dock_widget(QWidget(), name="Other", tabify=True)
    choose(compare, "split")
    other.raise_()
    qtbot.wait(50)
    compare.parent().setFloating(True)
    qtbot.wait(50)
    assert compare.how.currentText() == "split"


def test_the_layers_that_help_are_used_again_and_offered_nowhere(compare, viewer, tmp_path):
    for how in (*HOWS, *HOWS):
        choose(compare, how)
    choose(compare, "off")
    helping = [layer for layer in viewer.layers if layer not in own(viewer)]
    assert sorted(layer.name for layer in helping) == [
        f"{kind} (not in use)" for kind in ("difference", "divider", "left part")
    ]
    assert not any(is_image(layer) for layer in helping)
    assert not any(is_exported(layer.metadata) for layer in helping)
    assert {compare.first.itemText(n) for n in range(compare.first.count())} == {"a", "b", "other"}
    assert [layer.name for layer in viewer.layers if is_restorable(layer)] == ["a", "b", "other"]
    save(tmp_path / "all.fits", [layer.as_layer_data_tuple() for layer in viewer.layers])
    with fits.open(tmp_path / "all.fits") as hdus:
        assert [hdu.data.shape for hdu in hdus] == [(20, 30)] * 3
    with pytest.raises(RestorationError, match="These layers are tools"):
        save(tmp_path / "none.fits", [layer.as_layer_data_tuple() for layer in helping])


def test_a_deleted_divider_is_made_anew(compare, viewer):
    choose(compare, "split")
    viewer.layers.remove("divider")
    compare.border.setValue(300)
    assert viewer.layers["a left"].data.shape == (20, 9)
    viewer.layers.remove("a left")
    compare.border.setValue(600)
    choose(compare, "off")
    choose(compare, "split")
    assert viewer.layers["a left"].visible
    assert viewer.layers["divider"].visible


def test_a_viewer_that_is_emptied_is_empty(compare, viewer, qtbot):
    choose(compare, "split")
    for name in ("a", "b", "other"):
        viewer.layers.remove(name)
    qtbot.waitUntil(lambda: not viewer.layers, timeout=20_000)


def test_blink_shows_them_in_turns_with_the_same_limits(compare, viewer, qtbot):
    compare.rate.setValue(20.0)
    seen = []
    for name in "ab":
        viewer.layers[name].events.visible.connect(
            lambda event: seen.append((event.source.name, event.source.visible))
        )
    choose(compare, "blink")
    qtbot.waitUntil(lambda: {("a", True), ("a", False), ("b", True), ("b", False)} <= {*seen}, timeout=20_000)
    assert viewer.layers["a"].visible != viewer.layers["b"].visible
    assert tuple(viewer.layers["b"].contrast_limits) == (8, 12)
    viewer.layers["b"].contrast_limits = (9, 10)
    assert tuple(viewer.layers["a"].contrast_limits) == (9, 10)
    choose(compare, "off")
    viewer.layers["b"].contrast_limits = (1, 2)
    assert tuple(viewer.layers["a"].contrast_limits) == (8, 12)


def test_the_same_limits_or_each_its_own_do_not_restart_a_comparison(compare, viewer):
    first, second = viewer.layers["a"], viewer.layers["b"]
    compare.compare(How.SPLIT, first, second)
    compare.border.setValue(300)
    changes = []
    compare.comparison.changed.connect(changes.append)
    compare.linked.setChecked(False)
    assert second.contrast_limits == [5, 20]
    compare.linked.setChecked(True)
    assert second.contrast_limits == first.contrast_limits == [8, 12]
    assert (changes, compare.comparison.how, compare.comparison.split.part) == ([], How.SPLIT, 0.3)


def test_the_divider_cuts_the_first_layer_and_lies_where_it_is_cut(compare, viewer):
    choose(compare, "split")
    compare.border.setValue(400)
    left, divider = viewer.layers["a left"], viewer.layers["divider"]
    np.testing.assert_array_equal(left.data, A[:, :12])
    assert viewer.layers["b"].visible
    edge = left.data_to_world((0, 11.5))[1]  # the outer edge of its last pixel
    # its only pixel, as high as the image
    np.testing.assert_allclose(divider.data_to_world((0, 0)), (0.95, edge))
    np.testing.assert_allclose(divider.scale, (2.0, 0.05))
    compare.border.setValue(0)
    assert not left.visible


def test_the_divider_is_dragged_and_elsewhere_the_mouse_pans(compare, viewer):
    choose(compare, "split")
    drag = viewer.mouse_drag_callbacks[-1]
    # the middle of 30 columns of 0.1 arcsec
    event = SimpleNamespace(type="mouse_press", position=(1.0, 1.45))
    hold = drag(viewer, event)
    next(hold)
    assert not viewer.scene.camera.mouse_pan
    event.type, event.position = "mouse_move", (1.0, 2.05)
    next(hold)
    assert compare.border.value() == 700
    assert viewer.layers["a left"].data.shape == (20, 21)
    event.type = "mouse_release"
    assert list(hold) == []
    assert viewer.scene.camera.mouse_pan
    # far from the divider
    assert list(drag(viewer, SimpleNamespace(type="mouse_press", position=(1.0, 0.4)))) == []
    assert viewer.scene.camera.mouse_pan


def test_the_difference_is_first_minus_second_and_follows_the_data(compare, viewer, qtbot):
    choose(compare, "difference")
    layer = viewer.layers["a − b"]
    np.testing.assert_allclose(layer.data, A - B)
    low, high = layer.contrast_limits
    assert low == -high
    viewer.layers["a"].data = A + 5
    qtbot.waitUntil(lambda: np.allclose(layer.data, A + 5 - B), timeout=20_000)
    assert tuple(layer.contrast_limits) == (low, high)


def test_the_difference_with_a_finer_image_is_on_the_coarser_pixels_of_the_shown_frame(
    compare, viewer, qtbot
):
    fine = np.stack([A, A + 3]).repeat(2, 1).repeat(2, 2)
    place = {
        "scale": (1, 0.05, 0.05),
        "translate": (0, -0.025, -0.025),
        "units": ("pixel", "arcsec", "arcsec"),
    }
    viewer.add_image(fine, name="fine", axis_labels=("t", "y", "x"), **place)
    viewer.dims.current_step = (0, 0, 0)
    compare.second.choose(viewer.layers["fine"])
    choose(compare, "difference")
    layer = viewer.layers["a − fine"]
    np.testing.assert_allclose(layer.data, 0, atol=1e-5)
    np.testing.assert_allclose(layer.scale[-2:], (0.1, 0.1))
    viewer.dims.current_step = (1, 0, 0)
    qtbot.waitUntil(lambda: np.allclose(layer.data, -3, atol=1e-4), timeout=20_000)


def test_side_by_side_gives_each_its_square_the_first_left(compare, viewer):
    for first, second in (("a", "b"), ("b", "other"), ("other", "a")):
        choose(compare, "off")
        compare.first.choose(viewer.layers[first])
        compare.second.choose(viewer.layers[second])
        choose(compare, "side by side")
        grid, names = viewer.canvas.grid, [layer.name for layer in viewer.layers]
        places = [grid.position(names.index(name), list(viewer.layers)) for name in (first, second)]
        assert places == [(0, 0), (0, 1)]


def test_what_cannot_be_compared_is_said(compare, viewer):
    compare.second.choose(viewer.layers["a"])
    choose(compare, "blink")
    assert "Both layers are the same one" in compare.problem.text()
    assert compare.how.currentText() == "off"
    viewer.add_image(np.ones((7, 9)), name="small", **PLACE)
    compare.second.choose(viewer.layers["small"])
    choose(compare, "difference")
    assert "a whole multiple" in compare.problem.text()
    viewer.layers.clear()
    choose(compare, "split")
    assert "Two image layers are needed" in compare.problem.text()


@pytest.mark.parametrize("how", ["blink", "split", "difference", "side by side"])
def test_deleting_a_compared_layer_ends_the_comparison(compare, viewer, how):
    choose(compare, how)
    viewer.layers.remove("a")
    assert compare.how.currentText() == "off"
    assert [(layer.name, layer.visible) for layer in own(viewer)] == [("b", False), ("other", True)]


def test_exchange_and_the_lists_follow_the_viewer(compare, viewer):
    choose(compare, "split")
    compare.findChild(QPushButton).click()
    assert (compare.first.currentText(), compare.second.currentText()) == ("b", "a")
    assert "b left" in viewer.layers
    assert compare.first.findText("b left") < 0
    viewer.layers["a"].name = "renamed"
    assert compare.second.currentText() == "renamed"


def test_closing_the_window_while_blinking_is_safe(compare, viewer, qtbot):
    compare.rate.setValue(20.0)
    choose(compare, "blink")
    viewer.close()
    qtbot.wait(150)


def test_a_key_blinks_two_images_and_the_canvas_says_which(compare, viewer):
    from napari.utils.action_manager import action_manager

    from heliorestore.plugin.viewer.blink_key import KEY, blink, two_images
    from heliorestore.plugin.widgets.layer_list import LayerList

    action = action_manager._actions["heliorestore:blink"]  # so that it is in the preferences
    assert action_manager._shortcuts["heliorestore:blink"] == [KEY]
    assert action.command is blink

    viewer.layers.selection = {viewer.layers["a"], viewer.layers["b"]}
    action.injected(viewer)
    overlays = viewer.canvas.overlays
    titles = [overlays["compared left"]]
    assert compare.how.currentText() == "blink"
    names = {overlays["compared left"].text}
    compare.comparison._blink()
    names.add(titles[0].text)
    assert names == {"a", "b"}
    assert titles[0].visible
    blink(viewer)
    assert compare.how.currentText() == "off"
    assert not titles[0].visible

    inputs = LayerList(viewer)
    compare.compare(How.SPLIT, viewer.layers["a"], viewer.layers["b"])
    assert [inputs.item(n).text() for n in range(inputs.count())] == ["a", "b", "other"]
    choose(compare, "off")

    camera = viewer.scene.camera
    viewer.fit_to_view()
    fitted = camera.zoom
    compare.compare(How.SIDE, viewer.layers["a"], viewer.layers["b"])
    assert camera.zoom < 0.9 * fitted  # the whole field is seen in each half
    assert (overlays["compared left"].text, overlays["compared right"].text) == ("a", "b")
    tiling = viewer.canvas.overlay_tiling  # other texts in the corners stand below
    assert (tiling.top_left, tiling.top_right) == ("vertical", "vertical")
    choose(compare, "off")
    assert camera.zoom == fitted
    camera.zoom = 4 * fitted
    compare.compare(How.SIDE, viewer.layers["a"], viewer.layers["b"])
    assert camera.zoom == 4 * fitted  # a detail that is looked at stays
    choose(compare, "off")
    assert not overlays["compared right"].visible
    viewer.layers.selection = {viewer.layers["other"]}
    viewer.layers.selection.active = viewer.layers["other"]
    assert [layer.name for layer in two_images(viewer)] == ["other", "a"]

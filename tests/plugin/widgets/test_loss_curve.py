"""The loss curve shows what it was last told, and draws no more than that needs."""

import numpy as np
import pytest

from window import wait_for_threads


@pytest.fixture
def curve(qtbot):
    from heliorestore.plugin.widgets.loss_curve import LossCurve

    widget = LossCurve()
    qtbot.addWidget(widget)
    widget.resize(320, 165)
    yield widget
    wait_for_threads()


def seen(curve, qtbot):
    """The axes of the loss curve once it shows what it was told."""
    qtbot.waitUntil(lambda: curve.canvas is not None and not curve._wanted, timeout=20_000)
    curve.grab()
    (axes,) = curve.canvas.figure.axes
    return axes


def history(last: int, *names: str) -> dict:
    steps = np.arange(1.0, last + 1)
    return {"step": steps} | {name: (n + 1) / steps for n, name in enumerate(names)}


def test_a_missing_value_cuts_the_loss_curve(curve, qtbot):
    curve.set_history(
        {"step": np.arange(7.0), "loss": np.array([100.0, 10.0, np.nan, 1.0, 0.0, 10.0, 1.0])}, ("loss",)
    )
    (line,) = seen(curve, qtbot).lines
    np.testing.assert_array_equal(line.get_ydata(), [100, 10, np.nan, 1, np.nan, 10, 1])
    assert line.axes.get_yscale() == "log"


def test_a_loss_without_neighbours_is_a_dot_and_one_value_is_no_curve(curve, qtbot):
    losses = [4.0, np.nan, 3.0, 2.0]
    curve.set_history({"step": np.arange(1.0, 5), "residual": np.array(losses)}, ("residual",))
    (line,) = seen(curve, qtbot).lines
    drawn = np.asarray(curve.canvas.buffer_rgba()).copy()
    curve.canvas.restore_region(curve._background)
    differs = (drawn != np.asarray(curve.canvas.buffer_rgba())).any(-1)
    column, from_below = line.axes.transData.transform((1, 4.0))
    row = len(drawn) - round(from_below)
    assert differs[row - 3 : row + 3, round(column) : round(column) + 4].any()
    assert line.get_markevery().tolist() == [True, False, False, False]  # a line needs no dots
    losses = [4.0, 3.0, 2.0, np.nan, np.nan, 2.0]  # what was reached, repeated at the end
    curve.set_history({"step": np.arange(1.0, 7), "residual": np.array(losses)}, ("residual",))
    assert seen(curve, qtbot).lines[0].get_xdata().tolist() == [1, 2, 3]
    for alone in ([4.0], [np.nan, np.nan, 4.0]):
        curve.set_history({"step": np.arange(1.0, len(alone) + 1), "loss": np.array(alone)}, ("loss",))
        qtbot.waitUntil(lambda: not curve._wanted, timeout=20_000)
        curve.grab()
        assert curve.canvas.figure.axes == []


def test_the_loss_curve_names_its_lines_in_words(curve, qtbot):
    curve.set_history(history(30, "loss", "hold_out", "elsewhere"), ("loss", "hold_out"))
    axes = seen(curve, qtbot)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["loss", "hold out"]
    assert axes.lines[0].get_xdata().tolist() == list(range(1, 31))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("iteration", "loss")
    curve.clear()
    qtbot.waitUntil(lambda: not curve._wanted, timeout=20_000)
    curve.grab()
    assert curve.canvas.figure.axes == []  # no empty frame
    curve.set_history(history(20_000, "contrast_gain"), ("contrast_gain",))
    axes = seen(curve, qtbot)
    assert len(axes.lines[0].get_xdata()) < 1000
    assert axes.get_ylabel() == "x sharpest frame"


def test_kinds_have_axes_of_their_own_and_turned_knobs_a_history(curve, qtbot):
    told = history(30, "loss", "residual")
    told["lambda_object"] = np.repeat([0.02, 0.05, 0.1], [10, 1, 19])  # 0.05 is on the slider's way
    told["prior_x"] = np.full(30, np.nan)
    curve.set_history(told, ("loss", "residual"), ("lambda_object", "prior_x"))
    qtbot.waitUntil(lambda: curve.canvas is not None and not curve._wanted, timeout=20_000)
    curve.grab()
    left, right, strip = curve.canvas.figure.axes
    assert [axes.get_ylabel() for axes in (left, right, strip)] == ["loss", "relative", "lambda\nobject"]
    assert [axes.lines[0].get_label() for axes in (left, right)] == ["loss", "residual"]
    assert [(text.get_text(), text.xy[0]) for text in strip.texts] == [("0.1", 12), ("0.02", 1)]
    assert strip.lines[0].get_drawstyle() == "steps-post"
    assert strip.lines[0].get_ydata().tolist() == told["lambda_object"].tolist()
    assert strip.get_xlim() == left.get_xlim()
    assert left.lines[-1].get_xdata() == [12, 12]  # where it was turned
    names = left.get_legend().get_texts()
    assert [text.get_text() for text in names] == ["loss", "residual"]
    place = names[1].get_window_extent()
    for shown in (False, True):  # a click on the name hides the curve, another one shows it
        event = type("Press", (), {"x": place.x0 + 2, "y": place.y0 + 2})
        curve._pressed(event)
        curve.grab()
        assert curve._lines["residual"].get_visible() is shown


def test_the_losses_of_patches_meet_those_of_the_field(curve, qtbot):
    nothing = np.nan
    told = {
        "step": np.arange(1.0, 7),
        "seconds": np.arange(6.0),
        "loss": np.array([8e5, 4e5, 2e5, 0.02, 0.01, 0.01]),
        "data": np.array([6e5, 3e5, 1e5, 0.01, 0.01, 0.01]),
        "residual": np.array([0.3, 0.2, 0.1, 0.02, 0.01, 0.01]),
        "held out": np.array([3.0, 2.0, 1.0, nothing, nothing, nothing]),
        "object": np.array([nothing, nothing, nothing, 0.01, 0.02, 0.03]),
    }
    stages = (("patches", 3), ("whole field", 8))
    curve.set_history(told, ("loss", "data", "object", "residual"), (), stages)
    qtbot.waitUntil(lambda: curve.canvas is not None and not curve._wanted, timeout=20_000)
    curve.grab()
    left, right = curve.canvas.figure.axes
    by_name = {line.get_label(): list(line.get_ydata()) for line in (*left.lines, *right.lines)}
    assert by_name["loss"] == pytest.approx([0.08, 0.04, 0.02, 0.02, 0.01, 0.01])
    assert by_name["data"][:3] == pytest.approx([0.06, 0.03, 0.01])  # by the same factor
    assert by_name["residual"] == pytest.approx([0.06, 0.04, 0.02, 0.02, 0.01, 0.01])
    (shaded,) = left.patches
    assert shaded.get_extents().transformed(left.transData.inverted()).x1 == pytest.approx(3.5)
    assert [text.get_text() for text in left.texts] == ["patches", "whole field"]
    assert left.get_xlim()[1] == 8  # no iteration comes after that


def test_only_the_lines_of_the_loss_curve_are_drawn_while_the_axes_hold_them(curve, qtbot):
    composed = []
    compose = curve.compose

    def count(figure):
        composed.append(compose(figure))

    curve.compose = count
    for last in (50, 52, 54):
        curve.set_history(history(last, "loss"), ("loss",))
        axes = seen(curve, qtbot)
        assert axes.lines[0].get_xdata()[-1] == last
    assert len(composed) == 1
    before = np.asarray(curve.canvas.buffer_rgba()).copy()
    curve.canvas.restore_region(curve._background)
    assert (np.asarray(curve.canvas.buffer_rgba()) != before).any(-1).sum() > 50  # pixels of the line
    curve.set_history(history(500, "loss"), ("loss",))
    left, right = seen(curve, qtbot).get_xlim()
    assert left == 1
    assert 500 < right < 700
    curve.set_history(history(20, "loss"), ("loss",))  # another run
    assert seen(curve, qtbot).get_xlim()[1] < 40
    assert len(composed) == 3


def test_a_storm_of_snapshots_leaves_the_last_on_the_loss_curve(curve, qtbot):
    updates = []
    update = curve._draw_lines
    curve.set_history(history(100, "loss"), ("loss",))
    seen(curve, qtbot)
    curve._draw_lines = lambda: updates.append(update())
    for last in range(101, 121):
        curve.set_history(history(last, "loss"), ("loss",))
    axes = seen(curve, qtbot)
    assert axes.lines[0].get_xdata()[-1] == 120
    assert len(updates) <= 2


@pytest.mark.usefixtures("styled")
def test_the_loss_curve_is_drawn_in_the_ink_of_the_theme(panel, viewer, finish, qtbot):
    for theme in ("dark", "light"):
        viewer.theme = theme
        finish(panel, panel.run_panel.run_button.click)
        seen(panel.run_panel.curve, qtbot)
        picture = panel.run_panel.curve.grab().toImage()
        values = [
            picture.pixelColor(x, y).lightness()
            for x in range(picture.width())
            for y in range(picture.height())
        ]
        background = np.median(values)
        assert (background < 128) == (theme == "dark")
        ink = max(values) if theme == "dark" else min(values)
        assert abs(ink - background) > 100


def test_a_chart_on_the_screen_is_drawn_in_several_turns_and_shows_the_old_one_until_then(curve, qtbot):
    curve.show()
    curve.set_history(history(50, "loss", "residual"), ("loss", "residual"))
    qtbot.waitUntil(lambda: bool(curve._lines), timeout=20_000)
    old, turns = np.asarray(curve.canvas.buffer_rgba()).copy(), []
    draw_part = curve.canvas._draw_part

    def count():
        turns.append(np.array_equal(np.asarray(curve.canvas.buffer_rgba()), old))
        draw_part()

    curve.canvas._draw_part = count
    curve.set_history(history(500, "loss", "residual"), ("loss", "residual"))
    qtbot.waitUntil(lambda: not curve._wanted, timeout=20_000)
    assert len(turns) > 4
    assert all(turns)
    left, _ = curve.canvas.figure.axes
    assert left.lines[0].get_xdata()[-1] == 500
    in_turns = np.asarray(curve.canvas.buffer_rgba()).copy()
    curve.redraw()
    curve.grab()  # at once
    np.testing.assert_array_equal(np.asarray(curve.canvas.buffer_rgba()), in_turns)

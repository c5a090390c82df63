"""Charts: where points come to lie, what the axes say, and that the PNG shows them."""

import dataclasses

import numpy as np
import pytest

from heliorestore.charts import Axis, Chart, Curve, Mark, draw, scale_of, tick_text, to_csv

X = np.array([1.0, 10.0, 100.0])


@dataclasses.dataclass
class Recorder:
    """A pen that remembers."""

    text_height: float = 10.0
    lines: list = dataclasses.field(default_factory=list)
    texts: dict = dataclasses.field(default_factory=dict)

    def text_width(self, text):
        return 6.0 * len(text)

    def line(self, points, colour, width, dashed):
        self.lines.append((points, colour, dashed))

    def dots(self, points, colour, radius, filled):
        self.lines.append((points, colour, filled))

    def text(self, x, y, text, anchor, colour):
        self.texts[text] = (x, y)

    def turned_text(self, x, y, text):
        self.texts[text] = (x, y)


def drawn(chart: Chart) -> Recorder:
    pen = Recorder()
    draw(chart, pen, 400, 300)
    return pen


def test_points_lie_where_the_axes_say() -> None:
    chart = Chart("title", Axis("x [m]", log=True), Axis("y [s]", low=0.0, high=4.0), [Curve("a", X, np.array([0.0, 2.0, 4.0]))])
    pen = drawn(chart)
    ((first, middle, last),) = [points for points, colour, _ in pen.lines if colour == "#1f77b4" and len(points) == 3]
    assert first[0] < middle[0] < last[0]
    assert middle == pytest.approx(((first[0] + last[0]) / 2, (first[1] + last[1]) / 2))
    assert first[1] > last[1]  # y grows downwards on a screen
    assert pen.texts["1"][0] == pytest.approx(first[0])
    assert pen.texts["100"][0] == pytest.approx(last[0])
    assert pen.texts["4"][1] == pytest.approx(last[1])
    assert {"title", "x [m]", "y [s]", "a"} <= pen.texts.keys()


def test_what_a_logarithmic_axis_cannot_show_is_left_out() -> None:
    chart = Chart(
        "", Axis("x", log=True), Axis("y", log=True), [Curve("a", np.array([-1.0, 1, 2, 3, np.nan]), np.array([1.0, 0, 2, 3, 4]))]
    )
    assert [len(points) for points, colour, _ in drawn(chart).lines if colour == "#1f77b4"] == [2, 2]  # the legend's line, then the curve
    assert "nothing to show" in drawn(Chart("", Axis("x"), Axis("y"))).texts


def test_a_mark_stands_at_its_value() -> None:
    pen = drawn(Chart("", Axis("x", log=True), Axis("y"), [Curve("a", X, X)], [Mark(10.0, "limit")]))
    ((top, bottom),) = [points for points, _, dashed in pen.lines if dashed]
    assert top[0] == bottom[0] == pytest.approx(pen.texts["10"][0])
    assert "limit" in pen.texts


@pytest.mark.parametrize(
    ("axis", "values", "ticks"),
    [
        (Axis("a", low=0.0, high=1.0), [0.5], (0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (Axis("a", log=True), [0.02, 3.0], (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)),
        (Axis("a", log=True), [1e-9, 1e3], (1e-9, 1e-7, 1e-5, 1e-3, 1e-1, 1e1, 1e3)),
        (Axis("a", log=True), [], (0.1, 0.2, 0.5, 1)),
    ],
)
def test_ticks_are_round_numbers(axis: Axis, values: list[float], ticks: tuple[float, ...]) -> None:
    assert scale_of(axis, [np.array(values)]).ticks == pytest.approx(ticks)


def test_constant_values_still_make_an_axis() -> None:
    for axis in (Axis("a"), Axis("a", log=True)):
        scale = scale_of(axis, [np.full(3, 5.0)])
        assert scale.low < 5 < scale.high


def test_tick_texts_are_short() -> None:
    assert [tick_text(value) for value in (0.0, 0.01, 5.0, 20000.0, 1e-7, 2.5e6)] == ["0", "0.01", "5", "20000", "1e-7", "2.5e6"]


def test_csv_has_every_point_exactly() -> None:
    text = to_csv(Chart("", Axis("x [m]"), Axis("y"), [Curve('a "b"', np.array([0.1]), np.array([1 / 3]))]))
    assert text == '"curve","x [m]","y"\n"a ""b""",0.1,0.3333333333333333\n'


def test_the_png_shows_the_curve_in_its_colour(tmp_path) -> None:
    image = pytest.importorskip("PIL.Image")
    from heliorestore.pillow_pen import paint

    chart = Chart("t", Axis("x", log=True), Axis("y", log=True), [Curve("a", X, X), Curve("b", X, 2 * X, "dashes", 1)], [Mark(5.0, "m")])
    paint([chart, chart], tmp_path / "chart.png", (300, 200))
    with image.open(tmp_path / "chart.png") as found:
        pixels = np.asarray(found).astype(int)
    assert pixels.shape == (400, 300, 3)
    blue = (pixels[..., 2] - pixels[..., 0] > 60).sum()
    orange = (pixels[..., 0] - pixels[..., 2] > 60).sum()
    assert blue > 2 * orange * 0.7 > 100  # the second curve is dashed

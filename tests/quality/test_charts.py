"""Charts: which lines, marks and words lie on the axes, where, and that the files show them."""

import itertools

import numpy as np
import pytest
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN, Instrument
from heliorestore.quality.charts import (
    COLOURS,
    draw_curve,
    draw_photometry,
    draw_power_spectra,
    finish,
    save,
    shortened,
    style,
    to_csv,
)
from heliorestore.quality.report import Measured, intensities, measure

X = np.array([1.0, 10.0, 100.0])
SUN = 1000 * (1 + 0.02 * np.random.default_rng(0).standard_normal((64, 80)).cumsum(-1))


def drawn(draw, **values) -> Axes:
    """The axes of a chart as large as on a narrow panel, painted once: what cannot be painted fails here."""
    figure = Figure((3.0, 2.4), dpi=100, layout="constrained")
    draw(figure.add_subplot(), **values)
    figure.canvas.draw()
    return figure.axes[0]


def words(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in (*axes.texts, *legend.get_texts(), legend.get_title())]


def marks(axes: Axes) -> dict[str, float]:
    """Where the marks stand, by name; each is a line from bottom to top. Level ones are white noise."""
    every = [line for lines in axes.collections for line in lines.get_segments()]
    found = [line for line in every if line[0, 0] == line[1, 0]]
    assert all(line[:, 1].tolist() == [0, 1] for line in found)
    names = [text.get_text() for text in axes.texts if isinstance(text, Annotation)]
    return dict(zip(names, [line[0, 0] for line in found], strict=True))


def test_power_spectra_and_the_diffraction_limit_lie_on_logarithmic_axes() -> None:
    crisp = KNOWN["crisp-8542"]
    measured = [measure(SUN, "wide $band", crisp), measure(2 * SUN, "narrow", crisp)]
    axes = drawn(draw_power_spectra, images=measured)
    for line, image in zip(axes.lines, measured, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), image.spectrum.frequency)
        np.testing.assert_array_equal(line.get_ydata(), image.spectrum.power)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "spatial frequency [cycles/arcsec]",
        "power of I/<I> [arcsec^2]",
    )
    assert marks(axes) == {
        "diffraction limit, 0.182 arcsec": pytest.approx(1 / crisp.resolution_arcsec, rel=1e-4)
    }
    assert {"wide $band", "narrow", "azimuthally averaged power spectra"} <= set(words(axes))


def test_images_around_zero_have_amplitudes_and_the_level_of_white_noise() -> None:
    crisp, random = KNOWN["crisp-6302-paper"], np.random.default_rng(1)
    noise = 3.0 * random.standard_normal((96, 96))
    found = measure(noise, "V", crisp)
    axes = drawn(draw_power_spectra, images=[found])
    assert axes.get_ylabel() == "amplitude [unit of the image x arcsec]"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), found.spectrum.power**0.5)
    (level,) = [y for lines in axes.collections for (_, y), (_, other) in lines.get_segments() if y == other]
    assert level == pytest.approx(3.0 * crisp.pixel_arcsec, rel=0.1)
    assert np.median(axes.lines[0].get_ydata()) == pytest.approx(level, rel=0.1)
    assert "V is around zero" in words_without_legend(
        drawn(draw_power_spectra, images=[found, measure(SUN, "I", crisp)])
    )


def words_without_legend(axes: Axes) -> str:
    return " ".join(text.get_text() for text in axes.texts)


def test_photometry_of_both_signs_keeps_the_negative_pixels() -> None:
    field = np.random.default_rng(2).standard_normal((64, 64)).cumsum(0)
    field -= field.mean()
    pairs = intensities(1.2 * field, field)
    assert (pairs < 0).any(axis=0).all()
    axes = drawn(draw_photometry, intensities=pairs, names=("after", "before"), unit="G")
    assert axes.get_xscale() == "symlog"
    assert axes.lines[0].get_xdata().min() < 0
    assert {"pixels", "equal", "x 2", "x 1/2"} <= set(words(axes))
    low, high = axes.get_xlim()
    assert low == pytest.approx(-high)


def test_a_long_name_loses_its_middle() -> None:
    assert shortened("a kept version (lambda object 0.1) wide", 16) == "a kept v…1) wide"
    assert shortened("short", 5) == "short"


def test_without_pixel_sizes_frequencies_are_per_pixel() -> None:
    axes = drawn(draw_power_spectra, images=[measure(SUN, "unknown", Instrument())])
    assert axes.lines[0].get_xdata()[-1] == pytest.approx(0.5, rel=0.1)
    assert axes.get_xlabel() == "spatial frequency [cycles/pixel]"
    assert marks(axes) == {}


def test_spectra_with_and_without_a_pixel_size_are_not_drawn_on_one_axis() -> None:
    measured = [measure(SUN, "known", KNOWN["crisp-8542"]), measure(SUN, "raw $1", Instrument())]
    axes = drawn(draw_power_spectra, images=measured)
    assert len(axes.lines) == 0
    assert any("pixel size of raw $1\nis unknown" in text for text in words(axes))


def test_images_without_a_spectrum_are_explained() -> None:
    small = Measured("small", 1.0, 0.1, 0.01, Instrument(), None)
    flat = measure(np.ones((16, 16)), "flat", KNOWN["crisp-8542"])
    for images in ([small], [], [flat]):
        axes = drawn(draw_power_spectra, images=images)
        assert "no power in at least 8 x 8 valid pixels" in words(axes)
        assert not axes.axison  # no empty frame
        assert marks(axes) == {}


def test_photometry_has_the_lines_of_equality_and_of_a_factor_of_two() -> None:
    pairs = intensities(1.5 * SUN, SUN)
    axes = drawn(draw_photometry, intensities=pairs, names=("image", "reference"), unit="DN")
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines["pixels"][:, 1] / lines["pixels"][:, 0], 1.5)
    assert {
        name: pytest.approx(found[:, 1] / found[:, 0]) for name, found in lines.items() if name != "pixels"
    } == {"equal": [1, 1], "x 2": [2, 2], "x 1/2": [0.5, 0.5]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("reference [DN]", "image [DN]")
    assert axes.get_xlim() == axes.get_ylim() == (pairs.min(), pairs.max())
    assert axes.get_xscale() == "log"


def test_photometry_without_a_positive_pixel_is_explained() -> None:
    axes = drawn(draw_photometry, intensities=intensities(-SUN, SUN), names=("image", "reference"))
    assert "no pixel where both are positive" in words(axes)
    assert len(axes.lines) == 0


def test_what_a_logarithmic_axis_cannot_show_leaves_a_gap() -> None:
    def draw(axes: Axes) -> None:
        draw_curve(axes, np.array([-1.0, 1, 2, 3, np.nan]), np.array([1.0, 0, 2, 3, 4]), "a")
        draw_curve(axes, X, 0 * X, "nothing")
        finish(axes, "x", "y")

    first, second = drawn(draw).lines
    np.testing.assert_array_equal(
        first.get_xydata(), [[np.nan] * 2, [np.nan] * 2, [2, 2], [3, 3], [np.nan] * 2]
    )
    assert np.isnan(second.get_ydata()).all()


def test_a_point_without_neighbours_is_a_dot() -> None:
    axes = Figure().add_subplot()
    draw_curve(axes, np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.0, 1.0, 1.0]), "a")
    draw_curve(axes, np.array([1.0, 2.0]), np.array([1.0, 2.0]), "b")
    alone, whole = axes.lines
    assert (alone.get_marker(), alone.get_markevery().tolist()) == (".", [True, False, False, False])
    assert whole.get_marker() == "None"


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.021, 3.0, ["0.05", "0.1", "0.2", "0.5", "1", "2"]),
        (1.02e-3, 50.0, ["0.01", "0.1", "1", "10"]),
        (1.31, 1.36, ["1.31", "1.32", "1.33", "1.34", "1.35", "1.36"]),
        (5.0, 5.0, ["5"]),
    ],
)
def test_labels_are_round_and_short(low: float, high: float, labels: list[str]) -> None:
    def draw(axes: Axes) -> None:
        draw_curve(axes, X, np.array([low, high, high]), "a")
        finish(axes, "x", "y")
        if low < high:
            axes.set_ylim(low, high)

    axes = drawn(draw)
    bottom, top = axes.get_ylim()
    shown = [
        text.get_text()
        for value, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        if bottom <= value <= top
    ]
    assert set(labels) <= set(shown)
    assert max(map(len, shown)) <= 4


def test_the_words_of_marks_stand_beside_them_inside_the_axes() -> None:
    def draw(axes: Axes) -> None:
        draw_curve(axes, X, X, "a")
        finish(axes, "x", "y", marks={2.0: "to the right", 90.0: "to the left", 95.0: "below"})

    axes = drawn(draw)
    boxes = [text.get_window_extent() for text in axes.texts if isinstance(text, Annotation)]
    places = [axes.transData.transform((place, 1))[0] for place in marks(axes).values()]
    assert places[0] < boxes[0].x0
    assert boxes[1].x1 < places[1]
    assert not boxes[1].overlaps(boxes[2])
    for box in boxes:
        assert axes.bbox.containsx(box.x0)
        assert axes.bbox.containsx(box.x1)


def test_csv_has_every_point_exactly() -> None:
    def draw(axes: Axes) -> None:
        draw_curve(axes, np.array([0.1]), np.array([1 / 3]), '_a "b"')
        finish(axes, "x [m]", "y", marks={5.0: "limit"})

    assert to_csv(draw) == '"curve","x [m]","y"\n"_a ""b""",0.1,0.3333333333333333\n'


def two_curves(axes: Axes) -> None:
    draw_curve(axes, X, X, "first")
    draw_curve(axes, X, 2 * X, "second", linestyle="--")
    finish(axes, "x [m]", "y [s]", title="two curves", marks={5.0: "here"})


def test_the_png_shows_charts_one_below_the_other_on_white(tmp_path) -> None:
    from matplotlib.image import imread

    # a user's own matplotlibrc
    with rc_context({"figure.facecolor": "red", "savefig.facecolor": "red", "text.usetex": True}):
        save([two_curves, two_curves], tmp_path / "chart.png")
    pixels = imread(tmp_path / "chart.png")[..., :3]
    assert pixels.shape[0] > pixels.shape[1]
    assert (np.median(pixels, axis=(0, 1)) == 1).all()
    for half in np.split(pixels, 2):
        blue = (half[..., 2] - half[..., 0] > 0.25).sum()
        orange = (half[..., 0] - half[..., 2] > 0.25).sum()
        assert blue > 1.15 * orange > 100  # the second curve is dashed


def test_in_svg_and_pdf_text_stays_text(tmp_path) -> None:
    save([two_curves], tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text()
    assert "<image" not in text
    for word in ("first", "x [m]", "here", "two curves"):
        assert f">{word}</text>" in text
    save([two_curves], tmp_path / "chart.PDF")
    found = (tmp_path / "chart.PDF").read_bytes()
    assert found.startswith(b"%PDF")
    assert b"/FontFile2" in found  # TrueType, embedded


@pytest.mark.parametrize("name", ["chart.jpg", "chart"])
def test_an_unknown_suffix_is_refused_with_those_that_are_known(name, tmp_path) -> None:
    with pytest.raises(SettingsError, match=r"end in \.png, \.pdf or \.svg"):
        save([two_curves], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def linear(colour: str) -> np.ndarray:
    """The amounts of red, green and blue light."""
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def test_lines_are_seen_on_white_and_dark_and_told_apart_by_colour_blind_eyes() -> None:
    bright = {colour: float(linear(colour) @ (0.2126, 0.7152, 0.0722)) for colour in COLOURS}
    dark = float(linear("#262930") @ (0.2126, 0.7152, 0.0722))
    for luminance in bright.values():
        assert 1.05 / (luminance + 0.05) > 3
        assert (luminance + 0.05) / (dark + 0.05) > 3
    # Vienot, Brettel and Mollon (1999): what is left of red, green and blue light without one kind of cone
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    for eye in (np.eye(3), protan, deutan):
        seen = [np.clip(eye @ linear(colour), 0, 1) ** (1 / 2.2) for colour in COLOURS[:4]]
        for a, b in itertools.combinations(seen, 2):
            assert np.linalg.norm(a - b) > 0.3
    with style():
        assert rcParams["axes.prop_cycle"].by_key()["color"] == list(COLOURS)

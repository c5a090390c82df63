"""Values along a line, and histograms of signed images."""

import numpy as np
from matplotlib.figure import Figure

from heliorestore.quality.region_charts import Line, along, draw_histograms, draw_lines


def test_values_along_a_line_are_interpolated_and_end_with_the_image():
    y, x = np.mgrid[:8, :10]
    distance, values = along(2.0 * y - 3.0 * x, np.array([[1.0, 2.5], [1.0, 7.5]]))
    assert distance.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(values, 2.0 - 3.0 * (2.5 + distance))
    _, slanted = along(2.0 * y - 3.0 * x, np.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_allclose(slanted, np.linspace(0, 6 - 12, 6))
    assert np.isnan(along(np.ones((4, 4)), np.array([[1.0, 1.0], [1.0, 6.0]]))[1]).tolist() == [
        False, False, False, True, True, True,
    ]  # fmt: skip


def test_charts_keep_negative_values():
    axes = Figure().add_subplot()
    draw_lines(axes, [Line("V", np.arange(3.0), np.array([-1.0, 0.0, 2.0]))], "arcsec", "G")
    assert axes.lines[0].get_ydata().tolist() == [-1, 0, 2]
    assert axes.get_xlabel() == "distance along the line [arcsec]"
    axes = Figure().add_subplot()
    draw_histograms(axes, [("V", np.array([-1.0, -1.0, np.nan, 1.0]))], "G")
    counts = axes.lines[0].get_ydata()
    assert (counts[0], counts[-1], np.nansum(counts)) == (2, 1, 3)

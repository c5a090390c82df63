"""Values along a line through images, their histograms, and charts of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from heliorestore.quality.metrics import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 80


@dataclass(frozen=True, eq=False)
class Line:
    """Values of an image over the distance from the line's beginning, in arcsec or in pixels."""

    name: str
    distance: Array
    values: Array


def along(image: npt.NDArray[np.floating], ends: Array) -> tuple[Array, Array]:
    """Distances in pixels and linearly interpolated values between two places (2, [y, x]), a pixel apart;
    NaN outside of the image.
    """
    length = float(np.hypot(*(ends[1] - ends[0])))
    distance = np.linspace(0.0, length, max(2, round(length) + 1))
    places = ends[0][:, None] + (ends[1] - ends[0])[:, None] * distance / max(length, 1e-9)
    corner = np.clip(np.floor(places), 0, np.array(image.shape)[:, None] - 2).astype(int)
    y, x = places - corner
    (row, column), pixels = corner, np.asarray(image, np.float64)
    upper = (1 - x) * pixels[row, column] + x * pixels[row, column + 1]
    lower = (1 - x) * pixels[row + 1, column] + x * pixels[row + 1, column + 1]
    inside = (y >= 0) & (y <= 1) & (x >= 0) & (x <= 1)
    return distance, np.where(inside, (1 - y) * upper + y * lower, np.nan)


def draw_lines(axes: Axes, lines: Sequence[Line], length: str = "pixel", unit: str = "") -> None:
    """Values along a line in several images; `length` is the unit of distances."""
    from heliorestore.quality.charts import legend_above

    for each in lines:
        axes.plot(each.distance, each.values, label=each.name, linewidth=1.2)
    if any(np.nanmin(each.values, initial=0.0) < 0 for each in lines):
        axes.axhline(0.0, color=axes.xaxis.label.get_color(), linewidth=0.5, label="_zero")
    axes.set_xlabel(f"distance along the line [{length}]")
    axes.set_ylabel(f"value [{unit}]" if unit else "value", parse_math=False)
    legend_above(axes, lines=[line for line in axes.lines if not str(line.get_label()).startswith("_")])


def draw_histograms(axes: Axes, images: Sequence[tuple[str, Array]], unit: str = "") -> None:
    """The numbers of pixels by value, of several images in the same bins, on a logarithmic axis."""
    from heliorestore.quality.charts import legend_above

    values = [(name, each[np.isfinite(each)]) for name, each in images]
    values = [(name, each) for name, each in values if each.size]
    if not values:
        return
    low, high = min(each.min() for _, each in values), max(each.max() for _, each in values)
    bins = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    for name, each in values:
        counts = np.histogram(each, bins)[0].astype(float)
        middle, shown = (bins[:-1] + bins[1:]) / 2, np.where(counts > 0, counts, np.nan)
        axes.plot(middle, shown, drawstyle="steps-mid", label=name, linewidth=1.2)
    axes.set_yscale("log")
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(f"value [{unit}]" if unit else "value", parse_math=False)
    axes.set_ylabel("pixels")
    legend_above(axes)

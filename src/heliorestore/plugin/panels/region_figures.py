"""The part of the quality panel with a region and a line: statistics, profile along the line, histogram."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtWidgets import QTableWidgetItem, QWidget

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.task import End, Outcome, start_task
from heliorestore.plugin.viewer.layers import known
from heliorestore.plugin.viewer.place_marks import Place, PlaceMarks, corners_in, pixels_in
from heliorestore.plugin.widgets.chart import ChartView
from heliorestore.plugin.widgets.figure_table import figure_table
from heliorestore.plugin.widgets.sections import Section, button, note, row, say, stack
from heliorestore.quality.region_charts import Line, along, draw_histograms, draw_lines
from heliorestore.quality.report import statistics

_COLUMNS = {
    "layer": "The image layer, at the sliders' frame.",
    "pixels": "Valid pixels in the region, or in the whole image.",
    "mean": "Their mean in the unit of the image.",
    "std": "Their standard deviation.",
    "rms": "Their root mean square, which counts for images around zero.",
    "mean |·|": "The mean of their moduli, as the unsigned flux of a magnetogram.",
    "min": "The smallest value.",
    "max": "The largest value.",
}
_COLOUR = "#ffd000"  # seen on gray images and on blue and red ones
_NAMES = ("pixels", "mean", "std", "rms", "mean_modulus", "min", "max")
_ALL = "The whole image is measured: draw a region with ▭ or ⬠, or a line."


class RegionFigures(QWidget):
    """Draw a region or a line over the images, and see their figures; `changed` asks for a measurement."""

    def __init__(self, viewer: Any, layers: Callable[[], list[Any]], changed: Callable[[], None]) -> None:
        super().__init__()
        self._viewer, self._layers, self._changed = viewer, layers, changed
        self.region: Place | None = None
        self.line: Place | None = None
        self.marks = PlaceMarks(viewer, self._drawn, 1, "figures")
        self._build()

    def measure(self, images: Sequence[tuple[Any, npt.NDArray[np.float32]]]) -> None:
        """Measure the planes of these layers in a thread."""
        asked = [
            (
                str(layer.name),
                plane,
                None if self.region is None else corners_in(layer, self.region, self._viewer),
                None if self.line is None else corners_in(layer, self.line, self._viewer),
                known(layer)["instrument"].pixel_arcsec,
            )
            for layer, plane in images
        ]
        unit = known(images[0][0])["unit"] if images else ""
        start_task("Measure a region", lambda: _measured(asked, unit), self._show, listed=False)

    def put_away(self) -> None:
        """Hide the marks."""
        self.marks.put_away()

    def _draw(self, mode: str) -> None:
        layers = self._layers()
        if not layers:
            say(self.said, "⚠ There is no image to draw over: open one.")
            return
        self._keep(line=mode != "line", region=mode == "line")
        self.marks.draw(mode, layers[0], _COLOUR)

    def _keep(self, *, line: bool, region: bool) -> None:
        """Forget the line or the region, or both."""
        self.line = self.line if line else None
        self.region = self.region if region else None
        self._mark()

    def _drawn(self, place: Place) -> None:
        if len(place.corners) == 2:
            self.line = place
        else:
            self.region = place
        self._mark()
        self._changed()

    def _mark(self) -> None:
        places = [(each, _COLOUR) for each in (self.region, self.line) if each is not None]
        if layers := self._layers():
            self.marks.show(places, layers[0])

    def _clear(self) -> None:
        self._keep(line=False, region=False)
        self._changed()

    def _show(self, outcome: Outcome) -> None:
        if outcome.end is not End.FINISHED:
            return
        figures, problem, lines, histograms = outcome.value
        self._fill(figures)
        self.along.setVisible(lines is not None)
        if lines is not None:
            self.along.show_chart(lines)
        self.histogram.show_chart(histograms)
        say(self.said, f"⚠ {problem}" if problem else "" if self.region is not None else _ALL)

    def _fill(self, figures: Sequence[tuple[str, dict[str, float]]]) -> None:
        self.table.setRowCount(len(figures))
        for number, (name, found) in enumerate(figures):
            texts = (
                name,
                *(f"{found[key]:.4g}" if key != "pixels" else f"{found[key]:.0f}" for key in _NAMES),
            )
            for column, (text, tip) in enumerate(zip(texts, _COLUMNS.values(), strict=True)):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{text}: {tip}")
                self.table.setItem(number, column, item)
        if (titles := self.table.horizontalHeader()) is not None:
            rows = sum(self.table.rowHeight(number) for number in range(len(figures)))
            bar = self.table.horizontalScrollBar()
            below = 0 if bar is None else bar.sizeHint().height()
            self.table.setFixedHeight(titles.sizeHint().height() + rows + below + 2 * self.table.frameWidth())

    def _build(self) -> None:
        self.table = figure_table(_COLUMNS, "Figures of the region that is drawn, or of the whole image.")
        self.table.setCornerButtonEnabled(False)
        self.along = ChartView("Values along the line, from its beginning.", 180)
        self.along.hide()
        self.histogram = ChartView("Numbers of pixels by value, of the region or of the whole image.", 180)
        self.said = note("What is measured, or why not.")
        tools = row(
            button("▭", "Draw a rectangle, whose pixels are measured.", partial(self._draw, "rectangle")),
            button("⬠", "Draw a polygon, whose pixels are measured.", partial(self._draw, "polygon")),
            button("Line", "Draw a line, along which values are shown.", partial(self._draw, "line")),
            button("Clear", "Measure the whole image again.", self._clear),
        )
        stack(self, Section("Region and line", tools, self.table, self.along, self.histogram, self.said))


def _measured(asked: Sequence[tuple[Any, ...]], unit: str) -> tuple[Any, ...]:
    """Figures by layer, what is wrong, and the charts of the line, if there is one, and of the values."""
    figures, problem, lines, values = [], "", [], []
    for name, image, region, ends, pixel in asked:
        part = image
        if region is not None:
            rows, columns, inside = pixels_in(region, 1, image.shape)
            part = image[rows, columns] if inside is None else image[rows, columns][inside]
        try:
            figures.append((name, statistics(part)))
        except HeliorestoreError as error:
            problem = f"{name}: {error}"
            continue
        values.append((name, np.asarray(part).ravel()))
        if ends is not None:
            distance, found = along(image, ends)
            lines.append(Line(name, distance * (pixel or 1.0), found))
    length = "arcsec" if asked and all(each[-1] for each in asked) else "pixel"
    chart = partial(draw_lines, lines=lines, length=length, unit=unit) if lines else None
    return figures, problem, chart, partial(draw_histograms, images=values, unit=unit)

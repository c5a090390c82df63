"""A chart as a record, and how it is laid out; whoever has a pen can draw it: Qt on the screen, Pillow into a PNG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Anchor = Literal["left", "middle", "right"]
Points = list[tuple[float, float]]

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")
"""The colours of curves, legible on black and on white."""

_MOST_TICKS = 7
_GAP = 6.0  # px between what is drawn and what is written
_FEW_DECADES = 2.5  # on which a logarithmic axis has ticks at 2 and 5 too


@dataclass(frozen=True)
class Axis:
    """What an axis shows, with its unit; `low` and `high` are its ends, where None the data's."""

    title: str
    log: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """Points (x, y) under a name; what is not finite, or not positive on a logarithmic axis, is left out.

    `colour` numbers the palette, None is the ink of the axes.
    """

    name: str
    x: Array
    y: Array
    kind: Literal["line", "dashes", "dots", "ring"] = "line"
    colour: int | None = 0


@dataclass(frozen=True)
class Mark:
    """A vertical line at x with a word beside it."""

    x: float
    name: str
    colour: int | None = None


@dataclass(frozen=True, eq=False)
class Chart:
    """Curves and marks between two axes."""

    title: str
    x: Axis
    y: Axis
    curves: Sequence[Curve] = ()
    marks: Sequence[Mark] = ()
    empty: str = "nothing to show"


class Pen(Protocol):
    """What draws; all lengths are in pixels, y grows downwards, a colour of None is the ink."""

    text_height: float

    def text_width(self, text: str) -> float: ...
    def line(self, points: Points, colour: str | None, width: float, dashed: bool) -> None: ...
    def dots(self, points: Points, colour: str | None, radius: float, filled: bool) -> None: ...
    def text(self, x: float, y: float, text: str, anchor: Anchor, colour: str | None) -> None: ...
    def turned_text(self, x: float, y: float, text: str) -> None: ...


@dataclass(frozen=True)
class Scale:
    """One axis laid out: from values to 0..1, and its ticks with their labels."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def place(self, values: Array) -> Array:
        """Where values lie, 0 at the low end and 1 at the high one."""
        if self.log:
            return np.asarray(np.log(values / self.low) / math.log(self.high / self.low))
        return np.asarray((values - self.low) / (self.high - self.low))


def scale_of(axis: Axis, values: Iterable[Array]) -> Scale:
    """The scale of an axis over all these values."""
    found = np.concatenate([np.empty(0), *(np.asarray(each, np.float64).ravel() for each in values)])
    found = found[np.isfinite(found) & ((found > 0) | (not axis.log))]
    low = axis.low if axis.low is not None else float(found.min(initial=math.inf))
    high = axis.high if axis.high is not None else float(found.max(initial=-math.inf))
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = (0.1, 1.0) if axis.log else (0.0, 1.0)
    if axis.log:
        low, high = (low, high) if high > 1.01 * low else (low / 2, high * 2)
        return Scale(low, high, True, _log_ticks(low, high))
    margin = 0.02 * (high - low) or 0.5 * max(abs(high), 1e-3)
    low, high = (low if axis.low is not None else low - margin), (high if axis.high is not None else high + margin)
    return Scale(low, high, False, _ticks(low, high))


def tick_text(value: float, *, log: bool = False) -> str:
    """A tick as short as it can be written: 0.01, 5, 20000, 10^-7 as 1e-7."""
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.{1 if log else 6}g}" if log and value < 1 else f"{value:.6g}"


def draw(chart: Chart, pen: Pen, width: float, height: float) -> None:
    """Draw a chart into an area of width x height pixels from (0, 0)."""
    finite = [_finite(curve, chart) for curve in chart.curves]
    x_scale = scale_of(chart.x, [*(x for x, _ in finite), *(np.array([mark.x]) for mark in chart.marks)])
    y_scale = scale_of(chart.y, [y for _, y in finite])
    line = pen.text_height
    labels = [tick_text(value, log=chart.y.log) for value in y_scale.ticks]
    left = line + 2 * _GAP + max((pen.text_width(text) for text in labels), default=0.0)
    shown = [curve for curve in chart.curves if curve.name]
    rows = _legend_rows(shown, pen, width - left - _GAP)
    top = (line + _GAP if chart.title else 0.0) + len(rows) * line + _GAP
    right, bottom = width - 2 * _GAP, height - 2 * line - 2 * _GAP

    def at(x: Array, y: Array) -> Points:
        return list(zip(left + (right - left) * x_scale.place(x), bottom - (bottom - top) * y_scale.place(y), strict=True))

    if chart.title:
        pen.text((left + right) / 2, line / 2 + 2, chart.title, "middle", None)
    _draw_legend(rows, pen, left, (line + _GAP if chart.title else 2.0) + line / 2)
    pen.line([(left, top), (left, bottom), (right, bottom), (right, top), (left, top)], None, 1.0, False)
    for value, text in zip(y_scale.ticks, labels, strict=True):
        ((_, y),) = at(np.array([x_scale.low]), np.array([value]))
        pen.line([(left, y), (left + 4, y)], None, 1.0, False)
        pen.text(left - _GAP, y, text, "right", None)
    for value in x_scale.ticks:
        ((x, _),) = at(np.array([value]), np.array([y_scale.low]))
        pen.line([(x, bottom), (x, bottom - 4)], None, 1.0, False)
        pen.text(x, bottom + _GAP + line / 2, tick_text(value, log=chart.x.log), "middle", None)
    pen.text((left + right) / 2, height - line / 2 - 2, chart.x.title, "middle", None)
    pen.turned_text(line / 2 + 2, (top + bottom) / 2, chart.y.title)
    if not any(len(x) for x, _ in finite):
        pen.text((left + right) / 2, (top + bottom) / 2, chart.empty, "middle", None)
        return
    for curve, (xs, ys) in zip(chart.curves, finite, strict=True):
        inside = (abs(x_scale.place(xs) - 0.5) <= 0.5) & (abs(y_scale.place(ys) - 0.5) <= 0.5)
        points, colour = at(xs[inside], ys[inside]), _colour(curve.colour)
        if curve.kind in ("line", "dashes"):
            pen.line(points, colour, 1.6, curve.kind == "dashes")
        else:
            pen.dots(points, colour, 1.0 if curve.kind == "dots" else 5.0, curve.kind == "dots")
    for number, mark in enumerate(chart.marks):
        ((x, _),) = at(np.array([mark.x]), np.array([y_scale.low]))
        pen.line([(x, top), (x, bottom)], _colour(mark.colour), 1.0, True)
        beside: Anchor = "right" if x > (left + right) / 2 else "left"
        shift = -_GAP / 2 if beside == "right" else _GAP / 2
        pen.text(x + shift, top + (number + 0.7) * line, mark.name, beside, _colour(mark.colour))


def to_csv(chart: Chart) -> str:
    """The points of all curves as comma-separated values: curve, x, y."""
    lines = [f'"curve","{chart.x.title}","{chart.y.title}"']
    for curve in chart.curves:
        name = curve.name.replace('"', '""')
        lines += [f'"{name}",{x!r},{y!r}' for x, y in zip(curve.x.tolist(), curve.y.tolist(), strict=True)]
    return "\n".join(lines) + "\n"


# -- details ---------------------------------------------------------------------------------------------------


def _finite(curve: Curve, chart: Chart) -> tuple[Array, Array]:
    x, y = np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64)
    good = np.isfinite(x) & np.isfinite(y) & ((x > 0) | (not chart.x.log)) & ((y > 0) | (not chart.y.log))
    return x[good], y[good]


def _colour(number: int | None) -> str | None:
    return None if number is None else COLOURS[number % len(COLOURS)]


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / (_MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return tuple(n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Powers of ten, every few where there are many, with 2 and 5 times them where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / _MOST_TICKS))
    factors = (1, 2, 5) if math.log10(high / low) < _FEW_DECADES else (1,)
    found = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    return tuple(value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9))


def _legend_rows(curves: Sequence[Curve], pen: Pen, width: float) -> list[list[Curve]]:
    rows: list[list[Curve]] = []
    used = math.inf
    for curve in curves:
        needed = 24 + pen.text_width(curve.name) + 2 * _GAP
        if used + needed > width:
            rows.append([])
            used = 0.0
        rows[-1].append(curve)
        used += needed
    return rows


def _draw_legend(rows: Sequence[Sequence[Curve]], pen: Pen, left: float, y: float) -> None:
    for number, row in enumerate(rows):
        x, middle = left, y + number * pen.text_height
        for curve in row:
            colour = _colour(curve.colour)
            if curve.kind in ("line", "dashes"):
                pen.line([(x, middle), (x + 18, middle)], colour, 1.6, curve.kind == "dashes")
            else:
                pen.dots([(x + 9, middle)], colour, 3.0, curve.kind == "dots")
            pen.text(x + 22, middle, curve.name, "left", None)
            x += 24 + pen.text_width(curve.name) + 2 * _GAP

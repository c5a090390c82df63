"""The loss curve: a few lines over the iterations on logarithmic axes, in the colours of the theme."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QWidget

from heliorestore.plugin.runs.curves import KINDS, LOSS, Curves, curves_of
from heliorestore.plugin.runs.redraw_rate import single_shot
from heliorestore.plugin.runs.task import Outcome
from heliorestore.plugin.viewer.turns import in_a_turn
from heliorestore.plugin.widgets.chart import ChartPlace
from heliorestore.quality.charts import legend_above, mark_single_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

_HEIGHT = 190
_EDGE = 12  # px from the border to the inner side of an axis's title
_EVERY_MS = 250  # shortest time between two drawings
_LEFT, _RIGHT, _BOTTOM, _ROW = 58, 12, 36, 15  # px: room for labels, and the height of one row of the legend
_STRIP = 19  # px: the height of a knob's history
_FEW_DECADES = 2.0  # on which an axis has a label at 3 too
_FLAT = 0.4  # decades on which the labels of an axis are evenly spaced
_SMALL_PT = 6.5
_DIGIT = 0.022  # of the axis: the width of a small digit
_NARROW = 0.25  # of the axis: a shorter stage has no room for its name
_ROOM = 0.2  # of the range shown: kept free for the next iterations, so that not each of them moves the axes


class LossCurve(ChartPlace):
    """Losses by name over the step; NaN and values that are not positive leave a gap.

    Each kind of figure has an axis of its own. A line says where another stage begins, and dotted lines where
    a knob was turned; the history of such a knob is a strip of steps below. A click on a name in the legend
    hides its curve or shows it again.
    """

    def __init__(self) -> None:
        super().__init__(
            "The losses of every iteration, on logarithmic axes: the terms of the loss on the left; on the "
            "right what is relative to the intensity of the images. A flat curve means that nothing improves "
            "any more. Patches have another loss than the whole field: where it is shaded, the curves are "
            "scaled to meet those of the field. Dotted lines: a setting was turned; its history is below. A "
            "click on a name hides its curve.",
            _HEIGHT,
        )
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._curves = self._shown = Curves()  # of now, and those that the axes were made for
        self._hidden: set[str] = set()
        self._axes: dict[str, Axes] = {}  # by kind of figure
        self._lines: dict[str, Line2D] = {}
        self._strips: dict[str, Line2D] = {}  # of the knobs that were turned
        self._legend: Legend | None = None
        self._background: Any = None  # picture of everything but the lines
        self._wanted = False
        self._pause = single_shot(self, lambda: in_a_turn(self._update))
        self._pause.setInterval(_EVERY_MS)

    def set_history(
        self,
        history: Mapping[str, npt.NDArray[np.float64]],
        losses: Collection[str],
        knobs: Collection[str] = (),
        stages: Sequence[tuple[str, int]] = (),
    ) -> None:
        """Show the named columns of a snapshot's history over its `step` column, and where knobs moved."""
        self._curves = curves_of(history, losses, knobs, stages)
        self._wanted = True
        if not self._pause.isActive():  # drawn later: this turn has put pixels into layers
            self._pause.start()

    def cover(self, widget: QWidget) -> None:
        """Show a widget in this place as long as the widget is not hidden; below it is what is left."""
        self._column.insertWidget(0, widget, 0, Qt.AlignmentFlag.AlignTop)

    def clear(self) -> None:
        """Forget the curves."""
        self.set_history({}, ())

    def compose(self, figure: Figure) -> None:
        """Axes with room for the next iterations; the lines are drawn over the picture of everything else.

        Without a curve nothing is drawn.
        """
        self._axes, self._lines, self._strips, self._legend = {}, {}, {}, None
        self._shown = self._curves
        if not self._curves.losses:
            return
        from matplotlib import rcParams

        main = figure.add_subplot()
        kinds = sorted(dict.fromkeys(map(_kind, self._curves.losses)), key=lambda kind: kind != LOSS)
        self._axes = {kind: main if kind == kinds[0] else main.twinx() for kind in kinds}
        colours = rcParams["axes.prop_cycle"].by_key()["color"]
        for number, (name, values) in enumerate(self._curves.losses.items()):
            # Animated lines are left out when matplotlib draws the rest.
            (self._lines[name],) = self._axes[_kind(name)].plot(
                self._curves.steps, values, "-" if _kind(name) == kinds[0] else "--",
                label=name.replace("_", " "), color=colours[number % len(colours)], linewidth=1.2,
                animated=True,
            )  # fmt: skip
        rows = legend_above(main, lines=list(self._lines.values()))
        self._legend = main.get_legend()
        self._fade_hidden()
        width, height = figure.canvas.get_width_height()
        right = _LEFT if len(kinds) > 1 else _RIGHT
        bottom = _BOTTOM + _STRIP * len(self._curves.knobs)
        top = height - _ROW * rows - _RIGHT / 2
        left, across = _LEFT / width, 1 - (_LEFT + right) / width
        for kind, axes in self._axes.items():
            axes.set_position((left, bottom / height, across, (top - bottom) / height))
            self._scale(axes, kind)
            # At the border, however wide the labels are, which differs from iteration to iteration.
            place = _EDGE / width if axes is main else 1 - _EDGE / width
            axes.yaxis.set_label_coords(place, (bottom + top) / 2 / height, figure.transFigure)
        low = main
        for number, name in enumerate(self._curves.knobs):
            low.tick_params(labelbottom=False)
            low = figure.add_axes((left, (bottom - _STRIP * (number + 1)) / height, across, _STRIP / height))
            self._strip(low, name, main.get_xlim())
        low.set_xlabel("iteration", labelpad=1)
        self._mark(main)

    def _scale(self, axes: Axes, kind: str) -> None:
        from matplotlib.ticker import LogLocator, MaxNLocator

        first, last, low, high = self._reach(kind)
        # a flat curve is shown in the middle; otherwise its noise would fill the axes
        decades = max(math.log10(high / low), 0.02)
        axes.set(xlim=(first, min(last + _room(last - first), self._curves.end)), yscale="log")
        above = _ROOM / (2 if self._curves.begins else 4)  # the stages are named there
        axes.set_ylim(low / 10 ** (_ROOM / 2 * decades), high * 10 ** (above * decades))
        axes.set_ylabel(kind)
        axes.locator_params(axis="x", nbins=5, integer=True)
        parts = (1, 2, 5) if decades < 1 else (1, 3) if decades < _FEW_DECADES else (1,)
        even = decades < _FLAT
        axes.yaxis.set_major_locator(MaxNLocator(4) if even else LogLocator(subs=parts, numticks=5))
        axes.yaxis.set_major_formatter(lambda value, _: _short(value))
        axes.minorticks_off()

    def _strip(self, axes: Axes, name: str, limits: tuple[float, float]) -> None:
        """The history of a knob, a step at each change, with its values."""
        values = self._curves.knobs[name]
        known = values[np.isfinite(values)]
        low, high = known.min(), known.max()
        log = low > 0 and high > 3 * low
        axes.set(xlim=limits, yscale="log" if log else "linear")
        room = (high / low) ** 0.3 if log else 0.3 * (high - low)
        axes.set_ylim((low / room, high * room) if log else (low - room, high + room))
        axes.locator_params(axis="x", nbins=5, integer=True)
        axes.set_yticks([])
        axes.minorticks_off()
        (self._strips[name],) = axes.plot(
            self._curves.steps, values, color=axes.xaxis.label.get_color(), linewidth=1.0,
            drawstyle="steps-post", animated=True,
        )  # fmt: skip
        axes.set_ylabel(
            name.replace("_", "\n", 1).replace("_", " "), rotation=0, ha="right", va="center",
            fontsize=_SMALL_PT, labelpad=3, linespacing=0.9,
        )  # fmt: skip
        changes = [(step, value) for step, knob, value in self._curves.turned if knob == name]
        free = limits[1]  # up to the next value
        for step, value in reversed([(float(self._curves.steps[0]), float(known[0])), *changes]):
            text = f"{value:g}"
            width = (limits[1] - limits[0]) * _DIGIT * len(text)
            if step + width > free:
                continue
            free = step
            above = axes.transLimits.transform(axes.transScale.transform((step, value)))[1] < 0.5
            axes.annotate(
                text, (step, float(above)), (2, -1 if above else 1), fontsize=_SMALL_PT,
                xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                va="top" if above else "bottom",
            )  # fmt: skip

    def _mark(self, axes: Axes) -> None:
        """Where another stage begins, with its name, and where knobs were turned."""
        ink = axes.xaxis.label.get_color()
        for step in {step for step, *_ in self._curves.turned}:
            axes.axvline(step, color=ink, linestyle=":", linewidth=0.8)
        begins = self._curves.begins
        (left, right), middle = axes.get_xlim(), [step - 0.5 for step, _ in begins[1:]]
        for number, (step, name) in enumerate(begins):
            end = [*middle, right][number]
            if number:
                axes.axvline(step - 0.5, color=ink, linewidth=1.2)
            if end < right:
                axes.axvspan(left, end, color=ink, alpha=0.1, linewidth=0)
            if end - max(step, left) > _NARROW * (right - left):
                axes.annotate(
                    name, (end if end < right else step, 1.0), (-3 if end < right else 3, -2),
                    fontsize=_SMALL_PT, xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                    ha="right" if end < right else "left", va="top", parse_math=False,
                    bbox={"facecolor": axes.get_facecolor(), "edgecolor": "none", "pad": 0.5}
                    if end == right else None,
                )  # fmt: skip

    def _pressed(self, event: Any) -> None:
        """A click on a name hides its curve, or shows it again."""
        if self._legend is None:
            return
        for name, text in zip(self._lines, self._legend.get_texts(), strict=True):
            box = text.get_window_extent()
            # the sample of the line, left of the name, belongs to it
            if box.x0 - 25 <= event.x <= box.x1 and box.y0 - 2 <= event.y <= box.y1 + 2:
                self._hidden ^= {name}
                self.redraw()

    def _fade_hidden(self) -> None:
        if self._legend is None:
            return
        for line, text in zip(self._lines.values(), self._legend.get_texts(), strict=True):
            line.set_visible(line.get_label() not in self._hidden)
            text.set_alpha(1.0 if line.get_visible() else 0.4)

    def _loaded(self, outcome: Outcome) -> None:
        super()._loaded(outcome)
        if self.canvas is not None:
            self.canvas.mpl_connect("draw_event", self._drawn)
            self.canvas.mpl_connect("button_press_event", self._pressed)

    def _drawn(self, _: Any) -> None:
        if self.canvas is not None:
            self._background = self.canvas.copy_from_bbox(self.canvas.figure.bbox)
            self._draw_lines()
            self._wanted = self._shown is not self._curves  # there are later ones
            if self._wanted and not self._pause.isActive():
                self._pause.start()

    def _update(self) -> None:
        """Draw only the lines if they still fit the axes, else everything."""
        canvas = self.canvas
        if not self._wanted or (canvas is not None and canvas.drawing):
            return
        if canvas is not None and not canvas.stale and not self._fits() and canvas.seen:
            canvas.draw_in_turns()
            return
        self._wanted = False
        if canvas is None or canvas.stale or not self._fits():
            self.redraw()
            return
        # Blitting: the lines are drawn over a stored picture of the axes, which are slow to draw.
        self._shown = self._curves
        canvas.restore_region(self._background)
        self._draw_lines()
        canvas.update()

    def _draw_lines(self) -> None:
        for lines, values in ((self._strips, self._shown.knobs), (self._lines, self._shown.losses)):
            for name, line in lines.items():
                line.set_data(self._shown.steps, values[name])
                mark_single_points(line)
                if line.axes is not None:
                    line.axes.draw_artist(line)

    def _fits(self) -> bool:
        """Whether the axes show these curves and hold all their values without being much too wide."""
        shown, now = self._shown, self._curves
        if list(self._lines) != list(now.losses) or shown.turned != now.turned or shown.begins != now.begins:
            return False
        return all(self._holds(axes, kind) for kind, axes in self._axes.items())

    def _holds(self, axes: Axes, kind: str) -> bool:
        first, last, low, high = self._reach(kind)
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        return (
            first == left
            and last <= right <= last + 2 * _room(last - first)
            and bottom <= low
            and high <= top
        )

    def _reach(self, kind: str) -> tuple[float, float, float, float]:
        """First and last step, lowest and highest value of the curves of a kind."""
        ours = {name: values for name, values in self._curves.losses.items() if _kind(name) == kind}
        seen = [values for name, values in ours.items() if name not in self._hidden] or list(ours.values())
        values = np.stack(seen)
        known = values[np.isfinite(values)]
        low, high = (known.min(), known.max()) if known.size else (1.0, 1.0)
        return float(self._curves.steps[0]), float(self._curves.steps[-1]), float(low), float(high)


def _kind(name: str) -> str:
    return KINDS.get(name, LOSS)


def _short(value: float) -> str:
    """A number at an axis: 0.01, but 1e5."""
    return f"{value:g}" if 1e-3 <= value < 1e4 else f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")


def _room(iterations: float) -> float:
    return max(_ROOM * iterations, 5)

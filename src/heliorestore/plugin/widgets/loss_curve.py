"""The loss curve: a few lines over the iterations on a logarithmic axis, in the colours of the theme."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtWidgets import QSizePolicy

from heliorestore.plugin.runs.redraw_rate import single_shot
from heliorestore.plugin.runs.task import Outcome
from heliorestore.plugin.widgets.chart import ChartPlace
from heliorestore.quality.charts import legend_above, mark_single_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

_POINTS = 400  # as many as a panel has pixels
_EVERY_MS = 250  # shortest time between two drawings
_LEFT, _RIGHT, _BOTTOM, _ROW = 56, 12, 38, 15  # px: room for labels, and the height of one row of the legend
_FEW_DECADES = 2.0  # on which an axis has a label at 3 too
_PAUSE = 2  # iterations without a change after which a slider has arrived
_MARKS = 6  # turned knobs that are shown
_RELATIVE = ("residual", "fitted noise", "noise", "held out", "spread")  # to the mean of the images
_ROOM = 0.2  # of the range shown: kept free for the next iterations, so that not each of them moves the axes


class LossCurve(ChartPlace):
    """Losses by name over the step; NaN and values that are not positive leave a gap.

    What is relative to the images has an axis of its own on the right. Dotted lines say where a knob was
    turned, and to what. A click on a name in the legend hides its curve or shows it again.
    """

    def __init__(self) -> None:
        super().__init__(
            "The losses of every iteration, on logarithmic axes: the terms of the loss on the left, what is "
            "relative to the mean intensity on the right. A flat curve means that nothing improves any more. "
            "Dotted lines: a setting was turned. A click on a name hides its curve.",
            190,
        )
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._steps: npt.NDArray[np.float64] = np.empty(0)
        self._curves: dict[str, npt.NDArray[np.float64]] = {}
        self._turned: tuple[tuple[float, str], ...] = ()  # step, and which knob to what
        self._drawn_turned: tuple[tuple[float, str], ...] = ()
        self._hidden: set[str] = set()
        self._axes: dict[bool, Axes] = {}  # those of what is relative, and of the rest
        self._lines: dict[str, Line2D] = {}
        self._legend: Legend | None = None
        self._background: Any = None  # picture of everything but the lines
        self._wanted = False
        self._pause = single_shot(self, self._update)
        self._pause.setInterval(_EVERY_MS)

    def set_history(
        self,
        history: Mapping[str, npt.NDArray[np.float64]],
        losses: Collection[str],
        knobs: Collection[str] = (),
    ) -> None:
        """Show the named columns of a snapshot's history over its `step` column, and where knobs moved."""
        steps = history.get("step", np.empty(0))
        known = {name: history[name] for name in losses if name in history}
        # A method may begin with another loss: only steps with all losses are shown together.
        whole = (
            np.flatnonzero(np.isfinite(np.stack(list(known.values()))).all(0)) if known else np.empty(0, int)
        )
        first = int(whole[0]) if whole.size > 1 else 0  # a single step, as at the end of a fit, is no curve
        shown = slice(first, None, max(1, (len(steps) - first) // _POINTS))
        self._steps = steps[shown]
        positive = {
            name: np.where(values[shown] > 0, values[shown], np.nan) for name, values in known.items()
        }
        self._curves = positive if any(np.isfinite(values).any() for values in positive.values()) else {}
        self._turned = turned(history, knobs, steps[first] if len(steps) else 0.0)
        self._wanted = True
        if not self._pause.isActive():  # drawn later: this turn has put pixels into layers
            self._pause.start()

    def clear(self) -> None:
        """Forget the curves."""
        self.set_history({}, ())

    def compose(self, figure: Figure) -> None:
        """Axes with room for the next iterations; the lines are drawn over the picture of everything else.

        Without a curve nothing is drawn.
        """
        self._axes, self._lines, self._legend = {}, {}, None
        self._drawn_turned = self._turned
        if not self._curves:
            return
        from matplotlib import rcParams

        main = figure.add_subplot()
        kinds = sorted({name in _RELATIVE for name in self._curves})
        self._axes = {kind: main if kind == kinds[0] else main.twinx() for kind in kinds}
        colours = rcParams["axes.prop_cycle"].by_key()["color"]
        for number, (name, values) in enumerate(self._curves.items()):
            # Animated lines are left out when matplotlib draws the rest.
            (self._lines[name],) = self._axes[name in _RELATIVE].plot(
                self._steps, values, "--" if name in _RELATIVE and len(kinds) > 1 else "-", label=name,
                color=colours[number % len(colours)], linewidth=1.2, animated=True,
            )  # fmt: skip
        rows = legend_above(main, lines=list(self._lines.values()))
        self._legend = main.get_legend()
        self._fade_hidden()
        width, height = figure.canvas.get_width_height()
        top, right = _ROW * rows + _RIGHT / 2, _LEFT if len(kinds) > 1 else _RIGHT
        for kind, axes in self._axes.items():
            axes.set_position(
                (_LEFT / width, _BOTTOM / height, 1 - (_LEFT + right) / width, 1 - (_BOTTOM + top) / height)
            )
            self._scale(axes, kind)
        main.set_xlabel("iteration")
        self._mark_turned(main)

    def _scale(self, axes: Axes, relative: bool) -> None:
        from matplotlib.ticker import LogLocator

        first, last, low, high = self._reach(relative)
        # a flat curve is shown in the middle; otherwise its noise would fill the axes
        decades = max(math.log10(high / low), 0.02)
        axes.set(xlim=(first, last + _room(last - first)), yscale="log")
        axes.set_ylim(low / 10 ** (_ROOM / 2 * decades), high * 10 ** (_ROOM / 4 * decades))
        axes.set_ylabel("relative" if relative else "loss", labelpad=1)
        axes.locator_params(axis="x", nbins=5, integer=True)
        parts = (1, 2, 5) if decades < 1 else (1, 3) if decades < _FEW_DECADES else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=parts, numticks=5))
        axes.yaxis.set_major_formatter(lambda value, _: _short(value))
        axes.minorticks_off()

    def _mark_turned(self, axes: Axes) -> None:
        left, right = axes.get_xlim()
        for number, (step, text) in enumerate(self._drawn_turned):
            axes.axvline(step, color=axes.xaxis.label.get_color(), linestyle=":", linewidth=0.8)
            before = step > (left + right) / 2
            axes.annotate(
                text, (step, 1.0), (-2 if before else 2, -2 - 9 * (number % 3)), fontsize="small",
                xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                ha="right" if before else "left", va="top", parse_math=False,
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

    def _update(self) -> None:
        """Draw only the lines if they still fit the axes, else everything."""
        if not self._wanted:
            return
        self._wanted = False
        if self.canvas is None or self.canvas.stale or not self._fits():
            self.redraw()
            return
        # Blitting: the lines are drawn over a stored picture of the axes, which are slow to draw.
        self.canvas.restore_region(self._background)
        self._draw_lines()
        self.canvas.update()

    def _draw_lines(self) -> None:
        for name, line in self._lines.items():
            line.set_data(self._steps, self._curves[name])
            mark_single_points(line)
            self._axes[name in _RELATIVE].draw_artist(line)

    def _fits(self) -> bool:
        """Whether the axes show these curves and hold all their values without being much too wide."""
        if list(self._lines) != list(self._curves) or self._drawn_turned != self._turned:
            return False
        return all(self._holds(axes, kind) for kind, axes in self._axes.items())

    def _holds(self, axes: Axes, relative: bool) -> bool:
        first, last, low, high = self._reach(relative)
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        return (
            first == left
            and last <= right <= last + 2 * _room(last - first)
            and bottom <= low
            and high <= top
        )

    def _reach(self, relative: bool) -> tuple[float, float, float, float]:
        """First and last step, lowest and highest value of the curves of a kind."""
        ours = {name: values for name, values in self._curves.items() if (name in _RELATIVE) == relative}
        seen = [values for name, values in ours.items() if name not in self._hidden] or list(ours.values())
        values = np.stack(seen)
        known = values[np.isfinite(values)]
        low, high = (known.min(), known.max()) if known.size else (1.0, 1.0)
        return float(self._steps[0]), float(self._steps[-1]), float(low), float(high)


def turned(
    history: Mapping[str, npt.NDArray[np.float64]], knobs: Collection[str], first: float
) -> tuple[tuple[float, str], ...]:
    """The last steps at which a knob got another value, and which to what; of a slider's way only its end."""
    steps, found = history.get("step", np.empty(0)), list[tuple[float, str]]()
    for name in knobs:
        values = history.get(name, np.empty(0))
        places = 1 + np.flatnonzero(np.diff(np.nan_to_num(values)) * np.isfinite(np.diff(values)))
        ends = places[np.diff(places, append=len(steps) + 2 * _PAUSE) > _PAUSE]
        found += [(float(steps[p]), f"{name.replace('_', ' ')} {values[p]:g}") for p in ends]
    return tuple(sorted(each for each in found if each[0] >= first)[-_MARKS:])


def _short(value: float) -> str:
    """A number at an axis: 0.01, but 1e5."""
    return f"{value:g}" if 1e-3 <= value < 1e4 else f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")


def _room(iterations: float) -> float:
    return max(_ROOM * iterations, 5)

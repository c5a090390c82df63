"""The loss curve: a few lines over the iterations on a logarithmic axis, in the colours of the theme."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtWidgets import QSizePolicy

from heliorestore.plugin.runs.redraw_rate import single_shot
from heliorestore.plugin.runs.task import Outcome
from heliorestore.plugin.widgets.chart import ChartPlace
from heliorestore.quality.charts import label_decades, legend_above, mark_single_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 400  # as many as a panel has pixels
_EVERY_MS = 250  # shortest time between two drawings
_LEFT, _RIGHT, _BOTTOM, _ROW = 48, 12, 38, 15  # px: room for labels, and the height of one row of the legend
_ROOM = 0.2  # of the range shown: kept free for the next iterations, so that not each of them moves the axes


class LossCurve(ChartPlace):
    """Losses by name over the step; NaN and values that are not positive leave a gap."""

    def __init__(self) -> None:
        super().__init__(
            "The losses of every iteration, on a logarithmic axis. A flat curve means that nothing "
            "improves any more.",
            165,
        )
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._steps: npt.NDArray[np.float64] = np.empty(0)
        self._curves: dict[str, npt.NDArray[np.float64]] = {}
        self._axes: Axes | None = None
        self._background: Any = None  # picture of everything but the lines
        self._wanted = False
        self._pause = single_shot(self, self._update)
        self._pause.setInterval(_EVERY_MS)

    def set_history(self, history: Mapping[str, npt.NDArray[np.float64]], losses: tuple[str, ...]) -> None:
        """Show the named columns of a snapshot's history over its `step` column."""
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
        self._wanted = True
        if not self._pause.isActive():  # drawn later: this turn has put pixels into layers
            self._pause.start()

    def clear(self) -> None:
        """Forget the curves."""
        self.set_history({}, ())

    def compose(self, figure: Figure) -> None:
        """Axes with room for the next iterations; the lines are drawn over the picture of everything else."""
        self._axes = axes = figure.add_subplot()
        for name, values in self._curves.items():
            # Animated lines are left out when matplotlib draws the rest.
            axes.plot(self._steps, values, label=name, linewidth=1.2, animated=True)
        rows = legend_above(axes) if self._curves else 0
        width, height = figure.canvas.get_width_height()
        top = _ROW * rows + _RIGHT / 2
        axes.set_position(
            (_LEFT / width, _BOTTOM / height, 1 - (_LEFT + _RIGHT) / width, 1 - (_BOTTOM + top) / height)
        )
        if not self._curves:
            axes.text(0.5, 0.5, "loss", transform=axes.transAxes, ha="center", va="center")
            axes.set(xticks=[], yticks=[])
            return
        first, last, low, high = self._reach()
        # a flat curve is shown in the middle; otherwise its noise would fill the axes
        decades = max(math.log10(high / low), 0.02)
        axes.set(xlim=(first, last + _room(last - first)), xlabel="iteration", yscale="log")
        axes.set_ylim(low / 10 ** (_ROOM / 2 * decades), high * 10 ** (_ROOM / 4 * decades))
        axes.locator_params(axis="x", nbins=5, integer=True)
        label_decades(axes.yaxis)
        axes.minorticks_off()

    def _loaded(self, outcome: Outcome) -> None:
        super()._loaded(outcome)
        if self.canvas is not None:
            self.canvas.mpl_connect("draw_event", self._drawn)

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
        assert self._axes is not None
        for line, values in zip(self._axes.lines, self._curves.values(), strict=True):
            line.set_data(self._steps, values)
            mark_single_points(line)
            self._axes.draw_artist(line)

    def _fits(self) -> bool:
        """Whether the axes show these curves and hold all their values without being much too wide."""
        if self._axes is None or [line.get_label() for line in self._axes.lines] != list(self._curves):
            return False
        if not self._curves:
            return True
        first, last, low, high = self._reach()
        (left, right), (bottom, top) = self._axes.get_xlim(), self._axes.get_ylim()
        return (
            first == left
            and last <= right <= last + 2 * _room(last - first)
            and bottom <= low
            and high <= top
        )

    def _reach(self) -> tuple[float, float, float, float]:
        """First and last step, lowest and highest value."""
        values = np.stack(list(self._curves.values()))
        return (
            float(self._steps[0]),
            float(self._steps[-1]),
            float(np.nanmin(values)),
            float(np.nanmax(values)),
        )


def _room(iterations: float) -> float:
    return max(_ROOM * iterations, 5)

"""Two image layers in turns, with a divider, as difference, side by side; off restores everything."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any
from weakref import WeakValueDictionary

from qtpy.QtCore import QObject, QTimer, Signal
from superqt.utils import qthrottled

from heliorestore.errors import BurstError
from heliorestore.plugin.viewer.before_after import Split
from heliorestore.plugin.viewer.contrast import DIVERGING, symmetric_cuts
from heliorestore.plugin.viewer.cube_looks import limits_when
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.help_layer import HelpLayer
from heliorestore.plugin.viewer.layers import PARAMETER, Placement
from heliorestore.plugin.viewer.shown_plane import is_help, is_image, shown_plane
from heliorestore.plugin.viewer.titles import Titles
from heliorestore.quality.metrics import on_equal_pixels

_REDRAW_MS = 200  # shortest time between two computations of a difference


class How(Enum):
    """The ways to compare two layers; the value is the menu entry."""

    BLINK = "blink"
    SPLIT = "split"
    DIFFERENCE = "difference"
    SIDE = "side by side"


@dataclass(frozen=True)
class _Before:
    """The viewer before the comparison: visibility, contrast limits with their ranges, the grid."""

    visible: list[tuple[Any, bool]]
    limits: list[tuple[Any, tuple[float, float], tuple[float, float]]]
    parameters: list[str]  # of those layers that are cubes, empty of others
    grid: tuple[bool, tuple[int, int], int]


class Comparison(QObject):
    """Compares two image layers of a viewer; camera, sliders and selection do not change.

    There is one per viewer, `comparison_of`, for all panels: `how` and `pair` describe the current
    comparison.
    """

    # the comparison has changed or ended; with the reason if it is not obvious
    changed = Signal(str)
    split_moved = Signal(float)  # the divider was dragged

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.how: How | None = None
        self.pair: tuple[Any, Any] | None = None
        self.split = Split(viewer, self.split_moved.emit)
        self._viewer = viewer
        self._titles = Titles(viewer)
        self._before: _Before | None = None
        self._alike: list[Any] = []  # layers that share their contrast limits
        self._difference = HelpLayer(viewer, "difference")
        self._blinker, self._tidy_soon = QTimer(self), QTimer(self)
        self._blinker.timeout.connect(self._blink)
        self._tidy_soon.setSingleShot(True)
        self._tidy_soon.timeout.connect(self._tidy)
        self._redraw = qthrottled(self._subtract, timeout=_REDRAW_MS)
        viewer.layers.events.removed.connect(self._layer_removed)

    def start(
        self,
        how: How,
        first: Any,
        second: Any,
        *,
        rate_hz: float = 2.0,
        part: float = 0.5,
        linked: bool = True,
    ) -> None:
        """Compare two layers and end an earlier comparison; a BurstError where they cannot be compared."""
        self._undo()
        try:
            self._check(how, first, second)
        except BurstError:
            self.changed.emit("")
            raise
        grid = self._viewer.canvas.grid
        layers = list(self._viewer.layers)
        self._before = _Before(
            [(layer, layer.visible) for layer in layers if not is_help(layer)],
            [
                (layer, tuple(layer.contrast_limits), tuple(layer.contrast_limits_range))
                for layer in layers
                if is_image(layer)
            ],
            [str(layer.metadata.get(PARAMETER, "")) for layer in layers if is_image(layer)],
            (grid.enabled, tuple(grid.shape), grid.stride),
        )
        self.how, self.pair = how, (first, second)
        for layer in layers:
            layer.visible = layer in (first, second)
        {
            How.BLINK: self._begin_blink,
            How.SPLIT: self._begin_split,
            How.DIFFERENCE: self._subtract,
            How.SIDE: self._side_by_side,
        }[how]()
        self.set_linked(linked)
        self.set_rate(rate_hz)
        if how is How.SPLIT:
            self.split.move(part)
        if how is How.DIFFERENCE:
            for event in self._changes(self.pair):
                event.connect(self._redraw)
        self._name()
        self.changed.emit("")

    def set_rate(self, rate_hz: float) -> None:
        """Set the rate of the blinking."""
        self._blinker.setInterval(max(1, round(1000 / rate_hz)))

    def set_linked(self, linked: bool) -> None:
        """Show both with the first one's contrast limits, or each with its own; the comparison goes on."""
        if self.pair is None or self._before is None or self.how is How.DIFFERENCE:
            return
        self._unlink()
        if linked:
            self._link(*self.pair)
            return
        for layer, limits, _ in self._before.limits:
            if layer == self.pair[1]:
                layer.contrast_limits = limits

    def stop(self, why: str = "") -> None:
        """Undo: restore visibility, contrast and grid."""
        if self.how is not None:
            self._undo()
            self.changed.emit(why)

    def looks_before(self, layer: Any) -> dict[str, Any]:
        """How a layer looked before the comparison, as far as that has changed it."""
        found: dict[str, Any] = {}
        for each, visible in () if self._before is None else self._before.visible:
            if each == layer:
                found["visible"] = visible
        for each, limits, reach in () if self._before is None else self._before.limits:
            if each == layer:
                found |= {"contrast_limits": list(limits), "contrast_limits_range": list(reach)}
        return found

    def _check(self, how: How, first: Any, second: Any) -> None:
        if first == second:
            raise BurstError("Both layers are the same one: choose two to compare.")
        for layer in (first, second):
            if layer not in self._viewer.layers or not is_image(layer):
                raise BurstError(f"{layer.name} cannot be compared: choose two image layers of the viewer.")
        if how is How.DIFFERENCE:
            # raises if they do not fit
            on_equal_pixels(*(shown_plane(self._viewer, layer) for layer in (first, second)))

    def _undo(self) -> None:
        before, pair = self._before, self.pair
        if before is None or pair is None:
            return
        self._blinker.stop()
        self._titles.show()
        self._before = self.pair = self.how = None
        for event in self._changes(pair):
            event.disconnect(self._redraw)
        self._unlink()
        self.split.drop()
        self._difference.put_away()
        for (layer, limits, reach), parameter in zip(before.limits, before.parameters, strict=True):
            limits_when(layer, parameter, limits, reach)
        for layer, visible in before.visible:
            if layer in self._viewer.layers:
                layer.visible = visible
        grid = self._viewer.canvas.grid
        grid.enabled, grid.shape, grid.stride = before.grid

    def _link(self, first: Any, second: Any) -> None:
        """Give all the first one's contrast limits; napari's own links stay free for the user."""
        self._alike = [layer for layer in (first, second, self.split.layer) if layer is not None]
        for layer in self._alike:
            layer.contrast_limits = first.contrast_limits
            layer.events.contrast_limits.connect(self._same_limits)

    def _unlink(self) -> None:
        for layer in self._alike:
            layer.events.contrast_limits.disconnect(self._same_limits)
        self._alike = []

    def _same_limits(self, event: Any) -> None:
        limits = tuple(event.source.contrast_limits)
        for layer in self._alike:
            if tuple(layer.contrast_limits) != limits:
                layer.contrast_limits = limits

    # -- the ways to compare

    def _begin_blink(self) -> None:
        self._blink()
        self._blinker.start()

    def _blink(self) -> None:
        if self.pair is not None:
            first, second = self.pair
            second.visible = bool(first.visible)
            first.visible = not first.visible
            self._name()

    def _begin_split(self) -> None:
        assert self.pair is not None
        first, second = self.pair
        self.split.take(first)
        first.visible = False  # its left part is on top of all layers
        second.visible = True

    def _side_by_side(self) -> None:
        assert self.pair is not None
        at = [self._viewer.layers.index(layer) for layer in self.pair]
        grid = self._viewer.canvas.grid
        # napari gives every visible layer a cell, the lowest first; with a negative stride the topmost first.
        grid.shape, grid.stride, grid.enabled = (1, 2), -1 if at[0] > at[1] else 1, True

    def _subtract(self, event: Any = None) -> None:
        """Show the first layer minus the second, on the pixels of the coarser one."""
        if self.pair is None:
            return
        first, second = self.pair
        planes = [shown_plane(self._viewer, layer) for layer in self.pair]
        try:
            a, b = on_equal_pixels(*planes)
        except BurstError as error:
            self.stop(explain(error))
            return
        difference = (a - b).astype("float32")
        if self._difference.layer is not None:
            self._difference.layer.data = difference
            return
        coarser = second if planes[1].size <= planes[0].size else first
        place = Placement.of_layer(coarser).of_grid(difference.shape, difference.shape)
        first.visible = second.visible = False
        self._difference.show(
            difference,
            place
            | {
                "name": f"{first.name} − {second.name}",
                "colormap": DIVERGING,
                "contrast_limits": symmetric_cuts(difference),
                "axis_labels": ("y", "x"),
            },
        )

    def _name(self) -> None:
        """Say on the canvas which layer is where."""
        assert self.pair is not None
        first, second = self.pair
        if self.how is How.BLINK:
            self._titles.show((first if first.visible else second).name)
        elif self.how is How.DIFFERENCE:
            self._titles.show(f"{first.name} − {second.name}")
        else:
            self._titles.show(first.name, second.name)

    # -- changes during a comparison

    def _changes(self, pair: tuple[Any, Any]) -> list[Any]:
        """The events that change a difference."""
        return [self._viewer.dims.events.current_step, *(layer.events.data for layer in pair)]

    def _layer_removed(self, event: Any) -> None:
        if self.pair is not None and any(layer not in self._viewer.layers for layer in self.pair):
            self.stop()
        self._tidy_soon.start(0)  # the list may be in the middle of removing more

    def _tidy(self) -> None:
        """If only tool layers are left, the user has emptied the viewer."""
        if self._viewer.layers and all(is_help(layer) for layer in self._viewer.layers):
            self._viewer.layers.clear()


# alive as long as a panel holds them
_COMPARISONS: WeakValueDictionary[int, Comparison] = WeakValueDictionary()


def comparison_of(viewer: Any) -> Comparison:
    """The one comparison of a viewer, so that every panel knows what is compared."""
    number = id(getattr(viewer, "__wrapped__", viewer))  # napari gives each panel its own proxy
    found = _COMPARISONS.get(number)
    if found is None:
        found = _COMPARISONS[number] = Comparison(viewer)
    return found

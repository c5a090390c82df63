"""Two image layers compared: in turns, with a divider, as their difference, or side by side; undone, all is as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from qtpy.QtCore import QTimer
from superqt.utils import qthrottled

from heliorestore.errors import BurstError
from heliorestore.plugin.insertion import insert_quietly
from heliorestore.plugin.layers import Placement, symmetric_cuts
from heliorestore.plugin.planes import is_image, shown_plane
from heliorestore.plugin.split import Split
from heliorestore.quality import on_equal_pixels

_LINKED = ("contrast_limits",)
_REDRAW_MS = 200  # at most so often a difference is computed


class How(Enum):
    """How two layers are compared; the value is what the menu shows."""

    BLINK = "blink"
    SPLIT = "split"
    DIFFERENCE = "difference"
    SIDE = "side by side"


@dataclass(frozen=True)
class _Before:
    """What the viewer showed before: what was visible, the limits of both layers, and the grid."""

    visible: list[tuple[Any, bool]]
    limits: list[tuple[Any, tuple[float, float], tuple[float, float]]]
    grid: tuple[bool, tuple[int, int], int]


class Comparison:
    """Compares two image layers of a viewer; camera, sliders and selection are left alone. `ended` is called when it is over."""

    def __init__(self, viewer: Any, ended: Callable[[], None] | None = None, split_moved: Callable[[float], None] | None = None) -> None:
        self._viewer = viewer
        self._ended = ended
        self._before: _Before | None = None
        self._pair: tuple[Any, Any] | None = None
        self._linked = False
        self._difference: Any = None
        self.split = Split(viewer, split_moved)
        self._blinker = QTimer()
        self._blinker.timeout.connect(self._blink)
        self._redraw = qthrottled(self._subtract, timeout=_REDRAW_MS)
        viewer.layers.events.removed.connect(self._layer_removed)

    @property
    def active(self) -> bool:
        return self._before is not None

    def start(self, how: How, first: Any, second: Any, *, rate_hz: float = 2.0, part: float = 0.5, linked: bool = True) -> None:
        """Compare two layers; what was compared before is undone first. What cannot be compared is a BurstError."""
        self.stop()
        if first == second:
            raise BurstError("Both layers are the same one: choose two to compare.")
        for layer in (first, second):
            if layer not in self._viewer.layers or not is_image(layer):
                raise BurstError(f"{layer.name} cannot be compared: choose two image layers of the viewer.")
        if how is How.DIFFERENCE:
            on_equal_pixels(*(shown_plane(self._viewer, layer) for layer in (first, second)))  # says what does not fit
        grid = self._viewer.canvas.grid
        self._pair = first, second
        self._before = _Before(
            [(layer, layer.visible) for layer in self._viewer.layers],
            [(layer, tuple(layer.contrast_limits), tuple(layer.contrast_limits_range)) for layer in (first, second)],
            (grid.enabled, tuple(grid.shape), grid.stride),
        )
        if linked and how is not How.DIFFERENCE:
            second.contrast_limits = first.contrast_limits
            self._viewer.layers.link_layers([first, second], _LINKED)
            self._linked = True
        for layer in list(self._viewer.layers):
            layer.visible = layer in (first, second)
        {How.BLINK: self._begin_blink, How.SPLIT: self._begin_split, How.DIFFERENCE: self._subtract, How.SIDE: self._side_by_side}[how]()
        self.set_rate(rate_hz)
        if how is How.SPLIT:
            self.split.move(part)
        if how is How.DIFFERENCE:
            for event in self._changes():
                event.connect(self._redraw)

    def set_rate(self, rate_hz: float) -> None:
        """How often a second a blink changes."""
        self._blinker.setInterval(max(1, round(1000 / rate_hz)))

    def stop(self) -> None:
        """Undo: what was visible, the contrast and the grid are as they were before."""
        before, pair = self._before, self._pair
        if before is None or pair is None:
            return
        self._blinker.stop()
        self._before = self._pair = None
        for event in self._changes(pair):
            event.disconnect(self._redraw)
        if self._linked:
            linked = [layer for layer in (*pair, self.split.layer) if layer is not None]
            self._viewer.layers.unlink_layers(linked, _LINKED)
            self._linked = False
        self.split.drop()
        if self._difference is not None and self._difference in self._viewer.layers:
            self._viewer.layers.remove(self._difference)
        self._difference = None
        for layer, limits, reach in before.limits:
            layer.contrast_limits_range = reach
            layer.contrast_limits = limits
        for layer, visible in before.visible:
            if layer in self._viewer.layers:
                layer.visible = visible
        grid = self._viewer.canvas.grid
        grid.enabled, grid.shape, grid.stride = before.grid
        if self._ended is not None:
            self._ended()

    def close(self) -> None:
        """Undo and stop following the viewer: the panel is about to go."""
        self._blinker.stop()
        self._viewer.layers.events.removed.disconnect(self._layer_removed)

    # -- the ways to compare

    def _begin_blink(self) -> None:
        self._blink()
        self._blinker.start()

    def _blink(self) -> None:
        if self._pair is not None:
            first, second = self._pair
            second.visible = bool(first.visible)
            first.visible = not first.visible

    def _begin_split(self) -> None:
        assert self._pair is not None
        first, second = self._pair
        self.split.take(first)
        if self._linked:
            self._viewer.layers.link_layers([first, self.split.layer], _LINKED)
        first.visible = False  # its left part lies on top of all
        second.visible = True

    def _side_by_side(self) -> None:
        assert self._pair is not None
        at = [self._viewer.layers.index(layer) for layer in self._pair]
        grid = self._viewer.canvas.grid
        # napari gives every visible layer a square, the lowest first; with a negative stride the topmost first.
        grid.shape, grid.stride, grid.enabled = (1, 2), -1 if at[0] > at[1] else 1, True

    def _subtract(self, event: Any = None) -> None:
        """Show the first layer minus the second, on the pixels of the coarser one."""
        if self._pair is None:
            return
        first, second = self._pair
        planes = [shown_plane(self._viewer, layer) for layer in self._pair]
        try:
            a, b = on_equal_pixels(*planes)
        except BurstError:
            self.stop()
            return
        difference = (a - b).astype("float32")
        if self._difference is not None and self._difference in self._viewer.layers:
            self._difference.data = difference
            return
        coarser = second if planes[1].size <= planes[0].size else first
        place = Placement.of_layer(coarser).of_grid(difference.shape, difference.shape)
        arguments = place | {
            "name": f"{first.name} − {second.name}", "colormap": "coolwarm", "contrast_limits": symmetric_cuts(difference),
            "axis_labels": ("y", "x"), "metadata": {"kind": "difference"},
        }  # fmt: skip
        first.visible = second.visible = False
        self._difference = insert_quietly(self._viewer, difference, arguments)

    # -- what happens meanwhile

    def _changes(self, pair: tuple[Any, Any] | None = None) -> list[Any]:
        """The events after which a difference is another one."""
        layers = pair or self._pair or ()
        return [self._viewer.dims.events.current_step, *(layer.events.data for layer in layers)]

    def _layer_removed(self, event: Any) -> None:
        if self._pair is not None and any(layer not in self._viewer.layers for layer in self._pair):
            self.stop()

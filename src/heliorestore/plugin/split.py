"""One image left of a border that can be dragged, what lies below right of it: before and after in one picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from heliorestore.plugin.insertion import insert_quietly
from heliorestore.plugin.layers import Placement

_GRIP_PX = 8  # of the screen, how near to the border a press takes hold of it
_WIDTH = 0.003  # of the divider, as a part of the image's width


class Split:
    """A layer on top of all that shows another layer's image left of a border, and a line along the border.

    The picture is a view of the layer's own pixels, cut off at the border: nothing is copied, and sliders act on it.
    """

    def __init__(self, viewer: Any, moved: Callable[[float], None] | None = None) -> None:
        self._viewer = viewer
        self._moved = moved
        self._source: Any = None
        self._layer: Any = None
        self._line: Any = None
        self.part = 0.0

    def take(self, source: Any, part: float = 0.0) -> None:
        """Show the left `part`, 0 to 1, of this image layer on top of all, in its own cuts and colours."""
        self.drop()
        self._source, self.part = source, part
        place = {name: getattr(source, name) for name in ("scale", "translate", "rotate", "units", "axis_labels")}
        arguments = place | {
            "name": f"{source.name} left", "contrast_limits": source.contrast_limits, "colormap": source.colormap, "gamma": source.gamma,
            "interpolation2d": source.interpolation2d, "metadata": {"kind": "split"},
        }  # fmt: skip
        self._layer = insert_quietly(self._viewer, self._cut(), arguments)
        rows, columns = source.data.shape[-2:]
        ends = np.array([[0.0, 0.0], [rows - 1.0, 0.0]])  # within the image: what lies beyond would move napari's sliders
        flat = Placement.of_layer(source).of_grid((rows, columns), (rows, columns))
        line = flat | {
            "name": "divider", "shape_type": "line", "edge_width": max(_WIDTH * columns, 0.5), "edge_color": "#ffd000",
            "metadata": {"kind": "divider"}, "axis_labels": ("y", "x"),
        }  # fmt: skip
        self._line = insert_quietly(self._viewer, [ends], line, "shapes")
        self._origin = np.array(self._line.translate)
        self._viewer.mouse_drag_callbacks.append(self._drag)
        self.move(part)

    @property
    def stands(self) -> bool:
        """Whether there is a picture that the user has not deleted."""
        return self._layer is not None and self._layer in self._viewer.layers

    @property
    def layer(self) -> Any:
        """The layer that shows the left part, None where there is none."""
        return self._layer if self.stands else None

    def move(self, part: float) -> None:
        """Draw the border with the left `part` of the image before it, 0 to 1."""
        self.part = min(max(part, 0.0), 1.0)
        if not self.stands:
            return
        self._layer.visible = self._columns > 0
        if self._columns:
            self._layer.data = self._cut()
        if self._line in self._viewer.layers:
            self._line.visible = 0 < self._columns < self._source.data.shape[-1]
            if not self._line.visible:
                return
            step = np.asarray(self._source.rotate)[-2:, -2:] @ np.array([0.0, (self._columns - 0.5) * float(self._source.scale[-1])])
            self._line.translate = self._origin + step

    def drop(self) -> None:
        """Take the picture away."""
        if self._drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._drag)
        for layer in (self._layer, self._line):
            if layer is not None and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._source = self._layer = self._line = None

    @property
    def _columns(self) -> int:
        return round(self.part * self._source.data.shape[-1])

    def _cut(self) -> Any:
        return self._source.data[..., : max(self._columns, 1)]

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        """Move the border with the mouse where it is gripped; elsewhere the mouse does what it always does."""
        if (
            not self.stands
            or abs(self._column_at(event) - self._columns) * float(self._source.scale[-1]) > _GRIP_PX / viewer.scene.camera.zoom
        ):
            return
        pans = viewer.scene.camera.mouse_pan
        viewer.scene.camera.mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                self.move(self._column_at(event) / self._source.data.shape[-1])
                if self._moved is not None:
                    self._moved(self.part)
                yield
        finally:
            viewer.scene.camera.mouse_pan = pans

    def _column_at(self, event: Any) -> float:
        """The column, counted from the image's left edge, under the mouse."""
        return float(self._source.world_to_data(tuple(event.position)[-self._source.ndim :])[-1]) + 0.5

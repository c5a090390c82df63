"""One image left of a divider that can be dragged, the layers below right of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from heliorestore.plugin.viewer.help_layer import HelpLayer
from heliorestore.plugin.viewer.layers import Placement

_GRIP_PX = 8  # of the screen: distance from the divider within which it can be gripped
_WIDTH = 0.003  # of the divider, as a part of the image's width
_COLOUR = "#ffd000"


class Split:
    """A layer on top of all that shows another layer's image left of a border, and a line along the border.

    The picture is a view of the layer's own pixels, cut off at the border: nothing is copied, and sliders act
    on it. The line is an image of one pixel, as high as the picture: some drivers crash after a layer of
    shapes was deleted.
    """

    def __init__(self, viewer: Any, moved: Callable[[float], None]) -> None:
        self._viewer = viewer
        self._moved = moved
        self._source: Any = None
        self._picture, self._line = HelpLayer(viewer, "left part"), HelpLayer(viewer, "divider")
        self.part = 0.0

    def take(self, source: Any, part: float = 0.0) -> None:
        """Show the left `part`, 0 to 1, of this image layer on top of all, in its own cuts and colours."""
        self.drop()
        self._source, self.part = source, part
        place = {
            name: getattr(source, name) for name in ("scale", "translate", "rotate", "units", "axis_labels")
        }
        look = {
            name: getattr(source, name)
            for name in ("contrast_limits", "colormap", "gamma", "interpolation2d")
        }
        self._picture.show(self._cut(), place | look | {"name": f"{source.name} left"})
        rows, columns = source.data.shape[-2:]
        # Thin, but never thinner than half a pixel of a small image.
        width = max(_WIDTH * columns, 0.5)
        across = Placement.of_layer(source).of_grid((rows, columns), (1, 1))
        across["scale"] = across["scale"] * np.array([1.0, width / columns])
        line = self._line.show(
            np.ones((1, 1), np.float32),
            across
            | {
                "name": "divider",
                "colormap": ["black", _COLOUR],
                "contrast_limits": (0.0, 1.0),
                "axis_labels": ("y", "x"),
            },
        )
        # The middle of the line at the middle of the first column.
        self._origin = np.array(line.translate) - self._step_to((columns - 1) / 2)
        # On the viewer, not the layer: the selection stays the user's.
        self._viewer.mouse_drag_callbacks.append(self._drag)
        self.move(part)

    @property
    def layer(self) -> Any:
        """The layer that shows the left part, None if there is none or the user has deleted it."""
        return self._picture.layer

    def move(self, part: float) -> None:
        """Draw the border with the left `part` of the image before it, 0 to 1."""
        self.part = min(max(part, 0.0), 1.0)
        picture, line = self._picture.layer, self._line.layer
        if picture is None:
            return
        picture.visible = self._columns > 0
        if self._columns:
            picture.data = self._cut()
        if line is not None:
            line.visible = 0 < self._columns < self._source.data.shape[-1]
            line.translate = self._origin + self._step_to(self._columns - 0.5)

    def drop(self) -> None:
        """Remove the picture."""
        if self._drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._drag)
        self._picture.put_away()
        self._line.put_away()
        self._source = None

    @property
    def _columns(self) -> int:
        return round(self.part * self._source.data.shape[-1])

    def _cut(self) -> Any:
        return self._source.data[..., : max(self._columns, 1)]

    def _step_to(self, column: float) -> Any:
        """From the middle of the first pixel to this column of the same row, in the world (y, x)."""
        return np.asarray(self._source.rotate)[-2:, -2:] @ np.array(
            [0.0, column * float(self._source.scale[-1])]
        )

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        """Move the border with the mouse if it is gripped; elsewhere the mouse works as usual."""
        if (
            self.layer is None
            or abs(self._column_at(event) - self._columns) * float(self._source.scale[-1])
            > _GRIP_PX / viewer.scene.camera.zoom
        ):
            return
        # Or the camera would move with the divider.
        pans = viewer.scene.camera.mouse_pan
        viewer.scene.camera.mouse_pan = False
        try:
            yield
            while event.type == "mouse_move" and self.layer is not None:
                self.move(self._column_at(event) / self._source.data.shape[-1])
                self._moved(self.part)
                yield
        finally:
            viewer.scene.camera.mouse_pan = pans

    def _column_at(self, event: Any) -> float:
        """The column, counted from the image's left edge, under the mouse."""
        return float(self._source.world_to_data(tuple(event.position)[-self._source.ndim :])[-1]) + 0.5

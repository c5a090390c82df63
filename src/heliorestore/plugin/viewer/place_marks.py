"""Marks of places on the images: crosses where the user clicked, and regions that the user draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Points, Shapes
from qtpy.QtCore import QTimer

from heliorestore.plugin.viewer.layers import Placement
from heliorestore.plugin.viewer.tool_layers import put_away, tool_layer

_SIZE = 30  # crosses along the longer side of the field
_DONE = ("added", "changed")  # what the user has finished with a region


@dataclass(frozen=True, eq=False)
class Place:
    """A point in the world (1, 2), y and x, the ends of a line, or the corners of a region (n, 2)."""

    corners: npt.NDArray[np.float64]

    @property
    def is_region(self) -> bool:
        return len(self.corners) > 1


class PlaceMarks:
    """Two layers, made when they are first needed, and hidden, not removed, when they are empty: removing
    shapes makes some OpenGL drivers crash. `drawn` is told of every region that the user has drawn or moved.
    Marks of different purposes, such as `profiles`, have a `number` each.
    """

    def __init__(self, viewer: Any, drawn: Callable[[Place], None], number: int, what: str) -> None:
        self._crosses_tool, self._regions_tool = ("places", number), ("regions", number)
        self._what = what
        self._viewer, self._drawn = viewer, drawn
        self._crosses: Any = None
        self._regions: Any = None
        self._ours = False  # whether these lines change the regions, not the user
        self._selected: list[Any] = []

    def draw(self, mode: str, over: Any, colour: str) -> None:
        """Let the user draw a region, `rectangle` or `polygon`, or a `line`, over this image."""
        self._selected = [each for each in self._viewer.layers.selection if each != self._regions]
        layer = self._regions_over(over)
        layer.current_edge_color = colour
        self._viewer.layers.selection.active = layer
        layer.mode = f"add_{mode}"

    def show(self, places: Sequence[tuple[Place, str]], over: Any) -> None:
        """Mark these places and no others, each in its colour."""
        points = [each for each in places if not each[0].is_region]
        regions = [each for each in places if each[0].is_region]
        if points:
            self._mark(points, over)
        elif self._crosses is not None:
            put_away(self._viewer, self._crosses, self._crosses_tool)
        if regions:
            self._outline(regions, over)
        else:
            self._hide_regions()

    @property
    def active(self) -> bool:
        """Whether the mouse draws or moves regions."""
        return self._regions is not None and self._viewer.layers.selection.active == self._regions

    def put_away(self) -> None:
        """Hide all marks."""
        self._hide_regions()
        if self._crosses is not None:
            put_away(self._viewer, self._crosses, self._crosses_tool)
            self._crosses = None

    def _hide_regions(self) -> None:
        if self._regions is not None:
            self._regions.events.data.disconnect(self._changed)
            put_away(self._viewer, self._regions, self._regions_tool)
            self._regions = None

    def _mark(self, points: Sequence[tuple[Place, str]], over: Any) -> None:
        looks = {**vars(Placement.of_layer(over)), "metadata": {"kind": "places"}}
        make = partial(Points, name=f"places of {self._what}", symbol="cross", axis_labels=("y", "x"))
        selected, active = list(self._viewer.layers.selection), self._viewer.layers.selection.active
        if self._crosses is None or not self._crosses.visible or self._crosses not in self._viewer.layers:
            self._crosses = tool_layer(self._viewer, self._crosses_tool, make, np.zeros((1, 2)), looks)
        layer = self._crosses
        layer.data = np.array([_inside(layer, place)[0] for place, _ in points])
        layer.size = max(over.data.shape[-2:]) / _SIZE
        layer.face_color = [colour for _, colour in points]
        layer.border_color, layer.border_width = "black", 0.1
        layer.selected_data = set()
        self._viewer.layers.selection = [each for each in selected if each in self._viewer.layers]
        self._viewer.layers.selection.active = active

    def _outline(self, regions: Sequence[tuple[Place, str]], over: Any) -> None:
        layer, self._ours = self._regions_over(over), True
        try:
            outlines = [_inside(layer, place) for place, _ in regions]
            layer.selected_data = set(range(len(layer.data)))
            layer.remove_selected()
            kinds = ["line" if len(outline) == 2 else "polygon" for outline in outlines]
            layer.add(outlines, shape_type=kinds, edge_color=[colour for _, colour in regions])
            layer.selected_data = set()
        finally:
            self._ours = False

    def _regions_over(self, over: Any) -> Any:
        if self._regions is None or self._regions not in self._viewer.layers:
            looks = {
                **vars(Placement.of_layer(over)),
                "metadata": {"kind": "regions"},
                "edge_width": max(over.data.shape[-2:]) / 200,
            }
            make = partial(
                Shapes,
                shape_type="polygon",
                name=f"regions of {self._what}",
                face_color="transparent",
                axis_labels=("y", "x"),
                ndim=2,
            )
            selected, active = list(self._viewer.layers.selection), self._viewer.layers.selection.active
            self._regions = tool_layer(self._viewer, self._regions_tool, make, [], looks)
            self._regions.events.data.connect(self._changed)
            self._viewer.layers.selection = selected
            self._viewer.layers.selection.active = active
        return self._regions

    def _changed(self, event: Any) -> None:
        """The user has finished a region, or moved one."""
        if self._ours or str(event.action.value) not in _DONE or not len(self._regions.data):
            return
        numbers = getattr(event, "data_indices", (-1,))
        number = int(numbers[-1]) if len(numbers) else -1
        # In a turn of its own: napari is still in the middle of drawing.
        QTimer.singleShot(0, lambda: self._tell(number))

    def _tell(self, number: int) -> None:
        layer = self._regions
        if layer is None or layer not in self._viewer.layers or not -1 <= number < len(layer.data):
            return
        corners = np.asarray(layer.data[number], float)[:, -2:]
        world = np.array([layer.data_to_world(corner)[-2:] for corner in corners])
        if layer.mode.startswith("add"):
            layer.mode = "select"
            self._viewer.layers.selection = [each for each in self._selected if each in self._viewer.layers]
        self._drawn(Place(world))


def _inside(layer: Any, place: Place) -> npt.NDArray[np.float64]:
    """The corners of a place in the pixels of a layer (y, x)."""
    return np.array([layer.world_to_data(corner)[-2:] for corner in place.corners])


def corners_in(layer: Any, place: Place, viewer: Any) -> npt.NDArray[np.float64]:
    """The corners of a place (n, [y, x]) in the pixels of a layer with any axes."""
    return np.array([_at(layer, corner, viewer)[-2:] for corner in place.corners])


def frame_at(layer: Any, viewer: Any) -> int:
    """The frame of a layer on the slider."""
    return round(float(_at(layer, np.zeros(2), viewer)[-3])) if layer.ndim > 2 else 0


def _at(layer: Any, corner: npt.NDArray[np.float64], viewer: Any) -> Any:
    point = np.array([*(0.0,) * layer.ndim, *viewer.dims.point])[-layer.ndim :]
    point[-2:] = corner
    return layer.world_to_data(tuple(point))


def pixels_in(
    outline: npt.NDArray[np.float64], side: int, shape: tuple[int, int]
) -> tuple[slice, slice, npt.NDArray[np.bool_] | None]:
    """The rows and columns around a point, or around a region and which of their pixels are in it."""
    if len(outline) == 1:
        y, x = (round(float(value)) for value in outline[0])
        rows, columns = (
            slice(max(0, at - side // 2), min(n, at + (side + 1) // 2))
            for at, n in zip((y, x), shape, strict=True)
        )
        return rows, columns, None
    from matplotlib.path import Path as Outline

    low = np.clip(np.floor(outline.min(0)), 0, np.array(shape) - 1).astype(int)
    high = np.clip(np.ceil(outline.max(0)) + 1, low + 1, shape).astype(int)
    rows, columns = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    y, x = np.mgrid[rows, columns]
    inside = Outline(outline).contains_points(np.stack([y.ravel(), x.ravel()], 1))
    return rows, columns, inside.reshape(y.shape)

"""Tool layers, which are not results: made once, hidden after use, and shown again when needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# The metadata's kinds of such layers. None of them is restored or compared; a difference may be exported
# while it is shown.
_SHOWS_SOMETHING_NEW = ("difference",)
_TOOLS = (
    "box",
    "probe",
    "preview",
    "divider",
    "left part",
    "places",
    "regions",
    "line",
    *_SHOWS_SOMETHING_NEW,
)
# metadata key of hidden ones: their kind and their number
_AWAY = "put away"

Tool = tuple[str, int]  # kind, and number among several of one kind


def is_tool(metadata: Mapping[str, Any]) -> bool:
    """Whether the layer with this metadata is only a tool."""
    return metadata.get("kind") in _TOOLS


def is_exported(metadata: Mapping[str, Any]) -> bool:
    """Whether the layer with this metadata is written when the user saves all layers."""
    return not is_tool(metadata) or (metadata["kind"] in _SHOWS_SOMETHING_NEW and _AWAY not in metadata)


def tool_layer(viewer: Any, tool: Tool, make: Callable[..., Any], data: Any, looks: Mapping[str, Any]) -> Any:
    """The hidden layer of this tool, with new data and attributes, or a new layer; on top of all."""
    if (layer := take_out(viewer, tool, data, looks)) is not None:
        return layer
    made = make(data, **looks)
    viewer.add_layer(made)
    return viewer.layers[made.name]


def take_out(viewer: Any, tool: Tool, data: Any, looks: Mapping[str, Any], place: int | None = None) -> Any:
    """Show this tool's hidden layer at `place` of the list, on top by default; None if there is none."""
    layer = next((each for each in viewer.layers if each.metadata.get(_AWAY) == tool), None)
    if layer is not None:
        layer.data = data
        for name, value in {"visible": True, **looks}.items():
            setattr(layer, name, value)
        viewer.layers.move(viewer.layers.index(layer), len(viewer.layers) if place is None else place)
    return layer


def put_away(viewer: Any, layer: Any, tool: Tool) -> None:
    """Hide a layer until this tool is needed again; it is no longer selected."""
    if layer not in viewer.layers:
        return
    layer.visible = False
    layer.metadata = {"kind": tool[0], _AWAY: tool}
    if viewer.layers.selection.active == layer:
        viewer.layers.selection.active = next(
            (each for each in reversed(viewer.layers) if each.visible), None
        )

"""Insert a layer into the viewer without changing the user's view: sliders, selection and zoom stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari.layers import Layer

from heliorestore.plugin.viewer.gl_context import guard_removals


def insert_quietly(
    viewer: Any, data: Any, arguments: Mapping[str, Any], kind: str = "image", place: int | None = None
) -> Any:
    """Put a new layer at `place` of the viewer's list, on top by default; return the viewer's own."""
    guard_removals(viewer)
    before, step = viewer.dims.ndim, tuple(viewer.dims.current_step)
    at = len(viewer.layers) if place is None else place
    layer = Layer.create(data, dict(arguments), kind)
    if selected := list(viewer.layers.selection):
        _insert_unselected(viewer, at, layer, selected)
    else:
        viewer.layers.insert(at, layer)
    made = viewer.layers[at]
    # A layer with more axes than the viewer had prepends some: the existing sliders keep their positions.
    if (kept := (0,) * (viewer.dims.ndim - before) + step) != tuple(viewer.dims.current_step):
        viewer.dims.current_step = kept
    return made


def _insert_unselected(viewer: Any, at: int, layer: Layer, selected: list[Any]) -> None:
    """Napari selects what is new, and builds its controls for that, a fifth of the time of an insertion:
    nobody hears of a selection that is undone at once.
    """
    active = viewer.layers.selection.active
    with viewer.layers.selection.events.blocker_all():
        viewer.layers.insert(at, layer)
        viewer.layers.selection = selected
        viewer.layers.selection.active = active
    layer.update_highlight_visibility(False)  # as of any layer that is not the active one

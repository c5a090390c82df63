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
    selected = list(viewer.layers.selection)
    active = viewer.layers.selection.active
    at = len(viewer.layers) if place is None else place
    viewer.layers.insert(at, Layer.create(data, dict(arguments), kind))
    made = viewer.layers[at]
    if selected:  # napari selects what is new
        viewer.layers.selection = selected
        viewer.layers.selection.active = active
    # A layer with more axes than the viewer had prepends some: the existing sliders keep their positions.
    viewer.dims.current_step = (0,) * (viewer.dims.ndim - before) + step
    return made

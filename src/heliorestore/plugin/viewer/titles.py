"""Names of layers on the canvas, at its upper corners."""

from __future__ import annotations

import textwrap
from typing import Any

_CORNERS = {"compared left": "top_left", "compared right": "top_right"}
"""The keys of the overlays, and where they are."""

_SIZE_PT = 12
_HALF, _WHOLE = 18, 48  # characters of a line, beside another title and alone


class Titles:
    """What is on the left and on the right of a viewer's canvas; empty titles are not shown."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer

    def show(self, left: str = "", right: str = "") -> None:
        """Show these names until others are shown."""
        width = _HALF if right else _WHOLE
        for (key, corner), name in zip(_CORNERS.items(), (left, right), strict=True):
            caption(self._viewer, key, corner, textwrap.fill(name, width), _SIZE_PT)


def caption(viewer: Any, key: str, corner: str, text: str, size_pt: float = 10.0) -> None:
    """Show a text in a corner of the canvas, under others that are there; an empty one is not shown."""
    from napari.components.overlays import TextOverlay

    overlays = viewer.canvas.overlays
    setattr(viewer.canvas.overlay_tiling, corner, "vertical")  # side by side they would touch
    if text and key not in overlays:
        # legible on bright and on dark images, in any theme
        overlays[key] = TextOverlay(position=corner, font_size=size_pt, box=True)
    if key in overlays:
        overlays[key].text = text
        overlays[key].visible = bool(text)

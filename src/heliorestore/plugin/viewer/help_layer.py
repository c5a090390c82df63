"""A layer that helps to look at others, such as a divider: between two uses it is hidden, not removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from heliorestore.plugin.viewer.insertion import insert_quietly
from heliorestore.plugin.viewer.shown_plane import HELP, UNUSED


class HelpLayer:
    """One image layer of a viewer for one purpose; the viewer's list keeps its order and its selection.

    Removing layers while others are drawn makes some OpenGL drivers crash, so that one layer serves again and
    again. One that the user deletes is made anew when it is wanted.
    """

    def __init__(self, viewer: Any, kind: str) -> None:
        self._viewer, self._kind = viewer, kind
        self._layer: Any = None

    @property
    def layer(self) -> Any:
        """The layer while it is in use, None where it is not or where the user has deleted it."""
        return self._layer if self._layer is not None and self._layer in self._viewer.layers else None

    def show(self, data: Any, arguments: Mapping[str, Any]) -> Any:
        """Show this image on top of all others; `arguments` are those of an image layer, contrast limits
        among them.
        """
        layers = self._viewer.layers
        selected, active = list(layers.selection), layers.selection.active
        found = next((layer for layer in layers if layer.metadata.get(HELP) == self._kind), None)
        if found is None:
            found = insert_quietly(self._viewer, data, arguments)
        else:
            found.data = data  # first: the number of axes is that of the data
            found.contrast_limits_range = arguments["contrast_limits"]
            for name, value in arguments.items():
                setattr(found, name, value)
            layers.move(layers.index(found), len(layers))
            found.visible = True
        found.metadata = {"kind": self._kind, HELP: self._kind}
        layers.selection = selected
        layers.selection.active = active
        self._layer = found
        return found

    def put_away(self) -> None:
        """Hide the layer; it lets go of the pixels that it showed."""
        layer, self._layer = self.layer, None
        if layer is None:
            return
        layer.visible = False
        layer.data = np.zeros((1, 1), np.float32)
        layer.metadata = {"kind": UNUSED, HELP: self._kind}
        layer.name = f"{self._kind} (not in use)"

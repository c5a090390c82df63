"""A layer that helps to look at others, such as a divider: between two uses it is hidden, not removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from heliorestore.plugin.viewer.insertion import insert_quietly
from heliorestore.plugin.viewer.tool_layers import Tool, put_away, take_out


class HelpLayer:
    """One image layer of a viewer for one purpose; the viewer's list keeps its order and its selection.

    Removing layers while others are drawn makes some OpenGL drivers crash, so one layer is used again and
    again. If the user deletes it, a new one is made when needed.
    """

    def __init__(self, viewer: Any, kind: str) -> None:
        self._viewer = viewer
        self._tool: Tool = (kind, 0)
        self._layer: Any = None

    @property
    def layer(self) -> Any:
        """The layer while it is in use, None if it is not or if the user has deleted it."""
        return self._layer if self._layer is not None and self._layer in self._viewer.layers else None

    def show(self, data: Any, arguments: Mapping[str, Any]) -> Any:
        """Show this image above all others; `arguments` are an image layer's, with contrast limits."""
        layers = self._viewer.layers
        selected, active = list(layers.selection), layers.selection.active
        # the range first: limits outside of it would only widen it
        arguments = {**arguments, "metadata": {"kind": self._tool[0]}}  # from the first, for lists of layers
        looks = {"contrast_limits_range": arguments["contrast_limits"], **arguments}
        layer = take_out(self._viewer, self._tool, data, looks)
        if layer is None:
            layer = insert_quietly(self._viewer, data, arguments)
        layers.selection = selected
        layers.selection.active = active
        self._layer = layer
        return layer

    def put_away(self) -> None:
        """Hide the layer and free its pixels."""
        layer, self._layer = self.layer, None
        if layer is not None:
            put_away(self._viewer, layer, self._tool)
            layer.data = np.zeros((1, 1), np.float32)
            layer.name = f"{self._tool[0]} (not in use)"

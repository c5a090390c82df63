"""The plane (y, x) of a layer at the sliders, and which layers are images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.plugin.viewer.tool_layers import is_tool


def is_image(layer: Any) -> bool:
    """Whether a layer is an image with one value per pixel and not a tool layer, such as a split."""
    # `__class__` sees through napari's proxy for plugins, `type` does not.
    return layer.__class__.__name__ == "Image" and not layer.rgb and layer.ndim >= 2 and not is_help(layer)


def is_help(layer: Any) -> bool:
    """Whether a layer is only a tool, such as a divider."""
    return is_tool(layer.metadata)


def shown_plane(viewer: Any, layer: Any) -> npt.NDArray[np.float32]:
    """The plane (y, x) of an image layer that the sliders choose, bad pixels NaN."""
    data = layer.data[0] if layer.multiscale else layer.data
    if layer.ndim > 2:
        at = layer.world_to_data(tuple(viewer.dims.point)[-layer.ndim :])
        data = data[
            tuple(
                int(np.clip(round(float(where)), 0, length - 1))
                for where, length in zip(at[:-2], data.shape[:-2], strict=True)
            )
        ]
    return np.array(data, dtype=np.float32)

"""The layers of one run: made at the first snapshot, then only their pixels change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Layer

from heliorestore.plugin.layers import Key, Placement, pictures, snapshot_layer, snapshot_metadata
from heliorestore.snapshot import Snapshot


class ResultLayers:
    """Shows the snapshots of one run in a viewer; contrast, colours, camera and sliders are left to the user.

    `inputs` are the layers that are restored, one per object: results lie over the first one, in cuts no narrower
    than the input's. A layer that the user deletes stays deleted. Only the GUI thread may call this.
    """

    def __init__(self, viewer: Any, name: str, inputs: Sequence[Any]) -> None:
        self._viewer = viewer
        self._name = name
        self._placement = Placement.of_layer(inputs[0])
        self._cuts = [tuple(layer.contrast_limits) for layer in inputs]
        self.layers: dict[Key, Any] = {}
        self.last: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Put the pictures of a snapshot into their layers."""
        self.last = snapshot
        for key, array in pictures(snapshot).items():
            layer = self.layers.get(key)
            if layer is None:
                self.layers[key] = self._add(key, array, snapshot)
            elif layer in self._viewer.layers:
                layer.data = array
                layer.metadata = snapshot_metadata(key, array, snapshot)

    def _add(self, key: Key, array: Any, snapshot: Snapshot) -> Any:
        before = self._viewer.dims.ndim
        step = self._viewer.dims.current_step
        data, arguments, kind = snapshot_layer(key, array, snapshot, self._name, self._placement)
        layer = self._viewer.add_layer(Layer.create(data, arguments, kind))
        low, high = arguments["contrast_limits"]
        if key[0] == "image":  # the first iterations may be flat: the cuts of the input fit what will come
            low, high = min(low, self._cuts[key[1]][0]), max(high, self._cuts[key[1]][1])
        layer.contrast_limits_range = _wide_range(array, (low, high))
        layer.contrast_limits = (low, high)
        # A layer with more axes than the viewer had prepends some: the sliders that were there keep their places.
        added = self._viewer.dims.ndim - before
        self._viewer.dims.current_step = (0,) * added + tuple(step)
        return layer


def next_name(viewer: Any, name: str) -> str:
    """The name of the next version: no result is ever written over an older one."""
    names = [layer.name for layer in viewer.layers]
    number = 1
    while any(existing == f"{name} {number}" or existing.startswith(f"{name} {number} ") for existing in names):
        number += 1
    return f"{name} {number}"


def _wide_range(array: Any, limits: tuple[float, float]) -> tuple[float, float]:
    """How far the contrast slider reaches: the data, and half as much again for what later iterations bring."""
    finite = array[np.isfinite(array)]
    low, high = float(finite.min(initial=limits[0])), float(finite.max(initial=limits[1]))
    return low - 0.5 * (high - low), high + 0.5 * (high - low)

"""The layers of one run: created with the first snapshot, then only their pixels change."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from heliorestore.plugin.viewer.contrast import DIVERGING
from heliorestore.plugin.viewer.cube_looks import limit_again, limits_of_inputs
from heliorestore.plugin.viewer.cubes import cube_at, cube_of
from heliorestore.plugin.viewer.gl_context import paint_later
from heliorestore.plugin.viewer.insertion import insert_quietly
from heliorestore.plugin.viewer.layers import (
    TAG,
    Key,
    Placement,
    pictures,
    snapshot_layer,
    snapshot_metadata,
)
from heliorestore.plugin.viewer.turns import in_a_turn
from heliorestore.snapshot import SERIES, Snapshot

_TURN_S = 0.025  # time per turn of the event loop; further layers wait for the next one


class ResultLayers:
    """Shows the snapshots of one run in a viewer; contrast, colours, camera and sliders are left to the user.

    `inputs` are the layers that are restored, one per object: each result is placed over its own, with
    contrast limits no narrower than the input's. A layer that the user deletes stays deleted. With `maps` the
    maps get layers too. Only for the GUI thread.
    """

    def __init__(self, viewer: Any, name: str, inputs: Sequence[Any], *, maps: bool = True) -> None:
        self.name, self.inputs = name, list(inputs)
        self._viewer = viewer
        self._maps = maps
        self._placements = [Placement.of_layer(layer) for layer in inputs]
        self._cuts = limits_of_inputs(list(inputs))
        self.layers: dict[Key, Any] = {}
        self._first_limits: dict[Key, tuple[float, ...]] = {}  # until an image has its own, or the user's
        self.last: Snapshot | None = None
        self._ahead: set[Key] = set()  # the layers that show a quick preview instead of the last snapshot
        self._unlisted: list[Any] = []  # the layers whose thumbnail the layer list does not show yet
        self._waiting: list[Key] = []  # the layers that do not show the last snapshot yet

    def show(self, snapshot: Snapshot) -> None:
        """Put the pictures of a snapshot into their layers; a hidden layer costs nothing until it is shown.

        napari is slow at creating layers: each call creates at most one, the first object's image first. New
        pixels take time too: if many layers are visible, the last of them follow in the next turns of the
        event loop.
        """
        self.last = snapshot
        # A new layer fills a turn: the others follow in the next one.
        added = self._add_one()
        self._update_visible(at_once=not added)
        if added:
            self._show_later()

    @property
    def settled(self) -> bool:
        """Whether all visible layers show the last snapshot."""
        return not self._waiting

    @property
    def missing(self) -> tuple[int, int]:
        """How many of the layers are not made yet, and how many there are."""
        keys = {} if self.last is None else self._pictures(self.last)
        return len(keys.keys() - self.layers.keys()), len(keys)

    def complete(self) -> bool:
        """Create one of the missing layers, or update one; returns whether there was nothing left to do."""
        if self.last is None:
            return True
        more = self._add_one() or any(
            self._update(key, array, self.last) for key, array in self._pictures(self.last).items()
        )
        self._show_later()
        if not more:
            self._limit_once()
        return not more

    def _limit_once(self) -> None:
        """Give the finished images contrast limits of their own, once, and only where the user has set
        none.
        """
        for key, limits in self._first_limits.items():
            layer = self.layers[key]
            if key[0] == "image" and tuple(layer.contrast_limits) == limits and layer in self._viewer.layers:
                limit_again(layer)
        self._first_limits.clear()

    def show_ahead(self, images: Any) -> None:
        """Show images (object, y, x) in advance of the next snapshot, until one is shown."""
        for (kind, object_), layer in self.layers.items():
            if kind == "image" and layer.visible and layer in self._viewer.layers:
                self._ahead.add((kind, object_))
                self._waiting = [key for key in self._waiting if key != (kind, object_)]
                cube = None if self.last is None else cube_at(self.last, object_)
                layer.data = images[object_] if cube is None else cube.arranged(images[:, None])

    def _pictures(self, snapshot: Snapshot) -> dict[Key, Any]:
        return {key: array for key, array in pictures(snapshot).items() if self._maps or key[0] == "image"}

    def _add_one(self) -> bool:
        if self.last is None:
            return False
        # The last of the pictures is the first object's image, which lies on top.
        missing = [item for item in self._pictures(self.last).items() if item[0] not in self.layers]
        if missing:
            key, array = missing[-1]
            self.layers[key] = self._add(key, array, self.last)
            self._first_limits[key] = tuple(self.layers[key].contrast_limits)
        return bool(missing)

    def _update_visible(self, *, at_once: bool = True) -> None:
        before = self._waiting
        visible = [key for key, layer in self.layers.items() if layer.visible]
        # The layer that waited longest comes first: with fast snapshots none is left behind.
        self._waiting = [key for key in before if key in visible] + [
            key for key in visible if key not in before
        ]
        if not before and at_once:
            self._hand_over()
        elif not before and self._waiting:
            in_a_turn(self._hand_over)

    def _hand_over(self) -> None:
        """Update one waiting layer at least; the others follow in the next turns of the event loop."""
        shown = {} if self.last is None else self._pictures(self.last)
        # Mouse and keys are served between two turns.
        end = time.monotonic() + _TURN_S
        try:
            while self._waiting:
                key = self._waiting.pop(0)
                if key in shown and self.last is not None:
                    self._update(key, shown[key], self.last)
                if time.monotonic() >= end:
                    break
        finally:
            if self._waiting:
                in_a_turn(self._hand_over)
            self._show_later()

    def _show_later(self) -> None:
        """The layer list and the canvas show the new pixels once, after the last of them, in a turn each."""
        in_a_turn(self._show_thumbnails)
        paint_later(self._viewer)

    def _show_thumbnails(self) -> None:
        for layer in self._unlisted:
            layer.events.thumbnail()
        self._unlisted.clear()

    def _update(self, key: Key, array: Any, snapshot: Snapshot) -> bool:
        """Update a layer; returns whether it changed."""
        layer = self.layers.get(key)
        if layer is None or layer not in self._viewer.layers:
            return False
        if layer.metadata.get(TAG) is snapshot and key not in self._ahead:
            return False
        self._ahead.discard(key)
        with layer.events.thumbnail.blocker():
            layer.data = array
        self._unlisted.append(layer)
        # what the user has entered, such as an instrument, stays
        layer.metadata = {**layer.metadata, **snapshot_metadata(key, array, snapshot)}
        return True

    def _add(self, key: Key, array: Any, snapshot: Snapshot) -> Any:
        camera, before = self._viewer.scene.camera, self._viewer.dims.ndim
        zoom, centre = camera.zoom, camera.center
        data, arguments, kind = snapshot_layer(key, array, snapshot, self.name, self._placements[key[1]])
        ours = [
            self._viewer.layers.index(each) for each in self.layers.values() if each in self._viewer.layers
        ]
        low, high = arguments["contrast_limits"]
        # the first iterations may be flat: later ones have more contrast than the input
        if key[0] == "image" and arguments["colormap"] != DIVERGING:
            low, high = _room(self._cuts[key[1]], (low, high), array)
        arguments["contrast_limits"] = low, high
        layer = insert_quietly(self._viewer, data, arguments, kind, min(ours, default=None))
        if not ours:  # the first one, the result, is selected, in a turn of its own
            in_a_turn(lambda: self._select(layer))
        layer.events.visible.connect(self._shown)
        if cube_of(layer) is None:  # a cube has got those of its parameter on the slider
            layer.contrast_limits_range = _wide_range(array, (low, high))
            layer.contrast_limits = (low, high)
        if self._viewer.dims.ndim > before:  # napari fits the view to layers with more axes
            camera.zoom, camera.center = zoom, centre
        return layer

    def _select(self, layer: Any) -> None:
        if layer in self._viewer.layers:
            self._viewer.layers.selection.active = layer

    def _shown(self, event: Any = None) -> None:
        """A layer was shown or hidden: update the visible ones to the last snapshot."""
        if self.last is not None:
            self._update_visible()


def next_name(viewer: Any, name: str) -> str:
    """The name of the next version: no result ever replaces an older one."""
    names = [layer.name for layer in viewer.layers]
    number = 1
    while any(
        existing == f"{name} {number}" or existing.startswith(f"{name} {number} ") for existing in names
    ):
        number += 1
    return f"{name} {number}"


def _room(first: tuple[float, float], second: tuple[float, float], array: Any) -> tuple[float, float]:
    """Contrast limits around both pairs, a fifth wider; positive images keep positive limits."""
    low, high = min(first[0], second[0]), max(first[1], second[1])
    margin = 0.2 * (high - low)
    return (max(low - margin, 0.0) if low >= 0 and np.nanmin(array) >= 0 else low - margin), high + margin


def _wide_range(array: Any, limits: tuple[float, float]) -> tuple[float, float]:
    """The range of the contrast slider: the data's, and half as much on either side for what comes."""
    low, high = (
        # without a copy of a large image, unless it has infinities
        float(extreme if np.isfinite(extreme := take.reduce(array, axis=None)) else limit)
        for take, limit in zip((np.fmin, np.fmax), limits, strict=True)
    )
    low, high = min(low, limits[0]), max(high, limits[1])
    return low - 0.5 * (high - low), high + 0.5 * (high - low)


def show_series(results: Sequence[Any]) -> None:
    """The finished series takes the place of the one frame, and the time slider moves both."""
    frames = {layer.metadata["object"]: layer for layer in results if layer.metadata["kind"] == SERIES}
    for layer in results:
        number = layer.metadata["object"]
        if layer.metadata["kind"] == "image" and layer.visible and number in frames:
            # What the user set on the one frame holds for the series.
            frames[number].contrast_limits = layer.contrast_limits
            frames[number].visible = True
            layer.visible = False

"""Results that follow the settings: first a quick preview, then the iteration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from heliorestore.plugin.runs.task import End, Latest, Outcome
from heliorestore.plugin.viewer.cubes import cube_of
from heliorestore.plugin.viewer.layers import Key, pictures, snapshot_layer
from heliorestore.plugin.viewer.result_layers import ResultLayers
from heliorestore.plugin.viewer.tool_layers import put_away, take_out
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from heliorestore.methods.sv_momfbd import SvMomfbdSettings


class LiveLayers(ResultLayers):
    """Shows every snapshot as it would be with the current `knobs`, if it was made with others."""

    def __init__(
        self,
        viewer: Any,
        name: str,
        inputs: Sequence[Any],
        knobs: Callable[[], SvMomfbdSettings | None],
        *,
        maps: bool = True,
    ) -> None:
        super().__init__(viewer, name, inputs, maps=maps)
        self._knobs = knobs
        self._glances = Latest("Glance", self._glanced)

    def show(self, snapshot: Snapshot) -> None:
        self.last = snapshot
        if self._is_old(snapshot):
            # Older pixels must not overwrite the preview of the new settings.
            self._waiting.clear()
            self._add_one()
            self.look_ahead()
        else:
            self._glances.forget()
            super().show(snapshot)

    def look_ahead(self) -> None:
        """Show the last snapshot as with the current settings."""
        from heliorestore.diagnose.glance import glance

        knobs, last = self._knobs(), self.last
        if last is not None and knobs is not None:
            self._glances.ask(lambda: (last, glance(last, knobs)))

    def _is_old(self, snapshot: Snapshot) -> bool:
        from heliorestore.diagnose.glance import knob_behind, knob_of

        knobs, behind = self._knobs(), knob_behind(snapshot)
        return knobs is not None and behind is not None and knob_of(knobs) != behind

    def _glanced(self, outcome: Outcome) -> None:
        if outcome.end is not End.FINISHED:
            return
        snapshot, images = outcome.value
        # A later snapshot has come meanwhile: this preview is outdated.
        if snapshot is self.last:
            self.show_ahead(images)


class BoxLayers(LiveLayers):
    """The images of a part of the field, which may move and change its size."""

    def __init__(
        self, viewer: Any, name: str, inputs: Sequence[Any], knobs: Callable[[], SvMomfbdSettings | None]
    ) -> None:
        super().__init__(viewer, name, inputs, knobs, maps=False)
        # Places of the whole field; those of the box follow from them.
        self._whole = list(self._placements)

    def place(self, origin: tuple[int, int]) -> None:
        """The next snapshot begins at this pixel (y, x) of the field; pending results of the old place are
        dropped.
        """
        self._placements = [placement.cropped(origin) for placement in self._whole]
        self._glances.forget()
        self.last = None

    def show(self, snapshot: Snapshot) -> None:
        for (_, object_), layer in self.layers.items():
            place = self._placements[object_].of_grid(snapshot.images.shape[1:], snapshot.images.shape[1:])
            corner = (*(0.0,) * (layer.ndim - 2), *place["translate"])
            moved = tuple(layer.translate) != corner or layer.data.shape[-2:] != snapshot.images.shape[1:]
            if moved and layer in self._viewer.layers:
                layer.data, layer.translate = pictures(snapshot)["image", object_], corner
        super().show(snapshot)

    def _add(self, key: Key, array: Any, snapshot: Snapshot) -> Any:
        """With the contrast limits of the field around it: else its border would seem to be on the Sun."""
        data, arguments, _ = snapshot_layer(key, array, snapshot, self.name, self._placements[key[1]])
        ours = [
            self._viewer.layers.index(each) for each in self.layers.values() if each in self._viewer.layers
        ]
        layer = take_out(self._viewer, ("preview", key[1]), data, arguments, min(ours, default=None))
        if layer is None:
            layer = super()._add(key, array, snapshot)
        else:
            layer.events.visible.connect(self._shown)
        if cube_of(layer) is None:
            layer.contrast_limits = self._cuts[key[1]]
        return layer

    def _select(self, layer: Any) -> None:
        """The box stays selected, to be dragged."""

    def put_away(self) -> None:
        """Hide the layers until the next preview needs them."""
        self._glances.forget()
        self.last = None
        for (_, object_), layer in self.layers.items():
            layer.events.visible.disconnect(self._shown)
            put_away(self._viewer, layer, ("preview", object_))
        self.layers.clear()


def within(snapshot: Snapshot, rows: slice, columns: slice) -> Snapshot:
    """The snapshot with its images and the maps on their pixels cut to a rectangle; maps of nodes stay."""
    # Maps of nodes have a grid of their own and stay whole.
    cut = {
        name: dataclasses.replace(each, array=each.array[..., rows, columns])
        if each.axes[-2:] == ("y", "x")
        else each
        for name, each in snapshot.maps.items()
    }
    return dataclasses.replace(snapshot, images=snapshot.images[:, rows, columns], maps=cut)

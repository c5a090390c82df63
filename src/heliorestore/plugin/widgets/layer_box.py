"""A choice of one of the viewer's image layers, which follows the viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox

from heliorestore.plugin.viewer.shown_plane import is_image
from heliorestore.plugin.widgets.closing import follow


class LayerBox(QComboBox):
    """The image layers by name, the topmost first; `prefer` is the number in that order, maps last, that is
    chosen at first.

    With `accepts` only those are offered for which it is true, as it is at the last `rebuild`. `changed`
    fires when the choice changes, not when the list does.
    """

    changed = Signal()

    def __init__(
        self, viewer: Any, tip: str, prefer: int = 0, accepts: Callable[[Any], bool] | None = None
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._prefer, self._accepts = prefer, accepts
        self.setToolTip(tip)
        # Long layer names must not widen the panel.
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(14)
        events = viewer.layers.events
        follow(self, [events.inserted, events.removed, events.reordered, events.renamed], self.rebuild)
        self.rebuild()
        self.currentIndexChanged.connect(self.changed)

    def layer(self) -> Any:
        """The chosen layer, None if there is none."""
        return self.currentData()

    def choose(self, layer: Any) -> None:
        """Choose this layer if it exists."""
        for number in range(self.count()):
            if self.itemData(number) == layer:  # napari returns a new proxy of a layer each time
                self.setCurrentIndex(number)

    def rebuild(self, event: Any = None) -> None:
        """Offer the layers that there are now; the choice stays where it can."""
        chosen = self.layer()
        layers = [layer for layer in reversed(list(self._viewer.layers)) if is_image(layer)]
        if self._accepts is not None:
            layers = [layer for layer in layers if self._accepts(layer)]
        with QSignalBlocker(self):
            self.clear()
            for layer in layers:
                self.addItem(layer.name, layer)
            known = [number for number, layer in enumerate(layers) if layer == chosen]
            # Maps of modes or residuals are offered, but an image is what one wants first.
            maps = [layer.metadata.get("kind", "image") not in ("image", "series") for layer in layers]
            order = sorted(range(len(layers)), key=lambda number: maps[number])
            wanted = order[min(self._prefer, len(layers) - 1)] if layers else -1
            self.setCurrentIndex(known[0] if known else wanted)
        if self.layer() != chosen:
            self.changed.emit()

"""The input of a restoration: image layers to tick, and slices of frames and objects."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QSizePolicy

from heliorestore.burst import Burst
from heliorestore.plugin.viewer.layers import TAG, is_restorable
from heliorestore.plugin.widgets.closing import follow
from heliorestore.snapshot import Snapshot

_ROWS = (2, 8)  # at least and at most

_LAYER = Qt.ItemDataRole.UserRole  # of an item's data


class LayerList(QListWidget):
    """A viewer's image layers with ticks; it follows those added, removed, moved or renamed."""

    changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self._ticked: list[Any] = []
        self._inputs = 0  # layers that are no results
        self.setToolTip(
            "Tick the image layers to restore. Each becomes an object of the burst; they must have one shape."
        )
        self.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        # A bar for a long name would hide a row; the name is shortened, and whole in the tooltip.
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        events = viewer.layers.events
        follow(self, [events.inserted], self._inserted)
        follow(self, [events.removed, events.reordered, events.renamed], self._rebuild)
        self.itemChanged.connect(self._toggled)
        for layer in viewer.layers:
            self._tick_if_wanted(layer)
        self._rebuild()

    def chosen(self) -> list[Any]:
        """The ticked layers in the order of the viewer's list."""
        return [layer for layer in self._viewer.layers if layer in self._ticked]

    def sizeHint(self) -> QSize:
        """As tall as its inputs: results, which come while a run is watched, would move what is below."""
        rows = min(max(self._inputs, _ROWS[0]), _ROWS[1])
        row = self.sizeHintForRow(0) if self.count() else self.fontMetrics().height()
        return QSize(super().sizeHint().width(), rows * row + 2 * self.frameWidth())

    def minimumSizeHint(self) -> QSize:
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())

    def viewer_layers(self) -> list[Any]:
        """Every layer of the viewer, also those that the list leaves out."""
        return list(self._viewer.layers)

    def choose(self, layers: list[Any]) -> None:
        """Tick these layers and no others."""
        self._ticked = list(layers)
        self._rebuild()

    def _inserted(self, event: Any) -> None:
        self._tick_if_wanted(self._viewer.layers[event.index])
        self._rebuild()

    def _tick_if_wanted(self, layer: Any) -> None:
        """Tick the first layer that can be restored, and with it the other objects of its burst."""
        record = layer.metadata.get(TAG)
        ours = isinstance(record, Burst) or record is None
        if not (is_restorable(layer) and ours):
            return
        if not self._ticked or (
            record is not None and any(other.metadata.get(TAG) is record for other in self._ticked)
        ):
            self._ticked.append(layer)

    def _rebuild(self, event: Any = None) -> None:
        layers = [layer for layer in self._viewer.layers if is_restorable(layer)]
        self._inputs = sum(not isinstance(layer.metadata.get(TAG), Snapshot) for layer in layers)
        # Ticks belong to layers, not to rows, which move.
        self._ticked = [layer for layer in self._ticked if layer in layers]
        # Only clicks of the user may tick and untick.
        with QSignalBlocker(self):
            self.clear()
            for layer in layers:
                item = QListWidgetItem(layer.name, self)
                item.setData(_LAYER, layer)
                item.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
                item.setCheckState(
                    Qt.CheckState.Checked if layer in self._ticked else Qt.CheckState.Unchecked
                )
                item.setSizeHint(QSize(1, self.sizeHintForRow(0)))  # else it is as wide as the name
                item.setToolTip(f"{layer.name}: {' x '.join(map(str, layer.data.shape))}")
        self.updateGeometry()
        self.changed.emit()

    def _toggled(self, item: QListWidgetItem) -> None:
        layer = item.data(_LAYER)
        if item.checkState() == Qt.CheckState.Checked and layer not in self._ticked:
            self._ticked.append(layer)
        elif item.checkState() == Qt.CheckState.Unchecked and layer in self._ticked:
            self._ticked.remove(layer)
        self.changed.emit()

"""FITS header: the cards of the image that the selected layer shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QLineEdit, QTableWidget, QTableWidgetItem, QWidget

from heliorestore.burst import Burst
from heliorestore.plugin.viewer.layers import TAG
from heliorestore.plugin.viewer.meeting import meet
from heliorestore.plugin.widgets.closing import follow
from heliorestore.plugin.widgets.sections import note, stack
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from napari.viewer import Viewer

_COLUMNS = ("keyword", "value", "comment")
Card = tuple[str, str, str]


class HeaderWidget(QWidget):
    """The header of the selected layer's image, with a field that searches keywords, values and comments."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        meet(napari_viewer)
        self.title = note("")
        self.search = QLineEdit()
        self.search.setPlaceholderText("search")
        self.search.setClearButtonEnabled(True)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setWordWrap(False)
        if (rows := self.table.verticalHeader()) is not None:
            rows.hide()
        if (columns := self.table.horizontalHeader()) is not None:
            columns.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
            columns.setStretchLastSection(True)
        stack(self, self.title, self.search, self.table)
        self.search.textChanged.connect(self._filter)
        follow(self, [napari_viewer.layers.selection.events.active], self.show_active)
        self.show_active()

    def show_active(self, _event: object = None) -> None:
        """Show the cards of the selected layer."""
        layer = self.viewer.layers.selection.active
        found = [] if layer is None else list(cards(layer.metadata))
        if layer is None:
            self.title.setText("Select one layer to see the header of its image.")
        else:
            self.title.setText(f"{layer.name}: {f'{len(found)} cards' if found else 'it has no header'}")
        self.table.setRowCount(len(found))
        for row, card in enumerate(found):
            for column, text in enumerate(card):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                if column == 0:
                    item.setData(Qt.ItemDataRole.UserRole, " ".join(card).casefold())
                self.table.setItem(row, column, item)
        self._filter(self.search.text())

    def _filter(self, words: str) -> None:
        """Hide the cards that lack one of the words."""
        for row in range(self.table.rowCount()):
            item = self.table.item(row, 0)
            text = "" if item is None else item.data(Qt.ItemDataRole.UserRole)
            self.table.setRowHidden(row, not all(word in text for word in words.casefold().split()))


def cards(metadata: Mapping[str, Any]) -> Iterator[Card]:
    """Keyword, value and comment of every card, in the order of the file; layers of other readers may have a
    header without comments.
    """
    record, number = metadata.get(TAG), metadata.get("object", 0)
    headers: Any = ()
    if isinstance(record, Burst):
        headers = record.headers
    elif isinstance(record, Snapshot) and record.run is not None:
        headers = record.run.headers
    if number < len(headers):
        yield from ((card.keyword, str(card.value), card.comment) for card in headers[number].cards)
        return
    header = metadata.get("header")
    if isinstance(header, Mapping):
        yield from ((str(name), str(value), "") for name, value in header.items())

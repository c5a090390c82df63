"""A table of figures, as tall as its rows, that nobody edits."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHeaderView, QTableWidget


def figure_table(columns: Mapping[str, str], tip: str, rows: int = 0) -> QTableWidget:
    """A table whose columns have these names, with what each one means."""
    table = QTableWidget(rows, len(columns))
    table.setHorizontalHeaderLabels(list(columns))
    for column, meaning in enumerate(columns.values()):
        if (item := table.horizontalHeaderItem(column)) is not None:
            item.setToolTip(meaning)
    table.setToolTip(tip)
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    if (titles := table.horizontalHeader()) is not None:
        titles.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    if (sides := table.verticalHeader()) is not None:
        sides.hide()
    return table

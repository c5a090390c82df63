"""A panel's versions: the results in the viewer, to keep, rename, delete, export, go back to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from heliorestore.plugin.runs.redraw_rate import single_shot
from heliorestore.plugin.runs.versions import (
    Version,
    contrast,
    delete,
    differing,
    rename,
    settings_of,
    short_name,
    versions,
)
from heliorestore.plugin.widgets.closing import follow
from heliorestore.plugin.widgets.sections import button, note, row, say, stack
from heliorestore.settings import SavedSettings, to_rows

_ROWS_SHOWN = 4
_NAME_WIDTH = 150  # px


class VersionList(QWidget):
    """A table of the results among the viewer's layers; the caller provides the actions."""

    def __init__(
        self,
        viewer: Any,
        *,
        keep: Callable[[], None],
        back: Callable[[Version], None],
        export: Callable[[Version], None],
        compare: Callable[[Version], None],
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._found: list[Version] = []
        events = viewer.layers.events
        follow(self, [events.inserted, events.removed, events.reordered, events.renamed], self._changed)
        self._later = single_shot(self, self.refresh)  # a run adds many layers, one after the other
        self.table = _table(self.fontMetrics().height())
        self.table.itemChanged.connect(self._renamed)
        self.table.currentCellChanged.connect(self._enable)
        self.keep_button = button(
            "Keep this result",
            "Keep the current result with its settings as separate layers and continue: later "
            "iterations do not change it.",
            keep,
        )
        self.back_button = button(
            "Back to these settings",
            "Show the settings of the chosen version in the form; during a run, only the live ones.",
            lambda: self._with(back),
        )
        self.export_button = button(
            "Export…",
            "Write the chosen version to FITS with its full provenance.",
            lambda: self._with(export),
        )
        self.delete_button = button(
            "Delete", "Remove the layers of the chosen version from the viewer.", self._delete
        )
        self.compare_button = button(
            "Compare…",
            "Compare the chosen version with the current result: blink, divider, difference.",
            lambda: self._with(compare),
        )
        self.empty = note("There is no result yet.")
        stack(
            self,
            self.keep_button,
            self.empty,
            self.table,
            self.back_button,
            row(self.compare_button, self.export_button, self.delete_button),
        )
        self.refresh()

    def chosen(self) -> Version | None:
        """The version that is chosen in the table."""
        number = self.table.currentRow()
        return self._found[number] if 0 <= number < len(self._found) else None

    def refresh(self) -> None:
        """Show the results that the viewer has now."""
        before = self.chosen()
        self._found = versions(self._viewer.layers)
        with QSignalBlocker(self.table):
            self._fill()
            # The same version stays chosen, known by its first layer: names may change.
            again = [
                n
                for n, version in enumerate(self._found)
                if before is not None and version.layers[0] == before.layers[0]
            ]
            self.table.setCurrentCell(again[0] if again else len(self._found) - 1, 0)
        self.table.setVisible(bool(self._found))
        say(self.empty, "" if self._found else "No result yet.")
        self._enable()

    def _changed(self, event: Any = None) -> None:
        self._later.start(0)

    def _with(self, act: Callable[[Version], None]) -> None:
        if (version := self.chosen()) is not None:
            act(version)

    def _delete(self) -> None:
        self._with(lambda version: delete(self._viewer, version))

    def _fill(self) -> None:
        """A row for each version: its name, the settings in which they differ, what it gave."""
        of_each = [settings_of(version) for version in self._found]
        names = differing(of_each)
        self.table.setRowCount(len(self._found))
        self.table.setColumnCount(len(names) + 3)
        self.table.setHorizontalHeaderLabels(
            ["version", *map(short_name, names), "iterations", "contrast [%]"]
        )
        for row_, (version, settings) in enumerate(zip(self._found, of_each, strict=True)):
            texts = [settings.get(name, "") for name in names]
            above = [of_each[row_ - 1].get(name, "") for name in names] if row_ else texts
            for column, text in enumerate([version.name, *texts, *_results(version)]):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{version.name}\n{_story(version)}")
                if column:
                    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                if 0 < column <= len(names) and text != above[column - 1]:
                    item.setFont(_bold(self.table.font()))
                    item.setText(f"● {text}")  # seen without colours, and in any theme
                self.table.setItem(row_, column, item)
        if (columns := self.table.horizontalHeader()) is not None and names:
            # long names must not push the settings out of sight; the user may pull the column wider
            columns.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
            self.table.setColumnWidth(0, min(self.table.sizeHintForColumn(0), _NAME_WIDTH))

    def _renamed(self, item: QTableWidgetItem) -> None:
        number = item.row()
        if not item.column() and 0 <= number < len(self._found) and item.text().strip():
            rename(self._found[number], item.text().strip())
        self._changed()

    def _enable(self, *_: Any) -> None:
        for part in (self.back_button, self.export_button, self.delete_button, self.compare_button):
            part.setEnabled(self.chosen() is not None)


def _results(version: Version) -> list[str]:
    """Iterations and contrast; those of a run that goes on would soon be wrong."""
    snapshot = version.snapshot
    of_file = snapshot.run is None or isinstance(snapshot.run.settings, SavedSettings)
    if snapshot.stop is None and not (version.kept or of_file):
        return ["…", "…"]
    value = 100 * contrast(version)
    return [str(snapshot.step), f"{value:.2f}" if math.isfinite(value) else ""]


def _table(line: int) -> QTableWidget:
    """An empty table of versions."""
    table = QTableWidget()
    table.setToolTip(
        "Every result in the viewer with the settings in which they differ; a dot marks a value that is not "
        "that of the row above. A double click on the name renames it."
    )
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setTabKeyNavigation(False)  # Tab leaves the table
    for corner in table.findChildren(QAbstractButton):
        corner.setToolTip("Choose all rows.")
    table.setFixedHeight((_ROWS_SHOWN + 2) * (line + 8))
    if (rows := table.verticalHeader()) is not None:
        rows.hide()
        rows.setDefaultSectionSize(line + 8)
    if (columns := table.horizontalHeader()) is not None:
        columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    return table


def _bold(font: QFont) -> QFont:
    made = QFont(font)
    made.setBold(True)
    return made


def _story(version: Version) -> str:
    """The record of a version: iterations, reason of the stop, losses, settings."""
    snapshot = version.snapshot
    lines = [f"{snapshot.step} iterations. {snapshot.stop.value if snapshot.stop else 'It had not stopped.'}"]
    lines += [f"{name} {value:.4g}" for name, value in snapshot.losses.items()]
    if snapshot.run is not None:
        settings = snapshot.run.settings
        rows = to_rows(settings)
        now = version.layers[0].metadata.get("settings", {})
        lines += [
            f"{name} = {now.get(name, value)}{' ' + unit if unit else ''}" for name, value, unit, _ in rows
        ]
    return "\n".join(lines)

"""A panel's versions: the results in the viewer, to keep, rename, delete, export, go back to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

from heliorestore.plugin.runs.redraw_rate import single_shot
from heliorestore.plugin.runs.versions import Version, delete, rename, versions
from heliorestore.plugin.widgets.closing import follow
from heliorestore.plugin.widgets.sections import button, note, row, say, stack
from heliorestore.settings import to_rows

_ROWS_SHOWN = 4


class VersionList(QWidget):
    """Lists the results among the viewer's layers; the caller provides the actions."""

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
        self.list = QListWidget()
        self.list.setToolTip("Every result in the viewer; a double click renames it.")
        self.list.setFixedHeight(_ROWS_SHOWN * (self.fontMetrics().height() + 4) + 8)
        self.list.itemChanged.connect(self._renamed)
        self.list.currentRowChanged.connect(self._enable)
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
            self.list,
            self.back_button,
            row(self.compare_button, self.export_button, self.delete_button),
        )
        self.refresh()

    def chosen(self) -> Version | None:
        """The version that is chosen in the list."""
        number = self.list.currentRow()
        return self._found[number] if 0 <= number < len(self._found) else None

    def refresh(self) -> None:
        """Show the results that the viewer has now."""
        before = self.chosen()
        self._found = versions(self._viewer.layers)
        with QSignalBlocker(self.list):
            self.list.clear()
            for version in self._found:
                item = QListWidgetItem(version.name, self.list)
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
                item.setToolTip(_story(version))
            # The same version stays chosen, known by its first layer: names may change.
            again = [
                n
                for n, version in enumerate(self._found)
                if before is not None and version.layers[0] == before.layers[0]
            ]
            self.list.setCurrentRow(again[0] if again else len(self._found) - 1)
        say(self.empty, "" if self._found else "No result yet.")
        self._enable()

    def _changed(self, event: Any = None) -> None:
        self._later.start(0)

    def _with(self, act: Callable[[Version], None]) -> None:
        if (version := self.chosen()) is not None:
            act(version)

    def _delete(self) -> None:
        self._with(lambda version: delete(self._viewer, version))

    def _renamed(self, item: QListWidgetItem) -> None:
        number = self.list.row(item)
        if 0 <= number < len(self._found) and item.text().strip():
            rename(self._found[number], item.text().strip())
        self._changed()

    def _enable(self, *_: Any) -> None:
        for part in (self.back_button, self.export_button, self.delete_button, self.compare_button):
            part.setEnabled(self.chosen() is not None)


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

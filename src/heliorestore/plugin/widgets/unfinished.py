"""The offer to resume a restoration that a crash or a closed window left unfinished."""

from __future__ import annotations

from qtpy.QtCore import Signal

from heliorestore.plugin.autosave import Autosave, unfinished
from heliorestore.plugin.widgets.parts import Section, button, note, row, say


class UnfinishedRuns(Section):
    """Shows the latest unfinished run of a method, if there is one; `resumed` hands it over."""

    resumed = Signal(object)  # Autosave

    def __init__(self, method: str) -> None:
        self.text = note("A restoration that was running when napari ended, as it was saved in your data folder.")
        self.resume_button = button("Resume", "Open its input and go on where it was, with its settings.", self._resume)
        self.discard_button = button("Discard", "Delete what was saved of it.", self.discard)
        super().__init__("Unfinished run", self.text, row(self.resume_button, self.discard_button))
        self._method = method
        self.offered: Autosave | None = None
        self.look()

    def look(self) -> None:
        """Offer the latest."""
        found = unfinished(self._method)
        self.offered = found[0] if found else None
        self.setVisible(self.offered is not None)
        if self.offered is not None:
            more = f" There are {len(found) - 1} more." if len(found) > 1 else ""
            say(self.text, f"A run was left unfinished: {self.offered.restart}.{more}")

    def discard(self) -> None:
        """Forget the run that is offered."""
        if self.offered is not None:
            self.offered.drop()
        self.look()

    def taken(self) -> None:
        """The run that was offered is going on."""
        self.offered = None
        self.hide()

    def _resume(self) -> None:
        if self.offered is not None:
            self.resumed.emit(self.offered)

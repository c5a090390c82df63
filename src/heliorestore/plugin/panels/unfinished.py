"""The offer to resume a restoration that a crash or a closed window left unfinished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Signal

from heliorestore.burst import Burst
from heliorestore.plugin.panels.parts import Panel
from heliorestore.plugin.runs.autosave import Autosave, Restart, unfinished
from heliorestore.plugin.viewer.layers import TAG
from heliorestore.plugin.widgets.sections import Section, button, note, row, say
from heliorestore.preparation import Preparation
from heliorestore.settings import from_rows


class UnfinishedRuns(Section):
    """Shows the latest unfinished run of a method, if there is one; `resumed` hands it over."""

    resumed = Signal(object)  # Autosave

    def __init__(self, method: str) -> None:
        self.text = note(
            "A restoration that was still running when napari ended; its state is saved in your data folder."
        )
        self.resume_button = button(
            "Resume", "Open its input and continue from the saved state, with its settings.", self._resume
        )
        self.discard_button = button("Discard", "Delete its saved state.", self.discard)
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
        if self.offered is not None and self.offered.take():  # another window may be going on with it
            self.offered.drop()
        self.look()

    def taken(self) -> None:
        """The run that was offered is going on."""
        self.offered = None
        self.hide()

    def _resume(self) -> None:
        if self.offered is not None:
            self.resumed.emit(self.offered)


def open_input(panel: Panel, restart: Restart, then: Callable[[], None]) -> None:
    """Tick a run's input in the panel, opening its files if they are not open, and call `then`."""
    paths = restart.paths()
    layers = [
        layer
        for layer in panel.viewer.layers
        if isinstance(burst := layer.metadata.get(TAG), Burst)
        and [Path(source.path) for source in burst.sources] == paths
    ]
    # Opened again, they would be a second input beside the first.
    if layers:
        panel.layer_list.choose(layers)
        then()
    else:
        panel.files.open_paths(paths, then)


def fill_in(panel: Panel, restart: Restart) -> None:
    """Show a run's settings and choices in the panel; what this version lacks is a SettingsError."""
    if panel.form is None:
        return
    settings = from_rows(panel.form.settings_class, restart.rows)
    panel.input.calibration.show_preparation(from_rows(Preparation, restart.preparation))
    panel.objects.setText(restart.objects)
    panel.frames.setText(restart.frames)
    panel.instrument.set_text(restart.instrument)
    panel.device.setCurrentText(restart.device)
    panel.seed.setValue(restart.seed)
    panel.form.set_settings(settings)

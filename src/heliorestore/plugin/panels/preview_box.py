"""The part of the field that is restored first: it follows settings, instrument and its own place."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QSizePolicy

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.panels.parts import LivePanel
from heliorestore.plugin.runs.live import BoxLayers
from heliorestore.plugin.runs.preview import Box, Preview
from heliorestore.plugin.runs.worker import RestoreWorker
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.words import in_words
from heliorestore.plugin.widgets.messages import Clipped
from heliorestore.plugin.widgets.sections import check


class PreviewBox(QObject):
    """The tick and the line of the preview; `preview` is None where there is no box."""

    arrived = Signal()  # the preview shows another snapshot

    def __init__(self, panel: LivePanel) -> None:
        super().__init__(panel.widget)
        self._panel = panel
        self.preview: Preview | None = None
        self._under: list[Any] = []  # the layers under it
        self.running: list[RestoreWorker] = []  # to be ended when the panel goes; the list outlives it
        self.on = check(
            "Preview in a box",
            "Restore a box first, and again after every change: drag it, pull its corners, move a "
            "slider. Run restores the whole field.",
            self._toggle,
        )
        self.on.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)  # the rest is the note's
        self.note = Clipped("Progress of the box.", 2)  # its room is there before it speaks
        panel.layer_list.changed.connect(self._layers_changed)
        panel.instrument.changed.connect(self._anew)

    def quit(self) -> None:
        """End what is being computed, because the panel goes."""
        for worker in self.running:
            worker.quit()

    def _toggle(self, on: bool) -> None:
        if self.preview is not None:
            self.preview.put_away()
            self.preview = None
        self.note.setText("")
        if not on:
            return
        panel = self._panel
        try:
            job = panel.job()
        except HeliorestoreError as error:
            panel.run_panel.say(explain(error))
            self.on.setChecked(False)
            return
        panel.run_panel.say("")
        panel.frame_views.frames = panel.input.whole_file().frame_numbers
        self._under = panel.layer_list.chosen()
        inputs = panel.input.layers_of(job)
        name = "preview" if len(inputs) > 1 else f"preview {inputs[0].name}"
        layers = BoxLayers(panel.viewer, name, inputs, panel.knobs)
        box = Box(panel.viewer, inputs[0], job.burst.shape[2:], self._anew)
        self.preview = Preview(box, layers, panel.job, self.running)
        self.preview.said.connect(lambda text: self.note.setText(in_words(text)))
        self.preview.arrived.connect(self.arrived)
        self.preview.restart()

    def _anew(self) -> None:
        if self.preview is not None:
            self.preview.restart_soon()

    def _layers_changed(self) -> None:
        """The preview ends when its box or what is under it goes; layers of its own do not matter."""
        if self.preview is not None and not (
            self.preview.box.stands and self._panel.layer_list.chosen() == self._under
        ):
            self.on.setChecked(False)

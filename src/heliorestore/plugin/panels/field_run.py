"""A run on the whole field, saved as it goes: started, continued with new settings, resumed."""

from __future__ import annotations

import dataclasses
from typing import Any

from qtpy.QtCore import QObject

from heliorestore.errors import BurstError, HeliorestoreError
from heliorestore.plugin.panels.parts import LivePanel
from heliorestore.plugin.panels.unfinished import UnfinishedRuns, fill_in, open_input
from heliorestore.plugin.runs.autosave import Autosave, begin
from heliorestore.plugin.runs.live import LiveLayers
from heliorestore.plugin.runs.redraw_rate import single_shot
from heliorestore.plugin.runs.task import End, Outcome
from heliorestore.plugin.runs.worker import Job
from heliorestore.plugin.viewer.failure import explain
from heliorestore.selection import numbers_text
from heliorestore.settings import Settings

QUIET_MS = 400  # from the last change of a setting until a finished run continues
_FURTHER = 6  # iterations for which it continues
# live settings that do not change the result by themselves
_SILENT = {"residual_frame", "stop_early", "iterations"}


class FieldRun(QObject):
    """The last run on the whole field: its job, its layers and its state."""

    def __init__(self, panel: LivePanel) -> None:
        super().__init__(panel.widget)
        self._panel = panel
        self.job: Job | None = None
        self.layers: LiveLayers | None = None
        self._ours = False  # whether it was begun here, and not by a sweep
        self.ended: list[Autosave] = []  # states to forget when the panel goes; the list outlives it
        self.unfinished = UnfinishedRuns(panel.method_name)
        self.unfinished.resumed.connect(self.resume)
        self._quiet = single_shot(self, self.go_on)
        panel.run_panel.ended.connect(self._run_ended)
        panel.sweep_box.began.connect(self._forget_run)

    def start(self, *, paused: bool = False, saved: Autosave | None = None) -> None:
        """Start a new run, or continue a saved one, into new layers; the preview ends."""
        panel = self._panel
        if panel.run_panel.busy:
            return
        try:
            job = panel.job()
            whole = panel.input.whole_file()
        except HeliorestoreError as error:
            panel.run_panel.say(explain(error))
            return
        self._drop_ended()
        panel.preview_box.on.setChecked(False)
        panel.frame_views.frames = whole.frame_numbers
        message = ""
        # else the user has chosen a file for the state
        if saved is None and not getattr(job.settings, "checkpoint", ""):
            saved, message = begin(
                job.burst,
                job.settings,
                instrument=panel.instrument.text(),
                objects=numbers_text(job.burst.object_numbers),
                frames=numbers_text(job.burst.frame_numbers),
                device=job.device,
                seed=job.seed,
            )
        self._begin(dataclasses.replace(job, autosave=saved), panel.make_layers(job), paused=paused)
        if message:
            panel.run_panel.report_more(message)

    def go_on(self) -> None:
        """Continue the last run, which has ended, for a few more iterations with the current settings."""
        run, knobs = self._panel.run_panel, self._panel.method_form.knobs()
        if run.busy or self.job is None or self.layers is None or run.snapshot is None or knobs is None:
            return
        if self._can_go_on(knobs):
            settings: Any = self.job.settings.with_live(knobs)
            # A run that is done would end at once.
            settings = settings.replace(iterations=max(settings.iterations, run.snapshot.step + _FURTHER))
            self._begin(dataclasses.replace(self.job, settings=settings), self.layers, further=True)

    def follow(self, knobs: Settings) -> None:
        """Show the result as with these settings; a run that has ended soon continues with them."""
        if self.layers is None or self.job is None or type(knobs) is not type(self.job.settings):
            return
        self.layers.look_ahead()
        if not self._panel.run_panel.busy and self._changed(knobs) and self._can_go_on(knobs):
            self._quiet.start(QUIET_MS)

    def resume(self, saved: Autosave) -> None:
        """Open the input of an unfinished run, unless it is open, and continue the run."""
        if self._panel.form is None or self._panel.run_panel.busy:
            return
        try:
            open_input(self._panel, saved.restart, lambda: self._resume(saved))
        except BurstError as error:
            self._panel.run_panel.say(explain(error))

    def _resume(self, saved: Autosave) -> None:
        try:
            fill_in(self._panel, saved.restart)
        except HeliorestoreError as error:
            self._panel.run_panel.say(f"The run cannot be resumed with this version: {error}")
            return
        if not saved.take():
            self._panel.run_panel.say("Another window has resumed or discarded this run.")
            self.unfinished.look()
            return
        self.unfinished.taken()
        self._panel.input.calibration.when_read(lambda: self.start(saved=saved))

    def _begin(self, job: Job, layers: LiveLayers, *, paused: bool = False, further: bool = False) -> None:
        if job.autosave is not None:
            job.autosave.set_ended(False)
        self.ended.clear()
        self.job, self.layers, self._ours = job, layers, True
        self._panel.run_panel.start(job, layers, paused=paused, further=further)

    def _can_go_on(self, knobs: Settings) -> bool:
        """Whether only live settings differ from the last run's, and its layers and state are there."""
        if self.job is None or self.layers is None or self.job.autosave is None:
            return False
        there = any(layer in self._panel.viewer.layers for layer in self.layers.layers.values())
        return there and self.job.autosave.state.exists() and not knobs.unlike(self.job.settings, live=False)

    def _changed(self, knobs: Settings) -> bool:
        """Whether a live setting differs from the last iteration's, or more iterations are wanted."""
        from heliorestore.methods.base import settings_at

        snapshot = self._panel.run_panel.snapshot
        if snapshot is None or snapshot.run is None:
            return False
        before = settings_at(snapshot)
        if type(before) is not type(knobs):
            return False
        more = getattr(knobs, "iterations", 0) > max(snapshot.step, getattr(before, "iterations", 0))
        return more or not _SILENT.issuperset(knobs.unlike(before, live=True))

    def _run_ended(self, outcome: Outcome) -> None:
        ours, self._ours = self._ours, False
        if not ours:  # a sweep's: what is shown now cannot be continued
            self._drop_ended()
            self._forget_run()
            return
        saved = self.job.autosave if self.job is not None else None
        if saved is not None and (outcome.end is End.FINISHED or self._panel.run_panel.stopped):
            saved.set_ended(True)
            self.ended[:] = [saved]
        knobs = self._panel.method_form.knobs()
        if outcome.end is End.FINISHED and knobs is not None and self._changed(knobs):
            self._quiet.start(QUIET_MS)  # the knobs were moved during the last iteration

    def _forget_run(self) -> None:
        """Changed settings no longer continue the previous run: a sweep has its own layers."""
        self.job = self.layers = None

    def _drop_ended(self) -> None:
        for saved in self.ended:
            saved.drop()
        self.ended.clear()

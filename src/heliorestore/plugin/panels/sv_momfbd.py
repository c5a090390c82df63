"""The panel of SV-MOMFBD: knobs that act while it runs, a preview box, mode maps, the residual and the PSF of
the frame shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QVBoxLayout

from heliorestore.errors import BurstError, HeliorestoreError
from heliorestore.plugin.panels.restore import RestoreWidget
from heliorestore.plugin.panels.unfinished import UnfinishedRuns, fill_in, open_input
from heliorestore.plugin.runs.as_code import slice_text
from heliorestore.plugin.runs.autosave import Autosave, begin
from heliorestore.plugin.runs.live import BoxLayers, LiveLayers
from heliorestore.plugin.runs.preview import Box, Preview
from heliorestore.plugin.runs.worker import End, Job, Outcome, RestoreWorker
from heliorestore.plugin.widgets.form import SettingsForm
from heliorestore.plugin.widgets.memory_text import memory_text
from heliorestore.plugin.widgets.probe_box import ProbeBox, Probed
from heliorestore.plugin.widgets.run_controls import State
from heliorestore.plugin.widgets.sections import Section, check, note, row, say
from heliorestore.plugin.widgets.shortcuts import bind_keys, release_keys
from heliorestore.settings import Settings, options
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from napari.viewer import Viewer

LIVE = "Live: act while it runs"
GROUPS = {
    LIVE: (
        "lambda_object",
        "lambda_modes",
        "filter_width",
        "filter_smoothness",
        "iterations",
        "rate_modes",
        "prior",
        "object_weights",
        "stop_early",
    ),
    "Wavefronts": ("modes", "r0_cm", "r0_from_data", "left_out", "grid_step", "psf", "forward"),
    "Start": ("start", "patch_iterations", "patch", "align", "destretch"),
    "Object": ("regulariser", "positive"),
}
"""The settings by what they are about; a name that this version lacks is left out."""

_QUIET_MS = 400  # after the last move of a knob before a finished run goes on
_FURTHER = 6  # iterations with which it goes on
# live settings that do not change the result by themselves
_SILENT = ("residual_frame", "stop_early", "iterations")


class SvMomfbdWidget(RestoreWidget):
    """SV-MOMFBD, steered while it runs."""

    method: ClassVar[str | None] = "sv-momfbd"
    groups: ClassVar[Mapping[str, Sequence[str]] | None] = GROUPS
    preview_on: QCheckBox
    modes_on: QCheckBox
    residual_on: QCheckBox
    probe: ProbeBox

    def __init__(self, napari_viewer: Viewer) -> None:
        self.preview: Preview | None = None
        self._previewed: list[Any] = []  # the layers under it
        self._job: Job | None = None  # of the last run on the whole field
        self._layers: LiveLayers | None = None
        self._ours = False  # whether it was begun here, and not by a sweep
        self._frames = range(0)  # numbers in the file of the frames on the slider
        # What must be ended or forgotten when the panel goes; it outlives it.
        self._left: dict[str, list[Any]] = {"workers": [], "ended": []}
        super().__init__(napari_viewer)
        self._quiet, self._estimate_soon = QTimer(self), QTimer(self)
        for timer, act in ((self._quiet, self.go_on), (self._estimate_soon, self._estimate)):
            timer.setSingleShot(True)
            timer.timeout.connect(act)
        self.run_panel.ended.connect(self._run_ended)
        self.run_panel.state_changed.connect(self._shown)
        self.layer_list.changed.connect(self._layers_changed)
        self.instrument.changed.connect(self._preview_anew)
        self.sweep_box.began.connect(self._sweep_began)
        for changed in (self.layer_list.changed, self.instrument.changed):
            changed.connect(lambda: self._estimate_soon.start(_QUIET_MS))
        self.viewer.dims.events.current_step.connect(self._frame_moved)
        self.destroyed.connect(_farewell(self._left, self.viewer, self._frame_moved))
        bind_keys(self.viewer, self.run_panel)

    # -- runs on the whole field

    def start(self, paused: bool = False) -> None:
        """Start a new run on the whole field, into new layers; the preview ends."""
        self._start(paused=paused)

    def go_on(self) -> None:
        """Let the last run, which has ended, do a few more iterations from where it stands, with the knobs as
        they are.
        """
        job, layers, snapshot, knobs = self._job, self._layers, self.run_panel.snapshot, self._knobs()
        if (
            self.run_panel.busy
            or job is None
            or layers is None
            or snapshot is None
            or knobs is None
            or not self._can_go_on(knobs)
        ):
            return
        settings: Any = job.settings.with_live(knobs)
        settings = settings.replace(iterations=max(settings.iterations, snapshot.step + _FURTHER))
        self._begin(dataclasses.replace(job, settings=settings), layers, further=True)

    def _start(self, *, paused: bool = False, saved: Autosave | None = None) -> None:
        if self.run_panel.busy:
            return
        try:
            job = self.job()
            whole = self.whole_file()
        except HeliorestoreError as error:
            self.run_panel.say(str(error))
            return
        self._forget_ended()
        self.preview_on.setChecked(False)
        self._frames = whole.frame_range
        told = ""
        # else the user keeps the state where they want it
        if saved is None and not getattr(job.settings, "checkpoint", ""):
            saved, told = begin(
                job.burst,
                job.settings,
                instrument=self.instrument.text(),
                objects=slice_text(job.burst.object_range),
                frames=slice_text(job.burst.frame_range),
                device=job.device,
                seed=job.seed,
            )
        self._begin(dataclasses.replace(job, autosave=saved), self.make_layers(job), paused=paused)
        if told:
            self.run_panel.report_more(told)

    def _begin(self, job: Job, layers: LiveLayers, *, paused: bool = False, further: bool = False) -> None:
        if job.autosave is not None:
            job.autosave.set_ended(False)
        self._left["ended"] = []
        self._job, self._layers, self._ours = job, layers, True
        self.run_panel.start(job, layers, paused=paused, further=further)

    def make_layers(self, job: Job) -> LiveLayers:
        plain = super().make_layers(job)
        return LiveLayers(self.viewer, plain.name, plain.inputs, self._knobs)

    def _can_go_on(self, knobs: Settings) -> bool:
        """Whether these settings differ from those of the last run in live ones only, and its layers and
        state are still there.
        """
        if (
            self._job is None
            or self._layers is None
            or self._job.autosave is None
            or not self._job.autosave.state.exists()
        ):
            return False
        if not any(layer in self.viewer.layers for layer in self._layers.layers.values()):
            return False
        before = self._job.settings
        return not any(
            not o.live and getattr(knobs, o.name) != getattr(before, o.name) for o in options(type(before))
        )

    def _run_ended(self, outcome: Outcome) -> None:
        ours, self._ours = self._ours, False
        if not ours:  # a sweep's: what is shown now cannot be gone on with
            self._forget_ended()
            self._job = self._layers = None
            return
        saved = self._job.autosave if self._job is not None else None
        if saved is not None and (outcome.end is End.FINISHED or self.run_panel.stopped):
            saved.set_ended(True)
            self._left["ended"] = [saved]
        if outcome.end is End.FINISHED and (knobs := self._knobs()) is not None and self._changed(knobs):
            self._quiet.start(_QUIET_MS)  # the knobs were moved during the last iteration

    def _sweep_began(self) -> None:
        # a sweep has layers of its own: knobs no longer go on with the run before it
        self._job = self._layers = None

    def _forget_ended(self) -> None:
        for saved in self._left["ended"]:
            saved.drop()
        self._left["ended"] = []

    # -- settings that act at once

    def _knobs(self) -> Any:
        """The settings as the form shows them, None while they cannot be read."""
        if self.form is None:
            return None
        try:
            return self.form.settings()
        except HeliorestoreError:
            return None

    def _settings_changed(self) -> None:
        super()._settings_changed()
        self._estimate_soon.start(_QUIET_MS)
        knobs = self._knobs()
        if knobs is None:
            return
        if self.preview is not None:
            self.preview.send(knobs)
        elif self._layers is not None and self._job is not None and type(knobs) is type(self._job.settings):
            self._layers.look_ahead()
            if not self.run_panel.busy and self._changed(knobs) and self._can_go_on(knobs):
                self._quiet.start(_QUIET_MS)

    def _changed(self, knobs: Settings) -> bool:
        """Whether a live setting that changes the result is not what the last iteration had, or more
        iterations are wanted.
        """
        from heliorestore.methods.base import settings_at

        snapshot = self.run_panel.snapshot
        if snapshot is None or snapshot.run is None:
            return False
        before = settings_at(snapshot)
        if type(before) is not type(knobs):
            return False
        names = [o.name for o in options(type(before)) if o.live and o.name not in _SILENT]
        more = getattr(knobs, "iterations", 0) > max(snapshot.step, getattr(before, "iterations", 0))
        return more or any(getattr(knobs, name) != getattr(before, name) for name in names)

    def _estimate(self) -> None:
        """Say what memory a run would take, and whether the field would be done in tiles."""
        if self.form is None or self.run_panel.busy:
            return
        try:
            say(self.memory_note, memory_text(self.job()))
        except HeliorestoreError:
            say(self.memory_note, "")

    # -- the preview box

    def _toggle_preview(self, on: bool) -> None:
        if self.preview is not None:
            self.preview.put_away()
            self.preview = None
        say(self.preview_note, "")
        if not on:
            return
        try:
            job = self.job()
        except HeliorestoreError as error:
            self.run_panel.say(str(error))
            self.preview_on.setChecked(False)
            return
        self.run_panel.say("")
        self._frames, self._previewed = self.whole_file().frame_range, self.layer_list.chosen()
        plain = super().make_layers(job)
        layers = BoxLayers(
            self.viewer,
            "preview" if len(plain.inputs) > 1 else f"preview {plain.inputs[0].name}",
            plain.inputs,
            self._knobs,
        )
        box = Box(self.viewer, plain.inputs[0], job.burst.shape[2:], self._preview_anew)
        self.preview = Preview(box, layers, self.job)
        self._left["workers"] = self.preview.running
        self.preview.told.connect(lambda text: say(self.preview_note, text))
        self.preview.arrived.connect(self._shown)
        self.preview.restart()

    def _preview_anew(self) -> None:
        if self.preview is not None:
            self.preview.restart_soon()

    def _layers_changed(self) -> None:
        """The preview ends when its box or what is under it goes; layers of its own do not matter."""
        if self.preview is not None and not (
            self.preview.box.stands and self.layer_list.chosen() == self._previewed
        ):
            self.preview_on.setChecked(False)

    # -- frame, maps, PSF

    def frame(self, snapshot: Snapshot) -> int | None:
        """Which of the restored frames is on the slider, None where it was not restored."""
        step = self.viewer.dims.current_step
        number = int(step[-3]) if len(step) > 2 else 0
        if snapshot.run is None or not 0 <= number < len(self._frames):
            return None
        frames = snapshot.run.frame_range
        return frames.index(self._frames[number]) if self._frames[number] in frames else None

    def _frame_moved(self, event: Any = None) -> None:
        self._follow_residual()
        self._shown()

    def _follow_residual(self) -> None:
        """Ask for the residual of the frame on the slider."""
        snapshot = self.run_panel.snapshot
        if self.form is not None and self.residual_on.isChecked() and snapshot is not None:
            self.form.fields["residual_frame"].set(self.frame(snapshot))

    def _toggle_residual(self, on: bool) -> None:
        self._show_maps("residual", on)
        if on:
            self._follow_residual()
        elif self.form is not None:
            self.form.fields["residual_frame"].set(None)

    def _show_maps(self, kind: str, on: bool) -> None:
        for (name, object_), layer in (self._layers.layers if self._layers is not None else {}).items():
            if name == kind and object_ == 0 and layer in self.viewer.layers:
                layer.visible = on
                if on:  # over the images, under the box and the probe
                    self.viewer.layers.move(self.viewer.layers.index(layer), len(self.viewer.layers))
                    self._tools_to_front()

    def _tools_to_front(self) -> None:
        tools = [
            tool.layer
            for tool in (self.preview and self.preview.box, self.probe.point)
            if tool and tool.stands
        ]
        for layer in tools:
            self.viewer.layers.move(self.viewer.layers.index(layer), len(self.viewer.layers))

    def _shown(self) -> None:
        """Something else is shown: soon the PSF is looked up again."""
        self.probe.look_soon()

    def _probed(self, place: tuple[float, float]) -> Probed | None:
        """The result at a place (y, x) of the field: that of the preview box where it is on, else that of the
        last run.
        """
        snapshot = self.run_panel.snapshot
        if self.preview is not None and self.preview.snapshot is not None:
            snapshot, outer = self.preview.snapshot, self.preview.outer
            place = place[0] - outer.top, place[1] - outer.left
            if not (0 <= place[0] < outer.bottom - outer.top and 0 <= place[1] < outer.right - outer.left):
                return None
        frame = self.frame(snapshot) if snapshot is not None else None
        return None if snapshot is None or frame is None else Probed(snapshot, place, frame)

    # -- unfinished runs

    def resume(self, saved: Autosave) -> None:
        """Open the input of an unfinished run, unless it is open, and go on with the run."""
        if self.form is None or self.run_panel.busy:
            return
        try:
            open_input(self, saved.restart, lambda: self._resume(saved))
        except BurstError as error:
            self.run_panel.say(str(error))

    def _resume(self, saved: Autosave) -> None:
        try:
            fill_in(self, saved.restart)
        except HeliorestoreError as error:
            self.run_panel.say(f"The run cannot be resumed with this version: {error}")
            return
        self.unfinished.taken()
        self._start(saved=saved)

    # -- how it looks

    def _build(self) -> None:
        super()._build()
        self.unfinished = UnfinishedRuns(self.method_name)
        self.unfinished.resumed.connect(self.resume)
        self.preview_note = note("How far the box is.")
        self.preview_on = check(
            "Preview in a box",
            "Restore a box first and over and over: drag it, pull its corners, move a slider. Run restores "
            "the whole field.",
            self._toggle_preview,
        )
        self.modes_on = check(
            "Mode maps",
            "Show the fitted modes over the image, in radian; the slider k chooses the mode.",
            lambda on: self._show_maps("modes", on),
        )
        self.residual_on = check(
            "Residual of the frame",
            "Show model minus data of the frame on the slider, from the next iteration on.",
            self._toggle_residual,
        )
        self.memory_note = note(
            "What a run on the whole field will need beyond the program itself, estimated from the sizes."
        )
        self.probe = ProbeBox(self.viewer, self.layer_list.chosen, self._probed)
        look = Section(
            "Look", self.preview_on, self.preview_note, row(self.modes_on, self.residual_on), self.probe
        )
        column: Any = self.column
        sections = {
            section.title.text(): section
            for n in range(column.count())
            if (section := column.itemAt(n).widget()) is not None
        }
        # What is turned while it runs stands beside the buttons; what is chosen before may be scrolled to.
        self.live_place = QVBoxLayout()
        column.insertLayout(column.indexOf(sections["Method"]), self.live_place)
        column.insertWidget(column.indexOf(sections["Run"]) + 1, look)
        column.insertWidget(column.indexOf(sections["Run"]), self.memory_note)
        column.insertWidget(column.indexOf(look) + 1, sections["Method"])
        column.insertWidget(0, self.unfinished)
        self.instrument_section = sections["Instrument"]
        for section in (self.instrument_section, sections["Suggestion"], sections["Sweep"]):
            section.set_open(False)

    def _show_form(self, form: SettingsForm | None) -> None:
        """The live settings stand for themselves, above the buttons."""
        if self.form is not None:
            self.form.groups[LIVE].deleteLater()
        super()._show_form(form)
        if form is not None:
            self.live_place.addWidget(form.groups[LIVE])
            self._estimate_soon.start(_QUIET_MS)

    def _input_changed(self) -> None:
        super()._input_changed()
        if not self.instrument.missing.isHidden():  # it asks for something
            self.instrument_section.set_open(True)

    def _state_changed(self) -> None:
        super()._state_changed()
        busy = self.run_panel.state is not State.IDLE
        self.preview_on.setEnabled(self.form is not None and not busy)
        has_maps = self._layers is not None
        self.modes_on.setEnabled(has_maps)
        self.residual_on.setEnabled(has_maps)


def _farewell(left: dict[str, list[Any]], viewer: Any, moved: Callable[..., None]) -> Callable[..., None]:
    def end(*_: Any) -> None:
        workers: list[RestoreWorker] = left["workers"]
        for worker in workers:
            worker.quit()
        for saved in left["ended"]:
            saved.drop()
        viewer.dims.events.current_step.disconnect(moved)
        release_keys(viewer)

    return end

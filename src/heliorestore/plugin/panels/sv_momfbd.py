"""The panel of SV-MOMFBD: live knobs, a preview box, mode maps, residual and PSF of the shown frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtWidgets import QSizePolicy, QWidget

from heliorestore.plugin.panels.field_run import FieldRun
from heliorestore.plugin.panels.frame_views import FrameViews
from heliorestore.plugin.panels.preview_box import PreviewBox
from heliorestore.plugin.panels.restore import RestoreWidget
from heliorestore.plugin.runs.autosave import Autosave
from heliorestore.plugin.runs.live import LiveLayers
from heliorestore.plugin.runs.preview import Preview
from heliorestore.plugin.runs.task import start_task
from heliorestore.plugin.runs.worker import Job, RestoreWorker
from heliorestore.plugin.widgets.closing import follow, when_taken_out
from heliorestore.plugin.widgets.memory_text import MemoryNote
from heliorestore.plugin.widgets.messages import Clipped
from heliorestore.plugin.widgets.probe_box import ProbeBox
from heliorestore.plugin.widgets.run_controls import State
from heliorestore.plugin.widgets.sections import Section, row
from heliorestore.plugin.widgets.shortcuts import bind_keys, release_keys

if TYPE_CHECKING:
    from napari.viewer import Viewer

_GLANCE = "heliorestore.diagnose.glance"
LIVE = "Live: act while it runs"
GROUPS = {
    LIVE: (
        "lambda_object",
        "lambda_modes",
        "filter_width",
        "filter_smoothness",
        "iterations",
    ),
    "Live too, seldom turned": ("rate_modes", "prior", "object_weights", "stop_early"),
    "Wavefronts": ("modes", "air", "r0_cm", "r0_from_data", "left_out", "grid_step", "psf", "forward"),
    "Start": ("start", "patch_iterations", "patch", "align", "destretch"),
    "Object": ("regulariser", "positive"),
}
"""The settings by subject; a name that this version lacks is left out."""


class SvMomfbdWidget(RestoreWidget):
    """SV-MOMFBD, steered while it runs: the field, the preview box, and what is seen of a frame."""

    method: ClassVar[str | None] = "sv-momfbd"
    groups: ClassVar[Mapping[str, Sequence[str]] | None] = GROUPS
    # Live settings are beside the buttons; settings that are chosen before a run come below.
    slots: ClassVar[tuple[str, ...]] = (
        "input",
        "live",
        "memory",
        "run",
        "suggestion",
        "look",
        "result",
        "method",
        "versions",
        "sweep",
    )

    field_run: FieldRun
    preview_box: PreviewBox
    frame_views: FrameViews
    memory: MemoryNote
    probe: ProbeBox

    def __init__(self, napari_viewer: Viewer) -> None:
        self._live: Section | None = None  # of the form that is shown
        super().__init__(napari_viewer)
        self.run_panel.state_changed.connect(self.probe.look_soon)
        self.preview_box.arrived.connect(self.probe.look_soon)
        for changed in (self.layer_list.changed, self.instrument.changed):
            changed.connect(self.memory.look_soon)
        self._asked = False  # whether the section has been opened to ask for the instrument
        self.layer_list.changed.connect(self._open_instrument)
        self._open_instrument()
        when_taken_out(self, self.preview_box.quit)
        follow(self, [self.viewer.dims.events.current_step], self.frame_views.frame_moved)
        self.destroyed.connect(_farewell(self.preview_box.running, self.field_run.ended, self.viewer))
        bind_keys(self.viewer, self.run_panel)

    @property
    def preview(self) -> Preview | None:
        return self.preview_box.preview

    def start(self, paused: bool = False) -> None:
        """Start a new run on the whole field, into new layers; the preview ends."""
        self.field_run.start(paused=paused)

    def resume(self, saved: Autosave) -> None:
        """Open the input of an unfinished run, unless it is open, and go on with the run."""
        self.field_run.resume(saved)

    def make_layers(self, job: Job) -> LiveLayers:
        plain = super().make_layers(job)
        return LiveLayers(self.viewer, plain.name, plain.inputs, self.knobs)

    def knobs(self) -> Any:
        """The settings as the form shows them, None while they cannot be read."""
        return self.method_form.knobs()

    def _settings_changed(self) -> None:
        super()._settings_changed()
        self.memory.look_soon()
        knobs = self.knobs()
        if knobs is not None and self.preview is not None:
            self.preview.send(knobs)
        elif knobs is not None:
            self.field_run.follow(knobs)

    def _open_instrument(self) -> None:
        """Ask for the instrument of the first input; later its title does, and nothing is moved."""
        if not self._asked and not self.instrument.missing.isHidden():
            self._asked = True
            self.input.instrument_section.set_open(True)

    def _form_shown(self) -> None:
        """The live settings stand for themselves, above the buttons."""
        if self._live is not None:
            self._live.deleteLater()
        self._live = None
        super()._form_shown()
        if self.form is not None:
            self._live = self.form.groups[LIVE]
            self.sections.fill("live", self._live)
            self.memory.look_soon()
            # The first snapshot needs it, in the turn in which layers are made.
            start_task("Load the glance", partial(import_module, _GLANCE), lambda _: None, listed=False)

    def _state_changed(self) -> None:
        super()._state_changed()
        idle = self.run_panel.state is State.IDLE
        if not idle:
            self.unfinished.hide()  # it is offered again by the next panel
        self.preview_box.on.setEnabled(self.form is not None and idle)
        self.frame_views.set_enabled(self.field_run.layers is not None)
        self.air.setText(self._air())

    def _air(self) -> str:
        """What the run has found of air and noise so far."""
        snapshot = self.run_panel.snapshot
        if snapshot is None or snapshot.run is None:
            return ""
        from heliorestore.diagnose.fitted_air import air_in_words  # loaded already: there is a result
        from heliorestore.methods.base import settings_of

        settings: Any = settings_of(snapshot.run)
        return air_in_words(snapshot, settings) if settings.method == self.method else ""

    def _build(self) -> None:
        super()._build()
        self.field_run = FieldRun(self)
        self.preview_box = PreviewBox(self)
        self.frame_views = FrameViews(self)
        self.memory = MemoryNote(self, self.run_panel, self.job)
        self.air = Clipped(
            "Fried's parameter, seeing and noise (relative to the mean) of the data, as the last iteration "
            "has them: r0 settles late in a run."
        )
        self.preview_on, self.preview_note = self.preview_box.on, self.preview_box.note
        self.modes_on, self.residual_on = self.frame_views.modes_on, self.frame_views.residual_on
        self.probe, self.memory_note = self.frame_views.probe, self.memory.note
        self.unfinished = self.field_run.unfinished
        # Where the chart will be: above, it would push that below the fold.
        self.run_panel.curve.cover(self.unfinished)
        self.sections.fill("memory", self.memory_note, self.air)
        look = (row(self.preview_on, self.preview_note), row(self.modes_on, self.residual_on))
        spare = QWidget()  # takes the height that the probe leaves for a moment, or all lines would spread
        spare.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.sections.fill("look", Section("Look", *look, self.frame_views.mode_name, self.probe, spare))
        for section in (self.input.instrument_section, self.suggest_section, self.sweep_section):
            section.set_open(False)


def _farewell(running: list[RestoreWorker], ended: list[Autosave], viewer: Any) -> Callable[..., None]:
    def end(*_: Any) -> None:
        for worker in running:
            worker.quit()
        for saved in ended:
            saved.drop()
        release_keys(viewer)

    return end

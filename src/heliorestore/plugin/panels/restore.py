"""The generic restoration panel knows no method by name; a method's own panel adds to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtWidgets import QComboBox, QWidget

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.panels.files import Files
from heliorestore.plugin.panels.input_layers import InputLayers
from heliorestore.plugin.panels.kept_versions import KeptVersions
from heliorestore.plugin.panels.method_form import MethodForm
from heliorestore.plugin.panels.movies import RunMovie
from heliorestore.plugin.preferences import preferences
from heliorestore.plugin.runs.worker import Job
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.meeting import meet
from heliorestore.plugin.viewer.result_layers import ResultLayers, next_name
from heliorestore.plugin.widgets.closing import ask_before_closing, when_taken_out
from heliorestore.plugin.widgets.form import SettingsForm
from heliorestore.plugin.widgets.layer_list import LayerList
from heliorestore.plugin.widgets.numbers import IntBox
from heliorestore.plugin.widgets.run_controls import RunPanel
from heliorestore.plugin.widgets.sections import Section, Slots, row, scroll
from heliorestore.plugin.widgets.suggest_box import SETTING, SuggestBox
from heliorestore.plugin.widgets.sweep_box import SweepBox
from heliorestore.plugin.widgets.version_list import VersionList

if TYPE_CHECKING:
    from napari.viewer import Viewer


class RestoreWidget(QWidget):
    """Input, instrument, settings, run, result.

    A subclass sets `method`, names its `slots` in the order in which they stand in the panel and fills its
    own ones in `_build`; it may override `make_layers`. What the sections do is done by parts with one job
    each: `input`, `method_form`, `files`, `kept`.
    """

    method: ClassVar[str | None] = None  # the method of the panel; None lets the user choose
    groups: ClassVar[Mapping[str, Sequence[str]] | None] = None  # of its settings, by title
    slots: ClassVar[tuple[str, ...]] = (
        "input",
        "method",
        "suggestion",
        "run",
        "result",
        "versions",
        "sweep",
        "judge",
    )

    files: Files
    input: InputLayers
    method_form: MethodForm
    version_list: VersionList

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        meet(napari_viewer)
        self.setMinimumWidth(320)
        self._build()
        self.run_panel.wanted.connect(self.start)
        self.run_panel.state_changed.connect(self._state_changed)
        self.method_form.changed.connect(self._settings_changed)
        self.method_form.shown.connect(self._form_shown)
        when_taken_out(self, self.run_panel.quit)
        ask_before_closing(self, lambda: self.run_panel.busy or self.sweep_box.running)
        self.method_form.order()
        self.method_form.choose()
        self.layer_list.changed.connect(self.method_form.follow)
        self.input.look()

    # -- what is asked for

    @property
    def widget(self) -> QWidget:
        """What its parts and their dialogs belong to."""
        return self

    @property
    def method_name(self) -> str:
        return self.method_form.name

    @property
    def form(self) -> SettingsForm | None:
        """The settings as editors, None as long as the method is being loaded."""
        return self.method_form.form

    def job(self) -> Job:
        """The restoration with the panel's current input and settings; errors are raised as a sentence."""
        form = self.method_form.loaded()
        return Job(
            burst=self.burst(),
            settings=form.settings(),
            device=self.device.currentText().strip(),
            seed=int(self.seed.value()),
        )

    def start(self, paused: bool = False) -> None:
        """Start a new run into new layers; what is wrong is said in the panel."""
        if self.run_panel.busy:
            return
        try:
            job = self.job()
        except HeliorestoreError as error:
            self.run_panel.say(explain(error))
            return
        self.run_panel.start(job, self.make_layers(job), paused=paused)

    def make_layers(self, job: Job) -> ResultLayers:
        """The layers for the results of this run: over the input, under a new name."""
        inputs = self.input.layers_of(job)
        name = next_name(self.viewer, job.settings.method)
        if all(layer is inputs[0] for layer in inputs):
            name = f"{name} {inputs[0].name}"
        return ResultLayers(self.viewer, name, inputs)

    # -- what happens

    def _settings_changed(self) -> None:
        # a sweep's runs have values of their own; what is wrong the form shows under the field
        if not self.sweep_box.running and (settings := self.method_form.knobs()) is not None:
            self.run_panel.say("")
            self.run_panel.send(settings)

    def _form_shown(self) -> None:
        known = {self.device.itemText(n) for n in range(self.device.count())}
        self.device.addItems([device for device in self.method_form.devices if device not in known])
        self.sweep_box.set_class(self.form.settings_class if self.form is not None else None)
        self.suggest_section.setVisible(self.form is not None and SETTING in self.form.fields)
        self.run_panel.set_ready(self.form is not None)  # also sets what is enabled here

    def _state_changed(self) -> None:
        has_result = self.run_panel.snapshot is not None
        self.export_button.setEnabled(has_result)
        self.version_list.keep_button.setEnabled(has_result and not self.sweep_box.running)
        self.method_form.set_running(self.run_panel.busy)

    # -- how it looks

    def _build(self) -> None:
        self.run_panel = RunPanel()
        self.files = Files(self)
        self.input = InputLayers(self)
        self.method_form = MethodForm(self)
        self.kept = KeptVersions(self)
        self.movie = RunMovie(self)
        self._name_parts()
        self.sweep_box = SweepBox(self.viewer, self.run_panel, self.job, self.input.layers_of)
        self.sweep_section = Section("Sweep", self.sweep_box, opened=False)
        self.suggest_box = SuggestBox(self.job, self.method_form.use)
        self.suggest_section = Section("Suggestion", self.suggest_box, opened=False)
        self.sections = Slots(self.slots)
        self.sections.fill("input", self.input.section, self.input.about)
        for name, section in {
            "method": self.method_form.section,
            "suggestion": self.suggest_section,
            "run": Section("Run", self._machine(), self.run_panel),
            "result": self.files.section,
            "versions": self.kept.section,
            "sweep": self.sweep_section,
        }.items():
            self.sections.fill(name, section)
        self.files.section.append(self.movie.button)
        self.column = self.sections.column
        scroll(self, self.sections)

    def _name_parts(self) -> None:
        """What panels, tests and scripts ask for has a short name here."""
        self.layer_list: LayerList = self.input.layer_list
        self.hint, self.instrument = self.input.hint, self.input.instrument
        self.frames, self.objects = self.input.frames, self.input.objects
        self.whole_burst, self.burst = self.input.whole_burst, self.input.burst
        self.method_choice, self.summary = self.method_form.choice, self.method_form.summary
        self.preset_box, self.reset_button = self.method_form.preset_box, self.method_form.reset_button
        self.show_settings = self.method_form.show_settings
        self.open_paths, self.export = self.files.open_paths, self.files.export
        self.export_button = self.files.export_button
        self.copy_command, self.copy_python = self.files.copy_command, self.files.copy_python
        self.version_list, self.keep_result = self.kept.version_list, self.kept.keep_result

    def _machine(self) -> QWidget:
        self.device = QComboBox()
        self.device.setEditable(True)
        self.device.addItems(["auto", "cpu"])
        self.device.setCurrentText(preferences().device)
        self.device.setToolTip(
            "Device for the computation: auto takes a GPU if there is one. The default is set in the "
            "preferences."
        )
        self.seed = IntBox(0)
        self.seed.setToolTip("Seed of the random numbers; the same seed gives the same result.")
        return row("device", self.device, "seed", self.seed)

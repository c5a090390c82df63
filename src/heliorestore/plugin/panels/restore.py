"""The generic restoration panel: it knows no method by name; a panel for one method names it and adds to
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from napari.utils.history import get_open_history, get_save_history, update_open_history, update_save_history
from qtpy.QtWidgets import QApplication, QComboBox, QFileDialog, QLineEdit, QVBoxLayout, QWidget

from heliorestore.burst import Burst
from heliorestore.errors import HeliorestoreError
from heliorestore.fits.reader import SUFFIXES
from heliorestore.methods import METHODS
from heliorestore.plugin.preferences import preferences
from heliorestore.plugin.runs.as_code import as_command, as_python
from heliorestore.plugin.runs.failure import explain, notify
from heliorestore.plugin.runs.versions import Version, keep, pair
from heliorestore.plugin.runs.worker import End, Job, Outcome, start_task
from heliorestore.plugin.viewer.cut_levels import apply_origin
from heliorestore.plugin.viewer.gl_context import guard_removals
from heliorestore.plugin.viewer.layers import burst_of, common_burst, hint
from heliorestore.plugin.viewer.result_layers import ResultLayers, next_name
from heliorestore.plugin.widgets.form import SettingsForm
from heliorestore.plugin.widgets.instrument_box import InstrumentBox
from heliorestore.plugin.widgets.layer_list import LayerList, parse_slice
from heliorestore.plugin.widgets.numbers import IntBox
from heliorestore.plugin.widgets.preset_box import PresetBox
from heliorestore.plugin.widgets.run_controls import RunPanel
from heliorestore.plugin.widgets.sections import Section, button, note, row, say, scroll
from heliorestore.plugin.widgets.suggest_box import SETTING, SuggestBox
from heliorestore.plugin.widgets.sweep_box import SweepBox
from heliorestore.plugin.widgets.version_list import VersionList
from heliorestore.settings import Settings, options
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from napari.viewer import Viewer

_MEMORY = "memory_gb"  # the setting whose default the preferences know
_FILES = f"Solar images ({' '.join(f'*{suffix}' for suffix in SUFFIXES)});;All files (*)"


class RestoreWidget(QWidget):
    """Input, instrument, settings, run, result; a subclass sets `method` and may override `make_layers`."""

    method: ClassVar[str | None] = None  # the method of the panel; None lets the user choose
    groups: ClassVar[Mapping[str, Sequence[str]] | None] = None  # of its settings, by title

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.form: SettingsForm | None = None
        self._wanted: Settings | None = None  # to be shown once their method is loaded
        guard_removals(napari_viewer)
        apply_origin(napari_viewer)
        self.setMinimumWidth(320)
        self._build()
        self.layer_list.changed.connect(self._input_changed)
        self.instrument.changed.connect(self._input_changed)
        self.run_panel.wanted.connect(self.start)
        self.run_panel.state_changed.connect(self._state_changed)
        self.destroyed.connect(_disconnector(self.layer_list, self.version_list))
        self._choose_method()
        self._input_changed()

    # -- what is asked for

    @property
    def method_name(self) -> str:
        return self.method or str(self.method_choice.currentData())

    def whole_burst(self) -> Burst:
        """The burst of the ticked layers."""
        return burst_of(self.layer_list.chosen())

    def burst(self) -> Burst:
        """The part of it that is to be restored, with the instrument as it was told."""
        part = self.whole_burst().select(
            parse_slice(self.objects.text(), "objects"), parse_slice(self.frames.text(), "frames")
        )
        return self.instrument.apply(part)

    def job(self) -> Job:
        """The restoration as the panel stands; what is missing or wrong is raised as a sentence."""
        if self.form is None:
            raise HeliorestoreError(f"{self.method_name} is still being loaded: try again in a moment.")
        return Job(
            burst=self.burst(),
            settings=self.form.settings(),
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
            self.run_panel.say(str(error))
            return
        self.run_panel.start(job, self.make_layers(job), paused=paused)

    def inputs(self, job: Job) -> list[Any]:
        """The layers that a job restores, one per object."""
        chosen = self.layer_list.chosen()
        together = common_burst(chosen) is not None
        numbered = {
            layer.metadata["object"] if together else number: layer for number, layer in enumerate(chosen)
        }
        return [numbered[number] for number in job.burst.object_range]

    def make_layers(self, job: Job) -> ResultLayers:
        """Where the results of this run are shown: over the input, under a name of its own."""
        inputs = self.inputs(job)
        name = next_name(self.viewer, job.settings.method)
        if len(inputs) == 1:
            name = f"{name} {inputs[0].name}"
        return ResultLayers(self.viewer, name, inputs)

    # -- files

    def open_files(self) -> None:
        """Ask for files and open them with this plugin's reader, whichever reader napari would take."""
        names, _ = QFileDialog.getOpenFileNames(self, "Open FITS", get_open_history()[0], _FILES)
        if names:
            update_open_history(names[0])
            self.open_paths(names)

    def open_paths(self, paths: Sequence[str | Path], then: Callable[[], None] | None = None) -> None:
        """Read the files in a thread, add their layers and tick them; several files are one burst. Then call
        `then`.
        """
        from heliorestore.plugin.npe2.readers import load_layers

        start_task(
            f"Open {Path(paths[0]).name}",
            lambda: load_layers(paths),
            lambda outcome: self._opened(outcome, then),
            listed=False,
        )

    def export(self, path: str | Path | None = None, snapshot: Snapshot | None = None) -> None:
        """Write a result, by default the latest, with its provenance, in a thread; without a path ask for
        one.
        """
        if (snapshot := snapshot or self.run_panel.snapshot) is None:
            return
        if path is None:
            method = snapshot.run.settings.method if snapshot.run is not None else self.method_name
            suggestion = Path(get_save_history()[0]) / f"{method}_{snapshot.step}.fits"
            # The dialog asks before an existing file is replaced.
            path, _ = QFileDialog.getSaveFileName(
                self, "Export FITS", str(suggestion), "FITS (*.fits *.fits.gz)"
            )
            if not path:
                return
        target = Path(path) if Path(path).suffix else Path(f"{path}.fits")
        update_save_history(str(target))

        def write() -> Path:
            from heliorestore.fits.writer import write

            return write(snapshot, target, overwrite=True)

        self.run_panel.report(f"Writing {target.name}…")
        start_task(f"Write {target.name}", write, self._written)

    def copy_command(self) -> None:
        """Put the command that repeats this run into the clipboard."""
        self._copy(as_command)

    def copy_python(self) -> None:
        """Put the Python lines that repeat this run into the clipboard."""
        self._copy(as_python)

    def _copy(self, make: Callable[..., str]) -> None:
        try:
            job = self.job()
            text = make(
                self.whole_file(),
                job.burst,
                job.settings,
                instrument=self.instrument.text(),
                device=job.device,
                seed=job.seed,
            )
        except HeliorestoreError as error:
            self.run_panel.say(str(error))
            return
        self.run_panel.say("")
        if (clipboard := QApplication.clipboard()) is not None:
            clipboard.setText(text)
        self.run_panel.report(f"Copied:\n{text}")

    def whole_file(self) -> Burst:
        """All objects and frames of the files that the input came from."""
        return common_burst(self.layer_list.chosen()) or self.whole_burst()

    # -- versions and settings

    def keep_result(self) -> None:
        """Keep the present result as a version: layers that later iterations leave alone."""
        from heliorestore.methods.base import settings_at

        if (snapshot := self.run_panel.snapshot) is not None:
            self.run_panel.report(f"Kept: {keep(self.viewer, snapshot, settings_at(snapshot))}")

    def show_settings(self, settings: Settings) -> None:
        """Show these settings in the form, choosing their method; while a run goes on only the live ones."""
        if settings.method != self.method_name:
            self._wanted = settings
            number = self.method_choice.findData(settings.method)
            if self.method is not None or self.run_panel.busy or number < 0:
                self._wanted = None
                self.run_panel.say(
                    f"These are settings of {settings.method}: choose them in its own panel, "
                    "when no run goes on."
                )
                return
            self.method_choice.setCurrentIndex(number)
        elif self.form is None:
            self._wanted = settings
        elif self.run_panel.busy:
            for name, field in self.form.fields.items():
                if field.option.live:
                    field.set(getattr(settings, name))
        else:
            self.form.set_settings(settings)

    def _back_to(self, version: Version) -> None:
        from heliorestore.methods.base import settings_at

        try:
            self.show_settings(settings_at(version.snapshot))
        except HeliorestoreError as error:
            self.run_panel.say(str(error))

    def _compare(self, version: Version) -> None:
        """Compare a version with the result that is not kept, or with the input, in a panel of its own."""
        from heliorestore.plugin.viewer.comparison import How

        image, other = pair(version, self.viewer.layers)
        other = other or next(iter(self.layer_list.chosen()), None)
        if image is not None and other is not None:
            dock, panel = self.viewer.window.add_plugin_dock_widget("heliorestore", "Compare")
            dock.show()  # it may have been hidden
            dock.raise_()
            panel.compare(How.BLINK, image, other)

    def _use(self, setting: str, value: float) -> None:
        if self.form is not None and setting in self.form.fields:
            self.form.fields[setting].set(value)

    # -- what happens

    def _choose_method(self) -> None:
        """Load the chosen method in a thread, since that imports torch, then show its form."""
        name = self.method_name
        self.summary.setText(METHODS[name].summary)
        self.instrument.set_needed(METHODS[name].needs_instrument)

        def load_method() -> tuple[str, type[Settings], tuple[str, ...]]:
            from heliorestore.methods.base import devices, load

            return name, load(name).settings, devices()

        self._show_form(None)
        self.loading.setText(f"Loading {name}…")
        start_task(f"Load {name}", load_method, self._loaded, listed=False)

    def _loaded(self, outcome: Outcome) -> None:
        if outcome.end is not End.FINISHED:
            self.loading.setText("")
            self._failed(outcome)
            return
        name, settings_class, devices = outcome.value
        if name != self.method_name:  # another one has been chosen meanwhile
            return
        known = {self.device.itemText(n) for n in range(self.device.count())}
        self.device.addItems([device for device in devices if device not in known])
        form = SettingsForm(settings_class, groups=self.groups)
        form.changed.connect(self._settings_changed)
        self._show_form(form)
        self._reset()
        if self._wanted is not None and self._wanted.method == name:
            form.set_settings(self._wanted)
        self._wanted = None

    def _show_form(self, form: SettingsForm | None) -> None:
        if self.form is not None:
            self.form_place.removeWidget(self.form)
            self.form.deleteLater()
        self.form = form
        self.loading.setVisible(form is None)
        if form is not None:
            self.form_place.addWidget(form)
        known = form.settings_class if form is not None else None
        self.preset_box.set_class(known)
        self.sweep_box.set_class(known)
        self.suggest_section.setVisible(form is not None and SETTING in form.fields)
        self.run_panel.set_ready(form is not None)  # also sets what is enabled here

    def _settings_changed(self) -> None:
        if self.form is None or self.sweep_box.running:  # a sweep's runs have values of their own
            return
        try:
            settings = self.form.settings()
        except HeliorestoreError:
            return  # the form shows it under the field
        self.run_panel.say("")
        self.run_panel.send(settings, tuple(option.name for option in options(type(settings)) if option.live))

    def _input_changed(self) -> None:
        chosen = self.layer_list.chosen()
        text = "\n".join(filter(None, map(hint, chosen)))
        burst = None
        if chosen:
            try:
                burst = self.whole_burst()
            except HeliorestoreError as error:
                text = f"{text}\n{error}".strip()
        self.instrument.set_burst(burst)
        say(self.hint, text and f"⚠ {text}")

    def _state_changed(self) -> None:
        busy = self.run_panel.busy
        self.method_choice.setEnabled(not busy)
        self.export_button.setEnabled(self.run_panel.snapshot is not None)
        self.version_list.keep_button.setEnabled(
            self.run_panel.snapshot is not None and not self.sweep_box.running
        )
        self.preset_box.setEnabled(not busy)
        self.reset_button.setEnabled(self.form is not None and not busy)
        if self.form is not None:
            self.form.set_running(busy)

    def _opened(self, outcome: Outcome, then: Callable[[], None] | None) -> None:
        from napari.layers import Layer

        if outcome.end is not End.FINISHED:
            self._failed(outcome)
            return
        first = not len(self.viewer.layers)
        added = [self.viewer.add_layer(Layer.create(*data)) for data in outcome.value]
        if first:  # napari would open a series in its middle
            self.viewer.dims.current_step = (0,) * self.viewer.dims.ndim
        self.layer_list.choose([layer for layer in added if layer.metadata.get("kind", "image") == "image"])
        if then is not None:
            then()

    def _written(self, outcome: Outcome) -> None:
        if outcome.end is End.FINISHED:
            self.run_panel.report(f"Written: {outcome.value}")
        else:
            self.run_panel.report("")
            self._failed(outcome)

    def _failed(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self.run_panel.say(explain(outcome.error))
            notify(outcome.error)

    # -- how it looks

    def _build(self) -> None:
        self.layer_list = LayerList(self.viewer)
        self.hint = note("What to know about the chosen layers.")
        self.instrument = InstrumentBox()
        self.run_panel = RunPanel()
        self.preset_box = PresetBox(self.show_settings, self._present_settings)
        self.sweep_box = SweepBox(self.viewer, self.run_panel, self.job, self.inputs)
        self.suggest_box = SuggestBox(self.job, self._use)
        self.suggest_section = Section("Suggestion", self.suggest_box, opened=False)
        self.version_list = VersionList(
            self.viewer, keep=self.keep_result, back=self._back_to, compare=self._compare,
            export=lambda version: self.export(snapshot=version.snapshot),
        )  # fmt: skip
        self.method_choice = QComboBox()
        self.method_choice.setToolTip("The method of restoration.")
        for name in METHODS:
            self.method_choice.addItem(name, name)
        self.method_choice.currentIndexChanged.connect(self._choose_method)
        self.summary = note("What the method does.")
        self.summary.show()
        self.loading = note("The method is being loaded; the first time this takes a few seconds.")
        self.form_place = QVBoxLayout()
        self.form_place.addWidget(self.loading)
        form_holder = QWidget()
        form_holder.setLayout(self.form_place)
        self.form_place.setContentsMargins(0, 0, 0, 0)
        self.reset_button = button(
            "Reset to defaults", "Set every setting of the method back to its default.", self._reset
        )
        self.export_button = button(
            "Export FITS…",
            "Write the latest result with header, WCS, losses, settings and provenance.",
            self.export,
        )
        open_button = button(
            "Open FITS…",
            "Open files with this plugin's reader: every frame, header and scale.",
            self.open_files,
        )
        command = button(
            "Copy as command line",
            "The heliorestore command that repeats this run without napari.",
            self.copy_command,
        )
        python = button(
            "Copy as Python", "Python lines that repeat this run in a script or notebook.", self.copy_python
        )

        inside = QWidget()
        self.column = column = QVBoxLayout(inside)
        column.setContentsMargins(6, 4, 6, 4)
        column.addWidget(Section("Input", open_button, self.layer_list, self.hint, self._selection()))
        column.addWidget(Section("Instrument", self.instrument))
        method = [] if self.method else [self.method_choice]
        column.addWidget(
            Section("Method", *method, self.summary, self.preset_box, form_holder, self.reset_button)
        )
        column.addWidget(self.suggest_section)
        column.addWidget(Section("Run", self._machine(), self.run_panel))
        column.addWidget(Section("Result", self.export_button, row(command, python)))
        column.addWidget(Section("Versions", self.version_list))
        self.sweep_section = Section("Sweep", self.sweep_box, opened=False)
        column.addWidget(self.sweep_section)
        column.addStretch(1)
        scroll(self, inside)

    def _selection(self) -> QWidget:
        self.frames, self.objects = QLineEdit(), QLineEdit()
        for edit, what in ((self.frames, "frames"), (self.objects, "objects")):
            edit.setPlaceholderText("all")
            edit.setToolTip(
                f"The {what} to use as a Python slice, such as 0:6 or ::2, numbered from 0. "
                f"Empty: all {what}."
            )
        return row("frames", self.frames, "objects", self.objects)

    def _machine(self) -> QWidget:
        self.device = QComboBox()
        self.device.setEditable(True)
        self.device.addItems(["auto", "cpu"])
        self.device.setCurrentText(preferences().device)
        self.device.setToolTip(
            "Where to compute: auto takes a GPU where there is one. The default is set in the preferences."
        )
        self.seed = IntBox(0)
        self.seed.setToolTip("Seed of the random numbers; the same seed gives the same result.")
        return row("device", self.device, "seed", self.seed)

    def _reset(self) -> None:
        """Show the defaults, with the memory that the preferences allow."""
        if self.form is None:
            return
        self.form.reset()
        if _MEMORY in self.form.fields and (memory_gb := preferences().memory_gb):
            self.form.fields[_MEMORY].set(memory_gb)

    def _present_settings(self) -> Settings:
        return self.job().settings if self.form is None else self.form.settings()


def _disconnector(*followers: LayerList | VersionList) -> Callable[..., None]:
    def disconnect(*_: Any) -> None:
        for follower in followers:
            follower.disconnect_viewer()

    return disconnect

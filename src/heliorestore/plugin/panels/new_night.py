"""The part of the queue in which a night is put together: which bursts, which settings, which folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.history import get_open_history, update_open_history
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QEnterEvent
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QLineEdit, QWidget

from heliorestore.burst import Burst
from heliorestore.errors import BurstError, HeliorestoreError, SettingsError
from heliorestore.fits.reader import SUFFIXES
from heliorestore.methods import METHODS
from heliorestore.plugin.panels.restore import RestoreWidget
from heliorestore.plugin.preferences import preferences
from heliorestore.plugin.runs.queue import DEFAULT_NAME, Input, Wanted, begin, count
from heliorestore.plugin.runs.task import End, Latest, Outcome, start_task
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.layers import TAG, common_burst
from heliorestore.plugin.widgets.messages import Clipped
from heliorestore.plugin.widgets.numbers import IntBox
from heliorestore.plugin.widgets.sections import Section, button, row
from heliorestore.preparation import Preparation
from heliorestore.presets import presets
from heliorestore.selection import numbers_text
from heliorestore.snapshot import Snapshot
from heliorestore.storage import at_home

if TYPE_CHECKING:
    from napari.viewer import Viewer

_BURSTS = (
    f"Solar images ({' '.join(f'*{suffix}' for suffix in SUFFIXES)});;"
    "Plans and configurations (*.toml *.csv *.cfg);;All files (*)"
)
_SETTINGS = "Presets and restored files (*.toml *.fits *.fits.gz);;All files (*)"


class _Menu(QComboBox):
    """A menu that is filled when it is opened."""

    def __init__(self, fill: Callable[[], None]) -> None:
        super().__init__()
        self._fill = fill
        # Long names must not widen the panel.
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(14)

    def showPopup(self) -> None:
        self._fill()
        super().showPopup()


class NewNight(Section):
    """What is wanted of a night, and the button that begins it; `begun` says in which folder."""

    begun = Signal(object)  # Path

    def __init__(self, viewer: Viewer, say_problem: Callable[[str], None]) -> None:
        self._viewer, self._say = viewer, say_problem
        self.inputs: list[Input] = []
        self._file: Path | None = None  # with settings, chosen by the user
        self._methods: dict[str, str] = {}  # of the presets, by their files
        self._look = Latest("Look for bursts", self._looked)
        self._build()
        super().__init__("New night", self._form(), self.start_button)
        self.settings.currentIndexChanged.connect(self._settings_chosen)
        self.fill()
        self._show_inputs()

    # -- what is wanted

    def fill(self) -> None:
        """Offer the settings of the panels that are open, the presets, and every method's defaults."""
        before = self.settings.currentData()
        with QSignalBlocker(self.settings):
            self.settings.clear()
            for text, source, tip in self._sources():
                self.settings.addItem(text, source)
                self.settings.setItemData(self.settings.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
            self.settings.setCurrentIndex(max(0, self.settings.findData(before)))
        if self.settings.currentData() != before:
            self._suggest()

    def enterEvent(self, event: QEnterEvent | None) -> None:
        """A panel may have been opened or closed meanwhile."""
        super().enterEvent(event)
        self.fill()

    def use(self, panel: QWidget) -> None:
        """Take the settings of this panel."""
        self.set_open(True)
        self.fill()
        name = next((name for name, each in self._panels() if each is panel), "")
        self.settings.setCurrentIndex(max(0, self.settings.findData(f"panel {name}")))

    def wanted(self) -> Wanted:
        """What the night does to every burst; errors are raised as a sentence."""
        kind, _, name = self.settings.currentData().partition(" ")
        if not kind:
            raise SettingsError("Choose the settings: open a panel, or take a preset, a method or a file.")
        if kind != "panel":
            return Wanted(settings=name, device=preferences().device)
        panel = dict(self._panels()).get(name)
        if panel is None:
            raise SettingsError(f"The panel {name} is closed: choose other settings, or open it again.")
        return _wanted_of(panel)

    def start(self) -> None:
        """Begin the night, in a process of its own."""
        try:
            wanted, folder = self.wanted(), self.folder.text().strip()
            if not folder:
                raise SettingsError("Name a folder for the night.")
        except HeliorestoreError as error:
            self._say(explain(error))
            return
        self._say("")
        night, inputs = at_home(folder).absolute(), list(self.inputs)
        name, workers = self.name.text(), self.workers.value()
        self.start_button.setEnabled(False)
        self.said.setText("Beginning the night…")

        def work() -> Path:
            begin(night, wanted, inputs, name, workers)
            return night

        start_task(f"Begin {night.name}", work, self._started)

    # -- the bursts

    def add_files(self) -> None:
        """Ask for files, of which each is a burst."""
        names, _ = QFileDialog.getOpenFileNames(self, "Bursts", get_open_history()[0], _BURSTS)
        if names:
            update_open_history(names[0])
            self.add([Path(name) for name in names])

    def add_folder(self) -> None:
        """Ask for a folder, whose files are bursts, and whose folders too."""
        name = QFileDialog.getExistingDirectory(self, "A folder of bursts", get_open_history()[0])
        if name:
            update_open_history(name)
            self.add([Path(name)])

    def add_layers(self) -> None:
        """Take the files from which the selected layers came."""
        try:
            self.add(layer_files(list(self._viewer.layers.selection)))
        except HeliorestoreError as error:
            self._say(explain(error))

    def add(self, inputs: Sequence[Input]) -> None:
        """Add bursts to the night that is put together."""
        self._say("")
        self.inputs += [each for each in inputs if each not in self.inputs]
        self._show_inputs()

    def clear(self) -> None:
        """Take no burst."""
        self.inputs = []
        self._show_inputs()

    def _settings_chosen(self, *_: Any) -> None:
        """Plans depend on the settings, and the suggested folder on the method."""
        self._say("")
        self._show_inputs()

    def _show_inputs(self) -> None:
        self.start_button.setEnabled(False)
        self.clear_button.setEnabled(bool(self.inputs))
        self._suggest()
        if not self.inputs:
            self._look.forget()
            self.said.setText("No burst yet: add files or a folder, drop them here, or select layers.")
            return
        inputs = list(self.inputs)
        self.said.setText("Looking for bursts…")
        try:
            wanted = self.wanted()
        except HeliorestoreError:  # as long as nothing is chosen, files can be counted
            wanted = None
        self._look.ask(lambda: (inputs, count(inputs, wanted)))

    def _looked(self, outcome: Outcome) -> None:
        if outcome.end is not End.FINISHED:
            self.said.setText("")
            self._say(explain(outcome.error) if outcome.error else "")
            return
        inputs, number = outcome.value
        if inputs == self.inputs:
            names = [_name(each) for each in inputs]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            self.said.setText(f"{number} burst{'s' * (number != 1)}: {', '.join(names[:3])}{more}")
            self.start_button.setEnabled(number > 0)

    def _started(self, outcome: Outcome) -> None:
        self._show_inputs()
        if outcome.end is End.FINISHED:
            self.clear()
            self.begun.emit(outcome.value)
        elif outcome.error is not None:
            self._say(explain(outcome.error))

    # -- settings and folder

    def _panels(self) -> Iterator[tuple[str, RestoreWidget]]:
        for name, widget in self._viewer.window.dock_widgets.items():
            if isinstance(widget, RestoreWidget):
                yield name.partition(" (")[0], widget

    def _sources(self) -> Iterator[tuple[str, str, str]]:
        """(text, kind and name, tip) of everything that settings may come from."""
        for name, panel in self._panels():
            of = "" if panel.method else f" ({panel.method_name})"
            yield (
                f"panel {name}{of}",
                f"panel {name}",
                "Its settings, instrument, frames and calibration, as they are when the night begins.",
            )
        if not any(self._panels()):
            yield "choose…", "", "Settings are wanted: those of a panel that you open, or what stands below."
        if self._file is not None:
            yield f"file {self._file.name}", f"file {self._file}", str(self._file)
        for method in METHODS:
            for preset in presets(method).values():
                self._methods[str(preset.path)] = method
                yield f"preset {preset.name} ({method})", f"file {preset.path}", preset.about
        for method, entry in METHODS.items():
            yield f"{method} with its defaults", f"method {method}", entry.summary

    def choose_file(self) -> None:
        """Ask for a file with settings: a preset, or a restored file."""
        name, _ = QFileDialog.getOpenFileName(self, "Settings of a file", get_open_history()[0], _SETTINGS)
        if name:
            self.use_file(Path(name))

    def use_file(self, path: Path) -> None:
        """Take the settings of a file."""
        self._file = path
        self.fill()
        self.settings.setCurrentIndex(self.settings.findData(f"file {path}"))

    def _suggest(self, *_: Any) -> None:
        """Name a folder beside the data, unless the user has."""
        if self.folder.isModified() and self.folder.text().strip():
            return
        if not self.inputs:
            self.folder.setText("")
            return
        first = self.inputs[0]
        path = first if isinstance(first, Path) else first[0]
        self.folder.setText(str(_free_folder(path if path.is_dir() else path.parent, self._method())))
        self.folder.setCursorPosition(len(self.folder.text()))

    def _method(self) -> str:
        """The method, as far as it is known without reading a file."""
        kind, _, name = self.settings.currentData().partition(" ")
        panel = dict(self._panels()).get(name) if kind == "panel" else None
        return (
            panel.method_name
            if panel
            else self._methods.get(name, "restored")
            if kind == "file"
            else name or "restored"
        )

    def _browse(self) -> None:
        start = str(Path(self.folder.text() or get_open_history()[0]).parent)
        name = QFileDialog.getExistingDirectory(self, "The folder of the night", start)
        if name:
            self.folder.setText(name)
            self.folder.setModified(True)

    def _form(self) -> QWidget:
        holder = QWidget()
        rows = QFormLayout(holder)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setVerticalSpacing(3)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("settings", _beside(self.settings, self.file_button))
        rows.addRow(
            "bursts", row(self.files_button, self.folder_button, self.layers_button, self.clear_button)
        )
        rows.addRow("", self.said)
        rows.addRow("into", _beside(self.folder, self.browse_button))
        rows.addRow("names", _beside(self.name, row("workers", self.workers)))
        return holder

    def _build(self) -> None:
        self.settings = _Menu(self.fill)
        self.settings.setToolTip(
            "Restore every burst with these settings: those of a panel that is open, a preset, a method's "
            "defaults, or of a file."
        )
        self.file_button = button(
            "File…", "Take the settings of a preset (.toml) or of a restored file.", self.choose_file
        )
        self.files_button = button(
            "Files…",
            "Add files; each is a burst, but a plan (.toml, .csv) lists some, with what is their own.",
            self.add_files,
        )
        self.folder_button = button(
            "Folder…",
            "Add a folder: every file in it is a burst, and every folder in it, whose files are its frames.",
            self.add_folder,
        )
        self.layers_button = button(
            "Layers", "Add the files from which the selected layers came.", self.add_layers
        )
        self.clear_button = button("Clear", "Take no burst.", self.clear)
        self.said = Clipped("The bursts that the night begins with.", 2)
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("folder of the night")
        self.folder.setToolTip(
            "The folder for results, ledger and logs; it is made if it does not exist. The same folder with "
            "the same settings goes on with what is there."
        )
        self.browse_button = button("…", "Choose the folder of the night.", self._browse)
        self.browse_button.setMaximumWidth(30)
        self.name = QLineEdit(DEFAULT_NAME)
        self.name.setToolTip(
            "Names of the results, of {stem}, {date:%H%M%S}, {wavelength} and {label}; {stem} is the name of "
            "the burst's file."
        )
        self.workers = IntBox(0, 999)
        self.workers.setSpecialValueText("auto")
        self.workers.setToolTip("Processes that restore at the same time; auto: one per GPU, or per core.")
        self.start_button = button(
            "Start",
            "Restore these bursts in processes of their own: they go on when this window is closed.",
            self.start,
        )


def layer_files(layers: Sequence[Any]) -> list[Input]:
    """The files behind these layers, a burst for each record; a layer without files is a BurstError."""
    bursts: list[Input] = []
    for layer in layers:
        record = layer.metadata.get(TAG)
        of = record.run if isinstance(record, Snapshot) else record
        if of is None or not of.sources:
            raise BurstError(f"{layer.name} did not come from a file that heliorestore opened: add its file.")
        paths = tuple(Path(source.path).absolute() for source in of.sources)
        bursts.append(paths[0] if len(paths) == 1 else paths)
    if not bursts:
        raise BurstError("No layer is selected: select layers in the list of layers.")
    return list(dict.fromkeys(bursts))


def _name(given: Input) -> str:
    if isinstance(given, tuple):
        return f"{given[0].name} and {len(given) - 1} more"
    return f"{given.name}{os.sep * given.is_dir()}"


def _wanted_of(panel: RestoreWidget) -> Wanted:
    """What a panel would do; its files are named so that another folder does not matter."""
    prepared = panel.input.calibration.form.settings()
    assert isinstance(prepared, Preparation)
    files = {name: str(path.absolute()) for name, path in prepared.files().items()}
    chosen, objects = panel.layer_list.chosen(), panel.objects.text().strip()
    axes = ""
    if chosen and isinstance(record := chosen[0].metadata.get(TAG), Burst):
        axes = record.preparation.axes
        if common_burst(chosen) is not None:
            part = panel.whole_burst().select(objects=objects)
            if part.object_numbers != panel.input.whole_file().object_numbers:
                objects = numbers_text(part.object_numbers)
    best = panel.input.frame_choice.best.text().strip()
    return Wanted(
        settings=panel.method_form.settings(),
        preparation=prepared.replace(axes=axes, **files),
        instrument=panel.instrument.text(),
        objects=objects,
        # The sharpest frames of one burst are not those of the next.
        frames="" if best else panel.frames.text().strip(),
        best=best,
        seed=int(panel.seed.value()),
        device=panel.device.currentText().strip(),
    )


def _free_folder(data: Path, method: str) -> Path:
    """A folder for a night that does not exist yet, beside the data, or in them, where one can write."""
    data = data.absolute()
    place = next((each for each in (data.parent, data) if os.access(each, os.W_OK)), Path.home())
    wished = place / f"{data.name}_{method}"
    number = 2
    folder = wished
    while folder.exists():
        folder, number = wished.with_name(f"{wished.name}_{number}"), number + 1
    return folder


def _beside(first: QWidget, second: QWidget) -> QWidget:
    """Two widgets in a row, of which the first takes the room."""
    whole = row(first, second)
    if (layout := whole.layout()) is not None:
        layout.setStretch(0, 1)  # type: ignore[attr-defined] # `row` makes a box, which has it
    return whole

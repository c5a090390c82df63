"""The panel that demodulates: restored modulation states to Stokes I, Q, U and V, as one layer."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.history import get_open_history, update_open_history
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from heliorestore.burst import Burst
from heliorestore.errors import HeliorestoreError, SettingsError
from heliorestore.plugin.runs.task import End, Outcome, start_task
from heliorestore.plugin.viewer.cube_looks import show_parameter
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.insertion import insert_quietly
from heliorestore.plugin.viewer.layers import TAG, Placement, burst_layers
from heliorestore.plugin.viewer.meeting import meet
from heliorestore.plugin.viewer.result_layers import next_name
from heliorestore.plugin.widgets.figure_table import figure_table
from heliorestore.plugin.widgets.file_box import FileBox, output_file
from heliorestore.plugin.widgets.layer_box import LayerBox
from heliorestore.plugin.widgets.sections import Section, button, note, row, say, scroll
from heliorestore.snapshot import Snapshot
from heliorestore.storage import at_home

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from heliorestore.polarimetry.cube import StokesCube
    from heliorestore.polarimetry.states import States

_COLUMNS = {
    "": "The Stokes parameter.",
    "efficiency": "Efficiency of the modulation: at most 1 for I, 0.577 for Q, U, V if equal.",
    "noise": "Noise in units of that of one state.",
    "offset": "Offset of the parameter in units of <I>, as it was found.",
    "I in it": "How much of I - <I> is in it, as it was found.",
    "left": "The rms that I and its gradient still explain where there is no signal, in units of <I>. Of "
    "several wavelengths the largest.",
}
_BETWEEN = "; "  # of the names of files


@dataclass(frozen=True)
class _Wanted:
    """What the panel is asked for."""

    states: tuple[Path | Burst | Snapshot, ...]
    matrix: Path
    wide_band: int | None
    register: bool
    remove: bool
    filter: bool

    def record(self) -> dict[str, Any]:
        """The choices, as a file records them."""
        return {
            "matrix": self.matrix.name,
            "register": self.register,
            "crosstalk": "remove" if self.remove else "keep",
            "noise_filter": "filter" if self.filter else "keep",
        }

    def flags(self) -> list[str]:
        """The choices as flags of the command, without defaults."""
        flags = ["--matrix", str(self.matrix)]
        if self.remove:
            flags += ["--crosstalk", "remove"]
        if self.filter:
            flags += ["--noise", "filter"]
        if not self.register:
            flags.append("--no-register")
        return flags if self.wide_band is None else [*flags, "--wide-band", str(self.wide_band)]


class DemodulateWidget(QWidget):
    """States, matrix and choices; figures of the result, which is a layer and can be saved."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.result: tuple[States, StokesCube, _Wanted] | None = None
        self._over: Any = None  # the layer whose states are demodulated
        self._name = ""
        meet(napari_viewer)
        self._build()
        self._look()

    def start(self) -> None:
        """Demodulate in a thread; what is wrong is said in the panel."""
        try:
            wanted = self._wanted()
        except HeliorestoreError as error:
            say(self.said, f"⚠ {error}")
            return
        self._over = None if self.files.text().strip() else self.states.layer()
        first = wanted.states[0]
        self._name = first.stem if isinstance(first, Path) else str(self._over.name)
        self.start_button.setEnabled(False)
        say(self.said, "Demodulating…")
        start_task("Demodulate", lambda: _demodulated(wanted), self._show)

    def save(self, path: str | Path | None = None) -> None:
        """Write the result as `heliorestore demodulate` does; without a path ask for one."""
        if self.result is None:
            return
        states, cube, wanted = self.result
        try:
            target = output_file(self, path, "Save Stokes images", "FITS (*.fits *.fits.gz)", "stokes.fits")
        except HeliorestoreError as error:
            say(self.said, f"⚠ {error}")
            return
        if target is None:
            return

        def write() -> Path:
            from heliorestore.fits.stokes_writer import write_stokes
            from heliorestore.polarimetry.record import stokes_file

            return write_stokes(stokes_file(states, cube, wanted.record()), target, overwrite=True)

        start_task(f"Write {target.name}", write, self._written)

    def copy_command(self) -> None:
        """Put the command that does the same into the clipboard."""
        try:
            wanted = self._wanted()
            files = wanted.states if self.files.text().strip() else (_file_of(self.states.layer()),)
        except HeliorestoreError as error:
            say(self.said, f"⚠ {error}")
            return
        words = ["heliorestore", "demodulate", *map(str, files), "-o", "stokes.fits", *wanted.flags()]
        if (clipboard := QGuiApplication.clipboard()) is not None:
            clipboard.setText(shlex.join(words))
            say(self.said, "The command is in the clipboard.")

    def _wanted(self) -> _Wanted:
        names = [name.strip() for name in self.files.text().split(_BETWEEN.strip()) if name.strip()]
        layer = self.states.layer()
        if not names and layer is None:
            raise SettingsError(
                "No states are chosen: open or restore a burst of states, or name their files."
            )
        if not self.matrix.path():
            raise SettingsError(
                "No matrix is given: choose the FITS or TOML file with the demodulation (4 x n) or the "
                "modulation (n x 4) of the instrument."
            )
        given = tuple(at_home(name) for name in names) or (layer.metadata[TAG],)
        wide = self.wide_band.value()
        return _Wanted(
            given,
            at_home(self.matrix.path()),
            wide if wide >= 0 else None,
            self.register.isChecked(),
            self.remove.isChecked(),
            self.filter.isChecked(),
        )

    def _show(self, outcome: Outcome) -> None:
        self.start_button.setEnabled(True)
        if outcome.end is not End.FINISHED:
            say(self.said, f"⚠ {explain(outcome.error)}" if outcome.error is not None else "")
            return
        self.result = outcome.value
        states, cube, wanted = outcome.value
        made = _stokes_burst(states, cube)
        data, arguments, kind = burst_layers(made, next_name(self.viewer, f"{self._name} Stokes"))[0]
        if self._over is not None and self._over in self.viewer.layers:
            place = Placement.of_layer(self._over).of_grid(made.shape[2:], made.shape[2:])
            for name in ("scale", "translate"):
                arguments[name] = (*arguments[name][:-2], *place[name])
        layer = insert_quietly(self.viewer, data, arguments, kind)
        self.viewer.layers.selection = {layer}
        show_parameter(self.viewer, "V")
        self._fill()
        done = "was removed" if wanted.remove else "was kept"
        say(self.said, "\n".join((*cube.messages, f"Cross-talk from I {done}.")))
        self._look()

    def _written(self, outcome: Outcome) -> None:
        if outcome.end is End.FINISHED:
            say(self.said, f"Written: {outcome.value}")
        elif outcome.error is not None:
            say(self.said, f"⚠ {explain(outcome.error)}")

    def _fill(self) -> None:
        from heliorestore.polarimetry.record import rows_of

        assert self.result is not None
        for number, texts in enumerate(rows_of(self.result[1])):
            for column, tip in enumerate(_COLUMNS.values()):
                text = texts[column].replace("e-0", "e-") if column < len(texts) else ""
                item = QTableWidgetItem(text)
                item.setToolTip(tip)
                self.table.setItem(number, column, item)

    def _look(self) -> None:
        self.figures.setVisible(self.result is not None)
        self.save_button.setEnabled(self.result is not None)
        self.states.setEnabled(not self.files.text().strip())

    def _browse(self) -> None:
        """Ask for the files of the states."""
        names, _ = QFileDialog.getOpenFileNames(self, "Restored states", get_open_history()[0])
        if names:
            update_open_history(names[0])
            self.files.setText(_BETWEEN.join(names))
            self._look()

    # -- how it looks

    def _build(self) -> None:
        self.states = LayerBox(
            self.viewer,
            "The restored states: a layer of a run that had them all, best together with the wide band. Of a "
            "burst that was not restored the mean of its frames is taken.",
            accepts=_has_states,
        )
        self.files = QLineEdit()
        self.files.setPlaceholderText("the layer above")
        self.files.setToolTip(
            "Files instead of a layer: one restored file with all states, or one per state in their order, "
            "with ; between them."
        )
        self.files.editingFinished.connect(self._look)
        browse = button("…", "Choose the files of the states.", self._browse)
        browse.setMaximumWidth(30)
        self.matrix = FileBox("modulation or demodulation matrix")
        self.matrix.setToolTip(
            "The matrix: TOML with demodulation (4 x n) or modulation (n x 4); or FITS, for all pixels or "
            "for each, as the truth of a simulation has it."
        )
        self.wide_band = QSpinBox()
        self.wide_band.setRange(-1, 999)
        self.wide_band.setValue(-1)
        self.wide_band.setSpecialValueText("as the file says")
        self.wide_band.setToolTip(
            "The number of the object that is the wide band, where the file does not say."
        )
        self.register = QCheckBox("register on the wide band")
        self.register.setChecked(True)
        self.register.setToolTip(
            "Bring the states onto one another before they are subtracted, as the wide band restored from "
            "the frames of each says; without that onto their mean."
        )
        self.remove = QCheckBox("remove cross-talk")
        self.remove.setToolTip(
            "Take from Q, U and V what follows I; it is fitted where there is no signal. Where weak fields "
            "follow the granulation it takes signal too."
        )
        self.filter = QCheckBox("filter noise")
        self.filter.setToolTip(
            "Wiener's filter for Q, U and V, with what the anchors say is noise. Structure that is weaker "
            "than the noise goes with it."
        )
        self.said = note("What was done, or an error.")
        self._lay_out(row(self.files, browse))

    def _lay_out(self, files: QWidget) -> None:
        inside = QWidget()
        chosen = QWidget()
        form = QFormLayout(chosen)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("states", self.states)
        form.addRow("files", files)
        form.addRow("matrix", self.matrix)
        form.addRow("wide band", self.wide_band)
        self.start_button = button("Demodulate", "Make Stokes I, Q, U and V of the states.", self.start)
        self.save_button = button(
            "Save STOKES…", "Write a FITS cube with the record of all steps.", self.save
        )
        self.figures = Section("Efficiency, noise and cross-talk", self._table())
        rows = QVBoxLayout(inside)
        rows.setContentsMargins(6, 4, 6, 4)
        rows.addWidget(chosen)
        for each in (self.register, self.remove, self.filter):
            rows.addWidget(each)
        rows.addWidget(self.start_button)
        rows.addWidget(self.figures)
        copy = button("Copy as command line", "Copy the command that does the same.", self.copy_command)
        rows.addWidget(row(self.save_button, copy))
        rows.addWidget(self.said)
        rows.addStretch(1)
        scroll(self, inside)
        self.setMinimumWidth(340)

    def _table(self) -> QTableWidget:
        self.table = figure_table(
            _COLUMNS, "The modulation's efficiencies, and what I leaks into Q, U and V.", rows=4
        )
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        if (titles := self.table.horizontalHeader()) is not None:
            titles.setStretchLastSection(True)
            height = titles.sizeHint().height() + 4 * self.table.rowHeight(0) + 2 * self.table.frameWidth()
            self.table.setFixedHeight(height)
        return self.table


def _has_states(layer: Any) -> bool:
    """Whether a layer shows states, or images that may be some; one layer of each result is offered."""
    record = layer.metadata.get(TAG)
    known = record if isinstance(record, Burst) else getattr(record, "run", None)
    if known is None or layer.metadata.get("kind", "image") != "image":
        return False
    if known.coordinates:
        number = layer.metadata.get("object", 0)
        return number < len(known.coordinates) and known.coordinates[number].state is not None
    return len(known.labels) >= 4 and layer.metadata.get("object", 0) == 0


def _demodulated(wanted: _Wanted) -> tuple[States, StokesCube, _Wanted]:
    from heliorestore.polarimetry.cube import make_stokes
    from heliorestore.polarimetry.demodulation import read_demodulation
    from heliorestore.polarimetry.states import gather_states

    demodulation = read_demodulation(wanted.matrix)
    states = gather_states(wanted.states, demodulation.states, wanted.wide_band)
    cube = make_stokes(
        states,
        demodulation,
        register=wanted.register,
        remove_crosstalk=wanted.remove,
        filter_noise=wanted.filter,
    )
    return states, cube, wanted


def _stokes_burst(states: States, cube: StokesCube) -> Burst:
    """The Stokes images as a burst of one frame, parameter by parameter."""
    from heliorestore.polarimetry.states import stokes_places

    places = stokes_places(states)
    images = np.asarray(cube.images)
    return Burst(
        frames=images.reshape(-1, 1, *images.shape[2:]),
        instruments=(states.instrument,) * len(places),
        labels=tuple(place.label for place in places),
        headers=(states.header,) * len(places),
        coordinates=places,
        unit=states.unit,
    )


def _file_of(layer: Any) -> Path:
    """The file that a layer was opened from."""
    path = getattr(layer.source, "path", None)
    if not path:
        raise SettingsError(f"{layer.name} is in no file yet: export it and open that file, then copy again.")
    return Path(str(path))

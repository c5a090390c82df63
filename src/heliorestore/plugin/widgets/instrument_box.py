"""The instrument in the panel: from the file, a known one or a custom one, every number editable."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QInputDialog,
    QLineEdit,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from heliorestore.burst import Burst
from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN, Instrument, find, own, save_own
from heliorestore.plugin.widgets.sections import Place, note, row, say, stack

_CUSTOM = "custom"
_EDITED = " (edited)"
_ROWS = {
    "D, obscuration [m]": ("diameter_m", "obscuration_m"),
    "pixel [arcsec], λ [nm]": ("pixel_arcsec", "wavelength_nm"),
}
_NUMBERS = {
    "diameter_m": (
        "aperture",
        "Diameter of the telescope's aperture in metres; with the wavelength it sets the diffraction limit.",
    ),
    "obscuration_m": (
        "obscuration",
        "Diameter of the central obscuration in metres; 0 for a clear aperture.",
    ),
    "pixel_arcsec": ("pixel size", "Size of a pixel on the sky in arcseconds."),
    "wavelength_nm": ("wavelength", "Wavelength of the observation in nanometres."),
}


class InstrumentBox(QWidget):
    """Chooses the instrument of a burst; what neither the file nor the user gives is marked."""

    changed = Signal()
    asks = Signal(bool)  # whether something is unknown

    def __init__(self) -> None:
        super().__init__()
        self._needed = True
        self._burst: Burst | None = None
        self._entered = ""  # what the others have been told
        self._base: dict[str, str] = dict.fromkeys(_NUMBERS, "")
        self.choice = QComboBox()
        self.choice.setToolTip(
            "The instrument that took the images. 'file' uses the header; a known instrument replaces "
            "all numbers; each number below can be changed."
        )
        self.choice.addItem("from file", "")
        self._fill()
        self.choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.choice.setMinimumContentsLength(6)
        self.choice.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        # Text that wraps gets the height that it needs beside a form, not in it.
        column, rows = stack(self), QFormLayout()
        self.save = QToolButton()
        self.save.setText("Save")
        self.save.setToolTip(
            "Keep these numbers under a name, for this list and the command line; `heliorestore instruments` "
            "lists and removes them."
        )
        self.save.clicked.connect(self._save)
        # not in the form: beside its longest label the names would be cut
        column.addWidget(row("instrument", self.choice, self.save))
        column.addLayout(rows)
        self.numbers: dict[str, QLineEdit] = {}
        for title, names in _ROWS.items():
            for name in names:
                edit = QLineEdit()
                edit.setToolTip(_NUMBERS[name][1])
                edit.editingFinished.connect(self._tell)
                self.numbers[name] = edit
            fields = row(*(self.numbers[name] for name in names))
            for name in names:  # a range of wavelengths is longer than other numbers
                self.numbers[name].setSizePolicy(_stretching(3 if name == "wavelength_nm" else 2))
            rows.addRow(title, fields)
        self.missing = note("What is still unknown about the instrument.")
        self.doubt = note(
            "Pixels much larger or smaller than the instrument's own are usually an error in the header. "
            "Change the pixel size above, or type it again to confirm it."
        )
        column.addWidget(Place(3, self.missing, self.doubt))
        self.choice.currentIndexChanged.connect(self._choose)

    def set_burst(self, burst: Burst | None, entered: str = "") -> None:
        """Show the instrument in a burst's headers, changed as `text` returned; what is shown already stays,
        and with it a number that is being typed.
        """
        before = self._burst
        self._burst = burst
        same = burst is None or (before is not None and before.instruments == burst.instruments)
        if burst is None or (same and entered == self._entered):
            self._show_missing()
            return
        names = list(dict.fromkeys(instrument.name for instrument in burst.instruments))
        with QSignalBlocker(self.choice):
            self.choice.setItemText(0, f"file: {', '.join(names)}")
            self.choice.setCurrentIndex(0)
        self.set_text(entered)

    def text(self) -> str:
        """The instrument as `Instrument.parse` and `--instrument` take it; empty for the file's own."""
        key = self.choice.currentData()
        changed = [
            f"{name}={edit.text().strip()}"
            for name, edit in self.numbers.items()
            if edit.text().strip()
            # The file's own number, typed again, confirms it.
            and (key == _CUSTOM or edit.isModified() or edit.text() != self._base[name])
        ]
        # A custom telescope has no PSF of its own: the Airy pattern of its aperture.
        base = ["name=custom", "psf=airy"] if key == _CUSTOM else [key] if key else []
        return ",".join(base + changed)

    def set_text(self, text: str) -> None:
        """Choose and fill in the instrument that `text` returned."""
        parts = [part.strip() for part in text.split(",") if part.strip()]
        key = next((part for part in parts if "=" not in part), _CUSTOM if "name=custom" in parts else "")
        with QSignalBlocker(self.choice):
            self.choice.setCurrentIndex(max(0, self.choice.findData(key)))
        self._fill_in()
        if key == _CUSTOM:
            for edit in self.numbers.values():
                edit.clear()
        for name, _, value in (part.partition("=") for part in parts):
            if name in self.numbers:
                self.numbers[name].setText(value)
                self.numbers[name].setModified(True)
        self._tell()

    def apply(self, burst: Burst) -> Burst:
        """The burst with the chosen instrument; a SettingsError says what to enter, and where."""
        text = self.text()
        known = burst.with_instrument(text) if text else burst
        if self._needed:
            self.require(known)
        return known

    def require(self, burst: Burst) -> None:
        """Raise a SettingsError if the instrument of a burst is not fully known."""
        unknown = dict.fromkeys(name for instrument in burst.instruments for name in instrument.unknown)
        if unknown:
            raise SettingsError(self._sentence(list(unknown)))

    def set_needed(self, needed: bool) -> None:
        """Set whether the chosen method needs the whole instrument."""
        self._needed = needed
        self._show_missing()

    def _fill(self) -> None:
        """Offer the known instruments and the user's own, whose names are also their keys."""
        while self.choice.count() > 1:
            self.choice.removeItem(1)
        for key, known in own().items():
            self.choice.addItem(known.name, key)
        for key, known in KNOWN.items():
            self.choice.addItem(known.name, key)
        self.choice.addItem("custom", _CUSTOM)

    def _save(self) -> None:
        name, confirmed = QInputDialog.getText(
            self, "Save the instrument", "A name without spaces, for the command line too:"
        )
        if confirmed and name.strip():
            self.save_as(name.strip())

    def save_as(self, name: str) -> None:
        """Keep the shown instrument under a name, and choose it; what is wrong is said below."""
        shown = self._burst.instruments[0] if self._burst else Instrument()
        try:
            save_own(name, Instrument.parse(self.text(), shown))
        except SettingsError as error:
            say(self.missing, f"⚠ {error}")
            return
        with QSignalBlocker(self.choice):
            self._fill()
            self.choice.setCurrentIndex(self.choice.findData(name))
        self._choose()

    def _choose(self) -> None:
        self._fill_in()
        self._tell()

    def _fill_in(self) -> None:
        """Fill in the numbers of the chosen instrument; custom starts from the current ones."""
        key = self.choice.currentData()
        if key != _CUSTOM:
            instruments = (find(key),) if key else self._burst.instruments if self._burst else (Instrument(),)
            for name, edit in self.numbers.items():
                values = list(dict.fromkeys(getattr(instrument, name) for instrument in instruments))
                # Kept, to see later which numbers the user has changed.
                self._base[name] = f"{values[0]:.10g}" if len(values) == 1 and values[0] is not None else ""
                edit.setText(self._base[name])
                several = ", ".join("?" if v is None else f"{v:.10g}" for v in values)
                known = [v for v in values if v is not None]
                shown = several
                if len(known) == len(values) and len(values) > 1:
                    shown = f"{min(known):.6g} to {max(known):.6g}"
                edit.setPlaceholderText(shown if len(values) > 1 else "unknown")
                edit.setToolTip(
                    _NUMBERS[name][1] + (f"\nIn the files: {several}." if len(values) > 1 else "")
                )

    def _tell(self) -> None:
        self._entered = self.text()
        self._name()
        self._show_missing()
        self.changed.emit()

    def _name(self) -> None:
        """Say in the list that the chosen one has been edited; the others have their own names."""
        chosen = self.choice.currentIndex()
        edited = "=" in self.text() and self.choice.currentData() != _CUSTOM
        for index in range(self.choice.count()):
            name = self.choice.itemText(index).removesuffix(_EDITED)
            text = name + _EDITED * (edited and index == chosen)
            self.choice.setItemText(index, text)
            self.choice.setItemData(index, text, Qt.ItemDataRole.ToolTipRole)

    def _show_missing(self) -> None:
        text = doubt = ""
        if self._burst is not None:
            try:
                doubt = "\n".join(f"⚠ {sentence}" for sentence in self.apply(self._burst).doubts)
            except SettingsError as error:
                text = f"⚠ {error}"
        say(self.missing, text)
        say(self.doubt, doubt)
        self.asks.emit(bool(text))

    def _sentence(self, unknown: list[str]) -> str:
        *first, last = (f"the {_NUMBERS[name][0]}" for name in unknown)
        wanted = f"{', '.join(first)} and {last}" if first else last
        return f"The file does not give {wanted}: choose the instrument, or fill in the number."


def _stretching(share: int) -> QSizePolicy:
    """Fields in a row get room by their shares."""
    policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    policy.setHorizontalStretch(share)
    return policy

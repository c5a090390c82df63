"""The path of a file, typed or chosen in a dialog, to be read or to be written."""

from __future__ import annotations

from pathlib import Path

from napari.utils.history import get_open_history, get_save_history, update_open_history, update_save_history
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QWidget

from heliorestore.plugin.widgets.sections import button
from heliorestore.storage import at_home, check_output


class FileBox(QWidget):
    """A path, empty for no file, and a button that asks for one."""

    changed = Signal()

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what
        self.line = QLineEdit()
        self.line.setPlaceholderText("none")
        self.line.editingFinished.connect(self.changed)
        self.browse_button = button("…", f"Choose the file: {what}.", self.browse)
        self.browse_button.setMaximumWidth(30)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line, 1)
        layout.addWidget(self.browse_button)

    def setToolTip(self, text: str | None) -> None:
        """Explain the field wherever the mouse is."""
        super().setToolTip(text)
        self.line.setToolTip(text)

    def path(self) -> str:
        return self.line.text().strip()

    def set_path(self, path: str) -> None:
        self.line.setText(path)

    def browse(self) -> None:
        """Ask for a file where the last one was opened."""
        here = at_home(self.path())
        start = str(here) if self.path() and here.exists() else get_open_history()[0]
        name, _ = QFileDialog.getOpenFileName(self, self._what.capitalize(), start)
        if name:
            update_open_history(name)
            self.set_path(name)
            self.changed.emit()


def output_file(panel: QWidget, path: str | Path | None, title: str, kind: str, name: str) -> Path | None:
    """Where to write, or None if the user chose nothing; asked for where no `path` is given.

    `name` is what the dialog proposes; its ending is that of a path without one. What cannot be written is an
    error of `storage.check_output`; the dialog has asked whether a file may be replaced.
    """
    if path is None:
        path, _ = QFileDialog.getSaveFileName(panel, title, str(Path(get_save_history()[0]) / name), kind)
        if not path:
            return None
        update_save_history(str(path))
    return check_output(Path(path) if Path(path).suffix else f"{path}{Path(name).suffix}", overwrite=True)

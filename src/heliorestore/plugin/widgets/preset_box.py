"""The presets in a panel: choose, save, delete, and open their folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QComboBox, QInputDialog, QWidget

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.widgets.sections import button, note, row, say, stack
from heliorestore.presets import Preset, delete_preset, own_folder, presets, save_preset
from heliorestore.settings import Settings

_NONE = "preset…"


class PresetBox(QWidget):
    """A menu of a method's presets: the chosen one goes to `show`, `settings` gives what is saved."""

    def __init__(self, show: Callable[[Settings], None], settings: Callable[[], Settings]) -> None:
        super().__init__()
        self._show, self._settings = show, settings
        self._class: type[Settings] | None = None
        self._known: dict[str, Preset] = {}
        self.menu = QComboBox()
        self.menu.setToolTip(
            "Settings for a kind of data, bundled or your own; choosing one fills in the form. The "
            "command line knows them by the same names."
        )
        # `activated`: only a choice of the user fills in the form, not a refresh of the menu.
        self.menu.activated.connect(self._chosen)
        self.save_button = button(
            "Save…", "Save the current settings under your own name, as a TOML file.", self._save
        )
        self.delete_button = button(
            "Delete", "Delete the chosen preset of your own; bundled presets stay.", self._delete
        )
        self.folder_button = button("Folder", "Open the folder of your own presets.", self.open_folder)
        self.about = note("The purpose of the preset.")
        self.problem = note("The error of the preset.")
        buttons = row(self.save_button, self.delete_button, self.folder_button)
        stack(self, self.menu, self.about, buttons, self.problem)

    def set_class(self, settings_class: type[Settings] | None) -> None:
        """Offer the presets for these settings; None: the method is still being loaded."""
        self._class = settings_class
        self.refresh()

    def refresh(self, choose: str = "") -> None:
        """Read the presets again."""
        self._known = presets(self._class.method) if self._class is not None else {}
        with QSignalBlocker(self.menu):
            self.menu.clear()
            self.menu.addItem(_NONE)
            for number, (name, preset) in enumerate(self._known.items(), 1):
                self.menu.addItem(name if not preset.own else f"{name} (own)", name)
                self.menu.setItemData(number, preset.about, Qt.ItemDataRole.ToolTipRole)
            self.menu.setCurrentIndex(max(0, self.menu.findData(choose)) if choose else 0)
        self._enable()

    def open_folder(self) -> None:
        """Open the folder of the user's own presets in the system's file manager."""
        own_folder().mkdir(parents=True, exist_ok=True)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(own_folder())))

    def _preset(self) -> Preset | None:
        return self._known.get(self.menu.currentData() or "")

    def _chosen(self, *_: Any) -> None:
        settings_class = self._class
        if settings_class is not None:
            self._known = presets(settings_class.method)  # the user may have edited the file meanwhile
        preset = self._preset()
        self._enable()
        if preset is not None and settings_class is not None:
            self._try(lambda: self._show(preset.settings(settings_class)))

    def _save(self) -> None:
        preset = self._preset()
        name, given = QInputDialog.getText(
            self, "Save preset", "Name of the preset:", text=preset.name if preset and preset.own else ""
        )
        if given:
            self._try(lambda: save_preset(name.strip(), self._settings()))
            self.refresh(name.strip())

    def _delete(self) -> None:
        if (preset := self._preset()) is not None:
            self._try(lambda: delete_preset(preset))
            self.refresh()

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
            say(self.problem, "")
        except HeliorestoreError as error:
            say(self.problem, f"⚠ {error}")

    def _enable(self) -> None:
        preset = self._preset()
        say(self.about, preset.about if preset is not None else "")
        self.delete_button.setEnabled(preset is not None and preset.own)
        self.save_button.setEnabled(self._class is not None)

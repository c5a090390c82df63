"""Choosing the weights of a network."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox, QLineEdit


class WeightsBox(QComboBox):
    """The name of weights or a file's path; it lists those available for this kind of network."""

    def __init__(self, networks: str) -> None:
        super().__init__()
        self._networks = networks
        self.line = QLineEdit()
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.line.setPlaceholderText("chosen to fit")
        self.setLineEdit(self.line)

    def look(self) -> None:
        """List the available weights; typed text stays."""
        from heliorestore.nets.weights import names_of

        typed = self.currentText()
        with QSignalBlocker(self):
            self.clear()
            self.addItems(names_of(self._networks))
            self.setCurrentIndex(self.findText(typed))
            self.setEditText(typed)

    def showPopup(self) -> None:
        self.look()
        super().showPopup()

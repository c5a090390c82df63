"""How images are shown: their cut levels, and where the origin is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QComboBox

from heliorestore.plugin.viewer.cut_levels import PERCENTS, apply_cuts, is_lower_left, set_origin
from heliorestore.plugin.widgets.numbers import FloatBox
from heliorestore.plugin.widgets.sections import Section, button, row

if TYPE_CHECKING:
    from napari.viewer import Viewer


class CutLevels(Section):
    """The section *Cut levels*, for the selected images, or all visible ones if none is selected."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.cut = QComboBox()
        self.cut.setToolTip("Rule for the contrast limits of the selected images; zscale is IRAF's.")
        for title, how in (
            ("min-max", "min-max"),
            *((f"{p:g} %", p) for p in PERCENTS),
            ("zscale", "zscale"),
            ("own [%]", None),
        ):
            self.cut.addItem(title, how)
        self.cut.setCurrentIndex(1)
        self.percent = FloatBox(50.0, 100.0)
        self.percent.setValue(99.9)
        self.percent.setToolTip("Percentage of the pixels between the contrast limits, for 'own'.")
        self.origin = QCheckBox("origin at the lower left")
        self.origin.setToolTip(
            "Let y grow upwards as on a map of the Sun; the data do not change. The default is set in "
            "the preferences."
        )
        self.origin.setChecked(is_lower_left(viewer))
        self.origin.toggled.connect(lambda on: set_origin(viewer, lower_left=on))
        apply = button(
            "Apply",
            "Set the contrast limits of the selected images, of all visible ones if none is selected.",
            self.apply,
        )
        super().__init__("Cut levels", row(self.cut, self.percent, apply), self.origin)

    def apply(self) -> None:
        """Set the contrast limits."""
        how = self.cut.currentData()
        apply_cuts(self._viewer, self.percent.value() if how is None else how)

"""The panel of MFBD: the committee's spread over the result, and MOMFBD to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton

from heliorestore.plugin.panels.restore import RestoreWidget
from heliorestore.plugin.panels.second_method import start_beside
from heliorestore.plugin.widgets.numbers import IntBox
from heliorestore.plugin.widgets.sections import Section, button, check, note, row, say

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from heliorestore.plugin.runs.worker import Job
    from heliorestore.plugin.viewer.result_layers import ResultLayers

_SPREADS = ("uncertainty", "spread")  # names of the map, with and without a measured ratio of error to spread


class MfbdWidget(RestoreWidget):
    """MFBD by a network, with ways to judge what it did."""

    method: ClassVar[str | None] = "mfbd"
    spread: QCheckBox
    about_spread: QLabel
    iterations: IntBox
    momfbd_button: QPushButton

    def __init__(self, napari_viewer: Viewer) -> None:
        self._latest: ResultLayers | None = None
        super().__init__(napari_viewer)
        self.run_panel.state_changed.connect(self._when_idle)
        self._when_idle()

    def make_layers(self, job: Job) -> ResultLayers:
        """As every panel does; a run of this method is the one whose spread is shown."""
        made = super().make_layers(job)
        if job.settings.method == self.method:
            self._latest = made
        return made

    def compare_with_momfbd(self) -> None:
        """Restore the same input by MOMFBD on patches into layers of its own."""
        from heliorestore.methods.momfbd import MomfbdSettings

        start_beside(self, MomfbdSettings(iterations=int(self.iterations.value())))

    def show_spread(self, shown: bool) -> None:
        """Show or hide the committee's spread over the latest result, for visible objects."""
        layers = (
            {}
            if self._latest is None
            else {k: layer for k, layer in self._latest.layers.items() if layer in self.viewer.layers}
        )
        for (picture, object_), layer in layers.items():
            if picture in _SPREADS:
                image = layers.get(("image", object_))
                layer.visible = shown and image is not None and image.visible
                if layer.visible:
                    # On top, or the image would hide it.
                    self.viewer.layers.move(self.viewer.layers.index(layer), len(self.viewer.layers))

    def _when_idle(self) -> None:
        idle = self.form is not None and not self.run_panel.busy
        self.momfbd_button.setEnabled(idle)
        if idle:
            self.show_spread(self.spread.isChecked())
        snapshot = self._latest.last if self._latest is not None else None
        if snapshot is None or not any(name in snapshot.maps for name in _SPREADS):
            say(self.about_spread, "")
            return
        from heliorestore.methods.mfbd import SPREAD  # loaded already: there is a result

        say(self.about_spread, next((text for text in snapshot.messages if text.startswith(SPREAD)), ""))

    def _build(self) -> None:
        super()._build()
        self.spread = check(
            "show the committee's spread",
            "Disagreement of the committee's members, times the ratio of error to spread that was measured "
            "for the weights, in the units of the image, over the result: do not trust features fainter than "
            "it.",
            self.show_spread,
        )
        self.about_spread = note("Meaning of the spread, and the ratio of the measured error to it.")
        self.iterations = IntBox(1, 1000)
        self.iterations.setValue(20)
        self.iterations.setToolTip(
            "Maximum number of iterations of MOMFBD; it stops by itself before it fits the noise."
        )
        self.momfbd_button = button(
            "Compare with MOMFBD",
            "Restore the same input by MOMFBD on patches, which fits the wavefronts and has learned "
            "nothing: structure that both show comes from the data.",
            self.compare_with_momfbd,
        )
        compare = Section("Judge", self.spread, self.about_spread, row(self.momfbd_button, self.iterations))
        self.sections.fill("judge", compare)

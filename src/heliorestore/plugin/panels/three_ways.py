"""Three denoisers on one series, side by side: wavelength by wavelength, spectral, and PCA."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.panels.second_method import start_beside
from heliorestore.plugin.runs.task import End, Outcome
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.titles import Titles
from heliorestore.settings import Settings
from heliorestore.snapshot import SERIES, Snapshot

if TYPE_CHECKING:
    from heliorestore.plugin.panels.restore import RestoreWidget

WAYS = ("wavelength by wavelength", "spectral", "PCA")


class ThreeWays(QObject):
    """Runs the three one after the other, then shows the input and the results in a grid until `leave`."""

    given_up = Signal()  # a run was refused, stopped or failed

    def __init__(self, panel: RestoreWidget, figures: Callable[[Snapshot], str], tell: Any) -> None:
        super().__init__(panel)
        self._panel, self._figures, self._tell = panel, figures, tell
        self._titles = Titles(panel.viewer)
        self._waiting: list[tuple[str, Settings]] = []
        self._done: list[tuple[str, Snapshot]] = []
        self._way = ""
        self._before: list[tuple[Any, bool]] = []
        panel.run_panel.ended.connect(self._ended)

    def start(self, epochs: int) -> None:
        """Run all three on the panel's input; the networks are fitted to it, from new weights."""
        from heliorestore.methods.pca import PcaSettings

        try:
            fit = self._panel.method_form.settings().replace(fit=epochs, weights="none")
        except HeliorestoreError as error:
            self._panel.run_panel.say(explain(error))
            self.given_up.emit()
            return
        self.leave()
        ways = (fit.replace(spectral=False), fit.replace(spectral=True), PcaSettings())
        self._waiting, self._done = list(zip(WAYS, ways, strict=True)), []
        self._next()

    def leave(self) -> None:
        """Show the layers as they were before the grid."""
        if self._before:
            self._panel.viewer.canvas.grid.enabled = False
            self._titles.show()
            for layer, visible in self._before:
                if layer in self._panel.viewer.layers:
                    layer.visible = visible
        self._before = []

    def _next(self) -> None:
        self._way, settings = self._waiting.pop(0)
        start_beside(self._panel, settings)
        if not self._panel.run_panel.busy:  # the panel has said why
            self._waiting, self._way = [], ""
            self.given_up.emit()

    def _ended(self, outcome: Outcome) -> None:
        snapshot, way = self._panel.run_panel.snapshot, self._way
        if not way:
            return
        self._way = ""
        if outcome.end is not End.FINISHED or snapshot is None:
            self._waiting = []
            self.given_up.emit()
            return
        self._done.append((way, snapshot))
        # The layers of a run are completed in later turns of the event loop.
        QTimer.singleShot(0, self._next if self._waiting else self._show)

    def _show(self) -> None:
        self._tell("\n".join(f"{way}:\n{self._figures(snapshot)}" for way, snapshot in self._done))
        layers = list(self._panel.viewer.layers)
        inputs = self._panel.layer_list.chosen()
        shown = [*inputs[:1]]
        for _, snapshot in self._done:
            of_run = [each for each in layers if each.metadata.get("run") is snapshot.run]
            kinds = [each for kind in (SERIES, "image") for each in of_run if each.metadata["kind"] == kind]
            same = [each for each in kinds if each.metadata["object"] == _first(inputs)]
            shown += (same or kinds)[:1]
        self._before = [(layer, layer.visible) for layer in layers]
        for layer in layers:
            layer.visible = layer in shown
        grid = self._panel.viewer.canvas.grid
        grid.shape, grid.stride, grid.enabled = (-1, -1), 1, True
        self._titles.show("before, then " + ", ".join(way for way, _ in self._done))


def _first(inputs: list[Any]) -> int:
    return int(inputs[0].metadata.get("object", 0)) if inputs else 0

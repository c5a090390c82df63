"""The panel of Noise2Noise: fit to the series, frame on the slider, statistics of the residual."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from qtpy.QtWidgets import QLabel, QPushButton

from heliorestore.methods.denoising.polarisation import block_means
from heliorestore.plugin.panels.restore import RestoreWidget
from heliorestore.plugin.panels.three_ways import ThreeWays
from heliorestore.plugin.runs.worker import Job
from heliorestore.plugin.viewer.comparison import How, comparison_of
from heliorestore.plugin.viewer.cube_looks import same_limits, show_parameter
from heliorestore.plugin.viewer.cubes import cube_of
from heliorestore.plugin.viewer.layers import PARAMETER
from heliorestore.plugin.viewer.result_layers import ResultLayers, show_series
from heliorestore.plugin.widgets.closing import follow, when_closed
from heliorestore.plugin.widgets.numbers import IntBox
from heliorestore.plugin.widgets.sections import Section, button, note, row, say
from heliorestore.snapshot import SERIES, Snapshot

if TYPE_CHECKING:
    from napari.viewer import Viewer

_BLOCK = 16  # pixels over which the residual is averaged


class DenoiseWidget(RestoreWidget):
    """Noise2Noise, with ways to see that no structure was taken away."""

    method: ClassVar[str | None] = "denoise"
    slots: ClassVar[tuple[str, ...]] = (
        "fit",
        "input",
        "run",
        "judge",
        "method",
        "suggestion",
        "result",
        "versions",
        "sweep",
    )
    epochs: IntBox
    fit_button: QPushButton
    residual_button: QPushButton
    residual_text: QLabel

    def __init__(self, napari_viewer: Viewer) -> None:
        # whether the user looks at the input, by the number of the object in the run
        self._visible: dict[int, bool] = {}
        self._met: set[int] = set()
        self._shown_result: Snapshot | None = None
        self.comparison = comparison_of(napari_viewer)
        super().__init__(napari_viewer)
        when_closed(self, self.comparison.stop)
        self.run_panel.state_changed.connect(self._look)
        self.run_panel.ended.connect(self._show_series)
        follow(self, [napari_viewer.dims.events.current_step], self._follow_slider)
        self._look()

    def fit_to_series(self) -> None:
        """Train on the series itself, then denoise all of it."""
        if self.form is None or self.run_panel.busy:
            return
        self.form.fields["fit"].set(int(self.epochs.value()))
        self.start()

    def make_layers(self, job: Job) -> ResultLayers:
        """As every panel; what is visible of the input will be visible of the result."""
        self._visible = {n: layer.visible for n, layer in enumerate(self.input.layers_of(job))}
        self._met.clear()
        return super().make_layers(job)

    def show_residual(self, on: bool) -> None:
        """Show or hide what was taken away, over the objects that are visible."""
        shown = {
            layer.metadata["object"]
            for layer in self._results()
            if layer.visible and layer.metadata["kind"] in ("image", SERIES)
        }
        for layer in self._results():
            if layer.metadata["kind"] == "residual":
                layer.visible = on and layer.metadata["object"] in shown
                if layer.visible:
                    self.viewer.layers.move(self.viewer.layers.index(layer), len(self.viewer.layers))

    def _results(self) -> list[Any]:
        """The layers of the last result."""
        snapshot = self.run_panel.snapshot
        run = snapshot.run if snapshot is not None else None
        return [layer for layer in self.viewer.layers if run is not None and layer.metadata.get("run") is run]

    def _look(self) -> None:
        """Bring visibility, buttons and the residual's statistics up to date."""
        idle = self.form is not None and not self.run_panel.busy
        self.fit_button.setEnabled(idle)
        snapshot = self.run_panel.snapshot
        self.residual_button.setEnabled(snapshot is not None)
        if snapshot is None or snapshot is self._shown_result:
            return
        self._shown_result = snapshot
        for layer in self._results():
            if layer.metadata["kind"] == "image" and id(layer) not in self._met:
                self._met.add(id(layer))
                layer.visible = self._visible.get(layer.metadata["object"], True)
        self.residual_text.setText(self._statistics(snapshot))

    def _statistics(self, snapshot: Snapshot) -> str:
        """Statistics of the residuals of the visible objects, a line each."""
        residuals, coverage = snapshot.array("residual"), snapshot.array("coverage")
        if residuals is None:
            return ""
        changed = [bool(each.any()) for each in (residuals if coverage is None else coverage)]
        unit = f" {unit}" if (unit := snapshot.unit_of("residual")) else ""
        lines = []
        for number in (
            n for n, visible in self._visible.items() if visible and n < len(residuals) and changed[n]
        ):
            sigma = float(np.nanstd(residuals[number]))
            means = block_means(residuals[number], _BLOCK)
            label = snapshot.run.labels[number] if snapshot.run else f"object {number}"
            if sigma > 0 and np.isfinite(means).any():
                # White noise of rms sigma has means of rms sigma / _BLOCK.
                ratio = float(np.sqrt(np.nanmean(means**2))) * _BLOCK / sigma
                lines.append(
                    f"{label}: taken away {sigma:.3g}{unit} rms, local means {ratio:.2f} times those "
                    "of white noise"
                )
        return "\n".join(lines[:6])

    def _follow_slider(self, event: Any = None) -> None:
        """The frame on the time slider is denoised first, and shown while a network is fitted."""
        step = self.viewer.dims.current_step
        chosen = self.layer_list.chosen()
        if self.form is None or len(step) < 3 or not chosen or chosen[0].ndim < 3:
            return
        field = self.form.fields["frame"]
        if field.get() != step[-3] and step[-3] < chosen[0].data.shape[-3]:
            field.set(int(step[-3]))

    def _show_series(self, outcome: Any = None) -> None:
        results, inputs = self._results(), self.layer_list.chosen()
        show_series(results)
        self._show_changed()
        for layer in results:
            before = [each for each in inputs if each.data.shape[-2:] == layer.data.shape[-2:]]
            if layer.metadata["kind"] in ("image", SERIES) and before:
                same_limits(layer, before[0])
        self.compare_button.setEnabled(bool(results))

    def _show_changed(self) -> None:
        """Move the slider to the Stokes parameter from which most was taken, unless the one that is shown was
        denoised too.
        """
        snapshot = self.run_panel.snapshot
        coverage = None if snapshot is None else snapshot.array("coverage")
        residuals = None if snapshot is None else snapshot.array("residual")
        cubes = [(layer, cube) for layer in self._results() if (cube := cube_of(layer)) is not None]
        if coverage is None or residuals is None or not cubes:
            return
        layer, cube = cubes[-1]
        changed = {
            name: float(np.nanmax([np.nanstd(residuals[n]) for n in numbers]))
            for name, numbers in zip(cube.parameters, cube.objects.T, strict=True)
            if any(coverage[n].any() for n in numbers)
        }
        if changed and layer.metadata[PARAMETER] not in changed:
            show_parameter(self.viewer, max(changed, key=lambda name: changed[name]))

    def _compare(self, on: bool) -> None:
        """Show the input and the result side by side, moved, zoomed and limited together."""
        after = [each for each in self._results() if each.metadata["kind"] in ("image", SERIES)]
        shown = [each for each in after if each.visible] or after
        before = [each for each in self.layer_list.chosen() if shown and _same_object(each, shown[-1])]
        if not on:
            self.comparison.stop()
        elif before:
            self.comparison.start(How.SIDE, before[0], shown[-1])

    def _compare_ways(self, on: bool) -> None:
        if on:
            self.ways.start(int(self.epochs.value()))
        else:
            self.ways.leave()

    def _build(self) -> None:
        super()._build()
        self.epochs = IntBox(1, 10_000)
        self.epochs.setValue(20)
        self.epochs.setToolTip("Epochs of training; it ends earlier if the hold-out loss no longer improves.")
        self.fit_button = button(
            "Fit to this series",
            "Train the network on pairs of neighbouring frames of the ticked layers, then denoise all "
            "their frames. It starts from the weights above; with none, from a new network.",
            self.fit_to_series,
        )
        self.residual_button = QPushButton("Show what was taken away")
        self.residual_button.setCheckable(True)
        self.residual_button.setToolTip(
            "The input minus the result: it must look like noise and nothing else."
        )
        self.residual_button.toggled.connect(self.show_residual)
        self.residual_text = QLabel()
        self.residual_text.setWordWrap(True)
        self.residual_text.setToolTip(
            f"The rms of the removed part, and the rms of its means over {_BLOCK} x {_BLOCK} pixels "
            "relative to those of white noise of that rms: near 1 or below, no structure was removed; "
            "correlated noise has higher values."
        )
        self.compare_button = QPushButton("Before and after")
        self.compare_button.setCheckable(True)
        self.compare_button.setEnabled(False)
        self.compare_button.setToolTip(
            "The input and the result side by side, moved and zoomed together and with the same limits."
        )
        self.compare_button.toggled.connect(self._compare)
        self.ways_button = QPushButton("Compare three ways")
        self.ways_button.setCheckable(True)
        self.ways_button.setToolTip(
            "Denoise wavelength by wavelength, with all wavelengths of a parameter together, and by PCA, and "
            "show the three beside the input. Both networks are fitted to the series."
        )
        self.ways_button.toggled.connect(self._compare_ways)
        self.ways_text = note("What each of the three took away.")
        self.ways = ThreeWays(self, self._statistics, partial(say, self.ways_text))
        self.ways.given_up.connect(lambda: self.ways_button.setChecked(False))
        self.sections.fill("fit", Section("Noise2Noise", row(self.fit_button, self.epochs, "epochs")))
        self.sections.fill(
            "judge",
            Section(
                "Before and after",
                row(self.residual_button, self.compare_button),
                self.residual_text,
                self.ways_button,
                self.ways_text,
            ),
        )


def _same_object(before: Any, after: Any) -> bool:
    """Whether a layer of the input shows what a layer of the result shows."""
    alike = before.data.shape[-2:] == after.data.shape[-2:]
    return alike and before.metadata.get("object", 0) == after.metadata.get("object", 0)

"""Image quality: figures, power spectra and photometry of the selected layers, and how they are shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFormLayout,
    QHeaderView,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from heliorestore.burst import Burst
from heliorestore.errors import HeliorestoreError, SettingsError
from heliorestore.plugin.panels.region_figures import RegionFigures
from heliorestore.plugin.runs.redraw_rate import single_shot
from heliorestore.plugin.runs.task import End, Outcome, start_task
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.layers import TAG, Placement, known
from heliorestore.plugin.viewer.meeting import meet
from heliorestore.plugin.viewer.partners import comparable, on_one_scale
from heliorestore.plugin.viewer.shown_plane import is_image, shown_plane
from heliorestore.plugin.widgets.chart import ChartView
from heliorestore.plugin.widgets.closing import follow, when_taken_out
from heliorestore.plugin.widgets.cut_box import CutLevels
from heliorestore.plugin.widgets.figure_table import figure_table
from heliorestore.plugin.widgets.file_box import output_file
from heliorestore.plugin.widgets.layer_box import LayerBox
from heliorestore.plugin.widgets.sections import Section, button, note, row, say, scroll
from heliorestore.quality.charts import Drawing, draw_photometry, draw_power_spectra, save, to_csv
from heliorestore.quality.report import Measured, compare, intensities, measure
from heliorestore.storage import atomic_write

if TYPE_CHECKING:
    from napari.viewer import Viewer

_EVERY_MS = 500  # shortest time between two measurements
_MOST_LAYERS = 6  # as many as there are colours
_COLUMNS = {
    "layer": "The image layer, at the sliders' frame.",
    "mean": "Mean intensity in the unit of the image.",
    "contrast": "Standard deviation over mean, in percent; of an image around zero its rms in its own unit.",
    "noise": "Standard deviation of a pixel's noise in the unit of the image, measured beyond the "
    "diffraction limit if that is known.",
    "limit [″]": "Diffraction limit lambda/D in arcsec.",
}
_NO_PARTNER = "no other layer shows the same object"
_UNMATCHED = "Register finds the scale and brings the second onto the first."
_LIKENESS = {
    "NMSE": "nmse",
    "SSIM": "ssim",
    "gain": "gain",
    "contrast ratio": "contrast_ratio",
    "within factor 2": "within_factor_2",
}


class QualityWidget(QWidget):
    """Measures the selected layers, or the topmost visible one, in a thread, when they change."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.measured: list[Measured] = []
        self.registration = ""
        self._busy = self._stale = False
        self._watched: list[Any] = []
        meet(napari_viewer)
        self._build()
        self._timer = single_shot(self, self._compute)
        layers = napari_viewer.layers
        changes = [layers.selection.events.changed, layers.events.inserted, layers.events.removed]
        follow(self, [*changes, napari_viewer.dims.events.current_step], self.update_soon)
        self.first.changed.connect(self.second.rebuild)
        self.first.changed.connect(self.update_soon)
        self.second.changed.connect(self.update_soon)
        self.destroyed.connect(_unwatcher(self._watched, self.update_soon))
        self.update_soon()

    def shown_layers(self) -> list[Any]:
        """The layers that are measured: the selected images, else the topmost visible one."""
        layers = [layer for layer in self.viewer.layers if is_image(layer)]
        selected = [layer for layer in layers if layer in self.viewer.layers.selection]
        return (selected or [layer for layer in layers if layer.visible][-1:])[:_MOST_LAYERS]

    def update_soon(self, event: Any = None) -> None:
        """Measure again in a moment; several changes count as one."""
        if not self._timer.isActive():
            self._timer.start(_EVERY_MS)

    def save_charts(self, path: str | Path | None = None) -> None:
        """Save both charts as a picture; without a path ask for one."""
        self._save(path, "Save charts", "Pictures (*.png *.pdf *.svg)", ".png", save)

    def save_csv(self, path: str | Path | None = None) -> None:
        """Save the points of both charts as comma-separated values; without a path ask for one."""
        self._save(path, "Save values", "CSV (*.csv)", ".csv", _write_csv)

    def _save(
        self,
        path: str | Path | None,
        title: str,
        kind: str,
        suffix: str,
        write: Callable[[list[Drawing], Path], None],
    ) -> None:
        views = (self.spectra, self.photometry, self.region.along, self.region.histogram)
        drawings = [view.drawing for view in views if view.drawing is not None and not view.isHidden()]
        if target := self._asked(path, title, kind, suffix):
            try:
                write(drawings, target)
                say(self.said, f"Written: {target}")
            except SettingsError as error:
                say(self.said, f"⚠ {error}")

    def _asked(self, path: str | Path | None, title: str, kind: str, suffix: str) -> Path | None:
        try:
            return output_file(self, path, title, kind, f"quality{suffix}")
        except HeliorestoreError as error:
            say(self.said, f"⚠ {error}")
            return None

    # -- another code's image

    def register(self) -> None:
        """Bring the second layer onto the pixels of the first, as a new layer, and measure both."""
        ours, theirs = self.first.layer(), self.second.layer()
        if ours is None or theirs is None or ours == theirs:
            say(self.said, "⚠ Two image layers are needed: open the result of the other code beside ours.")
            return
        planes = [shown_plane(self.viewer, layer) for layer in (ours, theirs)]
        pixels = [known(layer)["instrument"].pixel_arcsec for layer in (ours, theirs)]
        scale = pixels[0] / pixels[1] if all(pixels) else None
        self.register_button.setEnabled(False)
        say(self.said, f"Registering {theirs.name} onto {ours.name}…")

        def work() -> Any:
            from heliorestore.prepare.register import brought_onto

            return ours, theirs, *brought_onto(planes[0], planes[1], scale=scale)

        start_task("Register images", work, self._registered, listed=False)

    def _registered(self, outcome: Outcome) -> None:
        self.register_button.setEnabled(True)
        if outcome.end is not End.FINISHED:
            say(self.said, f"⚠ {explain(outcome.error)}" if outcome.error is not None else "")
            return
        ours, theirs, found, image = outcome.value
        facts = known(theirs)
        pixel = known(ours)["instrument"].pixel_arcsec
        burst = Burst.from_array(
            image, dataclasses.replace(facts["instrument"], pixel_arcsec=pixel), unit=facts["unit"]
        )
        layer = self.viewer.add_image(
            image,
            name=f"registered {theirs.name}",
            contrast_limits=tuple(theirs.contrast_limits),
            colormap=theirs.colormap,
            axis_labels=("y", "x"),
            metadata={TAG: burst, "object": 0},
            **Placement.of_layer(ours).of_grid(image.shape, image.shape),
        )
        self.first.choose(ours)
        self.second.choose(layer)
        self.viewer.layers.selection = {ours, layer}
        self.registration = f"{found.in_words(image.shape)}; residual {found.residual_px:.2f} px"
        self.update_soon()

    # -- measuring

    def _compute(self) -> None:
        # A hidden panel measures when it is shown again.
        if self._busy or not self.isVisibleTo(self.window()):
            self._stale = True
            return
        self._busy, self._stale = True, False
        self._watch()
        # Pixels are taken here, in the GUI thread: layers must not be read in another.
        shown = [(layer, shown_plane(self.viewer, layer)) for layer in self.shown_layers()]
        images = [
            (plane, str(layer.name), known(layer)["instrument"], float(layer.scale[-1]))
            for layer, plane in shown
        ]
        self.region.measure(shown)
        pair = [layer for layer in (self.first.layer(), self.second.layer()) if layer is not None]
        planes = [shown_plane(self.viewer, layer) for layer in pair] if len(pair) == 2 else []
        names, unit = [str(layer.name) for layer in pair], known(pair[0])["unit"] if pair else ""
        unmatched = len(pair) == 2 and not on_one_scale(*pair)

        def work() -> Any:
            found = [measure(*image) for image in images]
            likeness, problem = {}, ""
            photometry = partial(
                draw_photometry, intensities=np.empty((0, 2)), names=("", ""), empty=_NO_PARTNER
            )
            if planes:
                try:
                    pairs = intensities(planes[0], planes[1])
                    photometry = partial(
                        draw_photometry, intensities=pairs, names=(names[0], names[1]), unit=unit
                    )
                    likeness = compare(planes[0], planes[1])
                except HeliorestoreError as error:
                    problem = f"{error} {_UNMATCHED}" if unmatched else str(error)
            return found, partial(draw_power_spectra, images=found), photometry, likeness, problem

        start_task("Measure images", work, self._show, listed=False)

    def _show(self, outcome: Outcome) -> None:
        self._busy = False
        if outcome.end is End.FINISHED:
            self.measured, spectra, photometry, likeness, problem = outcome.value
            self.spectra.show_chart(spectra)
            self.photometry.show_chart(photometry)
            self._fill()
            text = ", ".join(
                f"{word} {likeness[name]:.4g}" for word, name in _LIKENESS.items() if name in likeness
            )
            say(self.likeness, f"⚠ {problem}" if problem else text)
            say(self.said, self.registration)
        elif outcome.error is not None:
            say(self.said, f"⚠ {explain(outcome.error)}")
        if self._stale:
            self.update_soon()

    def _watch(self) -> None:
        """Follow the pixels of the layers that are shown, and of no others."""
        for layer in self._watched:
            layer.events.data.disconnect(self.update_soon)
        self._watched[:] = [*self.shown_layers()]
        for layer in (self.first.layer(), self.second.layer()):
            if layer is not None and layer not in self._watched:
                self._watched.append(layer)
        for layer in self._watched:
            layer.events.data.connect(self.update_soon)

    def _fill(self) -> None:
        self.table.setRowCount(len(self.measured))
        for number, found in enumerate(self.measured):
            resolution = found.instrument.resolution_arcsec
            texts = (
                found.name,
                f"{found.mean:.5g}",
                f"rms {found.rms:.3g}" if found.signed else f"{found.contrast:.2%}",
                "?" if np.isnan(found.noise) else f"{'> ' * found.filtered}{found.noise:.3g}",
                f"{resolution:.3g}" if resolution else "?",
            )  # fmt: skip
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{text}: {list(_COLUMNS.values())[column]}")
                self.table.setItem(number, column, item)
        if (titles := self.table.horizontalHeader()) is not None:
            rows = sum(self.table.rowHeight(number) for number in range(len(self.measured)))
            self.table.setFixedHeight(titles.sizeHint().height() + rows + 2 * self.table.frameWidth())

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self.update_soon()

    # -- how it looks

    def _build(self) -> None:
        self.table = figure_table(_COLUMNS, "The selected image layers, measured at the sliders' frame.")
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        if (titles := self.table.horizontalHeader()) is not None:
            titles.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.spectra = ChartView(
            "Azimuthally averaged power of I/<I> over spatial frequency; beyond the diffraction limit "
            "D/lambda there is only noise."
        )
        self.photometry = ChartView(
            "Intensities of the first layer over those of the second, pixel by pixel; the dashed lines are a "
            "factor of 2."
        )
        pair = self._pair()
        self.said = note("The written file, or an error.")
        picture = button("Save charts…", "Save the charts as a picture: PNG, PDF or SVG.", self.save_charts)
        csv = button("Save CSV…", "Save the points of the charts as comma-separated values.", self.save_csv)
        inside = QWidget()
        rows = QVBoxLayout(inside)
        rows.setContentsMargins(6, 4, 6, 4)
        rows.addWidget(Section("Selected images", self.table, self.spectra))
        self.region = RegionFigures(self.viewer, self.shown_layers, self.update_soon)
        when_taken_out(self, self.region.put_away)
        rows.addWidget(self.region)
        rows.addWidget(Section("Photometry", pair, self.photometry, self.likeness))
        rows.addWidget(row(picture, csv))
        rows.addWidget(self.said)
        self.cut_levels = CutLevels(self.viewer)
        rows.addWidget(self.cut_levels)
        rows.addStretch(1)
        scroll(self, inside)
        self.setMinimumWidth(340)

    def _pair(self) -> QWidget:
        """The two layers of the photometry."""
        self.first = LayerBox(self.viewer, "The layer on the vertical axis.")
        self.second = LayerBox(
            self.viewer,
            "The layer on the horizontal axis, the reference of NMSE, SSIM and gain. Offered are layers of "
            "the same kind that are not known to show another object.",
            accepts=lambda layer: comparable(self.first.layer(), layer),
        )
        self.register_button = button(
            "Register",
            "Bring the second layer, as of another code, onto the pixels of the first: mirror, rotation, "
            "scale and offset are found, the result is a new layer, and both are measured.",
            self.register,
        )
        self.likeness = note(
            "The first layer against the second after one sub-pixel shift: error, "
            "similarity, gain (1 is right)."
        )
        pair = QWidget()
        names = QFormLayout(pair)
        names.setContentsMargins(0, 0, 0, 0)
        names.addRow("of", self.first)
        names.addRow("over", row(self.second, self.register_button))
        return pair


def _write_csv(drawings: list[Drawing], path: Path) -> None:
    try:
        with atomic_write(path) as file:
            file.write("\n".join(map(to_csv, drawings)).encode())
    except OSError as error:
        raise SettingsError(f"{path} cannot be written ({error}): choose another name or folder.") from error


def _unwatcher(watched: list[Any], slot: Any) -> Callable[..., None]:
    def disconnect(*_: Any) -> None:
        for layer in watched:
            layer.events.data.disconnect(slot)

    return disconnect

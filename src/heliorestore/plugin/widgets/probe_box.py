"""The PSF probe: a point on the image, and the PSF there with its own zoom."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from napari.utils.colormaps import ensure_colormap
from qtpy.compat import isalive
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent, QPen, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from heliorestore.plugin.runs.redraw_rate import single_shot
from heliorestore.plugin.runs.task import End, Latest, Outcome
from heliorestore.plugin.viewer.layers import Placement
from heliorestore.plugin.viewer.tool_layers import put_away, tool_layer
from heliorestore.plugin.widgets.sections import check, note, row, say, stack
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from heliorestore.diagnose.psf_probe import ProbedPsf

_FIELDS = (0.5, 16.0)  # limits of the zoom, in units of the first dark ring's diameter
_DECADES = 4  # of the logarithmic picture
_GAP, _BAR = 6, 24  # px between the pictures, and for the bar of colours
_PEN = QColor(255, 255, 255)


class ProbePoint:
    """A Points layer with one point over the field, in the field's own pixels; a click moves it."""

    def __init__(self, viewer: Any, over: Any, shape: tuple[int, int], moved: Callable[[], None]) -> None:
        self._viewer, self._moved = viewer, moved
        looks = {
            "size": max(shape) / 40,
            **vars(Placement.of_layer(over)),
            "metadata": {"kind": "probe"},
        }
        make = partial(
            Points,
            name="PSF probe",
            symbol="cross",
            face_color="#00d0ff",
            border_color="black",
            axis_labels=("y", "x"),
        )
        self.layer = tool_layer(viewer, ("probe", 0), make, [[n / 2 for n in shape]], looks)
        viewer.layers.selection.active = self.layer
        self.layer.mode = "add"
        self.layer.events.data.connect(self._changed)

    @property
    def stands(self) -> bool:
        return self.layer in self._viewer.layers

    @property
    def place(self) -> tuple[float, float] | None:
        """The point (y, x) in pixels."""
        if not self.stands or not len(self.layer.data):
            return None
        y, x = np.asarray(self.layer.data)[-1, -2:]
        return float(y), float(x)

    def put(self, place: tuple[float, float]) -> None:
        """Probe there."""
        self.layer.data = np.array([place])

    def put_away(self) -> None:
        """Hide it until it is needed again."""
        self.layer.events.data.disconnect(self._changed)
        put_away(self._viewer, self.layer, ("probe", 0))

    def _changed(self, event: Any) -> None:
        if len(self.layer.data) > 1:  # a click adds a point: keep only the new one
            with self.layer.events.data.blocker(self._changed):
                self.layer.data = np.asarray(self.layer.data)[-1:]
        self._moved()


@dataclass(frozen=True, eq=False)
class Probed:
    """A result, the place (y, x) in pixels of its images, and the frame."""

    snapshot: Snapshot
    place: tuple[float, float]
    frame: int


class ProbeBox(QWidget):
    """A box to tick, and then the PSF at the point; `find` returns the result at a place."""

    def __init__(
        self,
        viewer: Any,
        inputs: Callable[[], list[Any]],
        find: Callable[[tuple[float, float]], Probed | None],
    ) -> None:
        super().__init__()
        self.point: ProbePoint | None = None
        self._viewer, self._inputs, self._find = viewer, inputs, find
        self._latest = Latest("PSF", self._found)
        self._timer = single_shot(self, self._look)
        self.on = check(
            "PSF probe", "Click on the image and see the PSF there, of the frame on the slider.", self._toggle
        )
        self.view = PsfView()
        self.logarithmic = check(
            "logarithmic",
            "Show four decades of the PSF instead of its square root.",
            self.view.set_logarithmic,
        )
        self.view.hide()
        self.text = note(
            "Strehl ratio, and the diameter of a circle as large as the area above half of the peak."
        )
        stack(self, row(self.on, self.logarithmic), self.view, self.text)

    def look_soon(self) -> None:
        """Update the PSF, at most 20 times a second."""
        if self.point is not None and not self._timer.isActive():
            self._timer.start(50)

    def _toggle(self, on: bool) -> None:
        if self.point is not None:
            self.point.put_away()
            self.point = None
        inputs = self._inputs()
        self.view.setVisible(on)
        say(
            self.text,
            ""
            if not on
            else "Click on the image."
            if inputs
            else "Tick the image to probe in the list of inputs.",
        )
        if on and inputs:
            self.point = ProbePoint(self._viewer, inputs[0], inputs[0].data.shape[-2:], self.look_soon)
            self.look_soon()

    def _look(self) -> None:
        place = self.point.place if self.point is not None else None
        found = self._find(place) if place is not None else None
        if found is None or found.snapshot.run is None:
            self.view.show_psf(None)
            self.text.setText("Click on the image." if place is None else "The PSF there is not known yet.")
            return
        run = found.snapshot.run

        def look() -> tuple[ProbedPsf, str]:
            from heliorestore.diagnose.psf_probe import probe
            from heliorestore.methods.base import settings_of

            settings: Any = settings_of(run)
            return probe(
                found.snapshot, settings, found.place, found.frame
            ), f"{run.labels[0]}, frame {run.frame_numbers[found.frame]}"

        self._latest.ask(look)

    def _found(self, outcome: Outcome) -> None:
        if self.point is None or outcome.end is not End.FINISHED or not isalive(self.view):
            return  # the panel may have been closed meanwhile
        psf, what = outcome.value
        # As on the canvas, whose origin the user chooses.
        self.view.upwards = str(self._viewer.scene.camera.orientation2d[0]) == "up"
        self.view.show_psf(psf)
        alone = psf.limit_arcsec * 1.029 / 1.22  # the Airy disc's full width at half maximum
        say(
            self.text,
            f"{what}: Strehl {psf.strehl:.2f}, FWHM {psf.fwhm_arcsec:.2f}″ (telescope alone {alone:.2f}″). "
            f"Wavefront without tilts: {psf.wavefront_rms:.2f} rad rms, "
            f"{psf.wavefront_rms * psf.wavelength_nm / (2 * math.pi):.0f} nm.",
        )


class PsfView(QWidget):
    """A PSF with a bar in arcsec and the telescope's first dark ring, and beside it the wavefront."""

    def __init__(self) -> None:
        super().__init__()
        self.psf: ProbedPsf | None = None
        self.upwards = False  # whether y grows upwards on the canvas
        self.field = 5.0  # side of the picture, in units of the first dark ring's diameter
        self.logarithmic = False
        self._colours, self._signed = (
            (ensure_colormap(name).map(np.linspace(0, 1, 256)) * 255).astype(np.uint8)
            for name in ("inferno", "coolwarm")
        )
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Left: the PSF at the probe, square root of the intensity or four decades, oriented as the "
            "image. The circle is the first dark ring of the telescope without atmosphere, 1.22 lambda/D; "
            "its centre is the true place of the point. After a click the wheel zooms. Right: the fitted "
            "wavefront over the aperture, without tilts, in radian."
        )
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # without the focus the wheel scrolls the panel

    def sizeHint(self) -> QSize:
        return QSize(280, 200)

    def show_psf(self, psf: ProbedPsf | None) -> None:
        """Draw this one."""
        self.psf = psf
        self.update()

    def set_logarithmic(self, on: bool) -> None:
        """Show four decades, or the square root."""
        self.logarithmic = on
        self.update()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        if event is not None:
            factor = 0.8 if event.angleDelta().y() > 0 else 1.25
            self.field = min(max(self.field * factor, _FIELDS[0]), _FIELDS[1])
            self.update()
            event.accept()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        if self.psf is None or self.psf.limit_arcsec <= 0:
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "no PSF yet")
            return
        side = float(min(self.height(), (self.width() - _GAP - _BAR) / 2))
        area = QRectF(0, 0, side, side)
        self._paint_wavefront(painter, self.psf, QRectF(side + _GAP, 0, side, side))
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        field_arcsec = self.field * 2 * self.psf.limit_arcsec
        shown = self.part(field_arcsec)
        shown = shown[::-1] if self.upwards else shown
        rows = len(shown)
        part = np.clip(shown / shown.max(), 10.0**-_DECADES, 1)
        # Both make the halo visible beside the core.
        scaled = 1 + np.log10(part) / _DECADES if self.logarithmic else np.sqrt(part)
        painter.drawImage(area, _coloured(self._colours[(255 * scaled).astype(np.uint8)]))
        per_arcsec = side / (rows * self.psf.pixel_arcsec)
        radius = self.psf.limit_arcsec * per_arcsec
        painter.setPen(QPen(_PEN, 1, Qt.PenStyle.DotLine))
        painter.drawEllipse(area.center(), radius, radius)
        bar = _round_length(field_arcsec / 4)
        painter.setPen(QPen(_PEN, 2))
        left, foot = area.left() + 8, area.bottom() - 8
        painter.drawLine(QPointF(left, foot), QPointF(left + bar * per_arcsec, foot))
        painter.drawText(QPointF(left, foot - 5), f"{bar:g}″")

    def _paint_wavefront(self, painter: QPainter, psf: ProbedPsf, area: QRectF) -> None:
        """The wavefront around zero, with its colours beside it."""
        seen = psf.wavefront[::-1] if self.upwards else psf.wavefront
        most = max(float(np.nanmax(np.abs(seen))), 1e-6)
        pixels = self._signed[np.nan_to_num(127.5 + 127.5 * seen / most).astype(np.uint8)]
        pixels[np.isnan(seen)] = 0  # transparent
        painter.drawImage(area, _coloured(pixels))
        ramp = QRectF(area.right() + 4, area.top() + 14, 8, area.height() - 28)
        painter.drawImage(ramp, _coloured(self._signed[::-1, None]))
        painter.setPen(self.palette().color(self.foregroundRole()))
        for place, text in ((ramp.top() - 3, f"+{most:.2g}"), (ramp.bottom() + 12, f"-{most:.2g} rad")):
            box = QRectF(ramp.right() - 80, place - 12, 80 + _BAR - 12, 14)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)

    def part(self, field_arcsec: float) -> np.ndarray:
        """The middle of the PSF (y, x), an odd number of pixels around its centre."""
        assert self.psf is not None
        image, centre = self.psf.image, self.psf.image.shape[0] // 2
        half = min(max(round(field_arcsec / self.psf.pixel_arcsec / 2), 4), centre - 1)
        return image[centre - half : centre + half + 1, centre - half : centre + half + 1]


def _coloured(pixels: np.ndarray) -> QImage:
    """An image of RGBA pixels (y, x, 4)."""
    rows, columns, _ = pixels.shape
    whole = np.ascontiguousarray(pixels).tobytes()
    return QImage(whole, columns, rows, 4 * columns, QImage.Format.Format_RGBA8888).copy()


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(power * max(step for step in (1, 2, 5) if step * power <= length * 1.0001))

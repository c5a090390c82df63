"""The preview box: a rectangle of the field that is restored first, and again whenever something changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Shapes
from qtpy.QtCore import QObject, Signal

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.live import BoxLayers, within
from heliorestore.plugin.runs.redraw_rate import Pace, single_shot
from heliorestore.plugin.runs.task import End, Outcome
from heliorestore.plugin.runs.worker import Job, RestoreWorker, Stage
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.layers import Placement
from heliorestore.plugin.viewer.tool_layers import put_away, tool_layer
from heliorestore.settings import Settings
from heliorestore.snapshot import Snapshot

_SIDE = 256  # px of a new box at most; of a smaller field it covers a quarter
_LEAST = 32  # px: a smaller box does not constrain the wavefronts
_MARGIN = 16  # px around the box that are restored too, so that its border is as good as its middle
_QUIET_MS = 250  # from the last change to a new restoration of the box
_FURTHER = 6  # iterations after a change when the run has finished


@dataclass(frozen=True)
class Rectangle:
    """Pixels of the field: rows and columns."""

    top: int
    left: int
    bottom: int
    right: int

    def around(self, margin: int, shape: tuple[int, int]) -> Rectangle:
        """A larger one, limited to the field."""
        return Rectangle(
            max(0, self.top - margin),
            max(0, self.left - margin),
            min(shape[0], self.bottom + margin),
            min(shape[1], self.right + margin),
        )

    def within(self, outer: Rectangle) -> tuple[slice, slice]:
        """Its slices within another one."""
        return slice(self.top - outer.top, self.bottom - outer.top), slice(
            self.left - outer.left, self.right - outer.left
        )


class Box:
    """A Shapes layer with one rectangle in the field's own pixels; the user drags it and its corners."""

    def __init__(self, viewer: Any, over: Any, shape: tuple[int, int], changed: Callable[[], None]) -> None:
        self._viewer, self._shape = viewer, shape
        rows, columns = (new_edges(n) for n in shape)
        looks = {
            "edge_width": max(shape) / 160,
            **vars(Placement.of_layer(over)),
            "metadata": {"kind": "box"},
        }
        make = partial(
            Shapes,
            shape_type="rectangle",
            name="preview box",
            edge_color="#ffd000",
            face_color="transparent",
            axis_labels=("y", "x"),
        )
        self.layer = tool_layer(viewer, ("box", 0), make, [_corners(rows, columns)], looks)
        self.to_front()
        self._changed = lambda _event: changed()
        self.layer.events.data.connect(self._changed)

    @property
    def stands(self) -> bool:
        return self.layer in self._viewer.layers and len(self.layer.data) > 0

    def rectangle(self) -> Rectangle:
        """The rectangle in whole pixels, within the field and not too small."""
        corners = np.asarray(self.layer.data[-1])[:, -2:]
        edges = []
        for axis, size in enumerate(self._shape):
            # napari's pixel centres are whole numbers, so edges lie at halves.
            low, high = round(float(corners[:, axis].min()) + 0.5), round(float(corners[:, axis].max()) + 0.5)
            low = min(max(low, 0), max(0, size - _LEAST))
            edges.append((low, min(max(high, low + _LEAST), size)))
        (top, bottom), (left, right) = edges
        return Rectangle(top, left, bottom, right)

    def move(self, rectangle: Rectangle) -> None:
        """Move the box."""
        self.layer.data = [_corners((rectangle.top, rectangle.bottom), (rectangle.left, rectangle.right))]

    def to_front(self) -> None:
        """Put it on top of all layers, selected and ready to be dragged."""
        layers = self._viewer.layers
        layers.move(layers.index(self.layer), len(layers))
        layers.selection.active = self.layer
        self.layer.mode = "select"
        self.layer.selected_data = {0}

    def put_away(self) -> None:
        """Hide it until it is needed again."""
        self.layer.events.data.disconnect(self._changed)
        put_away(self._viewer, self.layer, ("box", 0))


class Preview(QObject):
    """Restores the box again after every change; its results are never exported.

    `job` returns what would be restored on the whole field, or raises if something is missing.
    """

    arrived = Signal()  # another snapshot is shown
    said = Signal(str)  # progress, or an error

    def __init__(
        self, box: Box, layers: BoxLayers, job: Callable[[], Job], running: list[RestoreWorker]
    ) -> None:
        super().__init__()
        self.box, self.layers, self._job = box, layers, job
        self.snapshot: Snapshot | None = None
        self.rectangle = self.outer = box.rectangle()
        self._settings: Settings | None = None
        self._worker: RestoreWorker | None = None
        self._holding = False
        self._quiet = single_shot(self, self.restart)
        self._pace = Pace(self, self._draw, lambda: self.layers.settled)
        self.running = running  # the worker, to be ended with the panel

    def restart_soon(self) -> None:
        """Restart when the changes have settled."""
        self._quiet.start(_QUIET_MS)

    def restart(self) -> None:
        """Restart with the current box and settings."""
        if not self.box.stands:
            self.said.emit("The box has been deleted.")
            return
        try:
            job = self._job()
        except HeliorestoreError as error:
            self.said.emit(explain(error))
            return
        self._end()
        shape = job.burst.shape[2:]
        self.rectangle = self.box.rectangle()
        self.outer = outer = self.rectangle.around(_MARGIN, (shape[0], shape[1]))
        burst = job.burst.window(slice(outer.top, outer.bottom), slice(outer.left, outer.right))
        self._settings, self._holding = job.settings, False
        self.layers.place((self.rectangle.top, self.rectangle.left))
        worker = RestoreWorker(
            "preview", dataclasses.replace(job, burst=burst, settings=job.settings, autosave=None, holds=True)
        )
        # Each slot knows its worker: signals of an older one may still be queued.
        worker.signals.arrived.connect(lambda: self._arrived(worker))
        worker.signals.stage.connect(lambda stage: self._stage(worker, stage))
        worker.signals.ended.connect(lambda outcome: self._ended(worker, outcome))
        self._worker = worker
        self.running[:] = [worker]
        self.said.emit("Loading…")
        worker.start()

    def send(self, settings: Settings) -> None:
        """Continue with these settings: live ones act at once, any other change restarts."""
        if self._settings is None or self._worker is None or self._quiet.isActive():
            self.restart_soon()
            return
        # Another value of a setting that is not live needs another run.
        if settings.unlike(self._settings, live=False):
            self.restart_soon()
            return
        self.layers.look_ahead()
        done = self.snapshot.step if self.snapshot is not None else 0
        if hasattr(settings, "iterations") and (self._holding or done >= settings.iterations):
            # A finished run has no iterations left to show the effect of a change.
            settings = settings.replace(iterations=max(settings.iterations, done + _FURTHER))
        self._worker.send(settings)

    def put_away(self) -> None:
        """End, and hide box and images."""
        self._end()
        self.layers.put_away()
        self.box.put_away()
        self._quiet.stop()

    # -- signals of the worker

    def _arrived(self, worker: RestoreWorker) -> None:
        if worker is self._worker:
            self._pace.want()

    def _draw(self) -> None:
        snapshot = self._worker.take() if self._worker is not None else None
        if snapshot is None:
            return
        known = len(self.layers.layers)
        self.snapshot = within(snapshot, *self.rectangle.within(self.outer))
        self.layers.show(self.snapshot)
        # New layers may cover the box: it must be on top, and selected, to be dragged.
        if len(self.layers.layers) > known and self.box.stands:
            self.box.to_front()
        self._tell()
        self.arrived.emit()

    def _stage(self, worker: RestoreWorker, stage: Stage) -> None:
        if worker is self._worker:
            self._holding = stage is Stage.HOLDING
            self._tell()

    def _tell(self) -> None:
        if self.snapshot is not None:
            rest = "at rest, waiting for a change" if self._holding else "running"
            size = (
                f"{self.rectangle.right - self.rectangle.left} x "
                f"{self.rectangle.bottom - self.rectangle.top} px"
            )
            self.said.emit(f"{size}, iteration {self.snapshot.step}, {rest}.")

    def _ended(self, worker: RestoreWorker, outcome: Outcome) -> None:
        if worker is self._worker:
            self._worker = None
            if outcome.end is End.FAILED and outcome.error is not None:
                self.said.emit(explain(outcome.error))

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.quit()
        self._worker, self.snapshot = None, None


def new_edges(size: int) -> tuple[int, int]:
    """The edges of a new box along an axis of the field."""
    side = min(size, max(_LEAST, min(_SIDE, size // 2)))
    return (size - side) // 2, (size + side) // 2


def _corners(rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    """The corners (y, x) of a rectangle around whole pixels."""
    (top, bottom), (left, right) = rows, columns
    return np.array([[top, left], [top, right], [bottom, right], [bottom, left]]) - 0.5

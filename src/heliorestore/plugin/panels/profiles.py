"""Profiles over wavelength: a click on an image shows I, Q, U, V there, of all selected results, and keeps
places for comparison.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QSpinBox, QVBoxLayout, QWidget

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.failure import explain
from heliorestore.plugin.runs.task import End, Outcome, start_task
from heliorestore.plugin.viewer.layers import TAG
from heliorestore.plugin.viewer.meeting import meet
from heliorestore.plugin.viewer.shown_plane import is_image
from heliorestore.plugin.widgets.chart import ChartPlace
from heliorestore.plugin.widgets.closing import when_taken_out
from heliorestore.plugin.widgets.file_box import output_file
from heliorestore.plugin.widgets.sections import button, note, row, say, scroll
from heliorestore.polarimetry.profiles import Profiles, draw_profiles, noise_of, profiles, to_csv
from heliorestore.quality.charts import legend_above, save
from heliorestore.snapshot import Snapshot
from heliorestore.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from napari.viewer import Viewer

_MOST_KEPT = 6  # as many as there are colours
_MOST_SOURCES = 3
_ASK = "Click on an image that is part of a spectrum: what demodulate or cube wrote."


class ProfileCharts(ChartPlace):
    """The charts of all Stokes parameters that the profiles have."""

    def __init__(self) -> None:
        super().__init__(
            "Stokes parameters over wavelength with two standard errors of a pixel's noise; the line's core "
            "is dotted, and so, wider, is the continuum.",
            420,
        )
        self.shown: list[Profiles] = []

    @property
    def parameters(self) -> list[str]:
        return [name for name in "IQUV" if any(name in each.grid.parameters for each in self.shown)]

    def compose(self, figure: Figure) -> None:
        figure.set_layout_engine("constrained")
        names = self.parameters
        first: Any = None
        for number, name in enumerate(names):
            axes = figure.add_subplot(len(names), 1, number + 1, sharex=first)
            draw_profiles(axes, self.shown, name)
            if number < len(names) - 1:
                axes.set_xlabel("")
                axes.tick_params(labelbottom=False)
            if first is None:
                first = axes
                lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
                legend_above(axes, lines=lines)


class ProfilesWidget(QWidget):
    """Shows profiles at the place of a click, and beside it those of kept places."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.kept: list[Profiles] = []
        self.found: list[Profiles] = []
        meet(napari_viewer)
        self._build()
        # a partial, so that napari does not keep the panel alive as the owner of a method
        self._callback = partial(_clicked, self)
        napari_viewer.mouse_drag_callbacks.append(self._callback)
        when_taken_out(self, self._leave)
        say(self.said, _ASK)

    def sources(self) -> list[tuple[str, Any]]:
        """Names and records of the selected images, else of the topmost visible one, each record once."""
        layers = [layer for layer in self.viewer.layers if is_image(layer)]
        selected = [layer for layer in layers if layer in self.viewer.layers.selection]
        chosen = selected or [layer for layer in layers if layer.visible][-1:]
        found: dict[int, tuple[str, Any]] = {}
        for layer in chosen:
            record = layer.metadata.get(TAG)
            if isinstance(record, Burst | Snapshot):
                found.setdefault(id(record), (str(layer.name), layer))
        return list(found.values())[:_MOST_SOURCES]

    def look(self, position: tuple[float, ...]) -> None:
        """Show the profiles at a place in world coordinates."""
        asked = []
        for name, layer in self.sources():
            at = layer.world_to_data(tuple(position)[-layer.ndim :])
            y, x = (round(float(value)) for value in at[-2:])
            rows, columns = layer.data.shape[-2:]
            if 0 <= y < rows and 0 <= x < columns:
                frame = round(float(at[0])) if layer.ndim == 3 else 0
                asked.append((name, layer.metadata[TAG], y, x, frame))
        if not asked:
            say(self.said, _ASK)
            return
        side = self.side.value()
        start_task("Read profiles", lambda: _read(asked, side), self._show, listed=False)

    def keep(self) -> None:
        """Keep the profiles that are shown for comparison with the next."""
        self.kept = (self.kept + self.found)[-_MOST_KEPT:]
        self.found = []
        self._draw()

    def clear(self) -> None:
        """Forget all places."""
        self.kept, self.found = [], []
        self._draw()

    def save_charts(self, path: str | Path | None = None) -> None:
        """Save the charts as a picture; without a path ask for one."""
        if target := self._asked(path, "Save charts", "Pictures (*.pdf *.png *.svg)", ".pdf"):
            shown = self.charts.shown
            self._written(
                target,
                lambda: save(
                    [partial(draw_profiles, shown=shown, parameter=p) for p in self.charts.parameters], target
                ),
            )

    def save_csv(self, path: str | Path | None = None) -> None:
        """Save the values as comma-separated values; without a path ask for one."""
        if target := self._asked(path, "Save values", "CSV (*.csv)", ".csv"):
            self._written(target, lambda: _write(to_csv(self.charts.shown), target))

    def _written(self, target: Path, write: Any) -> None:
        try:
            write()
            say(self.said, f"Written: {target}")
        except (HeliorestoreError, OSError) as error:
            say(self.said, f"⚠ {error}")

    def _asked(self, path: str | Path | None, title: str, kind: str, suffix: str) -> Path | None:
        if not self.charts.shown:
            say(self.said, f"⚠ There is nothing to save yet. {_ASK}")
            return None
        try:
            return output_file(self, path, title, kind, f"profiles{suffix}")
        except HeliorestoreError as error:
            say(self.said, f"⚠ {error}")
            return None

    def _show(self, outcome: Outcome) -> None:
        if outcome.end is End.FINISHED:
            self.found = outcome.value
            say(self.said, "")
            self._draw()
        elif outcome.error is not None:
            say(self.said, f"⚠ {explain(outcome.error)}")

    def _draw(self) -> None:
        self.charts.shown = [*self.kept, *self.found]
        self.charts.redraw()
        if not self.charts.shown:
            say(self.said, _ASK)

    def _leave(self) -> None:
        callbacks = self.viewer.mouse_drag_callbacks
        if self._callback in callbacks:
            callbacks.remove(self._callback)

    def _build(self) -> None:
        self.charts = ProfileCharts()
        self.side = QSpinBox()
        self.side.setRange(1, 99)
        self.side.setSingleStep(2)
        self.side.setSuffix(" px")
        self.side.setToolTip("Side of the square around the click over which profiles are averaged.")
        self.said = note("What to do, the written file, or an error.")
        inside = QWidget()
        rows = QVBoxLayout(inside)
        rows.setContentsMargins(6, 4, 6, 4)
        rows.addWidget(
            row(
                "mean over",
                self.side,
                button("Keep", "Keep these profiles beside those of the next click.", self.keep),
                button("Clear", "Forget all places.", self.clear),
            )
        )
        rows.addWidget(self.charts, 1)
        rows.addWidget(
            row(
                button("Save charts…", "Save the charts: PDF, PNG or SVG.", self.save_charts),
                button("Save CSV…", "Save all values with their errors.", self.save_csv),
            )
        )
        rows.addWidget(self.said)
        scroll(self, inside)
        self.setMinimumWidth(340)


def _clicked(panel: ProfilesWidget, viewer: Any, event: Any) -> Iterator[None]:
    """A click that is no drag, with the left button and no key, looks at its place."""
    wanted = event.button == 1 and not event.modifiers and panel.isVisibleTo(panel.window())
    yield
    while event.type == "mouse_move":
        wanted = False
        yield
    if wanted:
        panel.look(event.position)


def _read(asked: list[tuple[str, Any, int, int, int]], side: int) -> list[Profiles]:
    """The profiles of every record at its place, named by it where there are several."""
    found = []
    for name, record, y, x, time in asked:
        burst = _burst_of(record)
        frame = min(time, burst.shape[1] - 1)
        rows, columns = (
            slice(max(0, at - side // 2), min(n, at + (side + 1) // 2))
            for at, n in zip((y, x), burst.shape[2:], strict=True)
        )
        each = profiles(burst, rows, columns, frame, _noise(record, frame))
        title = f"{name.partition(' ')[0]} {each.name}" if len(asked) > 1 else each.name
        found.append(Profiles(each.grid, each.values, each.sigmas, title, each.unit))
    return found


@functools.lru_cache(maxsize=8)
def _noise(record: Any, frame: int) -> FloatArray:
    return noise_of(_burst_of(record), frame)


def _burst_of(record: Burst | Snapshot) -> Burst:
    """A restored result as a burst of one frame."""
    if isinstance(record, Burst):
        return record
    run = record.run
    known: dict[str, Any] = {}
    if run is not None:
        known = {
            "instruments": run.instruments,
            "labels": run.labels,
            "coordinates": run.coordinates,
            "unit": run.unit,
        }
    return Burst(frames=np.asarray(record.images)[:, None], **known)


def _write(text: str, path: Path) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())

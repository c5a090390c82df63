"""Profiles over wavelength: a click on an image shows I, Q, U, V there, of all selected results, and keeps
places for comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from qtpy.QtWidgets import QSpinBox, QVBoxLayout, QWidget

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.task import End, Outcome, start_task
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.layers import TAG
from heliorestore.plugin.viewer.meeting import meet
from heliorestore.plugin.viewer.place_marks import Place, PlaceMarks, corners_in, frame_at, pixels_in
from heliorestore.plugin.viewer.shown_plane import is_image
from heliorestore.plugin.widgets.chart import ChartPlace
from heliorestore.plugin.widgets.closing import when_taken_out
from heliorestore.plugin.widgets.file_box import output_file
from heliorestore.plugin.widgets.sections import button, note, row, say, scroll
from heliorestore.polarimetry.profiles import (
    Profiles,
    draw_profiles,
    noise_of,
    profiles,
    to_csv,
    uncertainty_of,
)
from heliorestore.quality.charts import COLOURS, legend_above, save
from heliorestore.snapshot import Snapshot
from heliorestore.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from napari.viewer import Viewer

_MOST_KEPT = 6  # as many as there are colours
_MOST_SOURCES = 3
_ASK = "Click on an image that is part of a spectrum: what demodulate or cube wrote."


_DRAW = {
    "rectangle": "Drag a rectangle over the image: the mean of its pixels is shown.",
    "polygon": "Click the corners of a polygon, and double-click the last: the mean of its pixels is shown.",
}


@dataclass(frozen=True, eq=False)
class _Asked:
    """A record, the frame, and the place in its pixels: a point or the corners of a region (n, 2)."""

    name: str
    record: Any
    frame: int
    outline: npt.NDArray[np.float64]


class ProfileCharts(ChartPlace):
    """The charts of all Stokes parameters that the profiles have."""

    def __init__(self) -> None:
        super().__init__(
            "Stokes parameters over wavelength with two standard errors; the line's core "
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
        self._places: list[Place] = []  # of the kept profiles, one each
        self._place: Place | None = None
        self.marks = PlaceMarks(napari_viewer, self.look_at, 0, "profiles")
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
        self.look_at(Place(np.array([position[-2:]], float)))

    def look_at(self, place: Place) -> None:
        """Show the profiles at a place, or their mean in a region."""
        asked = [
            _Asked(name, layer.metadata[TAG], frame_at(layer, self.viewer), outline)
            for name, layer in self.sources()
            for outline in [corners_in(layer, place, self.viewer)]
            if np.all(outline.max(0) > -0.5)
            and np.all(outline.min(0) < np.array(layer.data.shape[-2:]) - 0.5)
        ]
        if not asked:
            say(self.said, _ASK)
            return
        side = self.side.value()
        start_task("Read profiles", lambda: (place, _read(asked, side)), self._show, listed=False)

    def draw_region(self, mode: str) -> None:
        """Let the user draw a region, `rectangle` or `polygon`."""
        sources = self.sources()
        if not sources:
            say(self.said, _ASK)
            return
        self.found, self._place = [], None
        self._draw()
        self.marks.draw(mode, sources[0][1], COLOURS[len(self.kept) % len(COLOURS)])
        say(self.said, _DRAW[mode])

    def _rectangle(self) -> None:
        self.draw_region("rectangle")

    def _polygon(self) -> None:
        self.draw_region("polygon")

    def keep(self) -> None:
        """Keep the profiles that are shown for comparison with the next."""
        if self._place is not None:
            self._places += [self._place] * len(self.found)
        self.kept = (self.kept + self.found)[-_MOST_KEPT:]
        self._places = self._places[-_MOST_KEPT:]
        self.found, self._place = [], None
        self._draw()

    def clear(self) -> None:
        """Forget all places."""
        self.kept, self.found, self._places, self._place = [], [], [], None
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
            self._place, self.found = outcome.value
            say(self.said, "")
            self._draw()
        elif outcome.error is not None:
            say(self.said, f"⚠ {explain(outcome.error)}")

    def _draw(self) -> None:
        self.charts.shown = [*self.kept, *self.found]
        self.charts.redraw()
        self._mark()
        if not self.charts.shown:
            say(self.said, _ASK)

    def _mark(self) -> None:
        """Mark the places on the image, each in the colour of its first profile."""
        places: dict[int, tuple[Place, str]] = {}
        shown = [*self._places, *[self._place] * len(self.found)]
        for place, colour in zip(shown, [*COLOURS] * len(shown), strict=False):
            if place is not None:
                places.setdefault(id(place), (place, colour))
        if sources := self.sources():
            self.marks.show(list(places.values()), sources[0][1])

    def _leave(self) -> None:
        self.marks.put_away()
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
                button("▭", "Draw a rectangle, over which profiles are averaged.", self._rectangle),
                button("⬠", "Draw a polygon, over which profiles are averaged.", self._polygon),
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
    wanted = wanted and not panel.marks.active
    yield
    while event.type == "mouse_move":
        wanted = False
        yield
    if wanted:
        panel.look(event.position)


def _read(asked: Sequence[_Asked], side: int) -> list[Profiles]:
    """The profiles of every record at its place, named by it where there are several."""
    found = []
    for each in asked:
        burst = _burst_of(each.record)
        frame = min(each.frame, burst.shape[1] - 1)
        rows, columns, region = pixels_in(each.outline, side, burst.shape[2:])
        made = profiles(burst, rows, columns, frame, _noise(each.record, frame), region)
        title = f"{each.name.partition(' ')[0]} {made.name}" if len(asked) > 1 else made.name
        found.append(Profiles(made.grid, made.values, made.sigmas, title, made.unit))
    return found


def _noise(record: Burst | Snapshot, frame: int) -> FloatArray:
    """What the restoration or the file says of the noise, else the noise that is measured."""
    frames = _noises.setdefault(record, {})
    if frame not in frames:
        known = uncertainty_of(record)
        frames[frame] = noise_of(_burst_of(record), frame) if known is None else known
    return frames[frame]


# it is the same for every click; a record whose layers are deleted goes
_noises: WeakKeyDictionary[Burst | Snapshot, dict[int, FloatArray]] = WeakKeyDictionary()


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

"""Movies of what the window shows: a run as it got sharper, and two layers in turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.history import get_save_history, update_save_history
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog

from heliorestore.plugin.panels.parts import Panel
from heliorestore.plugin.runs.film import Film, Picture, picture, smaller
from heliorestore.plugin.runs.task import Outcome, start_task
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.layers import TAG
from heliorestore.plugin.viewer.shown_plane import shown_plane
from heliorestore.plugin.viewer.titles import Titles
from heliorestore.plugin.widgets.sections import button
from heliorestore.quality.movies import SUFFIXES, Frame, check_name, encode
from heliorestore.snapshot import Snapshot
from heliorestore.storage import check_output, replacing

if TYPE_CHECKING:
    from heliorestore.quality.pictures import Look

_FILES = f"Movie ({' '.join(f'*{suffix}' for suffix in reversed(SUFFIXES))})"
_RUN_S, _HELD_S = 6.0, 1.5  # how long the iterations are shown, and then the result
_BLINK_S = 6.0  # of a blink in a file that does not repeat by itself


class RunMovie(QObject):
    """The button *Save movie…* of a panel, and the pictures that its run leaves."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel.widget)
        self._panel = panel
        self.film = Film()
        self.button = button(
            "Save movie…",
            "Write a GIF or MP4 of the run: a frame of the input, then the first object as it got sharper, "
            "with the contrast limits and colours of the result.",
            self.save,
        )
        self.button.setEnabled(False)
        panel.run_panel.state_changed.connect(self._look)

    def save(self, path: str | Path | None = None) -> None:
        """Write the movie in a thread; without a path ask for one."""
        panel, snapshot = self._panel, self._panel.run_panel.snapshot
        if snapshot is None:
            return
        if (target := asked_for(panel.widget, "run.gif", path)) is None:
            return
        pictures = [each for each in self.film.pictures if each.step < snapshot.step]
        layer = _result_layer(panel.viewer, snapshot)
        limits = None if layer is None else (float(layer.contrast_limits[0]), float(layer.contrast_limits[1]))
        cmap = "gray" if layer is None else str(layer.colormap.name)
        chosen = panel.layer_list.chosen()
        first = shown_plane(panel.viewer, chosen[0]) if chosen else None

        def work() -> Path:
            last = picture(snapshot)
            look = _look(snapshot, last, limits, cmap)
            count = len(pictures) + 2
            fps = min(12.0, max(3.0, count / _RUN_S))
            held = round(_HELD_S * fps)
            return write_movie(target, _painted(first, [*pictures, *[last] * held], look), fps)

        panel.run_panel.report(f"Writing {target.name}…")
        start_task(f"Write {target.name}", work, self._written)

    def _look(self) -> None:
        snapshot = self._panel.run_panel.snapshot
        if snapshot is None:
            self.film.clear()
        else:
            self.film.add(snapshot)
        self.button.setEnabled(snapshot is not None)

    def _written(self, outcome: Outcome) -> None:
        run = self._panel.run_panel
        if outcome.error is not None:
            run.report("")
            run.say_failure(outcome)
        else:
            run.report(f"Written: {outcome.value}")


def save_blink(parent: Any, viewer: Any, pair: Sequence[Any], rate_hz: float, tell: Any) -> None:
    """Ask for a name and write a movie of the canvas with each of two layers in turn, as they blink."""
    if (target := asked_for(parent, "blink.gif")) is not None:
        write_blink(viewer, pair, rate_hz, target, tell)


def write_blink(viewer: Any, pair: Sequence[Any], rate_hz: float, target: Path, tell: Any) -> None:
    """Write it in a thread; `tell` gets a sentence."""
    before = [layer.visible for layer in pair]
    frames, titles = [], Titles(viewer)
    for shown in pair:
        for layer in pair:
            layer.visible = layer is shown
        titles.show(shown.name)
        picture_ = np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3]
        rows, columns = (n - n % 2 for n in picture_.shape[:2])
        frames.append(np.ascontiguousarray(picture_[:rows, :columns]))
    for layer, visible in zip(pair, before, strict=True):
        layer.visible = visible
        if visible:
            titles.show(layer.name)
    if target.suffix.lower() != ".gif":
        frames *= max(1, round(_BLINK_S * rate_hz / 2))

    def written(outcome: Outcome) -> None:
        error = outcome.error
        tell(f"⚠ {explain(error)}" if error is not None else f"Written: {outcome.value}")

    start_task(f"Write {target.name}", lambda: write_movie(target, iter(frames), rate_hz), written)


def asked_for(parent: Any, name: str, path: str | Path | None = None) -> Path | None:
    """The name of a movie, a GIF by default; without a path the user is asked, None if he gives none."""
    if path is None:
        # The dialog asks before an existing file is replaced.
        path, _ = QFileDialog.getSaveFileName(
            parent, "Save movie", str(Path(get_save_history()[0]) / name), _FILES
        )
    if not path:
        return None
    target = Path(path) if Path(path).suffix else Path(f"{path}.gif")
    update_save_history(str(target))
    return target


def write_movie(target: Path, frames: Iterator[Frame], fps: float) -> Path:
    """Write a movie; the file appears when it is complete."""
    check_name(target)
    with replacing(check_output(target, overwrite=True)) as file:
        encode(file, target.suffix.lower(), frames, fps)
    return target


def _painted(first: Any, pictures: Sequence[Picture], look: Look) -> Iterator[Frame]:
    """A frame of the input, if it can be brought onto the pictures' pixels, then the pictures."""
    from heliorestore.quality.pictures import painted

    if first is not None and (frame := _as_large(np.asarray(first, np.float32), pictures[-1])) is not None:
        yield painted(frame, look, "a frame of the burst")
    for each in pictures:
        yield painted(each.image, look, f"iteration {each.step}")


def _as_large(frame: Any, like: Picture) -> Any:
    """The frame on the pixels of a picture, None if they do not lie on each other."""
    if like.zoom < 1:
        frame = smaller(frame, round(1 / like.zoom))
    elif like.zoom > 1:
        frame = frame.repeat(round(like.zoom), 0).repeat(round(like.zoom), 1)
    return frame if frame.shape == like.image.shape else None


def _look(snapshot: Snapshot, last: Picture, limits: tuple[float, float] | None, cmap: str) -> Look:
    import matplotlib

    from heliorestore.quality.pictures import Look, cut_levels

    pixel = None if snapshot.run is None else snapshot.run.instruments[0].pixel_arcsec
    return Look(
        cmap=cmap if cmap in matplotlib.colormaps else "gray",
        limits=limits or cut_levels([last.image]),
        pixel_arcsec=None if pixel is None else pixel / last.zoom,
    )


def _result_layer(viewer: Any, snapshot: Snapshot) -> Any:
    """The layer that shows the first image of a run, None if the user has deleted it."""
    for layer in viewer.layers:
        record = layer.metadata.get(TAG)
        ours = isinstance(record, Snapshot) and record.run is snapshot.run and record.run is not None
        if ours and layer.metadata.get("kind") == "image" and layer.metadata.get("object") == 0:
            return layer
    return None

"""The memory that a run will need, in a sentence of the panel."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.redraw_rate import single_shot
from heliorestore.plugin.runs.worker import Job
from heliorestore.plugin.widgets.messages import Clipped
from heliorestore.plugin.widgets.run_controls import RunPanel

_QUIET_MS = 400  # after the last change before the memory is estimated


class MemoryNote(QObject):
    """A line with the memory that `job` would take, shown before it runs; empty if `job` raises an error."""

    def __init__(self, parent: QObject, run_panel: RunPanel, job: Callable[[], Job]) -> None:
        super().__init__(parent)
        self._run_panel, self._job = run_panel, job
        self.note = Clipped(
            "Memory that a run on the whole field will need beyond the program itself, estimated from "
            "the sizes."
        )
        self._soon = single_shot(self, self._estimate)

    def look_soon(self) -> None:
        """Estimate again when the changes have settled."""
        self._soon.start(_QUIET_MS)

    def _estimate(self) -> None:
        if self._run_panel.busy:
            return
        try:
            self.note.setText(memory_text(self._job()))
        except HeliorestoreError:
            self.note.setText("")


def memory_text(job: Job) -> str:
    """The memory that a job would take, and the number of its tiles; empty if unknown."""
    from heliorestore.diagnose.memory import memory_need
    from heliorestore.methods.base import pick_device

    try:
        need = memory_need(job.burst.shape, job.settings, pick_device(job.device))
    except HeliorestoreError:  # a missing device is reported when the run starts
        return ""
    if need is None:
        return ""
    rows, columns = need.tiles
    tiles = f"; the field is processed in {rows} x {columns} tiles" if rows * columns > 1 else ""
    read = "" if need.frames_held else "; frames are read as they are needed"
    return f"Memory needed: about {max(need.peak_bytes / 1e9, 0.1):.1f} GB{tiles}{read}."

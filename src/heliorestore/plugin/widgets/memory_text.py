"""What a run is going to need, in a sentence of the panel."""

from __future__ import annotations

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.worker import Job


def memory_text(job: Job) -> str:
    """The memory that a job would take, and whether its field would be done in tiles; nothing where that is
    not known.
    """
    from heliorestore.diagnose.memory import memory_need
    from heliorestore.methods.base import pick_device

    try:
        need = memory_need(job.burst.shape, job.settings, pick_device(job.device))
    except HeliorestoreError:  # a device that is not there is said when the run starts
        return ""
    if need is None:
        return ""
    rows, columns = need.tiles
    tiles = f"; the field is done in {rows} x {columns} tiles" if rows * columns > 1 else ""
    read = "" if need.frames_held else "; frames are read as they are needed"
    return f"Memory needed: about {max(need.peak_bytes / 1e9, 0.1):.1f} GB{tiles}{read}."

"""The run recorded in a restored file, ready to be repeated on its inputs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from heliorestore.burst import Burst, as_slice
from heliorestore.errors import BurstError
from heliorestore.fits.provenance import find_source
from heliorestore.fits.reader import read, read_burst
from heliorestore.settings import SavedSettings
from heliorestore.snapshot import Run, Snapshot


def reopen(path: Path) -> tuple[Burst, Snapshot]:
    """Return the burst from which a restored file was made, with its checksum verified and the same
    selection, and the file's Snapshot.

    `methods.base.replay(burst, settings_of(snapshot.run), snapshot.history, ...)` then repeats the run.
    """
    snapshot = read(path)
    run = snapshot.run if isinstance(snapshot, Snapshot) else None
    if not isinstance(snapshot, Snapshot) or run is None:
        raise BurstError(
            f"{path} is not a restored file with the record of its run: give one that heliorestore wrote."
        )
    if not run.sources:
        raise BurstError(
            f"{path} was restored from an array in memory, not from files: the run cannot be repeated."
        )
    folder = Path(path).absolute().parent
    files = [find_source(source, folder) for source in run.sources]
    snapshot = dataclasses.replace(snapshot, run=_with_files(run, folder))
    burst = read_burst(files)
    # The record counts in the files' own objects and frames.
    selected = burst.select(as_slice(run.object_range), as_slice(run.frame_range))
    if len(selected.labels) != len(run.instruments):
        raise BurstError(
            f"{path} has {len(run.instruments)} objects, but its input now {len(selected.labels)}: the run "
            "cannot be repeated."
        )
    return dataclasses.replace(selected, instruments=run.instruments, labels=run.labels), snapshot


def _with_files(run: Run, folder: Path) -> Run:
    """The run with the files that its settings name, found and checked again."""
    found = {name: find_source(source, folder) for name, source in run.files.items()}
    if not found or not isinstance(run.settings, SavedSettings):
        return run
    rows = tuple(
        (name, str(found.get(name, value)), unit, text) for name, value, unit, text in run.settings.rows
    )
    return dataclasses.replace(run, settings=SavedSettings(run.settings.method, rows))

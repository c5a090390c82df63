"""Files as a burst that is prepared for a method, and the run recorded in a restored file with its burst."""

from __future__ import annotations

import dataclasses
from os import PathLike
from pathlib import Path

from heliorestore.burst import Burst
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits.provenance import find_source
from heliorestore.fits.reader import Paths, read, read_burst, read_cameras
from heliorestore.fits.redux_cfg import is_config
from heliorestore.preparation import Preparation
from heliorestore.prepare.calibrate import calibrated
from heliorestore.prepare.camera_map import read_map
from heliorestore.prepare.mapped import onto_wide
from heliorestore.prepare.redux_burst import burst_of
from heliorestore.settings import SavedSettings
from heliorestore.snapshot import Run, Snapshot


def open_burst(paths: Paths, preparation: Preparation) -> Burst:
    """Read files as a burst whose frames are prepared as it says; of frames only headers are read now.

    With a map between two cameras, images of two shapes become one burst.
    """
    given = [Path(path) for path in ([paths] if isinstance(paths, (str, PathLike)) else paths)]
    # A configuration names its files itself; those that follow it are its files in the record of a run.
    if given and is_config(given[0]):
        return prepared(burst_of(given[0], prepared), preparation)
    if not preparation.register:
        return prepared(read_burst(given, preparation.axes), preparation)
    bursts = read_cameras(given, preparation.axes)
    if len(bursts) == 1:
        return prepared(bursts[0], preparation)
    # Each camera is calibrated in its own pixels.
    cameras = [prepared(burst, preparation.replace(register="")) for burst in bursts]
    found = read_map(preparation.files()["register"])
    return dataclasses.replace(onto_wide(cameras, found), preparation=preparation)


def prepared(burst: Burst, preparation: Preparation) -> Burst:
    """The burst with its frames prepared when they are read: calibrated, then mapped onto other pixels.

    The files that the preparation names are read now: with a dark and a flat,
    `prepared(burst, Preparation(dark="dark.fits", flat="flat.fits"))`.
    """
    if done := burst.preparation.files():
        names = ", ".join(path.name for path in done.values())
        raise SettingsError(f"The frames have been prepared before, with {names}: give all files at once.")
    burst = calibrated(burst, preparation)
    if preparation.register:
        burst = onto_wide([burst], read_map(preparation.files()["register"]))
    return dataclasses.replace(burst, preparation=preparation.replace(axes=burst.preparation.axes))


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
    run = _with_files(run, folder)
    snapshot = dataclasses.replace(snapshot, run=run)
    burst = open_burst(files, run.preparation)
    # The record counts in the files' own objects and frames.
    selected = burst.select(run.object_numbers, run.frame_numbers)
    if len(selected.labels) != len(run.instruments):
        raise BurstError(
            f"{path} has {len(run.instruments)} objects, but its input now {len(selected.labels)}: the run "
            "cannot be repeated."
        )
    burst = dataclasses.replace(
        selected, instruments=run.instruments, labels=run.labels, scale_from_file=False
    )
    return burst, snapshot


def _with_files(run: Run, folder: Path) -> Run:
    """The run with the files that its settings name, found and checked again."""
    found = {name: find_source(source, folder) for name, source in run.files.items()}
    if not found or not isinstance(run.settings, SavedSettings):
        return run
    rows = tuple(
        (name, str(found.get(name, value)), unit, text) for name, value, unit, text in run.settings.rows
    )
    named = {name: str(found[name]) for name in run.preparation.files()}
    return dataclasses.replace(
        run,
        settings=SavedSettings(run.settings.method, rows),
        preparation=run.preparation.replace(**named),
    )

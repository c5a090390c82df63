"""The npe2 reader: files, lists of files and folders through `heliorestore.fits`."""

from __future__ import annotations

import gzip
import sys
import warnings
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from heliorestore.errors import HeliorestoreError
from heliorestore.fits.reader import SUFFIXES, are_frames, read
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.layers import LayerData, burst_layers, snapshot_layers, stem_of
from heliorestore.snapshot import Snapshot

NOTHING: list[tuple[None]] = [(None,)]  # npe2's way to say that a file was handled but gave no layer

# What the files that napari is opening one by one give together, by its record of that opening.
_together: MutableMapping[Any, list[LayerData] | None] = WeakKeyDictionary()


def get_reader(path: str | Sequence[str]) -> Callable[..., Sequence[tuple[object, ...]]] | None:
    """Return the reader for a file, a list of files or a folder, or None for other files."""
    paths = [Path(path)] if isinstance(path, str) else [Path(p) for p in path]
    return read_layers if paths and all(_is_ours(p) for p in paths) else None


def read_layers(path: str | Sequence[str]) -> Sequence[tuple[object, ...]]:
    """Read the layers; a mistake of the user is one notification and no layer."""
    from napari.utils.notifications import show_error
    from napari.viewer import current_viewer

    from heliorestore.plugin.viewer.cube_looks import watch_cubes
    from heliorestore.plugin.viewer.cut_levels import apply_origin
    from heliorestore.plugin.viewer.sky import watch

    if (viewer := current_viewer()) is not None:
        watch(viewer)
        watch_cubes(viewer)
        if not viewer.layers:  # a view that is in use stays as it is
            apply_origin(viewer)
    paths = [path] if isinstance(path, str) else list(path)
    try:
        joined = None if len(paths) > 1 else _joined(paths[0])
        return load_layers(paths) if joined is None else joined or NOTHING
    except HeliorestoreError as error:
        show_error(explain(error))
        return NOTHING


def load_layers(paths: Sequence[str | Path], axes: str = "") -> list[LayerData]:
    """Read one file or folder, or several files as one burst, into layers; `axes` as in `read`."""
    record = read(paths[0] if len(paths) == 1 else [Path(p) for p in paths], axes)
    name = stem_of(Path(paths[0]).resolve())
    if isinstance(record, Snapshot):
        return snapshot_layers(record, name)
    return burst_layers(record, name)


def _joined(path: str) -> list[LayerData] | None:
    """The layers of all files that napari opens together with this one, if they are frames of one burst.

    napari's dialog and a drop hand a reader one file after the other: the first gets the layers of all, the
    others none. None: the file is opened alone.
    """
    if "napari" not in sys.modules:
        return None
    from napari.utils import progress

    # The only place that has the whole list; without it every file is opened alone.
    for opening in tuple(getattr(progress, "_all_instances", ())):
        files = opening.iterable
        if isinstance(files, list) and len(files) > 1 and path in files:
            if opening not in _together:
                _together[opening] = _one_burst([Path(p) for p in files if isinstance(p, str)])
            layers = _together[opening]
            if layers:
                _together[opening] = []
            return layers
    return None


def _one_burst(paths: Sequence[Path]) -> list[LayerData] | None:
    """The layers of files that are frames of one burst; None for any others."""
    from napari.utils.notifications import show_info

    if any(path.is_dir() or not _is_ours(path) for path in paths) or not are_frames(paths):
        return None
    try:
        layers = load_layers(paths)
    except HeliorestoreError:  # as if objects have different numbers of frames
        return None
    show_info(
        f"{len(paths)} files of one frame each are one burst; to have a layer each, open them one by one."
    )
    return layers


def _is_ours(path: Path) -> bool:
    """A quick check: a folder with a FITS or ANA file in it, or such a file with an image."""
    if path.is_dir():
        return any(entry.name.lower().endswith(SUFFIXES) for entry in path.iterdir() if entry.is_file())
    return path.name.lower().endswith(SUFFIXES) and not _lacks_image(path)


def _lacks_image(path: Path) -> bool:
    """Whether this is certainly a FITS file without any image; the reader explains unreadable files."""
    from astropy.io import fits

    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            # An ANA file, or a damaged one.
            if file.read(9) != b"SIMPLE  =":
                return False
        # The reader reports odd headers; here only the existence of an image counts.
        with (
            warnings.catch_warnings(action="ignore"),
            fits.open(path, lazy_load_hdus=True, memmap=True) as hdus,
        ):
            return not any(hdu.is_image and hdu.header.get("NAXIS", 0) >= 2 for hdu in hdus)
    except (OSError, EOFError, ValueError, TypeError, KeyError, fits.VerifyError):
        return False

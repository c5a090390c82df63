"""The npe2 reader: files, lists of files and folders through `heliorestore.fits`."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from heliorestore.errors import HeliorestoreError
from heliorestore.fits.reader import SUFFIXES, read
from heliorestore.plugin.viewer.layers import LayerData, burst_layers, snapshot_layers
from heliorestore.snapshot import Snapshot

NOTHING: list[tuple[None]] = [(None,)]  # npe2's way to say that a file was handled but gave no layer


def get_reader(path: str | Sequence[str]) -> Callable[..., Sequence[tuple[object, ...]]] | None:
    """Return the reader for a file, a list of files or a folder, or None for other files."""
    paths = [Path(path)] if isinstance(path, str) else [Path(p) for p in path]
    return read_layers if paths and all(_is_ours(p) for p in paths) else None


def read_layers(path: str | Sequence[str]) -> Sequence[tuple[object, ...]]:
    """Read the layers; a mistake of the user is one notification and no layer."""
    from napari.utils.notifications import show_error

    try:
        return load_layers([path] if isinstance(path, str) else list(path))
    except HeliorestoreError as error:
        show_error(str(error))
        return NOTHING


def load_layers(paths: Sequence[str | Path]) -> list[LayerData]:
    """Read one file or folder, or several files as one burst, into layers."""
    record = read(paths[0] if len(paths) == 1 else [Path(p) for p in paths])
    name = Path(paths[0]).resolve().name.partition(".")[0]
    if isinstance(record, Snapshot):
        return snapshot_layers(record, name)
    return burst_layers(record, name)


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

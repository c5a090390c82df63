"""A file to be written: refused before the work where that cannot succeed, and there whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import IO

from heliorestore.errors import RestorationError

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_output(path: str | PathLike[str], *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> Path:
    """Return the absolute path if a file can be written there, over a regular file at most, and over none of
    the `inputs`.

    A link stays a link: what it points to is replaced, or made where it points to nothing.
    """
    target = Path(path).absolute()
    try:
        real = Path(os.path.realpath(target))
        _check_parent(real.parent)
        with contextlib.suppress(FileNotFoundError):
            _check_kind(target, real.stat().st_mode)
            if any(each.exists() and real.samefile(each) for each in inputs):
                raise RestorationError(f"{target} is an input and is not overwritten: choose another name.")
            if not overwrite:
                raise RestorationError(f"{target} exists: choose another name or allow --overwrite.")
        with tempfile.TemporaryFile(dir=real.parent):  # permission bits do not tell all: only trying does
            pass
    except OSError as error:
        raise RestorationError(
            f"{target} cannot be written ({error.strerror or error}): choose another name or folder."
        ) from error
    return target


def check_folder(path: str | PathLike[str]) -> Path:
    """Return the absolute path if files can be written into that folder, be it there or still to be made."""
    folder = Path(path).absolute()
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.stat()  # a name that is too long
        there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        _check_parent(there)
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise RestorationError(
            f"Nothing can be written into {folder} ({error.strerror or error}): choose another folder."
        ) from error
    return folder


def _check_parent(folder: Path) -> None:
    if not os.path.lexists(folder):
        raise RestorationError(f"The folder {folder} does not exist: make it first.")
    if not folder.is_dir():
        raise RestorationError(f"{folder} is not a folder: choose another.")


def _check_kind(target: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise RestorationError(f"{target} is a folder: give the name of a file in it.")
    if not stat.S_ISREG(mode):
        kind = next((word for is_kind, word in _KINDS if is_kind(mode)), "something else")
        raise RestorationError(f"{target} is {kind} and not a regular file: choose another name.")


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A file to write into that takes the target's name once it is complete and on the disk; gzipped if that
    ends in .gz.
    """
    target = Path(os.path.realpath(target))  # a link stays a link to the new file
    # never longer in bytes than a name may be
    part = target.with_name(f".{target.name[:20]}.{secrets.token_hex(4)}.part")
    try:
        try:
            with os.fdopen(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), "wb"
            ) as file:
                if target.suffix.lower() == ".gz":
                    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=4) as packed:
                        yield packed  # type: ignore[misc]  # writes bytes like any other file
                else:
                    yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise RestorationError(
            f"{target} could not be written ({error.strerror or error}); what was there before is unchanged. "
            f"Free some space or choose another folder with -o."
        ) from error
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

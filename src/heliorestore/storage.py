"""Writing files: an impossible name is refused before the work, and a file appears complete or not at all.
Also the user's folders.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import IO, Literal

import platformdirs

from heliorestore.errors import RestorationError, SettingsError

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment] # a module or nothing
    resource = None  # type: ignore[assignment]
    import msvcrt

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_LITTLE = bytes(4096)  # a block of most file systems
_APP = "heliorestore"
_MARK = f".{_APP}-"  # in the name of every part, before the host, the process and a random number
_PART = re.compile(rf"{re.escape(_MARK)}(?P<host>[0-9a-f]{{8}})-(?P<pid>\d+)-[0-9a-f]{{8}}\.part$")
_ABANDONED_S = 86400.0  # since the last write, by any process
_CLOSED_S = 60.0  # far longer than from closing a part to renaming it


def check_output(
    path: str | PathLike[str], *, overwrite: bool = False, inputs: Iterable[Path] = (), size: int = 0
) -> Path:
    """Return the absolute path if a file of at least `size` bytes can be written there; only a regular file
    is replaced, and none of the `inputs`.

    A link stays a link: its target is replaced, or created if it does not exist.
    """
    target = Path(path).absolute()
    try:
        real = Path(os.path.realpath(target))
        _check_parent(real.parent)
        with contextlib.suppress(FileNotFoundError):
            _check_kind(target, real.stat().st_mode)
            if any(_is_same(real, each) for each in inputs):
                raise RestorationError(f"{target} is an input and is not overwritten: choose another name.")
            if not overwrite:
                raise RestorationError(f"{target} exists: choose another name or allow --overwrite.")
        _try(real.parent)
        if target.suffix.lower() != ".gz":  # which may be much smaller
            _check_room(target, real.parent, size)
    except (OSError, ValueError) as error:  # the latter of characters that no name has
        raise RestorationError(
            f"{target} cannot be written ({getattr(error, 'strerror', None) or error}): choose another name "
            "or folder."
        ) from error
    return target


def at_home(path: str | PathLike[str]) -> Path:
    """The path with a leading `~` or `~user` filled in; of a user who does not exist it stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # one of them is not there, or cannot be
        return False


def check_apart(paths: Iterable[Path], what: str) -> None:
    """Refuse files to write of which two have one place, by whatever names; `what` says in words who has."""
    places = [os.path.realpath(path) for path in paths]
    if len(set(places)) < len(places):
        raise RestorationError(f"{what} have the same name: give each its own file.")


def check_folder(path: str | PathLike[str]) -> Path:
    """Return the absolute path if files can be written into that folder, which may not exist yet."""
    folder = Path(path).absolute()
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.stat()  # a name that is too long
        there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        _check_parent(there)
        _try(there)
    except OSError as error:
        raise RestorationError(
            f"Nothing can be written into {folder} ({error.strerror or error}): choose another folder."
        ) from error
    return folder


def _try(folder: Path) -> None:
    """Write a little into a folder: neither permission bits nor free inodes are enough, a quota is not known
    otherwise, and a folder may be full.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        if file.write(_LITTLE) < len(_LITTLE):
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def _check_room(target: Path, folder: Path, size: int) -> None:
    """Refuse a file that is larger than what is free in its folder, or than a process may write."""
    usage = shutil.disk_usage(folder)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0] if resource is not None else -1
    if usage.total and size > usage.free:  # some file systems do not say it
        reason, remedy = f"{folder} has {usage.free / 1e6:,.3g} MB left", "free some space"
    elif 0 <= most < size:
        reason, remedy = f"files of more than {most / 1e6:,.3g} MB are not allowed", "raise ulimit -f"
    else:
        return
    raise RestorationError(
        f"{target} needs at least {size / 1e6:,.3g} MB, and {reason}: {remedy}, or choose another folder or "
        "a part of the field."
    )


def _check_parent(folder: Path) -> None:
    if not os.path.lexists(folder):
        raise RestorationError(f"The folder {folder} does not exist: create it first.")
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
    """A result to write, gzipped if named .gz: `atomic_write` whose errors are RestorationErrors."""
    target = Path(os.path.realpath(target))
    try:
        with atomic_write(target) as file:
            if target.suffix.lower() == ".gz":
                with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=4) as packed:
                    yield packed  # type: ignore[misc]  # writes bytes like any other file
            else:
                yield file
    except OSError as error:
        raise RestorationError(
            f"{target} could not be written ({error.strerror or error}); an older file is unchanged. "
            "Free some space or choose another folder."
        ) from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into that takes the path's name once it is complete and on the disk, with the
    permissions of the file that it replaces; a link stays a link.

    After an error the old file is unchanged, and nothing else is left. Only a killed process leaves its part,
    which the next process that writes into the folder removes.
    """
    target = Path(os.path.realpath(path))
    sweep(target.parent)
    # never longer in bytes than a name may be
    part = target.with_name(f".{target.name[:20]}{_MARK}{here()}-{os.getpid()}-{secrets.token_hex(4)}.part")
    guard = -1
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(part, flags, 0o666)
        guard = _locked_copy(descriptor)
        with os.fdopen(descriptor, "wb") as file:
            if os.name != "nt":  # where a file that is read-only could not be removed either
                with contextlib.suppress(OSError):  # no such file yet, or no permissions on that file system
                    part.chmod(target.stat().st_mode & 0o777)
            try:
                yield file
            except (AttributeError, RuntimeError) as error:  # with which astropy and torch hide a full disk
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if guard >= 0:
            os.close(guard)
    _sync_folder(target.parent)


def create(path: Path, text: str) -> bool:
    """Create a file with this text; False if there is one already, on a network file system too."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def appending(path: Path) -> IO[bytes]:
    """A file, created if it is not there, at whose end every `write` stands whole."""
    return path.open("ab", buffering=0)


def toml_text(text: str) -> str:
    """A text as TOML has it; one that is no Unicode, as of a file name of another encoding, is a
    SettingsError.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(
            f"{text!r} is no text that a TOML file can hold: choose other letters."
        ) from error
    # JSON's strings are valid TOML, except for surrogate pairs and DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def sweep(folder: Path) -> None:
    """Remove the parts that killed processes have left in a folder; those that cannot be removed stay."""
    with contextlib.suppress(OSError):
        for part in folder.glob(f".*{_MARK}*.part"):
            with contextlib.suppress(OSError):
                if (found := _PART.search(part.name)) and _is_stale(found["host"], int(found["pid"]), part):
                    part.unlink()


def _is_stale(host: str, pid: int, part: Path) -> bool:
    """Whether no process writes that part any more; on other machines only its age is known."""
    age = _now(part.parent) - part.stat().st_mtime  # s
    if os.name == "nt":  # where no open file can be removed, and signal 0 is Ctrl-C
        return age > (_CLOSED_S if host == here() else _ABANDONED_S)
    # a clock that jumps makes any file old, but takes no lock from a process that lives
    return (host == here() and not _runs(pid)) or (age > _ABANDONED_S and not _is_held(part))


def _now(folder: Path) -> float:
    """The time by the clock that dates the files of a folder, which another machine may have."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _runs(pid: int) -> bool:
    """Whether a process of that number exists here."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user
        pass
    return True


def _locked_copy(descriptor: int) -> int:
    """A second descriptor of a part, which marks it as being written until it is closed; -1 without locks."""
    if fcntl is None:
        return -1
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return os.dup(descriptor)


def _is_held(part: Path) -> bool:
    """Whether a process has that part locked, or nobody can know."""
    descriptor = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


@functools.cache
def here() -> str:
    """Where process ids mean what they mean here: this machine, and on Linux this container."""
    container = ""
    with contextlib.suppress(OSError):
        container = str(Path("/proc/self/ns/pid").readlink())  # such as pid:[4026531836]
    return hashlib.sha256(f"{platform.node()} {container}".encode()).hexdigest()[:8]


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def user_folder(
    name: Literal["modes", "bursts", "weights", "unfinished", "presets", "instruments"],
) -> Path:
    """The user's folder for caches, data or configuration; it may not exist yet."""
    if name in ("modes", "bursts"):
        top = platformdirs.user_cache_path(_APP, appauthor=False)
    elif name in ("presets", "instruments"):
        top = platformdirs.user_config_path(_APP, appauthor=False)
    else:
        # unfinished runs of earlier versions lie one folder deeper on Windows
        top = platformdirs.user_data_path(_APP, appauthor=None if name == "unfinished" else False)
    return Path(top) / name


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep out the other processes of this machine that lock the same file, where it can be locked."""
    try:
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a file system without locks, or 10 s in vain on Windows
            if fcntl is not None:
                fcntl.flock(held, fcntl.LOCK_EX)
            else:
                msvcrt.locking(held, msvcrt.LK_LOCK, 1)
        yield
    finally:
        os.close(held)  # which ends the lock

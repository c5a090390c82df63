"""Unfinished restorations: their state in the user's data folder, so that a crash or a closed window loses no
more than a minute.

Each has two files of one name: `.state` is the method's checkpoint, `.json` records how to restart it, with
the current settings. Both are written atomically.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import psutil

from heliorestore import process
from heliorestore.burst import Burst, Source
from heliorestore.errors import BurstError
from heliorestore.settings import Settings, to_rows
from heliorestore.snapshot import Snapshot
from heliorestore.storage import atomic_write, locked, user_folder

State = tuple[str, int, int]
"""A file as it was: path, size, mtime_ns."""


@dataclass(frozen=True, kw_only=True)
class Restart:
    """How to restart a restoration: its input as in the panel, its settings as text, and its progress."""

    method: str
    rows: tuple[tuple[str, str], ...]
    sources: tuple[State, ...]
    instrument: str = ""
    objects: str = ""
    frames: str = ""
    preparation: tuple[tuple[str, str], ...] = ()
    prepared_with: tuple[State, ...] = ()
    device: str = "auto"
    seed: int = 0
    began: float = 0.0  # seconds since 1970
    process: tuple[int, float] = (0, 0.0)  # its number and start time: numbers are used again
    step: int = 0
    total: int = 0
    ended: bool = False  # by itself, or by the user

    def __str__(self) -> str:
        name = Path(self.sources[0][0]).name if self.sources else "a layer"
        when = time.strftime("%d %b %H:%M", time.localtime(self.began))
        return f"{self.method} of {name}, begun {when}, at iteration {self.step} of {self.total}"

    @property
    def runs(self) -> bool:
        """Whether the process that computes it still exists."""
        try:
            return process.runs(*self.process)
        except (psutil.Error, ValueError, OverflowError):
            return False

    def paths(self) -> list[Path]:
        """The input files, if they and those that prepared them are unchanged."""
        for name, size, mtime_ns in (*self.sources, *self.prepared_with):
            path = Path(name)
            if not path.exists():
                raise BurstError(
                    f"The run cannot be resumed: {path} no longer exists. Put it back, or discard the run."
                )
            if (path.stat().st_size, path.stat().st_mtime_ns) != (size, mtime_ns):
                raise BurstError(
                    f"The run cannot be resumed: {path} has been changed since. Put it back, or "
                    "discard the run."
                )
        return [Path(name) for name, *_ in self.sources]


_PAIRS = ("rows", "sources", "preparation", "prepared_with")  # lists of lists in JSON
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
_KINDS: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool}


def _as_written(values: dict[str, Any]) -> Restart:
    """The record in such a text; a ValueError or its like if nobody has written it like this."""
    values.pop("history", None)  # an earlier version saved it here; now it is in the state
    values |= {name: tuple(map(tuple, values.get(name, ()))) for name in _PAIRS}
    restart = Restart(**values | {"process": tuple(values["process"])})
    plain = all(
        isinstance(getattr(restart, each.name), _KINDS[str(each.type)])
        for each in fields(restart)
        if each.type in _KINDS
    )
    texts = all(
        isinstance(word, str) for _, *words in (*restart.rows, *restart.preparation) for word in words
    )
    states = all(
        isinstance(name, str) and isinstance(size, int) and isinstance(time, int)
        for name, size, time in (*restart.sources, *restart.prepared_with)
    )
    number, began = restart.process
    if not (plain and texts and states and isinstance(number, int) and isinstance(began, (int, float))):
        raise ValueError("a value of another kind")
    return restart


class Autosave:
    """The files of one restoration: a worker updates them, the panel deletes them when it has ended."""

    def __init__(self, name: str, restart: Restart) -> None:
        self.name, self.restart = name, restart
        self._seen = -1  # ns, when the state was written: not even looked at

    @property
    def state(self) -> Path:
        """The checkpoint."""
        return folder() / f"{self.name}.state"

    @property
    def _record(self) -> Path:
        return folder() / f"{self.name}.json"

    def note(self, snapshot: Snapshot, settings: Settings) -> None:
        """Save the progress if it is the first, the state has been written or a setting has changed."""
        try:
            written = self.state.stat().st_mtime_ns
        except FileNotFoundError:
            written = 0
        # The state is written at once, then every minute: the record follows it, not every snapshot.
        if written != self._seen or _as_text(settings) != self.restart.rows:
            self._seen = written
            self.keep(snapshot, settings)

    def keep(self, snapshot: Snapshot | None, settings: Settings) -> None:
        """Save the progress of the run; a full disk must not end the run, then the older file stays."""
        self.restart = replace(self.restart, rows=_as_text(settings))
        if snapshot is not None:
            self.restart = replace(self.restart, step=snapshot.step, total=snapshot.total)
        with suppress(OSError):
            self.write()

    def set_ended(self, ended: bool) -> None:
        """Whether the run has ended as it should: only this process may then still continue it."""
        self.restart = replace(self.restart, ended=ended, process=_this_process())
        with suppress(OSError):
            self.write()

    def take(self) -> bool:
        """Make an interrupted run this process's own; False if another one has taken or deleted it."""
        with locked(folder() / "lock"):
            try:
                found = _as_written(json.loads(self._record.read_text(encoding="utf-8")))
            except _UNREADABLE:
                return False
            if found.runs:
                return False
            self.restart = replace(found, process=_this_process())
            with suppress(OSError):
                self.write()
        return True

    def drop(self) -> None:
        """Delete the files of the run."""
        for path in (self._record, self.state):
            path.unlink(missing_ok=True)

    def write(self) -> None:
        """Write the record to its file."""
        with atomic_write(self._record) as file:
            file.write(json.dumps(asdict(self.restart)).encode())


def folder() -> Path:
    """The folder of unfinished runs."""
    path = user_folder("unfinished")
    path.mkdir(parents=True, exist_ok=True)
    return path


def begin(burst: Burst, settings: Settings, **known: Any) -> tuple[Autosave | None, str]:
    """Save a run that is about to begin; `known` goes to `Restart`. Returns a warning, or nothing."""
    sources = tuple(map(_state, burst.sources))
    restart = Restart(
        method=settings.method,
        rows=_as_text(settings),
        sources=sources,
        preparation=_as_text(burst.preparation),
        prepared_with=as_they_are(burst.preparation.files().values()),
        began=time.time(),
        process=_this_process(),
        **known,
    )
    try:
        # A random name: several windows may restore at once.
        made = Autosave(uuid.uuid4().hex, restart)
        made.write()
    except OSError as error:
        return (
            None,
            f"The run cannot be saved while it runs ({error}): if napari closes, it cannot be resumed.",
        )
    if not sources:
        return made, (
            "The input is not in a file: if napari closes, this run cannot be resumed. Save the layer "
            "as FITS first if that matters."
        )
    return made, ""


def unfinished(method: str) -> list[Autosave]:
    """A method's interrupted runs that can be resumed, latest first; useless files are deleted."""
    found = []
    try:
        paths = list(folder().glob("*.json"))
    except OSError:
        return []
    for path in paths:
        try:
            saved = Autosave(path.stem, _as_written(json.loads(path.read_text(encoding="utf-8"))))
        except _UNREADABLE:
            continue  # of another version, or not ours
        # It belongs to this or another window.
        if saved.restart.runs:
            continue
        if saved.restart.ended or not (saved.state.exists() and saved.restart.sources):
            saved.drop()
        elif saved.restart.method == method:
            found.append(saved)
    return sorted(found, key=lambda saved: saved.restart.began, reverse=True)


def as_they_are(paths: Iterable[Path]) -> tuple[State, ...]:
    """The states of files now; one that does not exist has none."""
    return tuple(_state(Source.of(path)) for path in paths if path.exists())


def _state(source: Source) -> State:
    return str(source.path), source.size, source.mtime_ns


def _as_text(settings: Settings) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text, *_ in to_rows(settings))


def _this_process() -> tuple[int, float]:
    return os.getpid(), process.began(os.getpid())

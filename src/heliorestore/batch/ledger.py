"""What has happened in a night, as files that any number of processes on several hosts may write at once.

Two kinds of files, neither of which is ever changed by a second process, so that no lock is needed and a
network file system is enough:

* `ledger/HOST-PROCESS.jsonl`: a line for each event, only ever appended to, by one process.
* `attempts/BURST.N`: the N-th attempt at a burst, created exclusively: who creates it does it. Its time of
  change is the sign of life of that process.

What a burst's state is follows from its last attempt and what the ledger says of that attempt; clocks of
different hosts are never compared.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import psutil

from heliorestore.process import began, runs
from heliorestore.storage import appending, create, here

DEAD_S = 90.0  # without a sign of life from another host
BEAT_S = 15.0
_MOST = 10_000  # attempts at a burst; a larger number has not been written by a worker
VERDICTS = ("kept", "rejected")
_ENDS = ("interrupted", "failed", "done")  # of an attempt, the last one outweighs the others


class State(Enum):
    """The state of a burst, by the word that `status` prints."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Entry:
    """A burst of the night: where it is, and what the ledger says of its attempts, by their numbers."""

    id: str
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    mtimes_ns: tuple[int, ...]
    name: str
    own: Mapping[str, str] = field(default_factory=dict)  # what it has otherwise than the night, as text
    ends: dict[int, dict[str, Any]] = field(default_factory=dict)
    last: int = 0  # the number of the last attempt
    renewed: int = 0  # attempts up to this one count no more: the user has asked for another
    judged: Mapping[str, Any] = field(default_factory=dict)  # what the user thinks of the result
    progress: tuple[int, int, int] = (0, 0, 0)  # the number of an attempt, its iterations, and of how many

    @property
    def result(self) -> Mapping[str, Any] | None:
        """The facts about the finished restoration."""
        ends = (end for n, end in self.ends.items() if n > self.renewed and end["event"] == "done")
        return next(ends, None)

    def failures(self) -> int:
        """Attempts that failed, or that died without a word."""
        counted = range(self.renewed + 1, self.last + 1)
        return sum(n not in self.ends or self.ends[n]["event"] == "failed" for n in counted)

    @property
    def reason(self) -> str:
        """Why the last attempt ended without a result."""
        end = self.ends.get(self.last)
        if end is None:
            return "its process died" if self.last else ""
        return str(end.get("reason", ""))


class Ledger:
    """The events of a night, read on `refresh`, written with `say`; one object per process."""

    def __init__(self, night: Path, retries: int = 2) -> None:
        self.night, self.retries = night, retries
        self.entries: dict[str, Entry] = {}
        self.turns = 0  # of cancelling and going on
        self._read: dict[str, int] = {}  # bytes of each file that have been read
        self._own = night / "ledger" / f"{here()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self._lock = threading.Lock()
        self._early: dict[str, list[dict[str, Any]]] = {}  # events of bursts whose file is read later
        for folder in ("ledger", "attempts"):
            (night / folder).mkdir(parents=True, exist_ok=True)

    # -- writing ---------------------------------------------------------------------------------------------

    def say(self, event: str, burst: str = "", **facts: Any) -> None:
        """Append an event; it is on the disk when this returns."""
        line = json.dumps({"event": event, "burst": burst, "at": round(time.time(), 3), **facts}) + "\n"
        with self._lock, appending(self._own) as file:
            file.write(line.encode())
            os.fsync(file.fileno())

    def attempt(self, entry: Entry) -> int | None:
        """Begin the next attempt at a burst and return its number; None if another process has."""
        number = entry.last + 1
        text = json.dumps([here(), os.getpid(), began(os.getpid())])
        if not create(self._attempt_path(entry.id, number), text):
            return None
        entry.last = number
        return number

    def beat(self, entry: Entry, number: int) -> None:
        """Give a sign of life of an attempt."""
        with suppress(OSError):
            os.utime(self._attempt_path(entry.id, number))

    # -- reading ---------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read what other processes have said since the last time."""
        for path in sorted((self.night / "ledger").glob("*.jsonl")):
            self._read_file(path)
        with os.scandir(self.night / "attempts") as files:
            for file in files:
                burst, _, number = file.name.rpartition(".")
                if burst in self.entries and number.isdecimal() and int(number) <= _MOST:
                    entry = self.entries[burst]
                    entry.last = max(entry.last, int(number))

    def _read_file(self, path: Path) -> None:
        before = self._read.get(path.name, 0)
        if path.stat().st_size <= before:
            return
        with path.open("rb") as file:
            file.seek(before)
            data = file.read()
        # A process that was killed has perhaps left half a line.
        whole = data[: data.rfind(b"\n") + 1]
        self._read[path.name] = before + len(whole)
        for line in whole.splitlines():
            # Whatever a full disk or a stranger has left there: the other lines count.
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self._take(json.loads(line))

    def _take(self, said: dict[str, Any]) -> None:
        event, burst = said["event"], said["burst"]
        if event in ("cancel", "resume"):
            self.turns = max(self.turns, int(said["turn"]))
        elif event == "add":
            if Path(said["name"]).name != said["name"]:
                raise ValueError(said["name"])  # no file outside the night is written
            if burst not in self.entries:
                self.entries[burst] = Entry(
                    id=burst,
                    paths=tuple(said["paths"]),
                    sizes=tuple(said["sizes"]),
                    mtimes_ns=tuple(said["mtimes_ns"]),
                    name=said["name"],
                    own=said.get("own", {}),
                )
                for earlier in self._early.pop(burst, ()):
                    self._take(earlier)
        elif burst not in self.entries:
            self._early.setdefault(burst, []).append(said)
        else:
            self._note(self.entries[burst], event, said)

    @staticmethod
    def _note(entry: Entry, event: str, said: dict[str, Any]) -> None:
        """Take an event of a burst; the order in which events are read does not matter."""
        if event == "judge":
            if said["at"] >= entry.judged.get("at", 0):
                entry.judged = said
            return
        number = int(said["attempt"])
        if not 0 <= number <= _MOST:
            raise ValueError(number)
        if event == "retry":
            entry.renewed = max(entry.renewed, number)
        elif event == "progress":
            entry.progress = max(entry.progress, (number, int(said["step"]), int(said["total"])))
        elif event in _ENDS:
            known = entry.ends.get(number)
            if known is None or _ENDS.index(known["event"]) < _ENDS.index(event):
                entry.ends[number] = said
            entry.last = max(entry.last, number)

    @property
    def cancelled(self) -> bool:
        """Whether the night is to be left as it is: the last turn was `cancel` and not `resume`."""
        return self.turns % 2 == 1

    def turn(self, *, cancel: bool) -> None:
        """Cancel the night, or go on with it."""
        if self.cancelled != cancel:
            self.turns += 1
            self.say("cancel" if cancel else "resume", turn=self.turns)

    def state(self, entry: Entry) -> State:
        """What is going on with a burst."""
        if entry.result is not None:
            return State.DONE
        end = entry.ends.get(entry.last)
        if entry.last and end is None and self._lives(entry):
            return State.RUNNING
        return State.FAILED if entry.failures() > self.retries else State.WAITING

    def _lives(self, entry: Entry) -> bool:
        """Whether the process of the last attempt still works on it."""
        path = self._attempt_path(entry.id, entry.last)
        try:
            host, number, since = json.loads(path.read_text())
            if host == here():
                return runs(number, since)
        except psutil.NoSuchProcess:
            return False
        except (OSError, ValueError, psutil.Error):  # just created, and still empty
            pass
        try:
            return self._now() - path.stat().st_mtime < DEAD_S
        except OSError:
            return False

    def _now(self) -> float:
        """The time by the clock of the file system, which several hosts share."""
        mark = self.night / "ledger" / f".{here()}-{os.getpid()}"
        mark.touch()
        return mark.stat().st_mtime

    def open_entries(self) -> Iterator[Entry]:
        """The bursts that wait, in the order in which they were added."""
        return (entry for entry in self.entries.values() if self.state(entry) is State.WAITING)

    def counts(self) -> dict[str, int]:
        """How many bursts there are, in all and in each state."""
        states = [self.state(entry) for entry in self.entries.values()]
        return {"total": len(states)} | {state.value: states.count(state) for state in State}

    def judge(self, entry: Entry, verdict: str, note: str) -> None:
        """Say what the user thinks of a result: `kept`, `rejected` or nothing, and a note."""
        self.say("judge", entry.id, verdict=verdict, note=note)

    def verdicts(self) -> dict[str, int]:
        """How many results the user wants to keep, and how many not."""
        given = [entry.judged.get("verdict") for entry in self.entries.values()]
        return {verdict: given.count(verdict) for verdict in VERDICTS}

    def _attempt_path(self, burst: str, number: int) -> Path:
        return self.night / "attempts" / f"{burst}.{number}"

"""Nights of bursts: begun in processes that outlive this one, read and written from a thread."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import psutil
from qtpy.QtCore import QObject, Signal

from heliorestore.batch.contact_sheet import write_sheet
from heliorestore.batch.ledger import Entry, Ledger, State
from heliorestore.batch.night import DEFAULT_NAME, Night, add, open_entry, settings_named
from heliorestore.batch.night import Wanted as WantedBurst
from heliorestore.batch.plan import is_plan
from heliorestore.batch.plan import wanted as wanted_bursts
from heliorestore.burst import Burst
from heliorestore.errors import BurstError, HeliorestoreError, SettingsError
from heliorestore.fits.redux_cfg import is_config
from heliorestore.plugin.runs.night_seen import BurstRow, NightSeen
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.layers import stem_of
from heliorestore.preparation import Preparation
from heliorestore.process import began, runs
from heliorestore.settings import Settings
from heliorestore.storage import appending, atomic_write, here

__all__ = [
    "DEFAULT_NAME",
    "NightReader",
    "Wanted",
    "begin",
    "count",
    "is_night",
    "original",
]

_LOOK_S = 1.0  # between two looks at the ledger
_REST_S = 10.0  # from a verdict to the table and the page that tell it, if no other follows
_MARK, _LOG = "coordinator.json", "coordinator.log"

_STOPS = {"noise": "ended at the noise", "converged": "converged"}  # the word of the ledger

Input = Path | tuple[Path, ...]  # a file, folder or plan; or the files of one burst


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be done to every burst; settings may be the name or the file that they are read from."""

    settings: Settings | str
    preparation: Preparation = field(default_factory=Preparation)
    instrument: str = ""
    objects: str = ":"
    frames: str = ":"
    best: str = ""
    seed: int = 0
    device: str = "auto"

    def night(self, name: str) -> Night:
        """The night that does it, with this pattern for the names of its results."""
        settings = settings_named(self.settings) if isinstance(self.settings, str) else self.settings
        return Night.restoring(
            settings,
            self.preparation,
            instrument=self.instrument,
            objects=self.objects or ":",
            frames=self.frames or ":",
            best=self.best,
            seed=self.seed,
            name=name.strip() or DEFAULT_NAME,
        )


# -- beginning a night ---------------------------------------------------------------------------------------


def found(inputs: Iterable[Input], night: Night) -> list[WantedBurst]:
    """The bursts that these name, each once."""
    bursts: list[WantedBurst] = []
    for given in inputs:
        if isinstance(given, Path):
            bursts += wanted_bursts([given], night)
        elif missing := next((path for path in given if not path.is_file()), None):
            raise BurstError(f"{missing} does not exist.")
        else:
            bursts.append(WantedBurst(given))
    return list({(each.paths, *sorted(each.own.items())): each for each in bursts}.values())


def count(inputs: Sequence[Input], wanted: Wanted | None) -> int:
    """How many bursts these name; a plan, or a configuration of redux, is read with what is wanted."""
    if not any(isinstance(each, Path) and (is_plan(each) or is_config(each)) for each in inputs):
        return len(found(inputs, Night(method="", settings={}, preparation={})))
    if wanted is None:
        raise SettingsError("A plan is checked with the settings of the night: choose them first.")
    return len(found(inputs, wanted.night("")))


def begin(folder: Path, wanted: Wanted, inputs: Sequence[Input], name: str, workers: int) -> None:
    """Write a night into its folder, or go on with the same one there, and begin its coordinator."""
    night = wanted.night(name)
    bursts = found(inputs, night)
    if not bursts:
        raise BurstError("No burst is given: add files, a folder, or the files of the selected layers.")
    night.begin(folder)
    add(Ledger(folder), night, bursts)
    launch(folder, workers, wanted.device)


def launch(folder: Path, workers: int, device: str) -> None:
    """Begin a coordinator as a process in a session of its own, which does not end with this one."""
    if (script := folder / "worker.sh").exists():  # a login node is no place for workers
        raise BurstError(
            f"The workers of {folder.name} are jobs of SLURM: begin some with sbatch {script}, or with "
            f"heliorestore batch resume {folder} --slurm."
        )
    words = ["-m", "heliorestore.cli", "batch", "resume", str(folder), "--device", device]
    words += ["--workers", str(workers)] if workers else []
    try:
        # not Qt's: PySide6 does not tell the number of the process
        with appending(folder / _LOG) as log:
            process = subprocess.Popen(
                [sys.executable, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                creationflags=getattr(subprocess, "DETACHED_PROCESS", 0),
            )
    except OSError as error:
        raise BurstError(f"The process that restores {folder} could not be started: {error}.") from error
    threading.Thread(target=process.wait, daemon=True).start()  # or its end leaves a zombie
    with suppress(psutil.Error), atomic_write(folder / _MARK) as file:
        file.write(json.dumps([here(), process.pid, began(process.pid)]).encode())


def _coordinated(folder: Path) -> bool:
    """Whether the coordinator that was begun last works still, as far as this machine knows."""
    try:
        host, number, since = json.loads((folder / _MARK).read_text())
        return (
            host == here() and runs(number, since) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE
        )
    except (OSError, ValueError, psutil.Error):
        return False


def _last_words(folder: Path) -> str:
    """The last line that a coordinator wrote, if that is more than how far it was."""
    with suppress(OSError), (folder / _LOG).open("rb") as file:
        file.seek(max(0, (folder / _LOG).stat().st_size - 2000))
        lines = file.read().decode(errors="replace").strip().splitlines()
        last = lines[-1].removeprefix("heliorestore: ") if lines else ""
        return "" if re.match(r"\d+ bursts: ", last) else last
    return ""


def is_night(folder: Path) -> bool:
    """Whether this is the folder of a night."""
    with suppress(HeliorestoreError):
        return bool(Night.read(folder))
    return False


def original(folder: Path, row: BurstRow) -> Burst:
    """The burst of a row as it was restored: prepared, and with the frames that were chosen."""
    ledger = Ledger(folder)
    ledger.refresh()
    return open_entry(Night.read(folder), ledger.entries[row.id])


# -- a night that is looked at -------------------------------------------------------------------------------


class NightReader(QObject):
    """Looks at a night again and again, and writes into its ledger, in one thread, until it is closed."""

    seen = Signal(object)  # NightSeen, when something has changed
    failed = Signal(str)  # a sentence; empty when the night can be read again

    def __init__(self, folder: Path, parent: QObject) -> None:
        super().__init__(parent)
        self.folder = folder
        self.workers, self.device = 0, "auto"  # for a coordinator that is begun later
        self._judged_at: float | None = None  # the last verdict that table and page do not tell yet
        self._rows = _Rows()
        self._acts: SimpleQueue[Callable[[Ledger], None] | None] = SimpleQueue()
        parent.destroyed.connect(_closer(self._acts))
        self.thread_ = threading.Thread(target=self._work, name=f"night {folder.name}", daemon=True)

    def start(self) -> None:
        """Begin to look; who listens must be connected, since what does not change is not said again."""
        self.thread_.start()

    def close(self) -> None:
        """End the thread after what has been asked for; the night goes on."""
        self._acts.put(None)

    def cancel(self) -> None:
        """Let the workers end after their present bursts."""
        self._acts.put(lambda ledger: ledger.turn(cancel=True))

    def resume(self) -> None:
        """Go on with what waits."""
        self._acts.put(self._launch)

    def retry(self, bursts: Iterable[str]) -> None:
        """Try these failed bursts again."""
        wanted = set(bursts)

        def act(ledger: Ledger) -> None:
            for entry in [ledger.entries[burst] for burst in wanted]:
                if ledger.state(entry) is State.FAILED:
                    ledger.say("retry", entry.id, attempt=entry.last)
            self._go_on(ledger)

        self._acts.put(act)

    def add(self, inputs: Sequence[Input]) -> None:
        """Add bursts; those that the night has already change nothing."""

        def act(ledger: Ledger) -> None:
            night = Night.read(self.folder)
            if add(ledger, night, found(inputs, night)):
                self._go_on(ledger)

        self._acts.put(act)

    def judge(self, bursts: Iterable[str], verdict: str | None, note: str | None) -> None:
        """Keep or reject results; None leaves the verdict, or the note, as it is."""
        wanted = list(bursts)

        def act(ledger: Ledger) -> None:
            for entry in [ledger.entries[burst] for burst in wanted]:
                before = entry.judged
                ledger.judge(
                    entry,
                    str(before.get("verdict", "")) if verdict is None else verdict,
                    str(before.get("note", "")) if note is None else note,
                )
            self._judged_at = time.monotonic()

        self._acts.put(act)

    # -- in the thread

    def _work(self) -> None:
        acts: list[Callable[[Ledger], None] | None] = []
        ledger: Ledger | None = None
        last: NightSeen | None = None
        problem = ""
        while None not in acts:
            try:
                if ledger is None:
                    night, ledger = Night.read(self.folder), Ledger(self.folder)
                now, text = self._look(night, ledger, acts), ""
                if now != last:
                    self._tell("seen", now)
                last = now
            except Exception as error:
                text = self._in_words(error)
            if text != problem:
                self._tell("failed", text)
            problem = text
            acts = self._wait()
            if not acts:
                self._write_sheet(ledger)
        if ledger is not None:
            with suppress(Exception):  # nobody is left to read what is wrong
                self._look(night, ledger, acts)
        self._write_sheet(ledger, rest_s=0.0)

    def _wait(self) -> list[Callable[[Ledger], None] | None]:
        """All that has been asked for, or nothing after a while."""
        acts = []
        with suppress(Empty):
            acts.append(self._acts.get(timeout=_LOOK_S))
            while True:
                acts.append(self._acts.get_nowait())
        return acts

    def _look(
        self, night: Night, ledger: Ledger, acts: Sequence[Callable[[Ledger], None] | None]
    ) -> NightSeen:
        ledger.refresh()
        for act in acts:
            try:
                if act is not None:
                    act(ledger)
            except Exception as error:
                self._tell("failed", self._in_words(error))
        if acts:
            ledger.refresh()
        return _seen(night, ledger, self._rows)

    def _in_words(self, error: Exception) -> str:
        if isinstance(error, HeliorestoreError):
            return explain(error)
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        return f"The night {self.folder} cannot be read or written: {why}."

    def _write_sheet(self, ledger: Ledger | None, rest_s: float = _REST_S) -> None:
        """Write table and page after a rest: with a thousand bursts they are 50 MB."""
        if ledger is None or self._judged_at is None or time.monotonic() - self._judged_at < rest_s:
            return
        self._judged_at = None
        with suppress(OSError, HeliorestoreError):
            write_sheet(ledger)

    def _launch(self, ledger: Ledger) -> None:
        ledger.turn(cancel=False)
        launch(self.folder, self.workers, self.device)

    def _go_on(self, ledger: Ledger) -> None:
        """Begin a coordinator, unless one works: a second one would only take its cores."""
        at_work = any(ledger.state(entry) is State.RUNNING for entry in ledger.entries.values())
        if ledger.cancelled or not (at_work or _coordinated(self.folder)):
            self._launch(ledger)

    def _tell(self, name: str, value: Any) -> None:
        # When the panel is deleted while the thread still works, Qt has already deleted the signals.
        with suppress(RuntimeError):
            getattr(self, name).emit(value)


def _closer(acts: SimpleQueue[Any]) -> Callable[..., None]:
    return lambda *_: acts.put(None)


class _Rows:
    """The rows of a night, made anew only for bursts of which something was said: there may be thousands."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, BurstRow]] = {}

    def of(self, ledger: Ledger, entry: Entry) -> BurstRow:
        state = ledger.state(entry)
        attempts = entry.last, entry.renewed, len(entry.ends), entry.progress
        said = (state, *attempts, entry.judged.get("at"))
        known = self._known.get(entry.id)
        if known is None or known[0] != said:
            known = self._known[entry.id] = said, _row(ledger.night, entry, state)
        return known[1]


def _seen(night: Night, ledger: Ledger, known: _Rows) -> NightSeen:
    rows = tuple(known.of(ledger, entry) for entry in ledger.entries.values())
    coordinated = _coordinated(ledger.night)
    return NightSeen(
        folder=ledger.night,
        method=night.method,
        rows=rows,
        cancelled=ledger.cancelled,
        coordinated=coordinated,
        last_words="" if coordinated else _last_words(ledger.night),
    )


def _row(folder: Path, entry: Entry, state: State) -> BurstRow:
    facts = entry.result or {}
    of, step, total = entry.progress
    runs = state is State.RUNNING and of == entry.last
    contrast = tuple(float(facts.get(name) or "nan") for name in ("contrast_before", "contrast_after"))
    pictures = folder / "thumbnails"
    return BurstRow(
        id=entry.id,
        title=_title(entry),
        paths=entry.paths,
        result=folder / entry.name,
        state=state.value,
        reason=_reason(entry, state),
        step=step if runs else 0,
        total=total if runs else 0,
        seconds=facts.get("seconds"),
        contrast=(contrast[0], contrast[1]) if all(map(math.isfinite, contrast)) else None,
        facts=_in_words(facts, entry.own),
        verdict=str(entry.judged.get("verdict", "")),
        note=str(entry.judged.get("note", "")),
        before=pictures / f"{entry.id}_before.png" if facts else None,
        after=pictures / f"{entry.id}_after.png" if facts else None,
    )


def _title(entry: Entry) -> str:
    first = Path(entry.paths[0])
    if len(entry.paths) == 1 or is_config(first):
        return stem_of(first)
    return f"{first.parent.name} ({len(entry.paths)} files)"


def _reason(entry: Entry, state: State) -> str:
    """Why the last attempt that ended gave no result; the folder is known, and would fill the line."""
    if state is State.DONE:
        return ""
    end = entry.ends.get(entry.last - 1, {}) if state is State.RUNNING else {"reason": entry.reason}
    return str(end.get("reason", "")).replace(f"{Path(entry.paths[0]).parent}{os.sep}", "")


def _in_words(facts: Mapping[str, Any], own: Mapping[str, str]) -> str:
    """The facts of a result that have no column of their own."""
    texts = {
        "iterations": "{} iterations",
        "residual": "residual {:.3g}",
        "r0_cm": "r0 {:.3g} cm",
        "peak_mb": "{} MB of memory",
    }
    known = [text.format(facts[name]) for name, text in texts.items() if facts.get(name) not in (None, "")]
    known += filter(None, [_STOPS.get(facts.get("stop", ""), "")])
    return ", ".join([*known, *(f"its own {name} {text}" for name, text in own.items())])

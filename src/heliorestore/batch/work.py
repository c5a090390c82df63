"""A worker: it takes the bursts of a night that wait, one after the other, until none is left."""

from __future__ import annotations

import os
import re
import resource
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heliorestore.batch.admission import Gpu, admitted, room_bytes
from heliorestore.batch.ledger import BEAT_S, Entry, Ledger, State
from heliorestore.batch.night import Night, open_entry, result_in
from heliorestore.batch.plan import unused
from heliorestore.burst import Burst
from heliorestore.errors import BurstError, CheckpointError, HeliorestoreError, memory_is_full
from heliorestore.process import heard
from heliorestore.settings import Settings
from heliorestore.snapshot import Snapshot
from heliorestore.storage import appending, atomic_write, check_output

IDLE_S = 0.3
PROGRESS_S = 3.0  # between two lines of the ledger about a burst in work
_LEAST_GB = 0.1


@dataclass
class Worker:
    """What a worker knows: the night, and what this process may use."""

    folder: Path
    device: str = "auto"
    memory_gb: float | None = None
    retries: int = 2
    stay: bool = False  # wait for bursts that are still to come
    stopping: bool = False

    def __post_init__(self) -> None:
        self.night = Night.read(self.folder)
        self.ledger = Ledger(self.folder, self.retries)
        self._parent = os.getppid()

    def run(self) -> int:
        """Restore what waits; returns the number of results. A signal ends it after saving."""
        done = 0
        if self.stay:
            from heliorestore.methods.base import load

            load(self.night.method)  # now, and not when the first burst comes
        with _asked_to_stop(self):
            while not self.stopping and not self._alone():
                self.ledger.refresh()
                if self.ledger.cancelled:
                    break
                begun = self._begin()
                if begun is not None:
                    done += self.restore(*begun)
                elif self.stay or self._others_work():
                    time.sleep(IDLE_S)
                else:
                    break
        return done

    def _alone(self) -> bool:
        """Whether the process that began this one has died: who takes the night up again begins others."""
        return os.getppid() != self._parent

    def _begin(self) -> tuple[Entry, int] | None:
        for entry in self.ledger.open_entries():
            number = self.ledger.attempt(entry)
            if number is not None:
                return entry, number
        return None

    def _others_work(self) -> bool:
        """Whether a burst may wait again, should the process fail that restores it now."""
        return any(self.ledger.state(entry) is State.RUNNING for entry in self.ledger.entries.values())

    def restore(self, entry: Entry, number: int) -> bool:
        """One attempt at a burst, whose end is in the ledger when this returns; whether it gave a result."""
        began = time.monotonic()
        with _beating(self.ledger, entry, number):
            try:
                facts = self._result(entry)
            except CheckpointError as error:
                self._state(entry).unlink(missing_ok=True)  # the next attempt begins anew
                end, facts = "failed", {"reason": str(error), "memory": False}
            except Exception as error:
                full = any(memory_is_full(each) for each in (error, error.__cause__) if each is not None)
                ours = isinstance(error, HeliorestoreError)
                reason = str(error) if ours else f"{type(error).__name__}: {error}"
                end, facts = "failed", {"reason": reason, "memory": full}
                if not ours:
                    self._log(entry, traceback.format_exc())
            else:
                end = "done" if facts else "interrupted"
        facts["seconds"] = round(time.monotonic() - began, 3)
        facts["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        self.ledger.say(end, entry.id, attempt=number, **facts)
        self._log(entry, f"attempt {number}: {end} {facts.get('reason', '')}")
        entry.ends[number] = {"event": end, **facts}
        return end == "done"

    def _result(self, entry: Entry) -> dict[str, Any]:
        """Restore a burst and write its file; returns facts about it, none if it was interrupted."""
        out, state = self.folder / entry.name, self._state(entry)
        burst = open_entry(self.night, entry)
        if out.exists() and (found := _own_result(out, entry)) is not None:
            # The process that wrote it was killed before it could say so.
            state.unlink(missing_ok=True)
            return self._facts(entry, burst, found)
        settings = self._settings(entry)
        keeps = hasattr(settings, "checkpoint")
        if keeps:
            state.parent.mkdir(exist_ok=True)
        settings, need, gpu = self._fitting(burst, settings)
        with admitted(need, lambda: self.stopping, gpu) as fits:
            if not fits or self.stopping:
                return {}
            last = self._run(entry, burst, settings, state if keeps else None)
        return self._facts(entry, burst, last) if last is not None else {}

    def _fitting(self, burst: Burst, settings: Any) -> tuple[Any, float, Gpu | None]:
        """The settings, with smaller tiles if a burst would not fit into the machine, and bytes of its memory
        that it needs besides the program, as far as that is known; on a GPU, of that one's memory.
        """
        from heliorestore.diagnose.memory import least_gb, memory_estimate
        from heliorestore.methods.base import pick_device

        place = pick_device(self.device)
        if place.type not in ("cpu", "cuda"):
            return settings, 0.0, None
        gpu = Gpu.of(place.index) if place.type == "cuda" else None
        need, room = memory_estimate(burst.shape, settings, place), room_bytes(gpu)
        if need > room and hasattr(settings, "memory_gb"):
            settings = settings.replace(memory_gb=max(_LEAST_GB, room / 1e9))
        # Below that no run keeps to it; bursts wait until what they need is free.
        if (least := least_gb(burst.shape, settings, place)) is not None:
            settings = settings.replace(memory_gb=least)
            need = memory_estimate(burst.shape, settings, place)
        return settings, float(need), gpu

    def _run(self, entry: Entry, burst: Burst, settings: Settings, state: Path | None) -> Snapshot | None:
        """The result, which is now in its file; None if the run was interrupted."""
        from heliorestore.methods.base import least_bytes, stream

        out = self.folder / entry.name
        check_output(out, overwrite=True, size=least_bytes(burst, settings))
        notes = unused(Path(entry.paths[0]), self.night)
        snapshots = stream(
            burst,
            settings,
            device=self.device,
            seed=self.night.seed,
            checkpoint="" if state is None else str(state),
        )
        shown = last = None
        told = time.monotonic()
        with closing(snapshots):  # closed early, a method writes its state
            for shown in snapshots:
                if shown.stop is not None:
                    # Now, because a method that goes on to its end deletes its state.
                    last = _written(shown, notes, out)
                elif self.stopping:
                    return None
                if time.monotonic() - told >= PROGRESS_S:
                    told = time.monotonic()
                    self.ledger.say(
                        "progress", entry.id, attempt=entry.last, step=shown.step, total=shown.total
                    )
        if shown is None:
            raise BurstError(f"{self.night.method} gave no result.")
        if last is None:
            last = _written(shown, notes, out)
        for message in dict.fromkeys(last.messages):
            self._log(entry, message)
        return last

    def _settings(self, entry: Entry) -> Any:
        """The settings of the night, with this worker's memory, halved for each attempt that lacked it."""
        from heliorestore.methods.base import load
        from heliorestore.settings import from_rows

        night = self.night.of(entry.own)
        settings: Any = from_rows(load(night.method).settings, night.settings.items())
        if not hasattr(settings, "memory_gb"):
            return settings
        # The system kills who takes too much without a word: the second such death counts as one of memory.
        deaths = sum(number not in entry.ends for number in range(entry.renewed + 1, entry.last))
        halvings = sum(bool(end.get("memory")) for end in entry.ends.values()) + max(0, deaths - 1)
        memory_gb = settings.memory_gb or self.memory_gb
        if memory_gb is None and halvings:
            from heliorestore.budget import budget_bytes
            from heliorestore.methods.base import pick_device

            memory_gb = budget_bytes(None, pick_device(self.device)) / 1e9
        if memory_gb is None:
            return settings
        return settings.replace(memory_gb=max(_LEAST_GB, memory_gb / 2**halvings))

    def _facts(self, entry: Entry, burst: Burst, last: Snapshot) -> dict[str, Any]:
        """What the ledger, the table and the contact sheet say of a result."""
        from heliorestore.batch.contact_sheet import thumbnail
        from heliorestore.quality.metrics import contrast

        before, after = burst.image(0, 0), last.images[0]
        folder = self.folder / "thumbnails"
        folder.mkdir(exist_ok=True)
        for name, image in (("before", before), ("after", after)):
            with atomic_write(folder / f"{entry.id}_{name}.png") as file:
                file.write(thumbnail(image))
        said = (re.search(r"r0 was found.*?([\d.]+) cm", text) for text in last.messages)
        return {
            "name": entry.name,
            "bytes": (self.folder / entry.name).stat().st_size,
            "iterations": last.step,
            "stop": last.stop.name.lower() if last.stop else "",
            "contrast_before": round(contrast(before), 6),
            "contrast_after": round(contrast(after), 6),
            "residual": last.losses.get("residual"),
            "r0_cm": next((float(found[1]) for found in said if found), None),
        }

    def _state(self, entry: Entry) -> Path:
        """Where a method that can go on later keeps what it has."""
        return self.folder / "states" / f"{entry.id}.state"

    def _log(self, entry: Entry, text: str) -> None:
        with suppress(OSError):
            folder = self.folder / "logs"
            folder.mkdir(exist_ok=True)
            with appending(folder / f"{entry.id}.log") as file:
                line = f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text.rstrip()}\n"
                file.write(line.encode(errors="backslashreplace"))


def _written(shown: Snapshot, notes: tuple[str, ...], out: Path) -> Snapshot:
    """The result with the notes, which is now in its file."""
    from heliorestore.fits.writer import write

    last = replace(shown, messages=shown.messages + notes)
    write(last, out, overwrite=True)
    return last


def _own_result(out: Path, entry: Entry) -> Snapshot | None:
    """The result that an earlier attempt at this burst has written, if the file is whole."""
    from astropy.io import fits

    from heliorestore.fits.files import silent_astropy

    try:
        with silent_astropy(), fits.open(out) as hdus:
            whole = all(hdu.verify_datasum() == 1 and hdu.verify_checksum() == 1 for hdu in hdus)
    except OSError:
        return None
    return result_in(out, entry.paths, entry.sizes, entry.mtimes_ns) if whole else None


@contextmanager
def _beating(ledger: Ledger, entry: Entry, number: int) -> Iterator[None]:
    """Give signs of life while the burst is restored."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            ledger.beat(entry, number)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


@contextmanager
def _asked_to_stop(worker: Worker) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP let the present iteration end, and its state be saved."""

    def stop(number: int, frame: Any) -> None:
        worker.stopping = True

    with heard(stop):
        yield

"""The workers of a night on a Dask cluster, or as jobs of SLURM; both see the folder under its path."""

from __future__ import annotations

import importlib
import shlex
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

from heliorestore.batch.ledger import Ledger, State
from heliorestore.errors import SettingsError
from heliorestore.storage import atomic_write

_ANSWER_S = 10.0  # until a scheduler must have answered
_AHEAD = 2  # bursts for each thread of the cluster, so that none waits for the coordinator


class DaskWorkers:
    """A future per burst; what it gives is in the ledger, and only its end goes through the scheduler."""

    def __init__(self, address: str, folder: Path, **known: Any) -> None:
        try:
            distributed: Any = importlib.import_module("distributed")
        except ImportError as error:
            raise SettingsError(
                'A Dask scheduler needs more packages: pip install "heliorestore[cluster]".'
            ) from error
        try:
            self._client = distributed.Client(address, timeout=_ANSWER_S)
        except (OSError, ValueError) as error:
            raise SettingsError(f"No Dask scheduler answers at {address}: {error}.") from error
        self._folder, self._known = folder, known
        self._sent: dict[str, Any] = {}

    def tend(self, ledger: Ledger) -> bool:
        self._sent = {burst: future for burst, future in self._sent.items() if not future.done()}
        room = _AHEAD * sum(self._client.nthreads().values()) - len(self._sent)
        for entry in ledger.open_entries():
            if room <= 0:
                break
            if entry.id not in self._sent:
                # Not pure: a burst that failed is sent again.
                self._sent[entry.id] = self._client.submit(
                    restore_one, str(self._folder), entry.id, self._known, pure=False
                )
                room -= 1
        return True

    def stop(self) -> None:
        self._client.cancel(list(self._sent.values()))
        self._client.close()


def restore_one(folder: str, burst: str, known: dict[str, Any]) -> bool:
    """One attempt at a burst, unless another process is at it; whether it gave a result."""
    from heliorestore.batch.work import Worker

    worker = Worker(Path(folder), **known)
    worker.ledger.refresh()
    entry = worker.ledger.entries[burst]
    waits = worker.ledger.state(entry) is State.WAITING
    number = worker.ledger.attempt(entry) if waits else None
    return number is not None and worker.restore(entry, number)


class SlurmWorkers:
    """Jobs by `sbatch` from a template, each a worker that takes bursts until none waits; dead ones are sent
    again as long as `squeue` knows of them.
    """

    def __init__(self, template: Path | None, night: Path, count: int, command: list[str]) -> None:
        text = (
            template.read_text()
            if template
            else resources.files(__package__).joinpath("slurm.sh").read_text()
        )
        if "{command}" not in text:
            raise SettingsError(f"The template {template} has no {{command}}, the line that begins a worker.")
        self._script, self._count, self._jobs = night / "worker.sh", count, list[str]()
        filled = text.replace("{command}", shlex.join(command)).replace("{night}", str(night))
        with atomic_write(self._script) as file:
            file.write(filled.encode(errors="surrogateescape"))

    def tend(self, ledger: Ledger) -> bool:
        counts = ledger.counts()
        self._jobs = [job for job in self._jobs if _call("squeue", "--noheader", "--job", job)]
        missing = min(self._count, counts["waiting"] + counts["running"]) - len(self._jobs)
        for _ in range(missing if counts["waiting"] else 0):
            told = _call("sbatch", "--parsable", str(self._script))
            if not told:
                raise SettingsError("sbatch gave no job: is this a login node of SLURM?")
            self._jobs.append(told.split(";")[0])
        return True

    def stop(self) -> None:
        """Jobs go on without the coordinator: `batch cancel` ends them."""


def _call(*words: str) -> str:
    """What a command prints, empty if it fails or does not exist."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
    except OSError:
        return ""

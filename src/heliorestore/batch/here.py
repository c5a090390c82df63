"""The workers of a night on this machine: a process each, begun again when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from heliorestore.batch.admission import room_bytes
from heliorestore.batch.ledger import Ledger
from heliorestore.errors import SettingsError
from heliorestore.storage import appending

_LEAST_GB = 0.2
_GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")  # in /dev, of NVIDIA, AMD, and Windows' Linux
_DEATHS = 20  # without a result in between: the machine is at fault, not a burst


def shared_gb(count: int) -> float:
    """The memory that each of so many workers may use for its burst, of what is free now."""
    return max(_LEAST_GB, room_bytes() / 1e9 / count)


@dataclass(frozen=True)
class Place:
    """What a worker of this machine sees of it: a GPU by its number there, empty for none, and threads."""

    gpu: str
    threads: int


def places(asked: int | None, device: str) -> list[Place]:
    """A place for each worker: as many as asked for, else one for each GPU or each core."""
    if asked is not None and asked < 1:
        raise SettingsError(f"There are {asked} workers; there must be one at least.")
    there = _devices()
    gpus = _gpus(sum(name.startswith("cuda:") for name in there)) if device in ("auto", "cuda") else []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    on_cores = (there[0] if device == "auto" else device) == "cpu"
    count = asked or len(gpus) or (cores if on_cores else 1)
    threads = max(1, cores // count)
    return [Place(gpus[number % len(gpus)] if gpus else "", threads) for number in range(count)]


def _devices() -> tuple[str, ...]:
    """The devices of this machine; torch, which takes a second to load, is asked if there may be a GPU."""
    if sys.platform == "linux" and not any(Path("/dev").glob(name) for name in _GPU_FILES):
        return ("cpu",)
    from heliorestore.methods.base import devices

    return devices()


def _gpus(count: int) -> list[str]:
    """The numbers of the GPUs: those that this process may see, where that is limited."""
    seen = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return seen[:count] if seen else [str(number) for number in range(count)]


def worker_command(folder: Path, *, retries: int, memory_gb: float | None, stay: bool) -> list[str]:
    """The words that begin a worker, in a process of its own."""
    words = [
        sys.executable,
        "-m",
        "heliorestore.cli",
        "batch",
        "work",
        str(folder),
        "--retries",
        str(retries),
    ]
    return words + (["--watch"] if stay else []) + (["--memory-gb", f"{memory_gb:.4g}"] if memory_gb else [])


@dataclass
class Processes:
    """Processes of this machine, each at its place."""

    command: list[str]
    log: Path
    places: list[Place]
    ready: bool = False  # begun before there is anything to do, for what is watched
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)  # by the place
    _settled: int = 0
    _deaths: int = 0

    def tend(self, ledger: Ledger) -> bool:
        counts = ledger.counts()
        settled = counts["done"] + counts["failed"]
        self._deaths = 0 if settled > self._settled else self._deaths
        self._settled = settled
        self._deaths += sum(bool(process.poll()) for process in self.running.values())
        self.running = {n: process for n, process in self.running.items() if process.poll() is None}
        if (self.ready or counts["waiting"] + counts["running"]) and self._deaths < _DEATHS:
            for number in range(len(self.places)):
                if number not in self.running:
                    self.running[number] = self._begin(self.places[number])
        return self._deaths < _DEATHS

    def _begin(self, place: Place) -> subprocess.Popen[bytes]:
        environment = os.environ | {"OMP_NUM_THREADS": str(place.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        if place.gpu:
            environment["CUDA_VISIBLE_DEVICES"] = place.gpu
        with appending(self.log) as log:
            return subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait()

"""The workers of a night on this machine: a process each, begun again when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from heliorestore.batch.ledger import Ledger
from heliorestore.storage import appending

_USED = 0.8  # of the free memory; the rest is for the programs themselves
_LEAST_GB = 0.2
_DEATHS = 20  # without a result in between: the machine is at fault, not a burst


def shared_gb(count: int) -> float:
    """The memory that each of so many workers may use for its burst, of what is free now."""
    free = float(psutil.virtual_memory().available)
    return max(_LEAST_GB, _USED * free / 1e9 / count)


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
    """Processes of this machine; with GPUs each sees one of them."""

    command: list[str]
    log: Path
    count: int
    gpus: int = 0
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _settled: int = 0
    _deaths: int = 0

    def tend(self, ledger: Ledger) -> bool:
        counts = ledger.counts()
        settled = counts["done"] + counts["failed"]
        self._deaths = 0 if settled > self._settled else self._deaths
        self._settled = settled
        self._deaths += sum(bool(process.poll()) for process in self.running)
        self.running = [process for process in self.running if process.poll() is None]
        if counts["waiting"] + counts["running"] and self._deaths < _DEATHS:
            self.running += [self._begin(n) for n in range(len(self.running), self.count)]
        return self._deaths < _DEATHS

    def _begin(self, number: int) -> subprocess.Popen[bytes]:
        threads = max(1, (os.cpu_count() or 1) // self.count)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = str(number % self.gpus)
        with appending(self.log) as log:
            return subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def stop(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait()

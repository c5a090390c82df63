"""The workers of a night on this machine: a process each, begun again when it dies, until nothing waits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from heliorestore.batch.ledger import Ledger
from heliorestore.storage import appending

LOOK_S = 0.5
_DEATHS = 20  # without a result in between: the machine is at fault, not a burst


@dataclass
class Processes:
    """The worker processes of this machine."""

    folder: Path
    count: int
    retries: int = 2
    gpus: int = 0
    memory_gb: float | None = None
    stay: bool = False
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    deaths: int = 0

    def tend(self, *, wanted: bool) -> None:
        """Begin the processes that are missing; `wanted` says whether there is work for them."""
        alive = []
        for process in self.running:
            if process.poll() is None:
                alive.append(process)
            elif process.returncode:
                self.deaths += 1
        self.running = alive
        if wanted and self.deaths < _DEATHS:
            self.running += [self._begin(n) for n in range(len(alive), self.count)]

    def _begin(self, number: int) -> subprocess.Popen[bytes]:
        threads = max(1, (os.cpu_count() or 1) // self.count)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        if self.gpus:
            # A worker sees one GPU, and calls it the first.
            environment["CUDA_VISIBLE_DEVICES"] = str(number % self.gpus)
        words = [sys.executable, "-m", "heliorestore.cli", "batch", "work", str(self.folder)]
        words += ["--retries", str(self.retries), *(["--watch"] if self.stay else [])]
        words += ["--memory-gb", f"{self.memory_gb:.4g}"] if self.memory_gb else []
        with appending(self.folder / "workers.log") as log:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def stop(self) -> None:
        """Ask all to save and end, and wait for them."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait()


def run_here(
    ledger: Ledger, processes: Processes, report: Callable[[Ledger], None], asked_to_stop: Callable[[], bool],
    look: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Tend the processes until all bursts are done or have failed, or a stop is asked for.

    `look` adds what is new, and says whether more may come; `report` is called after every look.
    """
    settled = 0
    try:
        while not asked_to_stop():
            more = look()
            ledger.refresh()
            report(ledger)
            counts = ledger.counts()
            if counts["done"] + counts["failed"] != settled:
                settled, processes.deaths = counts["done"] + counts["failed"], 0
            left = counts["waiting"] + counts["running"]
            if ledger.cancelled or (not left and not more):
                break
            processes.tend(wanted=bool(left))
            if processes.deaths >= _DEATHS:
                break
            time.sleep(LOOK_S)
    finally:
        processes.stop()
        ledger.refresh()
        report(ledger)

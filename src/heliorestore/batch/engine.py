"""The coordinator: it adds what is new to a night, and keeps workers going until nothing is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from heliorestore.batch.ledger import Ledger

LOOK_S = 0.5


class Workers(Protocol):
    """Processes here, a Dask cluster, jobs of SLURM: they restore, and the ledger says what they did."""

    def tend(self, ledger: Ledger) -> bool:
        """See to it that the bursts that wait are taken; False if that is of no use any more."""

    def stop(self) -> None:
        """Let them save what they do, and end."""


def run_night(
    ledger: Ledger,
    workers: Workers,
    *,
    report: Callable[[Ledger], None],
    asked_to_stop: Callable[[], bool],
    look: Callable[[], None] | None = None,
) -> None:
    """Tend the workers until all bursts are done or have failed, or a stop is asked for.

    `look` adds what is new; with it the night does not end by itself. `report` is called after every look.
    """
    try:
        while not asked_to_stop():
            if look is not None:
                look()
            ledger.refresh()
            report(ledger)
            counts = ledger.counts()
            over = not counts["waiting"] + counts["running"] and look is None
            if ledger.cancelled or over or not workers.tend(ledger):
                break
            time.sleep(LOOK_S)
    finally:
        workers.stop()
        ledger.refresh()
        report(ledger)

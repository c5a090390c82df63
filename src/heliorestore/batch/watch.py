"""Files that are still to come: a burst is taken when none of its files has changed for a while."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from heliorestore.batch.ledger import Ledger
from heliorestore.batch.night import Night, add, bursts_in, identity
from heliorestore.errors import HeliorestoreError

EVERY_S = 1.0


class Watch:
    """Looks again and again at what is named; it asks the file system, so that it works over NFS too."""

    def __init__(self, night: Night, inputs: Iterable[Path], settle_s: float = 3.0) -> None:
        self._night, self._inputs, self._settle_s = night, list(inputs), settle_s
        self._seen: dict[tuple[Path, ...], tuple[str, float]] = {}  # identity, and since when
        self._looked = -EVERY_S

    def look(self, ledger: Ledger) -> None:
        """Add the bursts that have stopped growing and can be opened; the others are looked at again."""
        if time.monotonic() - self._looked < EVERY_S:
            return
        self._looked = time.monotonic()
        for given in self._inputs:
            try:
                found = list(bursts_in([given]))
            except (OSError, HeliorestoreError):  # not there yet, or just being renamed
                continue
            for paths in found:
                self._look_at(ledger, paths)

    def _look_at(self, ledger: Ledger, paths: tuple[Path, ...]) -> None:
        from heliorestore.fits.reader import read_burst

        try:
            now = identity(paths)[0]
        except OSError:
            return
        before, since = self._seen.get(paths, ("", 0.0))
        if now != before:
            self._seen[paths] = now, time.monotonic()
        elif now not in ledger.entries and time.monotonic() - since >= self._settle_s:
            try:
                read_burst(paths)  # a file that is cut off is refused
            except HeliorestoreError:
                self._seen[paths] = now, time.monotonic()
                return
            add(ledger, self._night, [paths])

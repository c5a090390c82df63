"""What a list shows of a night of bursts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class BurstRow:
    """A burst of a night as a list shows it."""

    id: str
    title: str
    paths: tuple[str, ...]
    result: Path
    state: str
    reason: str = ""
    step: int = 0  # iterations of the attempt that runs, of `total`
    total: int = 0
    seconds: float | None = None
    contrast: tuple[float, float] | None = None  # before and after, 1 is 100 %
    facts: str = ""
    verdict: str = ""
    note: str = ""
    before: Path | None = None  # thumbnails
    after: Path | None = None


@dataclass(frozen=True)
class NightSeen:
    """A night at one moment."""

    folder: Path
    method: str
    rows: tuple[BurstRow, ...]
    cancelled: bool
    coordinated: bool  # whether a coordinator that the queue began still works
    last_words: str  # of a coordinator that has ended

    def count(self, state: str) -> int:
        return sum(row.state == state for row in self.rows)

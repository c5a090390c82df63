"""The results of a night for what is made of many of them: a cube, a movie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from heliorestore.batch.ledger import Ledger
from heliorestore.batch.night import Night
from heliorestore.errors import BurstError


def results_of(paths: Iterable[Path]) -> list[Path]:
    """The paths, with a night's folder replaced by its results that are done and that nobody has rejected."""
    return [file for path in paths for file in (_results(path) if Night.is_in(path) else [path])]


def _results(folder: Path) -> list[Path]:
    ledger = Ledger(folder)
    ledger.refresh()
    kept = [
        entry.name
        for entry in ledger.entries.values()
        if entry.result is not None and entry.judged.get("verdict") != "rejected"
    ]
    found = [folder / name for name in kept if (folder / name).is_file()]
    if not found:
        raise BurstError(f"The night {folder} has no result that is done and kept: see its status.")
    return found

"""Bursts that are restored at once on a machine: only as many as their needs fit into its memory.

Each process that restores keeps a file with its need in a folder of this machine; a lock of the system is
held while it looks at those of the others. What a process that died has left is not counted.
"""

from __future__ import annotations

import getpass
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from heliorestore.budget import free_bytes
from heliorestore.errors import BurstError
from heliorestore.storage import locked, replacing

USED = 0.8  # of the free memory; the rest is for the programs themselves
_LOOK_S = 0.5


def room_bytes() -> float:
    """Bytes for all bursts that are restored on this machine at once, as if none were restored now."""
    return USED * (free_bytes() + sum(held for _, held in _others()))


@contextmanager
def admitted(need: float, asked_to_stop: Callable[[], bool]) -> Iterator[bool]:
    """Wait until a need in bytes fits beside those of the others; False if a stop was asked for meanwhile.

    A need that does not fit alone is a BurstError.
    """
    own = _folder() / f"{os.getpid()}.need"
    try:
        while not (fits := _reserve(own, need)) and not asked_to_stop():
            time.sleep(_LOOK_S)
        yield fits
    finally:
        with suppress(OSError):
            own.unlink(missing_ok=True)


def _reserve(own: Path, need: float) -> bool:
    with locked(own.parent / "lock"):
        room = room_bytes()
        if need > room:
            raise BurstError(
                f"It needs {need / 1e9:.1f} GB, also in the smallest tiles, and this machine has "
                f"{room / 1e9:.1f} GB for bursts: restore it where there is more, or fewer frames of it."
            )
        if sum(promised for promised, _ in _others()) + need > room:
            return False
        with suppress(OSError), replacing(own) as file:  # with no place to keep needs in, nobody waits
            file.write(json.dumps([need, psutil.Process().create_time()]).encode())
        return True


def _others() -> list[tuple[float, float]]:
    """Bytes that each other process needs, and those of them that it holds already."""
    found = []
    for path in _folder().glob("*.need"):
        if path.stem == str(os.getpid()):
            continue
        with suppress(OSError, ValueError, psutil.Error):
            need, began = json.loads(path.read_text())
            process = psutil.Process(int(path.stem))
            # A new process may have the old number: the start time tells them apart.
            if abs(process.create_time() - began) < 1.0:
                found.append((need, min(need, float(process.memory_info().rss))))
                continue
        path.unlink(missing_ok=True)
    return found


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"heliorestore-{getpass.getuser()}-memory"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder

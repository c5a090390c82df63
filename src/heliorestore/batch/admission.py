"""Bursts that are restored at once on a machine: only as many as their needs fit into its memory.

Each process that restores keeps a file with its need in a folder of this machine; a lock of the system is
held while it looks at those of the others. What a process that died has left is not counted. A GPU has room
of its own.
"""

from __future__ import annotations

import getpass
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from heliorestore.budget import free_bytes
from heliorestore.errors import BurstError
from heliorestore.process import began, runs
from heliorestore.storage import locked, replacing

USED = 0.8  # of the free memory; the rest is for the programs themselves
_LOOK_S = 0.5


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine by the number or name that its driver knows, bytes of its memory, and its number
    among those that this process may see.
    """

    name: str
    bytes: float
    number: int

    @classmethod
    def of(cls, index: int | None) -> Gpu:
        """The GPU of that number among those that this process may see."""
        import torch

        number = torch.cuda.current_device() if index is None else index
        seen = [
            each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()
        ]
        name = seen[number] if number < len(seen) else str(number)
        return cls(name, float(torch.cuda.mem_get_info(number)[1]), number)

    def free(self) -> float:
        """Bytes that this process can have now: those nobody has, and those torch keeps for it."""
        import torch

        return float(torch.cuda.mem_get_info(self.number)[0] + torch.cuda.memory_reserved(self.number))


def room_bytes(gpu: Gpu | None = None) -> float:
    """Bytes for all bursts that are restored on this machine, or on a GPU of it, at once, as if none were
    restored now.
    """
    if gpu is not None:
        # what our own hold there is not known, but at most what they asked for
        ours = sum(promised for promised, _, where in _others() if where == gpu.name)
        return USED * min(gpu.bytes, gpu.free() + ours)
    return USED * (free_bytes() + sum(held for _, held, where in _others() if not where))


@contextmanager
def admitted(need: float, asked_to_stop: Callable[[], bool], gpu: Gpu | None = None) -> Iterator[bool]:
    """Wait until a need in bytes fits beside those of the others, in main memory or in that of a GPU; False
    if a stop was asked for meanwhile.

    A need that does not fit alone is a BurstError.
    """
    own = _folder() / f"{os.getpid()}.need"
    try:
        while not (fits := _reserve(own, need, gpu)) and not asked_to_stop():
            time.sleep(_LOOK_S)
        yield fits
    finally:
        with suppress(OSError):
            own.unlink(missing_ok=True)


def _reserve(own: Path, need: float, gpu: Gpu | None) -> bool:
    with locked(own.parent / "lock"):
        room, place = room_bytes(gpu), "" if gpu is None else gpu.name
        if need > room:
            raise BurstError(
                f"It needs {need / 1e9:.1f} GB, also in the smallest tiles, and "
                f"{f'the GPU {place}' if gpu else 'this machine'} has {room / 1e9:.1f} GB "
                "for bursts: restore it where there is more, or fewer frames of it."
            )
        if sum(promised for promised, _, where in _others() if where == place) + need > room:
            return False
        with suppress(OSError), replacing(own) as file:  # with no place to keep needs in, nobody waits
            file.write(json.dumps([need, began(os.getpid()), place]).encode())
        return True


def _others() -> list[tuple[float, float, str]]:
    """Bytes that each other process needs, those of main memory that it holds already, and the GPU on which
    it needs them, empty for main memory.
    """
    found = []
    for path in _folder().glob("*.need"):
        if path.stem == str(os.getpid()):
            continue
        with suppress(OSError, ValueError, psutil.Error):
            need, since, *where = json.loads(path.read_text())
            if runs(int(path.stem), since):
                held = min(need, float(psutil.Process(int(path.stem)).memory_info().rss))
                found.append((need, held, where[0] if where else ""))
                continue
        path.unlink(missing_ok=True)
    return found


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"heliorestore-{getpass.getuser()}-memory"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder

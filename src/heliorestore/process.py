"""What a process has from whoever began it: the signals that ask it to end, and its three streams. Also
whether a process still runs.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_SAME_S = 0.05  # between two readings of the time at which one process began


def began(number: int) -> float:
    """When a process began, in seconds that no change of the clock moves: with its number, which is used
    again, it tells it from all others. A psutil.Error if there is none.
    """
    import psutil  # not for a command that only prints its help

    # on Linux psutil adds the time of the last boot, which moves with the clock
    boot = psutil.boot_time() if psutil.LINUX else 0.0
    return float(psutil.Process(number).create_time() - boot)


def runs(number: int, since: float) -> bool:
    """Whether the process of that number is the one that began then. A psutil.Error if there is none."""
    return abs(began(number) - since) < _SAME_S


@contextmanager
def heard(handler: Callable[[int, Any], object]) -> Iterator[None]:
    """Have the handler called by Ctrl-C, SIGTERM and the end of the terminal (SIGHUP), but not by those that
    the process was begun to ignore, as with `nohup`. In other threads than the main one, which alone hears
    signals, nothing changes.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        now = {number: signal.getsignal(number) for number in _ENDING}
        before = {number: was for number, was in now.items() if was not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


class _Stderr(io.TextIOWrapper):
    """Loses what nobody takes: a terminal that is gone, or a reader that has ended, must not end a run."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def open_streams() -> None:
    """Open those of the three streams that the process was begun without: else a file of ours would get the
    number of one, and libraries would print into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    buffer = sys.stderr.buffer if sys.stderr else io.BufferedWriter(io.FileIO(2, "w", closefd=False))
    sys.stderr = _Stderr(buffer, errors="backslashreplace", line_buffering=True)

"""A case in a process of its own that begins with all that its parent has loaded, within limits."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HUNG = -1000  # the status of a process that had to be ended
BUSY = 20.0  # how much longer a process may take than it works


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, minus the signal that ended it, or `HUNG`; and what it said."""

    status: int
    out: str
    err: str


def forked(
    act: Callable[[], int],
    folder: Path,
    *,
    terms_s: tuple[float, ...] = (),
    most_s: float = 60.0,
    memory: int = 0,
    file_size: int = 0,
) -> Ended:
    """Run `act`, whose value is the exit status; at each of `terms_s` the process is asked to end.

    Times are those of the processor.
    """
    out, err = folder / "out.txt", folder / "err.txt"
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(act, out, err, memory, file_size)
    began, asked, status = time.monotonic(), 0, None
    while status is None:
        done, code = os.waitpid(pid, os.WNOHANG)
        past = max(processor_s(pid), (time.monotonic() - began) / BUSY)
        if done:
            status = os.waitstatus_to_exitcode(code)
        elif past > most_s:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            status = HUNG
        elif asked < len(terms_s) and past > terms_s[asked]:
            asked += 1
            os.kill(pid, signal.SIGTERM)
        else:
            time.sleep(0.002 if past < 0.2 else 0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # what it has left behind
    return Ended(status, out.read_text(errors="replace"), err.read_text(errors="replace"))


def _child(act: Callable[[], int], out: Path, err: Path, memory: int, file_size: int) -> None:
    status = 70
    try:
        os.setpgid(0, 0)
        for number, path in ((1, out), (2, err)):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        if memory:
            limit = virtual_bytes() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if file_size:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        status = act()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            pass
        os._exit(status)


def processor_s(pid: int) -> float:
    """The time for which a process has worked."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def virtual_bytes() -> int:
    """The address space that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

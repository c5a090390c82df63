"""Whether a process still runs, whatever the clock does."""

import os
import subprocess
import sys

import psutil
import pytest

from heliorestore.process import began, runs


def test_a_clock_that_jumps_ends_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    since, boot, of_process = began(os.getpid()), psutil.boot_time(), psutil.Process.create_time
    if psutil.LINUX:  # where the time of the boot is now less the seconds since then
        monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: of_process(self) + 3600)
    assert runs(os.getpid(), since)
    assert not runs(os.getpid(), since - 1)


def test_a_process_is_known_by_another_one_until_it_ends() -> None:
    code = "import os; from heliorestore.process import began; print(began(os.getpid()), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        since = float(other.stdout.readline())
        assert runs(other.pid, since)
        other.communicate("\n")
    with pytest.raises(psutil.NoSuchProcess):
        runs(other.pid, since)

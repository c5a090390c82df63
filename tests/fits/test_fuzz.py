"""Damaged files end in an array or a BurstError: never in another exception, a hang, a crash, or a GiB of
memory.

HELIORESTORE_FUZZ_CASES=100000 looks deeper; HELIORESTORE_FUZZ_FIRST chooses the first case.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from build_files import seeds, small_snapshot
from heliorestore.fits.writer import write

CASES = int(os.environ.get("HELIORESTORE_FUZZ_CASES", "600"))
FIRST = int(os.environ.get("HELIORESTORE_FUZZ_FIRST", "0"))


@pytest.mark.skipif(
    sys.platform == "win32", reason="limits of memory and time are set with resource and signal"
)
@pytest.mark.timeout(max(300, CASES // 10))
def test_damaged_files_are_read_or_refused(tmp_path):
    seeds(tmp_path)
    write(small_snapshot(tmp_path), tmp_path / "seed-restored.fits")
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        str(Path(__file__).with_name("fuzz_cases.py")),
        str(tmp_path),
        str(FIRST),
        str(CASES),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr[-3000:] or done.returncode
    *failures, summary = lines
    assert not failures, failures[:3]
    counts = summary["summary"]
    assert counts["read"] + counts["refused"] == CASES
    assert min(counts.values()) > CASES / 10, "the damage must be neither always deadly nor always harmless"
    assert summary["peak_mib"] < 1024

"""The tests that draw their examples, with many more of them, and those that are marked `stress`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
WORDS = ("from hypothesis import", "pytest.mark.stress")


def attack(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Every case is a file of tests."""
    files = [p for p in sorted(TESTS.rglob("test_*.py")) if any(word in p.read_text() for word in WORDS)]
    more = os.environ | {"HYPOTHESIS_PROFILE": "gauntlet"}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "stress or not stress", "--timeout", "3000"]
    for case in cases:
        if case >= len(files):
            return
        line = [*command, str(files[case])]
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=more, cwd=TESTS.parent)
        yield case, f"{files[case].name}: {done.stdout[-1500:]}" if done.returncode else ""

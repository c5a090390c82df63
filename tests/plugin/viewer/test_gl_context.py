"""The window stays open whatever layers go, in a napari of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from window import HAS_DISPLAY

pytestmark = pytest.mark.skipif(
    not HAS_DISPLAY, reason="napari's window needs a display; under Linux use xvfb-run -a"
)


SCENARIOS = (
    "preview_then_run",
    "input_deleted_while_results_stream",
    "probe_then_run",
    "two_windows_that_stream",
    "compare_then_new_image",
)


def check(*names):
    script = Path(__file__).with_name("scenarios.py")
    ran = subprocess.run(
        [sys.executable, script, *names], capture_output=True, text=True, check=False, timeout=250
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_nothing_ends_the_window():
    # The first takes longest, and passes without the guard too; the second is part of another.
    check(*SCENARIOS[2:])


@pytest.mark.stress
@pytest.mark.parametrize("_time", range(10))
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_ends_a_new_window(name, _time):
    check(name)

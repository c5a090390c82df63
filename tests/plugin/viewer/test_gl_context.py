"""The window stays open whatever layers go, each scenario in a napari of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from window import HAS_DISPLAY

pytestmark = pytest.mark.skipif(
    not HAS_DISPLAY, reason="napari's window needs a display; under Linux use xvfb-run -a"
)


@pytest.mark.parametrize("_time", [1, *(pytest.param(n, marks=pytest.mark.stress) for n in range(2, 11))])
@pytest.mark.parametrize(
    "name",
    ["preview_then_run", "probe_then_run", "input_deleted_while_results_stream", "compare_then_new_image"],
)
def test_nothing_ends_the_window(name, _time):
    script = Path(__file__).with_name("scenarios.py")
    ran = subprocess.run(
        [sys.executable, script, name], capture_output=True, text=True, check=False, timeout=250
    )
    assert ran.returncode == 0, ran.stderr[-2000:]

"""What runs on a GPU runs on one that is pretended: no device is mixed, and the results are the CPU's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

TESTS = Path(__file__).parent
SHARED = TESTS / "shared"

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot have a device written in Python",
)


def test_what_needs_a_gpu_passes_on_a_pretended_one(tmp_path: Path) -> None:
    """In one process of its own: torch keeps a registered device, and takes seconds to load."""
    plain = tmp_path / "pytest.ini"
    plain.write_text(f"[pytest]\npythonpath = {SHARED}\nfilterwarnings = error\n")
    options = ("-c", plain, "--rootdir", TESTS.parent, "--import-mode=importlib", "-p", "no:cacheprovider")
    asked = (*sorted((TESTS / "device").glob("on_*.py")), TESTS / "optics", "-k", "accelerator")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "pretend_device", *map(str, (*options, *asked))],
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ
        | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join([str(SHARED), *sys.path])},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    # none of them is skipped
    assert re.search(r"^\d+ passed, \d+ deselected in", done.stdout, re.MULTILINE), done.stdout[-2000:]

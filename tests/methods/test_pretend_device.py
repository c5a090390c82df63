"""Every method runs on an accelerator, here a pretended one: no device is mixed, the image is the CPU's."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch.utils import backend_registration

SCRIPT = Path(__file__).parents[1] / "shared" / "pretend_device.py"
_TEXT: Mapping[str, Any] = {"capture_output": True, "text": True}
METHODS = ("richardson-lucy", "enhance", "mfbd", "denoise", "momfbd", "sv-momfbd")

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot have a device written in Python",
)


@pytest.fixture(scope="module")
def restored() -> Mapping[str, Any]:
    """What the script says of each method; a process of its own, for torch keeps a registered device."""
    done = subprocess.run([sys.executable, SCRIPT, *METHODS], check=False, **_TEXT, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["method"]: each for each in found}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_gives_the_image_of_the_cpu(method: str, restored: Mapping[str, Any]) -> None:
    assert restored[method]["device"] == "pretend"
    assert restored[method]["difference"] < 1e-4


def test_what_fails_on_a_gpu_fails_there() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import torch, pretend_device\n"
        "kept = pretend_device.register()\n"
        "x, y = torch.ones(3, device='pretend'), torch.ones(3)\n"
        "for wrong in (lambda: x + y, lambda: torch.cat([x, y]), x.numpy, lambda: x.add_(y)):\n"
        "    try: wrong()\n"
        "    except (RuntimeError, TypeError) as error: print('refused')\n"
        "    else: print('taken')\n"
        "print((x + y.to(x.device)).sum().item(), torch.hann_window(4, device=x.device).cpu().tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, **_TEXT, timeout=300)
    assert done.stdout.splitlines() == ["refused"] * 4 + ["6.0 [0.0, 0.5, 1.0, 0.5]"], done.stderr[-2000:]

"""What is said about memory before a run: how it grows, and that a run's peak is near it."""

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from heliorestore.budget import budget_bytes
from heliorestore.burst import Burst
from heliorestore.diagnose.memory import least_gb, memory_estimate, memory_need
from heliorestore.errors import SettingsError, WeightsError
from heliorestore.instrument import find
from heliorestore.methods.base import load, stream
from heliorestore.methods.enhance import EnhanceSettings
from heliorestore.methods.mfbd import MfbdSettings
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.richardson_lucy import RichardsonLucySettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.settings import Settings

RUN = """
import ctypes, json, os, re, sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
import heliorestore
from heliorestore.methods.base import load, stream

def peak(method, shape, chosen):
    frames = np.random.default_rng(0).normal(1.0, 0.1, shape).astype(np.float32)
    crisp = heliorestore.Instrument.parse("crisp-8542")
    burst = heliorestore.Burst(frames=frames, instruments=(crisp,) * shape[0])
    settings = load(method).settings(**chosen, r0_cm=10.0)
    tiny = heliorestore.Burst(frames=frames[..., :64, :64], instruments=burst.instruments)
    list(stream(tiny, settings.replace(memory_gb=None), device="cpu"))
    ctypes.CDLL(None).malloc_trim(0)  # or the run would have what this one leaves
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    used = lambda which: 1024 * int(re.search(which + r":\\s+(\\d+) kB", status.read_text())[1])
    clear.write_text("5")
    before = used("VmRSS")
    list(stream(burst, settings, device="cpu"))
    return used("VmHWM") - before

for case in json.loads(sys.argv[1]):
    if os.fork() == 0:  # a process of its own, in which torch is loaded
        print(json.dumps(peak(*case)), flush=True)
        os._exit(0)
    if os.wait()[1]:
        sys.exit("a run failed")
"""
AT_ONCE = {"start": "average", "optimiser": "adamw", "grid_step": 16, "psf": 64, "iterations": 1}
CASES: list[tuple[str, tuple[int, int, int, int], dict[str, Any]]] = [
    ("momfbd", (2, 12, 320, 320), {"memory_gb": 0.25, "iterations": 1}),
    ("sv-momfbd", (1, 10, 320, 320), {"memory_gb": 0.4, "iterations": 2, "patch_iterations": 1}),
    ("sv-momfbd", (2, 8, 256, 256), {**AT_ONCE, "memory_gb": 0.3}),
    ("sv-momfbd", (2, 8, 256, 256), {**AT_ONCE, "memory_gb": 4.0}),
    ("sv-momfbd", (1, 3, 192, 192), {**AT_ONCE, "forward": "emulator", "memory_gb": 0.6}),
]


@pytest.fixture(scope="module")
def peaks() -> list[int]:
    """The bytes that the run of each case took at its peak."""
    command = [sys.executable, "-c", RUN, json.dumps(CASES)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="the peak memory of a part of a run is known on Linux only",
)
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number][0]}-{number}")
def test_a_run_s_peak_is_near_what_was_said(number: int, peaks: list[int]) -> None:
    (method, shape, chosen), peak = CASES[number], peaks[number]
    told = memory_estimate(shape, load(method).settings(**chosen), optics=1)
    print(f"{method}: {peak / 1e6:.0f} MB at the peak, {told / 1e6:.0f} MB told before")
    assert 0.6 < peak / told < 1.25
    assert peak < 1.1e9 * chosen["memory_gb"]


def test_less_memory_means_smaller_tiles_and_at_last_frames_that_are_read() -> None:
    needs = [memory_need((1, 12, 4096, 4096), SvMomfbdSettings(memory_gb=gb)) for gb in (64.0, 8.0, 2.0)]
    found = [need for need in needs if need is not None]
    assert [need.frames_held for need in found] == [True, True, False]
    tiles = [need.tiles[0] * need.tiles[1] for need in found]
    assert tiles[0] <= tiles[1] < tiles[2]
    assert found[0].peak_bytes > found[1].peak_bytes > found[2].peak_bytes
    assert found[1].peak_bytes < 10e9


def test_the_emulator_s_memory_is_that_of_its_network() -> None:
    field = (1, 12, 1024, 1024)
    settings = SvMomfbdSettings(forward="emulator", grid_step=16)
    needs = [memory_need(field, settings.replace(memory_gb=gb)) for gb in (16.0, 5.0, 1.0)]
    whole, tiled, least = [need for need in needs if need is not None]
    # One frame of 1088 x 1088 pixels takes 2.8 GB. Its network sees further than a PSF reaches: the field
    # stays whole while it can.
    assert whole.tiles == (1, 1)
    assert tiled.tiles == (2, 2)
    assert least.tiles[0] > 2
    assert whole.peak_bytes < 16e9
    assert tiled.peak_bytes < 5e9
    with pytest.raises(WeightsError, match="enhance-small is no emulator"):
        memory_need(field, settings.replace(emulator="enhance-continuum-small"))


def test_objects_that_share_their_optics_need_less() -> None:
    settings = SvMomfbdSettings(memory_gb=8.0)
    assert memory_estimate((2, 12, 512, 512), settings, optics=1) < memory_estimate(
        (2, 12, 512, 512), settings
    )


def test_other_methods() -> None:
    mean = RichardsonLucySettings()
    assert 1e9 < memory_estimate((1, 1, 4096, 4096), mean) < 3e9
    assert memory_estimate((1, 9, 64, 64), mean) == memory_estimate((1, 1, 64, 64), mean)
    assert memory_estimate((1, 1, 64, 64), mean.replace(upsampling=2)) > memory_estimate((1, 1, 64, 64), mean)
    assert memory_estimate((1, 9, 64, 64), MfbdSettings()) > memory_estimate((1, 2, 64, 64), MfbdSettings())
    # beyond a tile the network takes no more, and the frames do
    whole, parts = MfbdSettings(tile=4096), MfbdSettings(tile=512)
    assert memory_estimate((1, 7, 512, 512), whole) == memory_estimate((1, 7, 512, 512), parts)
    assert memory_estimate((1, 7, 4096, 4096), whole) > 3 * memory_estimate((1, 7, 4096, 4096), parts)
    assert 1e9 < memory_estimate((1, 1, 4096, 4096), EnhanceSettings()) < 3e9
    assert 0.8e9 < memory_estimate((1, 12, 4096, 4096), MomfbdSettings(memory_gb=8.0)) < 8e9


@pytest.mark.parametrize(("device", "number"), [("cuda", None), ("cuda:1", 1)])
def test_half_of_what_a_gpu_has_free_is_for_the_work(
    device: str, number: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch 2.4 raises a ValueError where it is given a device without a number, as `auto` picks it."""
    free = {number: (16e9, 24e9)}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: free[index])
    assert budget_bytes(None, torch.device(device)) == 8e9
    assert budget_bytes(2.0, torch.device(device)) == 2e9


def test_half_of_what_the_system_says_is_free_is_for_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64e9, available=24e9))
    assert budget_bytes(None, torch.device("cpu")) == 12e9
    assert budget_bytes(2.0, torch.device("cpu")) == 2e9


@pytest.mark.parametrize("method", [SvMomfbdSettings, MomfbdSettings])
def test_a_limit_that_no_run_can_keep_is_refused_with_the_need(method: type[Settings]) -> None:
    shape = (1, 12, 4096, 4096)
    settings = method(memory_gb=0.5)
    least = least_gb(shape, settings, optics=1)
    assert least is not None
    assert least > 1
    assert memory_estimate(shape, settings.replace(memory_gb=least), optics=1) <= 1.05e9 * least
    frames = np.broadcast_to(np.ones((1, 1, 1, 1), np.float32), shape)  # takes no memory
    burst = Burst(frames=frames, instruments=(find("crisp-8542"),))
    with pytest.raises(SettingsError, match=rf"needs {math.ceil(10 * least) / 10:.1f} GB .*which is 0.5"):
        next(stream(burst, settings.replace(r0_cm=10.0), device="cpu"))
    assert least_gb((1, 6, 64, 64), settings) == 0.5
    assert least_gb(shape, method()) is None

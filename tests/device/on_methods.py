"""Every method gives on an accelerator what it gives on the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import heliorestore
from heliorestore import Burst, SvMomfbdSettings, restore
from heliorestore.diagnose import lambda_object
from heliorestore.instrument import find
from heliorestore.methods.base import load, stream
from heliorestore.methods.blind import fetch, field_plan
from heliorestore.nets import weights
from heliorestore.nets.importing import import_file
from heliorestore.samples import sample_path

FEW: dict[str, dict[str, Any]] = {
    "richardson-lucy": {"iterations": 2},
    "enhance": {"network": "small"},
    "mfbd": {"committee": 2},
    "denoise": {"series": False},
    "denoise fitted": {"series": False, "weights": "none", "fit": 1, "patches": 10},
    "momfbd": {"iterations": 2, "modes": 12},
    "sv-momfbd": {"iterations": 2, "patch_iterations": 1, "modes": 12, "grid_step": 16, "psf": 32},
    "sv-momfbd adamw": {
        **{"start": "average", "optimiser": "adamw", "iterations": 2, "modes": 12, "grid_step": 16},
        **{"psf": 32, "regulariser": "wavelet", "positive": True},
    },
    "sv-momfbd emulator": {
        **{"start": "average", "optimiser": "adamw", "forward": "emulator", "iterations": 1, "psf": 32},
        **{"grid_step": 16},
    },
}


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Three frames of a sunspot."""
    seen = heliorestore.read(sample_path("sunspot_burst.fits"))
    return np.stack([seen.image(0, frame) for frame in range(3)])[:, :32, :48]


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference over the mean."""
    assert one.shape == other.shape
    assert (np.isfinite(one) == np.isfinite(other)).all()
    return float(np.nanmax(np.abs(one - other)) / np.nanmean(np.abs(other)))


@pytest.mark.parametrize("name", FEW)
def test_a_method_gives_the_image_of_the_cpu(name: str, frames: np.ndarray, device: str) -> None:
    method = name.partition(" ")[0]
    burst = Burst.from_array(frames, find("hmi-6173" if method == "enhance" else "crisp-6302"))
    settings = load(method).settings().replace(**FEW[name])
    here, there = (restore(burst, settings, device=place) for place in ("cpu", device))
    assert there.run is not None
    assert there.run.device == device
    tolerance = 1e-4 if device == "pretend" else 0.1
    assert apart(there.images, here.images) < tolerance
    assert set(there.maps) == set(here.maps)
    for map_ in set(here.maps) if device == "pretend" else ():
        np.testing.assert_allclose(there.array(map_), here.array(map_), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("name", ["sv-momfbd", "denoise fitted"])
def test_a_run_goes_on_from_its_checkpoint(
    name: str, frames: np.ndarray, device: str, tmp_path: Path
) -> None:
    burst, path = Burst.from_array(frames, find("crisp-6302")), tmp_path / "state.pt"
    chosen = load(name.partition(" ")[0]).settings().replace(**FEW[name])
    with closing(stream(burst, chosen, device=device, checkpoint=str(path))) as results:
        next(results)
    assert path.exists()
    resumed, whole = (
        restore(burst, settings, device=device) for settings in (chosen.replace(checkpoint=str(path)), chosen)
    )
    assert resumed.step == whole.step
    assert apart(resumed.images, whole.images) < (1e-6 if device == "pretend" else 1e-2)


def test_a_value_of_lambda_object_is_suggested(
    frames: np.ndarray, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_object, "GRID", (1e-3, 1e-2))
    burst = Burst.from_array(np.concatenate([frames, frames[:1]]), find("crisp-6302"))
    settings = SvMomfbdSettings().replace(**FEW["sv-momfbd"])
    monkeypatch.setattr(lambda_object, "_REFINED", 1)
    there = lambda_object.prepare(burst, settings, device=device, size=32)
    cpu = torch.device("cpu")
    here = dataclasses.replace(there, modes=there.modes.to(cpu), wavefronts=there.wavefronts.to(cpu))
    here, there = (each.solutions(slice(0, None, 2)) for each in (here, there))
    assert apart(there, here) < (1e-4 if device == "pretend" else 0.1)


@pytest.mark.parametrize(
    ("name", "which", "waits"),
    [("sv-momfbd", 1, 1), ("sv-momfbd", 4, 0), ("sv-momfbd emulator", 1, 0), ("momfbd", 1, 1)],
)
def test_an_iteration_brings_back_one_copy_and_waits_for_no_number(
    name: str, which: int, waits: int, frames: np.ndarray, device: str
) -> None:
    """On patches the sums of the loss come at once, before the image. Every fifth iteration on the field
    looks at the air, and asks for more."""
    if device != "pretend":
        pytest.skip("only the pretended device sees what crosses over")
    from pretend_device import rules

    burst = Burst.from_array(frames, find("crisp-6302"))
    few = load(name.partition(" ")[0]).settings().replace(**FEW[name])
    few = few.replace(iterations=6, stop_early=False)
    if few.method == "sv-momfbd" and name == few.method:
        few = few.replace(patch_iterations=2)
    with closing(stream(burst, few, device=device)) as results:
        for _ in range(which):
            next(results)
        with rules(double=False) as watched:
            next(results)
    assert len(watched.fetched) == 1
    assert len(watched.waits) == waits
    assert sum(watched.sent) < 1000


def test_a_copy_that_comes_late_is_waited_for(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device != "pretend":
        pytest.skip("only the pretended device can be late")
    from pretend_device import rules

    late: list[Callable[[], object]] = []
    asked: list[bool] = []
    made = torch.empty

    def empty(*shape: Any, pin_memory: bool = False) -> torch.Tensor:
        asked.append(pin_memory)
        return made(*shape).fill_(torch.nan)  # without CUDA there is no such memory

    def synchronize() -> None:
        while late:
            late.pop()()

    monkeypatch.setattr(fetch, "_WRITING", ("pretend",))
    monkeypatch.setattr(torch, "empty", empty)
    waiting = SimpleNamespace(synchronize=synchronize)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda place: waiting)
    there = {"image": torch.ones(2, 3, device=device), "loss": torch.full((), 4.0, device=device)}
    with rules(double=False, late=late) as watched:
        found = fetch.fetched({**there, "number": 5.0})
    assert asked == [True]
    assert watched.fetched == [28]
    np.testing.assert_array_equal(found["image"], np.ones((2, 3)))
    assert (found["loss"], found["number"]) == (4.0, 5.0)


@pytest.mark.parametrize("network", ["encoder-decoder", "recurrent"])
def test_mfbd_brings_back_nothing_but_the_image(network: str, frames: np.ndarray, device: str) -> None:
    if device != "pretend":
        pytest.skip("only the pretended device sees what crosses over")
    from pretend_device import rules

    settings = load("mfbd").settings().replace(network=network, committee=2)
    with closing(stream(Burst.from_array(frames, find("crisp-6302")), settings, device=device)) as results:
        next(results)
        with rules(double=False) as watched:
            next(results)
    assert watched.fetched == [4 * 32 * 48]
    assert sum(watched.sent) < 1000  # the frames are there
    assert watched.waits == []


def test_imported_weights_restore_there_as_here(
    frames: np.ndarray, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path,))
    torch.manual_seed(0)
    net = weights.build("mfbd-quarter")
    # as a training on a GPU leaves it
    state = {f"module.{name}": value for name, value in net.to(device).state_dict().items()}
    if device == "pretend":  # its tensors cannot be pickled
        state = {name: value.cpu() for name, value in state.items()}
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "foreign.pth")
    import_file(tmp_path / "foreign.pth", "foreign", folder=tmp_path)
    burst = Burst.from_array(frames, find("crisp-6302"))
    settings = load("mfbd").settings().replace(committee=1, weights="foreign")
    here, there = (restore(burst, settings, device=place) for place in ("cpu", device))
    assert apart(there.images, here.images) < (1e-4 if device == "pretend" else 0.1)


def test_a_run_whose_device_is_full_goes_on_there_in_smaller_tiles(
    frames: np.ndarray, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device != "pretend":
        pytest.skip("only the pretended device has a memory of this size")
    from pretend_device import rules

    # a tenth of what the setting says, for an image as small as this
    monkeypatch.setattr(field_plan, "budget_bytes", lambda gigabytes, _: 1e8 * gigabytes)
    burst = Burst.from_array(frames, find("crisp-6302"))
    settings = SvMomfbdSettings().replace(**FEW["sv-momfbd"] | {"iterations": 1}, memory_gb=0.8)
    with rules(double=False, bytes=3.4e6):
        there = restore(burst, settings, device=device)
    assert there.run is not None
    assert there.run.device == device
    assert "pretend is out of memory: the run continues in smaller pieces, within 0.4 GB." in there.messages
    assert there.stop is not None


@pytest.mark.parametrize(
    ("name", "megabytes"), [("sv-momfbd", 1.0), ("richardson-lucy", 0.1), ("enhance", 2.0)]
)
def test_a_run_whose_device_is_full_ends_on_the_cpu(
    name: str, megabytes: float, frames: np.ndarray, device: str
) -> None:
    if device != "pretend":
        pytest.skip("only the pretended device has a memory of this size")
    from pretend_device import rules

    burst = Burst.from_array(frames, find("hmi-6173" if name == "enhance" else "crisp-6302"))
    settings = load(name).settings().replace(**FEW[name])
    with rules(double=False, bytes=1e6 * megabytes):
        there = restore(burst, settings, device=device)
    assert there.run is not None
    assert there.run.device == "pretend, cpu"
    assert "pretend is out of memory: the run continues on the CPU." in there.messages
    # a run goes on from its last snapshot, not from its state
    assert there.stop is not None
    assert apart(there.images, restore(burst, settings, device="cpu").images) < 0.2

"""Half precision, in which networks compute on a GPU, tried on the CPU: how far results are from those in
single precision, and that physics stays in single precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import heliorestore
from blind_bursts import scene, simulate
from heliorestore import Burst, MfbdSettings, SvMomfbdSettings, restore
from heliorestore.instrument import find
from heliorestore.methods.blind.emulated import emulated, load_emulator
from heliorestore.optics import precision
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.samples import sample_path

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def burst() -> Burst:
    """A sunspot in seven frames."""
    seen = heliorestore.read(sample_path("sunspot_burst.fits"))
    frames = np.stack([seen.image(0, frame % seen.shape[1]) for frame in range(7)])[:, :64, :64]
    return Burst.from_array(frames, find("crisp-6302"))


@pytest.fixture
def halved(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call something with half precision on the CPU."""

    def call(work: Any) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(precision, "_HALF", ("cpu",))
            return work()

    return call


def apart(one: Any, other: Any) -> tuple[float, float]:
    """The rms and the largest difference, in units of the standard deviation of the other."""
    difference = np.asarray(one) - np.asarray(other)
    return tuple(
        float(each / np.asarray(other).std())
        for each in (np.sqrt(np.mean(difference**2)), np.abs(difference).max())
    )


@pytest.mark.parametrize("network", ["encoder-decoder", "recurrent"])
def test_mfbd_loses_little(network: str, burst: Burst, halved: Any) -> None:
    settings = MfbdSettings(network=network, committee=1)
    single, half = (
        restore(burst, settings, device="cpu"),
        halved(lambda: restore(burst, settings, device="cpu")),
    )
    found = apart(half.images, single.images)
    assert 0 < found[0] < 0.006
    assert found[1] < 0.03


def test_the_emulator_loses_little(halved: Any) -> None:
    case = simulate(size=48, frames=2, modes=8, varying=0.3)
    model = emulated(load_emulator("emulator-narrow", CPU))(case.wavefronts.optics(32), (48, 48), 16, 1e9)
    object_ = scene(80, seed=3)[:, : model.object_shape[0], : model.object_shape[1]]
    seen = torch.from_numpy(case.burst.frames[:, :] / 1000)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        images = model.apply(object_, case.modes)
        return images, model.slope(object_, case.modes, images - seen)

    (images, slope), (near, close) = both(), halved(both)
    assert near.dtype == close.dtype == torch.float32
    assert 0 < apart(near, images)[0] < 0.006
    assert 0 < apart(close, slope)[0] < 0.06


def test_physics_stays_in_single_precision(burst: Burst, halved: Any) -> None:
    case = simulate(size=32, frames=2, modes=8)
    model = FilterFlow(optics=case.wavefronts.optics(32), shape=(32, 32), step=16, borders="given")
    random = torch.Generator().manual_seed(0)

    def all_of_it() -> list[torch.Tensor]:
        objects = torch.rand((1, *model.object_shape), generator=random.manual_seed(0)).requires_grad_()
        modes = case.modes.clone().requires_grad_()
        images = model(objects, modes)
        gradients = torch.autograd.grad(images.square().sum(), (objects, modes))
        seen, known = images.detach(), model.transfer(modes)
        return [
            *(seen, *gradients, *known, model.apply(objects, known), model.adjoint(seen, known)),
            *(model.slope(objects.detach(), modes, seen), model.psfs(modes.detach())),
        ]

    single = all_of_it()
    with torch.autocast("cpu", torch.bfloat16):
        within = halved(all_of_it)
    for one, other in zip(within, single, strict=True):
        assert torch.equal(one, other)

    few = SvMomfbdSettings(iterations=2, patch_iterations=1, modes=8, grid_step=16, psf=32)
    plain = restore(burst, few, device="cpu")
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(halved(lambda: restore(burst, few, device="cpu")).images, plain.images)

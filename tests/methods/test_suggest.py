"""The suggested lambda_object against the truth of simulated bursts."""

import numpy as np
import pytest
import torch

from heliorestore.burst import Burst
from heliorestore.errors import SettingsError
from heliorestore.instrument import find
from heliorestore.methods.base import restore
from heliorestore.methods.richardson_lucy import RichardsonLucySettings
from heliorestore.methods.suggest import GRID, suggest
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.optics.psf import telescope_psf
from heliorestore.quality import likeness
from heliorestore.simulate.burst import simulate_burst
from heliorestore.simulate.view import SimulationSettings

SETTINGS = SvMomfbdSettings(psf=48, patch=48, modes=20, iterations=12, patch_iterations=6)


@pytest.mark.parametrize("noise", [2e-3, 2e-2])
def test_the_suggested_value_is_nearly_as_good_as_the_best(noise: float) -> None:
    simulated = SimulationSettings(size=80, frames=8, objects=1, scene="granulation", ao=True, noise=noise)
    simulation = simulate_burst(simulated, find("crisp-8542"), seed=4)
    found = suggest(simulation.burst, SETTINGS, device="cpu")
    errors = {}
    for value in GRID[::2] if found.value in GRID[::2] else GRID[1::2]:
        image = restore(simulation.burst, SETTINGS.replace(lambda_object=value), device="cpu").images[0]
        seen = torch.fft.irfft2(
            torch.fft.rfft2(torch.tensor(image)) * torch.fft.rfft2(telescope_psf(find("crisp-8542"), image.shape)), s=image.shape
        )
        errors[value] = likeness(seen.numpy(), simulation.truth[0]).nmse
    assert errors[found.value] < 1.15 * min(errors.values())
    assert found.difference.shape == found.noise.shape == (len(GRID),)
    assert "foretells the other best" in found.reason


def test_more_noise_asks_for_more_smoothing() -> None:
    values = []
    for noise in (1e-3, 5e-2):
        settings = SimulationSettings(size=64, frames=6, objects=1, scene="granulation", ao=True, noise=noise)
        values.append(suggest(simulate_burst(settings, find("crisp-8542"), seed=4).burst, SETTINGS, device="cpu").value)
    assert values[1] > values[0]


def test_what_cannot_be_suggested_is_explained() -> None:
    few = Burst.from_array(np.ones((3, 32, 32)), find("crisp-8542"))
    with pytest.raises(SettingsError, match="at least 4"):
        suggest(few, SETTINGS)
    with pytest.raises(SettingsError, match="not for richardson-lucy"):
        suggest(few, RichardsonLucySettings())

"""The suggested lambda_object against the truth of simulated bursts."""

from functools import cache

import numpy as np
import pytest

from heliorestore.burst import Burst
from heliorestore.diagnose import lambda_object
from heliorestore.diagnose.lambda_object import GRID, Prepared, Suggestion, prepare, suggest
from heliorestore.errors import SettingsError
from heliorestore.instrument import find
from heliorestore.methods.richardson_lucy import RichardsonLucySettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.quality.metrics import likeness
from heliorestore.simulate.burst import Simulation, simulate_burst
from heliorestore.simulate.view import SimulationSettings

SETTINGS = SvMomfbdSettings(psf=64, patch=64)


@cache
def found_at(noise: float) -> tuple[Simulation, Prepared, Suggestion]:
    """A burst, what a suggestion prepares of it, and the suggestion."""
    simulated = SimulationSettings(size=64, frames=6, objects=1, scene="granulation", ao=True, noise=noise)
    simulation = simulate_burst(simulated, find("crisp-8542"), seed=4)
    ready = prepare(simulation.burst, SETTINGS, device="cpu", size=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lambda_object, "prepare", lambda *_, **__: ready)
        return simulation, ready, suggest(simulation.burst, SETTINGS, device="cpu")


@pytest.mark.parametrize("noise", [2e-3, 2e-2])
def test_the_suggested_value_is_nearly_as_good_as_the_best(noise: float) -> None:
    simulation, ready, found = found_at(noise)
    images = ready.solutions(slice(None))
    truth = simulation.truth[0][8:-8, 8:-8]
    errors = {
        value: likeness(image[0], truth, border=8).nmse for value, image in zip(GRID, images, strict=True)
    }
    assert max(errors.values()) > 2 * min(errors.values())  # it does matter
    error = np.interp(np.log(found.value), np.log(GRID[::-1]), [errors[value] for value in GRID[::-1]])
    assert error < 1.3 * min(errors.values())
    assert found.difference.shape == found.noise.shape == (len(GRID),)
    assert "predicts one half of the frames best" in found.reason


def test_the_steps_are_counted_and_an_error_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ready, _ = found_at(2e-3)
    seen = []

    def progress(stage: str, done: int, total: int) -> None:
        seen.append((stage, done, total))
        if len(seen) == 3:
            raise SettingsError("enough")

    monkeypatch.setattr(lambda_object, "prepare", lambda *_, **__: ready)
    with pytest.raises(SettingsError, match="enough"):
        suggest(ready.burst, SETTINGS, device="cpu", progress=progress)
    assert [done for _, done, _ in seen] == [1, 2, 3]
    assert {(stage, total) for stage, _, total in seen} == {
        ("values of lambda object", SETTINGS.patch_iterations + 11 + 2 * len(GRID))
    }


def test_more_noise_asks_for_more_smoothing() -> None:
    little, much = (found_at(noise)[2].value for noise in (2e-3, 2e-2))
    assert much > little


def test_what_cannot_be_suggested_is_explained() -> None:
    few = Burst.from_array(np.ones((3, 32, 32)), find("crisp-8542"))
    with pytest.raises(SettingsError, match="at least 4"):
        suggest(few, SETTINGS)
    with pytest.raises(SettingsError, match="not for richardson-lucy"):
        suggest(few, RichardsonLucySettings())

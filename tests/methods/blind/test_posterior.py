"""How well the data determine the modes, against finite differences of the misfit."""

import pytest
import torch

from blind_bursts import CPU, simulate
from heliorestore.methods.blind.air import Nodes, first_air
from heliorestore.methods.blind.noise_model import Noise
from heliorestore.methods.blind.patch_metric import object_power
from heliorestore.methods.blind.posterior import make_posterior
from heliorestore.prepare.observe import observe

STEP, PATCH = 16, 48
LIMITS = torch.tensor([0.335])


@pytest.fixture(scope="module")
def looked_at():
    case = simulate(noise=1e-4)
    observation = observe(case.burst, CPU, align=False)
    nodes = Nodes.of((5, 5))
    posterior = make_posterior(observation, case.wavefronts, nodes, step=STEP, patch=PATCH, memory_bytes=1e9)
    return case, posterior


def test_places_lie_inside_and_frames_are_spread(looked_at):
    _, posterior = looked_at
    assert posterior.frames == (0, 1, 2, 3, 4, 5)
    assert all(30 <= y <= 34 and 30 <= x <= 34 for _, y, x in posterior.places)


def test_the_curvature_is_that_of_the_misfit_with_the_object_eliminated(looked_at):
    case, posterior = looked_at
    patches, noise = posterior.patches, Noise(torch.tensor([1e-3**2]), LIMITS)
    number, *_ = posterior.places[0]
    at = case.modes[:, :, 2, 2]  # the same everywhere
    (curvature, *_) = posterior._curvatures(patches, number, at, noise)
    data = patches.spectra(slice(number, number + 1))[0]
    level = (noise.at(patches.frequencies) * patches.window.square().sum())[0]

    def residual(first: torch.Tensor) -> torch.Tensor:
        modes = torch.cat([first[None], at[1:]]) / case.wavefronts.sigmas
        transfer = patches.transfer(modes[None])[0]
        seen = transfer.abs().square().sum(0) + level / power
        return data - transfer * (transfer.conj() * data).sum(0) / seen

    exact = patches.transfer((at / case.wavefronts.sigmas)[None])[0].abs().square().sum(0)
    power = object_power(patches, 0, data, exact, level)
    for mode in (2, 4, 6):
        step = torch.zeros(8)
        step[mode] = 0.05 * case.wavefronts.sigmas[mode]
        change = (residual(at[0] + step) - residual(at[0] - step)) / 0.1
        bent = float((change.abs().square() * patches.used[0] / level).sum()) * STEP**2 / PATCH**2
        assert float(curvature[mode, mode]) == pytest.approx(bent, rel=0.15)


def test_noise_leaves_more_unknown_and_the_tilts_are_known_best(looked_at):
    case, posterior = looked_at
    air = first_air(case.wavefronts, posterior.nodes, 0.9, 8)
    little, much = (
        posterior.left(case.modes, case.wavefronts, air, Noise(torch.tensor([sigma**2]), LIMITS))[0]
        for sigma in (1e-3, 1e-2)
    )
    assert (little < much).all()
    assert little[:2].mean() < little[2:].mean()
    assert (much <= 1.0001).all()

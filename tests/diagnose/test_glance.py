"""The glance is near what the solver makes of the new knobs, and keeps what they do not touch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from blind_bursts import CPU, simulate
from heliorestore.diagnose.glance import glance, knob_behind
from heliorestore.methods.blind.forward import Flow
from heliorestore.methods.blind.object_solver import solve_objects
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.prepare.observe import observe
from heliorestore.snapshot import Run, Snapshot

SETTINGS = SvMomfbdSettings(modes=8, r0_cm=20, left_out=0.0, grid_step=16, psf=32, lambda_object=0.1)


@pytest.fixture(scope="module")
def solved():
    """The objects of a small burst with its true modes, for any settings."""
    case = simulate(noise=3e-2, varying=0.3)
    observation = observe(case.burst, CPU, align=False)
    flow = Flow(observation, case.wavefronts, 32, 16, 1e9)
    start = flow.surround(observation.mean)

    def solve(settings: SvMomfbdSettings) -> Snapshot:
        knobs = settings.knobs(settings.weights(1, CPU))
        objects = flow.sharp(solve_objects(flow.transfers(case.modes), start, knobs, 40), knobs)
        images = (objects[(slice(None), *flow.inner)] * observation.scales[:, None, None]).numpy()
        history = {
            name: np.array([getattr(settings, name)])
            for name in ("lambda_object", "filter_width", "filter_smoothness")
        }
        maps = {"modes": case.modes.numpy(), "residual": np.zeros_like(images)}
        run = Run.of(case.burst, settings, "cpu", 0)
        return Snapshot(step=1, total=1, images=images, maps=maps, history=history, run=run)

    return solve


@pytest.mark.parametrize(
    "changes",
    [{"lambda_object": 1.0}, {"lambda_object": 5.0}, {"lambda_object": 0.02}, {"filter_width": 0.7}],
)
def test_a_glance_is_most_of_the_way_to_what_the_solver_finds(solved, changes):
    before, after = solved(SETTINGS), solved(SETTINGS.replace(**changes))
    seen = glance(before, SETTINGS.replace(**changes))
    inner = (slice(None), slice(8, -8), slice(8, -8))
    way, left = (np.linalg.norm((after.images - images)[inner]) for images in (before.images, seen))
    print(changes, left / way)
    assert left < 0.5 * way
    assert seen.mean() == pytest.approx(before.images.mean(), rel=1e-3)


def test_equal_knobs_and_the_start_on_patches_change_nothing(solved):
    before = solved(SETTINGS)
    assert glance(before, SETTINGS.replace(lambda_modes=1.0)) is before.images
    on_patches = replace(before, maps={"modes": before.maps["modes"]})
    assert knob_behind(on_patches) is None
    assert glance(on_patches, SETTINGS.replace(lambda_object=1.0)) is on_patches.images
    assert torch.get_default_dtype() == torch.float32

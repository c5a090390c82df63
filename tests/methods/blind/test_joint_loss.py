"""The paper's loss, written out: what is printed, and the gradient that AdamW takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from blind_bursts import CPU, PSF, Case, simulate
from heliorestore.burst import Burst
from heliorestore.methods.blind.forward import Flow
from heliorestore.methods.blind.measured import measure
from heliorestore.methods.blind.object_solver import Knobs
from heliorestore.methods.blind.refinement import (
    FlowProblem,
    FlowState,
    begin,
    joint_step,
    make_flow_problem,
)
from heliorestore.methods.blind.wavefronts import make_wavefronts
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.optics.convolve import interpolate
from heliorestore.optics.penalties import gradient
from heliorestore.prepare.observe import observe

STEP, SIZE, LAMBDA_O, LAMBDA_A = 16, 51, 0.3, 0.2
WEIGHTS = torch.tensor([1.0, 0.5])


@pytest.fixture(scope="module")
def case() -> Case:
    """Two objects, 51 pixels: no multiple of the nodes' distance."""
    return simulate(size=SIZE, frames=3, objects=2, wavelengths=(854.2, 630.2), varying=0.3)


def knobs(weights: torch.Tensor = WEIGHTS, **changes: float) -> Knobs:
    settings = SvMomfbdSettings.paper(lambda_object=LAMBDA_O, lambda_modes=LAMBDA_A, **changes)
    return settings.knobs(weights)


def stands(burst: Burst, modes: torch.Tensor, step: int = STEP) -> tuple[FlowProblem, FlowState]:
    """The problem of a burst, and a state with rough objects and these modes (frame, mode, gy, gx)."""
    wavefronts = make_wavefronts(
        burst.instruments, modes.shape[1], 20.0, (0.0,) * burst.shape[0], CPU, left_out=0.0
    )
    problem = make_flow_problem(Flow(observe(burst, CPU, align=False), wavefronts, PSF, step, 1e9))
    state = begin(problem)
    rough = 0.1 * torch.randn(state.objects.shape[1:], generator=torch.Generator().manual_seed(3))
    return problem, replace(
        state, objects=state.objects + rough, modes=modes / wavefronts.sigmas[:, None, None]
    )


def frames_of(burst: Burst) -> np.ndarray:
    return np.stack([[burst.image(k, f) for f in range(burst.shape[1])] for k in range(burst.shape[0])])


def printed(problem: FlowProblem, state: FlowState, turned: Knobs) -> dict[str, float]:
    transfers = problem.flow.transfers(problem.radian(state.modes))
    squares = transfers.squares(problem.flow.sharp(state.objects, turned))
    return measure(problem, replace(state, squares=squares), transfers, turned, None).losses


def written_out(problem: FlowProblem, objects: torch.Tensor, radian: torch.Tensor) -> torch.Tensor:
    """Sum over objects and frames of gamma <r^2> + lambda_o <|grad o|^2> + lambda_alpha sum <|grad alpha|^2>,
    with images from 0 to 1."""
    flow, total = problem.flow, torch.zeros(())
    sharp = flow.sharp(objects, knobs())
    (part,) = flow.layout.parts()
    images = flow.models[part.shape](sharp[:, *part.seen], radian)
    seen = flow.observation.read().images
    alpha = interpolate(radian, flow.observation.shape, flow.step)
    for object_, weight in enumerate(WEIGHTS):
        mean = flow.observation.mean[object_]
        span = mean.max() - mean.min()
        for frame in range(images.shape[1]):
            residual = (images - seen)[object_, frame] / span
            total = total + weight * residual.square().mean()
            total = total + LAMBDA_O * gradient(sharp[object_] / span).square().sum() / SIZE**2
            total = total + LAMBDA_A * gradient(alpha[frame]).square().sum() / SIZE**2
    return total


def test_what_is_printed_is_the_formula_and_adamw_takes_its_gradient(case: Case) -> None:
    problem, state = stands(case.burst, case.modes)
    objects = state.objects.clone().requires_grad_(True)
    radian = case.modes.clone().requires_grad_(True)
    total = written_out(problem, objects, radian)
    total.backward()
    losses = printed(problem, state, knobs())
    assert losses["loss"] == pytest.approx(float(total.detach()), rel=1e-4)
    assert losses["loss"] == pytest.approx(losses["data"] + losses["object"] + losses["modes"], rel=1e-6)
    assert min(losses["data"], losses["object"], losses["modes"]) > 0.01 * losses["loss"]
    # After a step from the beginning Adam's mean is a tenth of the gradient, here in objects from 0 to 1.
    after, _ = joint_step(problem, state, knobs())
    mean = problem.flow.observation.mean
    span = mean.amax((-2, -1), keepdim=True) - mean.amin((-2, -1), keepdim=True)
    for found, wanted in (
        (after.object_moments.first / span, objects.grad),
        (after.mode_moments.first, radian.grad),
    ):
        assert wanted is not None
        assert float((10 * found - wanted).norm() / wanted.norm()) < 1e-3


def test_an_iteration_moves_objects_by_the_rate_in_units_of_their_range(case: Case) -> None:
    problem, state = stands(case.burst, case.modes)
    after, _ = joint_step(problem, state, knobs(rate_objects=0.01))
    mean = problem.flow.observation.mean
    moved = (after.objects - state.objects).abs().median()
    assert float(moved) == pytest.approx(
        0.01 * float((mean.amax((-2, -1)) - mean.amin((-2, -1))).mean()), rel=0.2
    )


def test_every_frame_and_every_object_adds_its_terms(case: Case) -> None:
    one = case.burst.select(objects=slice(0, 1))
    turned = knobs(torch.ones(1))
    once = printed(*stands(one, case.modes), turned)
    frames = np.concatenate([frames_of(one)] * 2, axis=1)
    twice = Burst(frames=frames, instruments=one.instruments)
    longer = printed(*stands(twice, case.modes.repeat(2, 1, 1, 1)), turned)
    frames = np.concatenate([frames_of(one)] * 2, axis=0)
    pair = Burst(frames=frames, instruments=one.instruments * 2)
    wider = printed(*stands(pair, case.modes), knobs(torch.ones(2)))
    for term in ("data", "object", "modes", "loss"):
        assert longer[term] == pytest.approx(2 * once[term], rel=1e-3), term
        assert wider[term] == pytest.approx(2 * once[term], rel=1e-3), term
    unseen = printed(*stands(pair, case.modes), knobs(torch.tensor([1.0, 0.0])))
    assert unseen["loss"] == pytest.approx(once["loss"], rel=1e-3)


def test_the_modes_are_compared_pixel_by_pixel_however_far_apart_their_nodes_are(case: Case) -> None:
    coarse = stands(case.burst, case.modes)
    nodes = 2 * torch.tensor(case.modes.shape[2:]) - 1
    finer = torch.nn.functional.interpolate(case.modes, tuple(nodes), mode="bilinear", align_corners=True)
    fine = stands(case.burst, finer[..., : -(-(SIZE - 1) // 8) + 1, : -(-(SIZE - 1) // 8) + 1], STEP // 2)
    assert printed(*fine, knobs())["modes"] == pytest.approx(printed(*coarse, knobs())["modes"], rel=1e-4)


def test_the_paper_s_recipe_seeks_wavefronts_every_eight_pixels() -> None:
    assert SvMomfbdSettings.paper().grid_step == 8


def test_in_turns_the_terms_stay_as_they_were(case: Case) -> None:
    problem, state = stands(case.burst, case.modes)
    losses = printed(problem, state, SvMomfbdSettings(lambda_object=LAMBDA_O).knobs(WEIGHTS))
    sharp = problem.flow.sharp(state.objects, knobs())
    assert losses["object"] == pytest.approx(
        LAMBDA_O * float(gradient(sharp).square().sum()) / SIZE**2, rel=1e-5
    )

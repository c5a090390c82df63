"""The standard error of a restored image: each cause against what it must be, and all together against the
truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from blind_bursts import CPU, PSF, scene, simulate
from heliorestore.fits.reader import read
from heliorestore.fits.writer import write
from heliorestore.methods.base import restore, stream
from heliorestore.methods.blind.air import Air, Nodes
from heliorestore.methods.blind.forward import Flow
from heliorestore.methods.blind.image_error import (
    ImageError,
    _moved,
    _sensitivity,
    _tilt_pixels,
    drawn_modes,
    image_error,
)
from heliorestore.methods.blind.object_solver import change_of_objects, passed, solve_objects
from heliorestore.methods.blind.refinement import begin, compared, make_flow_problem
from heliorestore.methods.blind.verdict import verdicts
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.optics.filters import flat_top, frequency
from heliorestore.optics.psf import psf
from heliorestore.optics.pupil import cutoff
from heliorestore.prepare.observe import observe
from heliorestore.quality.metrics import registered

SHORT = SvMomfbdSettings(
    grid_step=16, modes=12, patch=32, psf=PSF, iterations=14, patch_iterations=5, stop_early=False
)
NOISE = 5e-3
MIDDLE = (slice(None), slice(16, -16), slice(16, -16))


@pytest.fixture(scope="module")
def case():
    return simulate(varying=0.3, noise=NOISE)


@pytest.fixture(scope="module")
def problem(case):
    return made_problem(case)


def made_problem(case):
    return make_flow_problem(Flow(observe(case.burst, CPU, align=False), case.wavefronts, PSF, 16, 1e9))


@pytest.fixture(scope="module")
def solved(case, problem):
    return made_state(case, problem)


def made_state(case, problem):
    """The state with the true modes and the objects that belong to them, its model, and the knobs."""
    knobs, flow = SvMomfbdSettings().knobs(torch.ones(1)), problem.flow
    transfers = flow.transfers(case.modes)
    objects = solve_objects(transfers, flow.surround(flow.observation.mean), knobs, 12)
    state = replace(begin(problem), objects=objects, modes=case.modes / case.wavefronts.sigmas[:, None, None])
    return compared(problem, state, transfers, knobs), transfers, knobs


@pytest.fixture(scope="module")
def last(case):
    return restore(case.burst, SHORT, device="cpu")


def test_noise_comes_through_the_solution_as_often_repeated_bursts_say(monkeypatch):
    monkeypatch.setattr("heliorestore.methods.blind.image_error._STEPS", 6)
    case, noise = simulate(noise=0.03), 0.03
    problem = made_problem(case)
    state, transfers, knobs = made_state(case, problem)
    flow, generator = problem.flow, torch.Generator().manual_seed(3)
    shape = (1, flow.observation.frames, *flow.observation.shape)
    total, count = 0.0, 10
    for _ in range(count):
        errors = noise * torch.randn(shape, generator=generator)
        pulled = torch.zeros_like(state.objects)
        for part, model, known in transfers.parts():
            pulled[:, *part.seen] += model.adjoint(errors[:, part.frames, *part.pixels], known)
        change = change_of_objects(transfers, state.objects, flow.blurred(pulled), knobs, 6)
        total += float(change[:, *flow.inner][MIDDLE].square().mean()) / count
    found = image_error(problem, state, transfers, knobs)
    assert float(found.carried[MIDDLE].mean()) == pytest.approx(total, rel=0.2)
    assert not bool(found.contrast.any())  # nobody learned the air from these data


def test_a_change_of_the_data_changes_the_objects_as_solving_again_does(problem, solved):
    state, transfers, knobs = solved
    flow = problem.flow
    zero = torch.zeros_like(state.objects)
    # All of the data as the change: the objects themselves.
    pulled = transfers.back(zero, torch.ones(1, 1, 1, 1))
    from_nothing = change_of_objects(transfers, state.objects, pulled, knobs, 8)
    same = flow.sharp(solve_objects(transfers, zero, knobs, 8), knobs)
    torch.testing.assert_close(from_nothing, same, rtol=1e-4, atol=1e-4)


def test_drawn_modes_have_the_variance_that_is_unknown_and_none_where_all_is_known():
    nodes = Nodes.of((5, 6))
    sigmas, unknown = torch.tensor([2.0, 1.0, 0.5]), torch.tensor([0.0, 0.3, 0.99])
    air = Air(sigmas, unknown, 10.0, torch.tensor([30.0, 30.0, 300.0], dtype=torch.float64))
    drawn = drawn_modes(nodes, air, (4000, 3, 5, 6), torch.Generator().manual_seed(0))
    share = drawn.square().mean((0, 2, 3)) / sigmas.square()
    assert float(share[0]) < 1e-5
    assert share[1:].tolist() == pytest.approx([0.3, 0.99], rel=0.05)
    # What the data leave unknown is alike at neighbouring nodes where the prior alone speaks.
    apart = drawn.diff(dim=-1).square().mean((0, 2, 3)) / drawn.square().mean((0, 2, 3)) / 2
    assert float(apart[2]) < float(apart[1]) < 1.2


def test_tilts_that_differ_from_place_to_place_move_steep_structure(problem, case):
    tilted = torch.zeros(1, case.wavefronts.count)
    tilted[0, :2] = 0.3
    (image,) = psf(problem.flow.optics[0], tilted)
    # The phase of the transfer function: the PSF's wings leave its window, and draw its centroid back.
    spectrum = torch.fft.rfft2(image.roll((-PSF // 2, -PSF // 2), (0, 1)))
    moved = [float(spectrum[at].angle()) * PSF / (2 * np.pi * 3) for at in ((3, 0), (0, 3))]
    assert [abs(m) for m in moved] == pytest.approx([0.3 * _tilt_pixels(problem)] * 2, rel=0.02)
    frames, plane = 6, 0.01 * torch.arange(64.0).expand(1, 64, 64)
    modes = torch.randn((frames, 8, 5, 5), generator=torch.Generator().manual_seed(1))
    expected = (0.01 * _tilt_pixels(problem)) ** 2 / frames
    found = _moved(problem, modes - modes.mean(0), plane)
    assert float(found.mean()) == pytest.approx(expected, rel=0.2)
    whole = modes[..., :1, :1].expand(-1, -1, 5, 5)
    assert float(_moved(problem, whole - whole.mean(0), plane).abs().max()) < 1e-12


def test_the_contrast_follows_the_strength_of_the_turbulence():
    case = simulate()
    flow = Flow(observe(case.burst, CPU, align=False), replace(case.wavefronts, left_out=1.0), PSF, 16, 1e9)
    problem = make_flow_problem(flow, fitted=8, patch=48)
    unknown = torch.ones(8)  # nothing is known: the mean blur is that of all turbulence
    air = replace(begin(problem).air, unknown=unknown)
    stronger = replace(air, sigmas=air.sigmas * 1.01**0.5, d_over_r0=air.d_over_r0 * 1.01**0.6)
    before, after = (problem.given(each).flow.halo for each in (air, stronger))
    change = -(after / before).log() / np.log(1.01)
    inside = before > 1e-3
    found = _sensitivity(problem, air, problem.given(air).flow)
    torch.testing.assert_close(found[inside], change[inside], rtol=0.03, atol=1e-3)
    assert float(found[0, 0, 0]) == 0  # the mean intensity is none of it


def test_the_penalty_takes_more_where_it_weighs_more(solved):
    _, transfers, knobs = solved
    little, much = (passed(transfers, replace(knobs, lambda_object=value)) for value in (1e-4, 1.0))
    assert float(little[0, 0, 0]) == float(much[0, 0, 0]) == 1
    assert bool((much <= little).all())
    assert float(much[0, 0, 12]) < 0.9


def test_about_two_thirds_of_the_errors_are_inside(case, last):
    large = scene(64 + 2 * PSF)
    passing = flat_top(frequency(tuple(large.shape[-2:])), cutoff(case.burst.instruments[0]))
    rows, columns = large.shape[-2:]
    truth = torch.fft.irfft2(torch.fft.rfft2(large) * passing, s=(rows, columns))[0]
    before = (PSF - 1) // 2
    truth = truth[before : before + 64, before : before + 64].numpy() * 1000
    image, sigma = last.images[0], last.maps["uncertainty"].array[0]
    _, moved = registered(truth * image.mean() / truth.mean(), image, 8)
    times = np.abs(image[8:-8, 8:-8] - moved) / sigma[8:-8, 8:-8]
    times = times[np.isfinite(times)]
    assert 0.5 < (times < 1).mean() < 0.95
    assert (times < 2).mean() > 0.8


def test_the_map_comes_with_the_end_in_the_units_of_the_data(case, last):
    snapshots = list(stream(case.burst, SHORT, device="cpu"))
    assert [("uncertainty" in s.maps) for s in snapshots] == [False] * 13 + [True]
    np.testing.assert_array_equal(snapshots[-1].maps["uncertainty"], last.maps["uncertainty"])
    assert last.unit_of("uncertainty") == "count"
    brighter = replace(case.burst, frames=np.asarray(case.burst.frames) * 1000)
    scaled = restore(brighter, SHORT, device="cpu")
    np.testing.assert_allclose(scaled.maps["uncertainty"], 1000 * last.maps["uncertainty"].array, rtol=0.02)


def test_tiles_and_frames_in_batches_give_the_same_map(case, last, monkeypatch):
    monkeypatch.setattr("heliorestore.methods.blind.field_plan.budget_bytes", lambda *_: 3e6)
    tiled = restore(case.burst, SHORT, device="cpu")
    np.testing.assert_allclose(tiled.maps["uncertainty"], last.maps["uncertainty"], rtol=0.02)


def test_two_objects_have_a_map_each_and_the_fainter_one_the_larger_error():
    case = simulate(objects=2, noise=NOISE)
    frames = np.array(case.burst.frames)
    frames[1] += 20 * np.random.default_rng(0).normal(size=frames[1].shape)
    found = restore(replace(case.burst, frames=frames), SHORT, device="cpu").maps["uncertainty"]
    assert found.shape == (2, 64, 64)
    assert np.median(found[1]) > 1.2 * np.median(found[0])


def test_a_file_holds_the_map_with_its_unit(last, tmp_path: Path):
    path = write(last, tmp_path / "restored.fits")
    assert "standard deviation" in str(fits.getheader(path, "UNCERTAINTY")["COMMENT"])
    back = read(path)
    np.testing.assert_array_equal(back.maps["uncertainty"], last.maps["uncertainty"])
    assert (back.unit_of("uncertainty"), back.maps["uncertainty"].axes) == ("count", ("object", "y", "x"))


def test_adamw_has_no_map(case):
    paper = SHORT.replace(optimiser="adamw", start="average", iterations=2)
    assert "uncertainty" not in restore(case.burst, paper, device="cpu").maps


def error(carried: torch.Tensor, contrast: float = 0.0) -> ImageError:
    nothing = torch.zeros_like(carried)
    return ImageError(carried, nothing, torch.full_like(carried, contrast), nothing)


def test_verdicts_are_spoken_only_where_they_are_true():
    image = scene(96)
    good = torch.full_like(image, 1e-6)
    assert verdicts(image, error(good), ("WB",), 10.0) == ()
    bordered = good.clone()
    bordered[:, :6] = bordered[:, -6:] = bordered[..., :6] = bordered[..., -6:] = 9e-6
    assert verdicts(image, error(bordered), ("WB",), 10.0) == (
        "Within 6 px of the border the error is 3.0 times that of the middle.",
    )
    (text,) = verdicts(image, error(good, 0.045**2), ("WB",), 20.0)
    assert text == "The air was bad (D/r0 = 20): the contrast is right to 30% at best."
    umbra = image.clone()
    umbra[:, 32:64, 32:64] = 0.1 + 1e-4 * image[:, 32:64, 32:64]
    (text,) = verdicts(umbra, error(good), ("WB",), 10.0)
    assert (
        text
        == "In the darkest 25% of the field the error is larger than the structure: details there are noise."
    )
    two = verdicts(torch.cat([image, umbra]), error(torch.cat([good, good])), ("WB", "NB"), 10.0)
    assert [("of NB" in text) for text in two] == [True]

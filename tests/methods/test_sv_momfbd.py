"""SV-MOMFBD: operators and their adjoints, the object solver, the start, live settings, memory, and what it
restores."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from blind_bursts import CPU, INSTRUMENT, PSF, nmse, simulate
from heliorestore.burst import Burst
from heliorestore.diagnose.psf_probe import psfs_at
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits.burst_writer import write_burst
from heliorestore.fits.reader import read
from heliorestore.fits.writer import write
from heliorestore.methods.base import replay, settings_of, stream
from heliorestore.methods.blind.air import usual_r0_cm
from heliorestore.methods.blind.field_fit import FieldFit
from heliorestore.methods.blind.forward import Flow
from heliorestore.methods.blind.measured import measure
from heliorestore.methods.blind.object_solver import Knobs, objects_and_rest, solve_objects
from heliorestore.methods.blind.refinement import (
    FlowProblem,
    begin,
    compared,
    make_flow_problem,
    mode_gradient,
    refine_step,
)
from heliorestore.methods.momfbd import METHOD as MOMFBD
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import METHOD, SvMomfbdSettings
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.halo import halo_transfer
from heliorestore.optics.modes import make_basis, noll_residual
from heliorestore.optics.penalties import gradient, gradient_adjoint, penalty
from heliorestore.optics.psf import make_optics, psf
from heliorestore.prepare.observe import observe
from heliorestore.prepare.opening import reopen
from heliorestore.prepare.sources import Held, Pixels
from heliorestore.simulate.burst import simulate_burst
from heliorestore.simulate.view import SimulationSettings
from heliorestore.snapshot import Snapshot, StopReason

SMALL = SvMomfbdSettings(
    grid_step=16,
    modes=8,
    r0_cm=20.0,
    left_out=0.0,
    patch=32,
    psf=PSF,
    iterations=16,
    patch_iterations=5,
    stop_early=False,
)


def run(burst: Burst, settings: SvMomfbdSettings, start: Snapshot | None = None) -> list[Snapshot]:
    return list(METHOD.stream(burst, settings, device=CPU, seed=0, start=start))


@pytest.fixture(scope="module")
def case():
    return simulate(varying=0.3, noise=2e-3)


@pytest.fixture(scope="module")
def problem(case):
    return make_flow_problem(Flow(observe(case.burst, CPU, align=False), case.wavefronts, PSF, 16, 1e9))


def knobs(**changes: float | bool) -> Knobs:
    return SvMomfbdSettings(**changes).knobs(torch.ones(1))


def state_of(problem: FlowProblem, case) -> object:
    started = begin(problem)
    return replace(started, modes=case.modes / case.wavefronts.sigmas[:, None, None])


def test_with_the_true_wavefronts_the_solver_finds_the_object(problem, case):
    flow = problem.flow
    objects = solve_objects(
        flow.transfers(case.modes), flow.surround(flow.observation.mean), knobs(lambda_object=0.05), 30
    )
    image = flow.sharp(objects, knobs())[(slice(None), *flow.inner)] * flow.observation.scales
    error, gain = nmse(image[0].numpy() / 1000, case.truth[0])
    assert error < 0.004
    assert gain == pytest.approx(1, abs=0.03)


def test_the_solver_minimises_the_loss(problem, case):
    flow, turned = problem.flow, knobs(lambda_object=0.05)
    state = state_of(problem, case)
    transfers = flow.transfers(case.modes)
    objects = state.objects
    losses = []
    for _ in range(3):
        seen = compared(problem, replace(state, objects=objects), transfers, turned)
        measured = measure(problem, seen, transfers, turned, None).losses
        losses.append(measured["data"] + measured["object"])
        objects = solve_objects(transfers, objects, turned, 8)
    assert losses[0] > losses[1] > losses[2] * 0.999
    assert losses[1] < 0.1 * losses[0]


def test_a_few_steps_solve_for_the_object(problem, case):
    flow, turned = problem.flow, knobs(lambda_object=0.02)
    transfers, state = flow.transfers(case.modes), state_of(problem, case)
    losses = []
    for steps in (0, 4):
        objects = solve_objects(transfers, state.objects, turned, steps)
        seen = compared(problem, replace(state, objects=objects), transfers, turned)
        found = measure(problem, seen, transfers, turned, None).losses
        losses.append(found["data"] + found["object"])
    assert losses[1] < 0.05 * losses[0]  # the intensities of so small frames are known to 0.3 %


def test_an_object_that_weighs_nothing_in_the_fit_is_solved_for_all_the_same():
    case = simulate(objects=2)
    flow = Flow(observe(case.burst, CPU, align=False), case.wavefronts, PSF, 16, 1e9)
    transfers, start = flow.transfers(case.modes), flow.surround(flow.observation.mean)
    unequal = solve_objects(transfers, start, replace(knobs(), weights=torch.tensor([1.0, 0.0])), 6)
    equal = solve_objects(transfers, start, replace(knobs(), weights=torch.ones(2)), 6)
    assert torch.equal(unequal, equal)
    assert float((equal - start)[1].abs().max()) > 0.01


def test_lambda_means_the_same_whatever_surrounds_the_image(case):
    sharpness = []
    for size in (PSF, 2 * PSF):
        flow = Flow(observe(case.burst, CPU, align=False), case.wavefronts, size, 16, 1e9)
        turned = knobs(lambda_object=0.3)
        objects = solve_objects(flow.transfers(case.modes), flow.surround(flow.observation.mean), turned, 30)
        inner = flow.sharp(objects, turned)[(slice(None), *flow.inner)]
        sharpness.append(float(gradient(inner)[..., 8:-8, 8:-8].square().mean()))
    assert sharpness[1] == pytest.approx(sharpness[0], rel=0.1)


def test_the_gradient_in_the_modes_is_the_slope_of_the_loss(problem, case):
    turned, started = knobs(prior=0.7, lambda_modes=0.02), state_of(problem, case)
    level = replace(started.noise, level=torch.full((1,), 0.05**2))
    started = replace(started, modes=0.5 * started.modes, noise=level)

    def residual(modes: torch.Tensor) -> torch.Tensor:
        transfers = problem.flow.transfers(problem.radian(modes))
        sharp = problem.flow.sharp(started.objects, turned)
        return torch.cat([part for _, part in transfers.residuals(sharp)], dim=1)

    first = residual(started.modes)
    fine = first - level.flux_error(first)

    def loss(step: float) -> float:
        modes = started.modes + step * direction
        misfit = float(((residual(modes) - first) * fine).sum()) / 0.05**2
        s = problem.nodes.weights(started.air.couplings)
        rough = sum(modes.diff(dim=axis).square().sum((0, 2, 3)) for axis in (-2, -1))
        small = turned.prior * modes.square().sum((0, 2, 3))
        return misfit + 0.5 * float((s * (small + turned.coupling * started.air.couplings * rough)).sum())

    direction = torch.randn(started.modes.shape, generator=torch.Generator().manual_seed(3))
    slope = (loss(3e-3) - loss(-3e-3)) / 6e-3
    transfers = problem.flow.transfers(problem.radian(started.modes))
    found = compared(problem, started, transfers, turned)
    # the slope that is kept has the new level of the noise in it
    kept = replace(found, slope=found.slope * float(found.noise.level / level.level))
    assert slope == pytest.approx(float((mode_gradient(problem, kept, turned) * direction).sum()), rel=0.02)


def test_a_variable_blur_is_restored_better_than_by_patches_and_the_photometry_is_kept(case):
    last = run(case.burst, SMALL)[-1]
    patches = MomfbdSettings(
        modes=8, r0_cm=20.0, left_out=0.0, patch=32, patch_step=16, iterations=16, stop_early=False
    )
    other = list(MOMFBD.stream(case.burst, patches, device=CPU, seed=0))[-1]
    mean = np.asarray(case.burst.frames)[0].mean(0)
    error, gain = nmse(last.images[0] / 1000, case.truth[0])
    assert error < 0.1 * nmse(mean / 1000, case.truth[0], deconvolved=False)[0]
    assert error < nmse(other.images[0] / 1000, case.truth[0])[0]
    assert 0.9 < gain < 1.12
    assert last.images.mean() == pytest.approx(mean.mean(), rel=0.01)


@pytest.mark.parametrize("change", ["rounding", "units", "order"])
def test_rounding_units_and_the_order_of_the_frames_do_not_change_the_result(case, change):
    frames = np.asarray(case.burst.frames).astype(np.float64)
    order = [3, 0, 5, 1, 4, 2] if change == "order" else range(6)
    factor = {"rounding": 1.0000002, "units": 1000.0}.get(change, 1.0)
    other = replace(case.burst, frames=(frames[:, list(order)] * factor).astype(np.float32))
    settings = SMALL.replace(r0_cm=None, left_out=1.0)
    one, two = (run(burst, settings)[-1].images[0] for burst in (case.burst, other))
    assert np.abs(two / factor - one).std() < 5e-3 * one.std()


def test_a_smooth_flux_error_does_not_change_the_photometry():
    simulated = SimulationSettings(
        size=64, frames=8, objects=1, scene="granulation", r0_cm=12.0, ao=True, noise=2e-3
    )
    settings = SvMomfbdSettings(psf=64, patch=64, iterations=40, stop_early=False)
    found = {}
    for rms in (0.0, 0.02):
        simulation = simulate_burst(simulated.replace(flux_rms=rms), INSTRUMENT, seed=5)
        last = run(simulation.burst, settings)[-1]
        found[rms] = nmse(last.images[0] / last.images[0].mean(), torch.from_numpy(simulation.truth[0]))
        assert any("smooth error of the flux" in text for text in last.messages) == (rms > 0)
    assert found[0.0][0] < 0.01
    assert found[0.02][0] < 0.015
    assert all(0.8 < gain < 1.25 for _, gain in found.values())


def test_a_start_without_fitted_modes_leaves_the_air_as_it_is_believed(case):
    flow = Flow(observe(case.burst, CPU, align=False), case.wavefronts, PSF, 16, 1e9)
    learning = make_flow_problem(flow, fitted=8, patch=32)
    empty = begin(learning)
    fitted = replace(empty, modes=case.modes / case.wavefronts.sigmas[:, None, None])
    (unchanged, _), (changed, _) = (refine_step(learning, state, knobs()) for state in (empty, fitted))
    torch.testing.assert_close(unchanged.air.sigmas, empty.air.sigmas)
    assert not torch.allclose(changed.air.sigmas, empty.air.sigmas)


def test_in_space_there_is_no_turbulence_and_the_record_says_nothing_of_r0():
    case = simulate(noise=2e-3)
    space = replace(case.burst.instruments[0], name="Sunrise/IMaX 5250")
    burst = replace(case.burst, instruments=(space,))
    settings = SMALL.replace(r0_cm=None, left_out=1.0, iterations=8)
    assert not settings.turbulent(burst.instruments)
    last = run(burst, settings)[-1]
    assert "mode_variances" not in last.maps
    assert not any("r0" in text for text in last.messages)
    assert settings.replace(air="turbulence").turbulent(burst.instruments)
    air = run(burst, settings.replace(air="turbulence"))[-1]
    (said,) = (text for text in air.messages if "r0 was found" in text)
    assert "It had not settled yet" in said  # after so few iterations


def test_a_given_r0_is_kept_and_what_the_data_leave_unknown_is_written_down(case):
    last = run(case.burst, SMALL.replace(left_out=1.0, r0_cm=20.0))[-1]
    sigmas, unknown = (last.maps[name] for name in ("mode_sigmas", "mode_variances"))
    assert sigmas.axes == unknown.axes == ("mode",)
    assert sigmas.array[-1] == pytest.approx(float(case.wavefronts.sigmas[-1]), rel=1e-5)
    assert (unknown.array <= sigmas.array**2 * 1.001).all()
    assert (unknown.array >= 0).all()


def test_a_fit_begins_in_good_air_and_takes_a_strong_r0_that_was_given_with_its_first_look(case):
    settings = SMALL.replace(left_out=1.0, r0_cm=5.0)
    fit = FieldFit(case.burst, settings, CPU, None)
    first = fit.wavefronts.instruments[0]
    assert fit.wavefronts.d_over_r0 == pytest.approx(100 * first.diameter_m / (1.9 * usual_r0_cm(first)))
    last = run(case.burst, settings)[-1]
    given = settings.wavefronts(case.burst.instruments, CPU)
    assert last.maps["mode_sigmas"].array[-1] == pytest.approx(float(given.sigmas[-1]), rel=1e-5)
    assert not any("r0 was found" in text for text in last.messages)


def test_the_paper_s_recipe_lowers_its_loss(case):
    snapshots = run(
        case.burst, SvMomfbdSettings.paper(modes=8, grid_step=16, psf=PSF, iterations=12, filter_width=1.85)
    )
    losses = [s.losses["loss"] for s in snapshots]
    assert losses[-1] < 0.5 * max(losses[:3])
    assert snapshots[-1].step == 12


def test_frames_in_batches_and_transfer_functions_made_again_give_the_same(case):
    whole = run(case.burst, SMALL.replace(iterations=7))[-1]
    tight = Flow(observe(case.burst, CPU), case.wavefronts, PSF, 16, 1.0)
    assert tight.layout.at_once == 1
    assert tight.layout.tiles == (2, 2)
    assert tight.layout.kept == 0
    assert Flow(observe(case.burst, CPU), case.wavefronts, PSF, 16, 1e9).layout.count == 1
    little = run(case.burst, SMALL.replace(iterations=7, memory_gb=0.1))[-1]
    np.testing.assert_allclose(whole.images, little.images, rtol=1e-3)
    transfers = tight.transfers(case.modes)
    objects = tight.surround(tight.observation.mean)
    kept = Flow(tight.observation, case.wavefronts, PSF, 16, 1e9)
    ones = torch.ones(1)[:, None, None, None]
    torch.testing.assert_close(
        transfers.normal(objects, ones),
        kept.transfers(case.modes).normal(objects, ones),
        rtol=1e-4,
        atol=1e-4,
    )


def test_bad_pixels_weigh_nothing(problem, case):
    seen = problem.flow.observation
    good = torch.ones(seen.source.shape, dtype=torch.bool)
    good[0, 1, 10:14, 40:44] = False
    good[0, :, 30:33, 30:33] = False
    images = []
    for filling in (0.0, 50.0):
        frames = torch.where(good, seen.read().images, filling)
        flow = Flow(
            replace(seen, source=Held(Pixels(frames, good), CPU), counts=good.sum(1)),
            case.wavefronts,
            PSF,
            16,
            1e9,
        )
        objects = solve_objects(flow.transfers(case.modes), flow.surround(seen.mean), knobs(), 20)
        images.append(flow.sharp(objects, knobs())[(slice(None), *flow.inner)])
    assert torch.equal(images[0], images[1])
    assert nmse((images[0] * seen.scales)[0].numpy() / 1000, case.truth[0])[0] < 0.02


def test_a_burst_with_bad_pixels_is_restored(case):
    frames = np.asarray(case.burst.frames).copy()
    frames[0, :, 30:33, 30:33] = np.nan
    frames[0, 1, 10:12, 40:42] = np.nan
    last = run(Burst(frames=frames, instruments=case.burst.instruments), SMALL.replace(iterations=10))[-1]
    assert np.isfinite(last.images).all()
    mean = np.asarray(case.burst.frames)[0].mean(0)
    assert (
        nmse(last.images[0] / 1000, case.truth[0])[0]
        < 0.2 * nmse(mean / 1000, case.truth[0], deconvolved=False)[0]
    )


def test_live_settings_act_at_the_next_iteration_and_are_written_down(case):
    settings = SMALL.replace(start="average", iterations=5, lambda_object=0.1)
    source = stream(case.burst, settings, device="cpu")
    next(source)
    free = source.send(settings.replace(lambda_object=0.001))
    damped = source.send(settings.replace(lambda_object=5.0))
    assert np.diff(damped.images).std() < 0.9 * np.diff(free.images).std()
    assert list(damped.history["lambda_object"]) == [0.1, 0.001, 5.0]
    last = source.send(settings.replace(iterations=4, residual_frame=2))
    assert last.stop is StopReason.DONE
    assert last.maps["residual"].min() < 0 < last.maps["residual"].max()


def test_a_run_is_deterministic_and_goes_on_from_an_earlier_result(case, tmp_path: Path):
    first = run(case.burst, SMALL)
    np.testing.assert_array_equal(first[-1].images, run(case.burst, SMALL)[-1].images)
    onwards = run(case.burst, SMALL.replace(iterations=3), start=first[-1])
    assert onwards[0].step == first[-1].step + 1
    assert onwards[0].losses["residual"] < 1.5 * first[-1].losses["residual"]
    path = tmp_path / "earlier.fits"
    fits.HDUList(
        [fits.PrimaryHDU(first[-1].images), fits.ImageHDU(first[-1].maps["modes"].array, name="MODES")]
    ).writeto(path)
    from_file = list(stream(case.burst, SMALL.replace(start=str(path), iterations=2), device="cpu"))
    assert (from_file[0].step, "restart" in from_file[0].history) == (1, False)
    assert from_file[0].losses["residual"] == pytest.approx(onwards[0].losses["residual"], rel=1e-3)
    with pytest.raises(SettingsError, match="average, patches, or a FITS file"):
        next(stream(case.burst, SMALL.replace(start=str(tmp_path / "missing.fits")), device="cpu"))


@pytest.mark.parametrize("memory_bytes", [1e9, 3e6], ids=["in a piece", "in tiles, frames read when wanted"])
def test_a_checkpoint_goes_on_as_if_the_run_had_not_stopped(case, tmp_path: Path, monkeypatch, memory_bytes):
    monkeypatch.setattr("heliorestore.methods.blind.field_plan.budget_bytes", lambda *_: memory_bytes)
    settings = SMALL.replace(iterations=9, patch_iterations=3)
    whole = run(case.burst, settings)
    monkeypatch.setattr("heliorestore.methods.checkpoint.INTERVAL_S", 0.0)
    kept = settings.replace(checkpoint=str(tmp_path / "state.pt"))
    source = METHOD.stream(case.burst, kept, device=CPU, seed=0)
    for _ in range(6):
        next(source)
    source.close()
    resumed = run(case.burst, kept)
    assert 4 <= resumed[0].step <= 7
    assert resumed[-1].losses["loss"] == whole[-1].losses["loss"]
    np.testing.assert_array_equal(resumed[-1].images, whole[-1].images)
    np.testing.assert_array_equal(resumed[-1].maps["uncertainty"], whole[-1].maps["uncertainty"])


def test_a_closed_run_leaves_its_state_and_settings_sent_after_the_end_go_on_from_it(case, tmp_path: Path):
    settings = SMALL.replace(iterations=5, patch_iterations=3)
    further = settings.replace(iterations=7, lambda_object=0.03)
    source = METHOD.stream(case.burst, settings, device=CPU, seed=0)
    assert [next(source).stop for _ in range(5)][-1] is StopReason.DONE
    held = [source.send(further), next(source)]
    assert next(source, None) is None
    path = tmp_path / "state.pt"
    source = METHOD.stream(case.burst, settings.replace(checkpoint=str(path)), device=CPU, seed=0)
    for _ in range(5):
        next(source)
    source.close()
    resumed = run(case.burst, further.replace(checkpoint=str(path)))
    assert [s.step for s in resumed] == [s.step for s in held] == [6, 7]
    assert resumed[-1].losses == held[-1].losses
    np.testing.assert_array_equal(resumed[-1].images, held[-1].images)
    assert not path.exists()  # nothing is left to go on with


def test_a_run_that_began_with_a_file_keeps_its_checksum_and_is_repeated(case, tmp_path: Path):
    written = write_burst(case.burst, tmp_path / "burst.fits")
    burst = read(written).with_instrument("crisp-8542")
    settings = SMALL.replace(iterations=2, start="average")
    earlier = write(list(stream(burst, settings, device="cpu"))[-1], tmp_path / "earlier.fits")
    last = list(stream(burst, settings.replace(start=str(earlier), object_weights="2"), device="cpu"))[-1]
    restored = write(last, tmp_path / "restored.fits")
    (tmp_path / "moved").mkdir()
    for path in (written, earlier, restored):
        path.rename(tmp_path / "moved" / path.name)
    again, found = reopen(tmp_path / "moved" / "restored.fits")
    assert found.run is not None
    assert (
        found.run.files["start"].sha256
        == hashlib.sha256((tmp_path / "moved" / "earlier.fits").read_bytes()).hexdigest()
    )
    repeated = list(replay(again, settings_of(found.run), found.history, device="cpu"))[-1]
    assert repeated.losses == last.losses
    np.testing.assert_array_equal(repeated.images, last.images)
    with (tmp_path / "moved" / "earlier.fits").open("ab") as file:
        file.write(b"\0" * 2880)
    with pytest.raises(BurstError, match="is not the file that was restored"):
        reopen(tmp_path / "moved" / "restored.fits")


def test_two_objects_of_two_wavelengths_share_the_wavefronts():
    case = simulate(objects=2, wavelengths=(854.2, 630.2), noise=3e-3, varying=0.2)
    last = run(case.burst, SMALL.replace(iterations=12))[-1]
    for object_ in range(2):
        mean = np.asarray(case.burst.frames)[object_].mean(0)
        # The second object's truth belongs to a finer diffraction limit; what matters is the gain on the
        # frames.
        assert (
            nmse(last.images[object_] / 1000, case.truth[object_])[0]
            < 0.5 * nmse(mean / 1000, case.truth[object_], deconvolved=False)[0]
        )


def test_the_run_stops_by_itself_when_the_residual_stands_still(case):
    last = run(case.burst, SMALL.replace(stop_early=True, iterations=300, rate_modes=0.3))[-1]
    assert last.stop in (StopReason.CONVERGED, StopReason.NOISE)
    assert last.step < 300


def test_noise_does_not_end_a_run_before_the_air_stands_still():
    case = simulate(noise=5e-2)
    settings = SMALL.replace(r0_cm=None, left_out=1.0, stop_early=True, iterations=100)
    patches = settings.patch_iterations
    steps = [image.step for image in run(case.burst, settings)]
    assert steps[-1] >= patches + 30  # two looks at the air that agree, after 25 iterations on the field


@pytest.mark.parametrize("kind", ["tikhonov", "total-variation", "wavelet"])
@pytest.mark.parametrize("positive", [False, True])
def test_a_penalty_s_operator_is_half_its_gradient(kind, positive):
    objects = 0.2 * torch.randn((2, 12, 13), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    direction = torch.randn(objects.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    _, half = penalty(objects, kind, 156, positive=positive)
    slope = (
        penalty(objects + 1e-6 * direction, kind, 156, positive=positive)[0]
        - penalty(objects - 1e-6 * direction, kind, 156, positive=positive)[0]
    )
    assert float(slope / 2e-6) == pytest.approx(2 * float((half(objects) * direction).sum()), rel=1e-4)
    assert float((half(direction) * objects).sum()) == pytest.approx(
        float((direction * half(objects)).sum()), rel=1e-10
    )


def test_sobel_measures_the_slope_of_a_plane_and_has_its_transpose():
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(8.0), indexing="ij")
    parts = gradient((2 * y - 3 * x)[None])
    assert torch.allclose(parts[0][0, 1:-1, 1:-1], torch.tensor(2.0))
    assert torch.allclose(parts[1][0, 1:-1, 1:-1], torch.tensor(-3.0))
    image, other = torch.randn((1, 9, 8)), torch.randn((2, 1, 9, 8))
    assert float((gradient(image) * other).sum()) == pytest.approx(
        float((image * gradient_adjoint(other)).sum()), rel=1e-4
    )


def test_positivity_and_total_variation_act(problem, case):
    flow = problem.flow
    dark = flow.observation.read().images - 0.9
    observation = replace(flow.observation, source=Held(Pixels(dark), CPU), mean=dark.mean(1))
    shaded = Flow(observation, case.wavefronts, PSF, 16, 1e9)
    lowest = []
    for positive in (False, True):
        turned = knobs(lambda_object=0.1, positive=positive)
        objects = shaded.surround(dark.mean(1))
        for _ in range(3):
            objects = solve_objects(shaded.transfers(case.modes), objects, turned, 10)
        lowest.append(float(shaded.sharp(objects, turned).min()))
    assert lowest[0] < 0
    assert abs(lowest[1]) < 0.5 * abs(lowest[0])


def test_the_remainder_scatters_what_the_theory_says():
    basis = make_basis(44, kind="kl-tilt")
    far = halo_transfer(basis, 10.0, 1.0, torch.tensor([0.0, 0.5]))
    assert float(far[0]) == 1
    # Far apart the modes left out are independent: exp(-sigma^2), and their variance is Noll's.
    assert float(far[1]) == pytest.approx(np.exp(-noll_residual(45) * 10 ** (5 / 3)), rel=0.1)
    assert float(halo_transfer(basis, 10.0, 2.0, torch.tensor([0.5]))[0]) == pytest.approx(
        float(far[1]) ** 4, rel=0.01
    )


def test_psfs_are_read_off_the_maps_of_a_result():
    modes = torch.zeros((2, 8, 3, 3))
    modes[1, 2, 2, 2] = 1.0
    found = psfs_at(modes, 32, (INSTRUMENT,), [(0.0, 0.0), (64.0, 64.0)], size=32)
    assert found.shape == (2, 2, 32, 32)
    optics = make_optics(INSTRUMENT, 32, make_basis(8, kind="kl-tilt"))
    still = psf(optics, torch.zeros(8))
    torch.testing.assert_close(found[1, 0], still, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found[1, 1], psf(optics, modes[1, :, 2, 2]), atol=1e-6, rtol=1e-4)
    assert float((found[1, 1] - still).abs().max()) > 1e-3


def test_flow_products_are_symmetric(problem, case):
    transfers = problem.flow.transfers(case.modes)
    one, other = (torch.randn_like(problem.flow.surround(problem.flow.observation.mean)) for _ in range(2))
    gamma = torch.ones(1)[:, None, None, None]
    left, right = (transfers.normal(one, gamma) * other).sum(), (one * transfers.normal(other, gamma)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-3)
    energy = transfers.energy(one, gamma)
    assert float(energy) == pytest.approx(float((one * transfers.normal(one, gamma)).sum()), rel=1e-4)


def test_a_step_knows_the_residuals_that_it_leaves_without_another_pass(problem, case, monkeypatch):
    passes, apply, adjoint = [], FilterFlow.apply, FilterFlow.adjoint
    monkeypatch.setattr(FilterFlow, "apply", lambda *given: passes.append("apply") or apply(*given))
    monkeypatch.setattr(FilterFlow, "adjoint", lambda *given: passes.append("adjoint") or adjoint(*given))
    flow, start = problem.flow, problem.flow.surround(problem.flow.observation.mean)
    transfers = flow.transfers(case.modes)
    objects, left = objects_and_rest(transfers, start, knobs(), 1)
    assert sorted(passes) == ["adjoint", "apply", "apply"]
    for number, (_, residual) in enumerate(transfers.residuals(flow.sharp(objects, knobs()))):
        torch.testing.assert_close(left[number], residual, rtol=1e-3, atol=2e-6)
    tight = replace(flow, memory_bytes=3e6).transfers(case.modes)
    without, unknown = objects_and_rest(tight, start, knobs(), 1)
    assert unknown is None
    torch.testing.assert_close(without, objects, rtol=1e-3, atol=1e-5)


def test_refining_lowers_the_residual(problem, case):
    state = begin(problem)
    residuals = []
    for _ in range(14):
        state, _ = refine_step(problem, state, knobs())
        residuals.append(float(state.squares.mean().sqrt()))
    assert residuals[-1] < 0.75 * residuals[0]
    assert float(state.modes[:, :2].mean(0).abs().max()) < 1e-5


def test_the_residual_of_a_frame_is_measured_with_the_models_of_the_step(problem, case, monkeypatch):
    made = []
    real = type(problem.flow.models[problem.flow.observation.shape]).transfer
    monkeypatch.setattr(FilterFlow, "transfer", lambda *given: made.append(1) or real(*given))
    state, transfers = refine_step(problem, begin(problem), knobs())
    shown = measure(problem, state, transfers, knobs(), 0).residual
    assert len(made) == problem.flow.layout.count
    assert not torch.equal(shown, measure(problem, state, transfers, knobs(), None).residual)


def test_knobs_have_the_defaults_of_the_settings_alone():
    with pytest.raises(TypeError, match="lambda_object"):
        Knobs(weights=torch.ones(1))

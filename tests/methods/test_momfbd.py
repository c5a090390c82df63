"""MOMFBD on patches: its metric, its gauge, what it restores, and how it stops and goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import heliorestore
from blind_bursts import CPU, INSTRUMENT, nmse, scene, simulate
from heliorestore.burst import Burst
from heliorestore.errors import BurstError, SettingsError
from heliorestore.methods.blind.patch_fit import advanced, evaluate, initial, make_problem
from heliorestore.methods.blind.wavefronts import centre_tilts, make_wavefronts
from heliorestore.methods.checkpoint import Saver, resume
from heliorestore.methods.momfbd import METHOD, MomfbdSettings, judged, nodes, reason
from heliorestore.optics.psf import psf
from heliorestore.prepare.align import frame_shifts
from heliorestore.prepare.observe import observe
from heliorestore.snapshot import Snapshot, StopReason
from one_psf import convolve

SMALL = MomfbdSettings(
    modes=8, r0_cm=20.0, left_out=0.0, patch=32, patch_step=16, iterations=8, stop_early=False
)


def run(burst: Burst, settings: MomfbdSettings) -> list[Snapshot]:
    return list(METHOD.stream(burst, settings, device=CPU, seed=0))


@pytest.fixture(scope="module")
def case():
    return simulate(varying=0.2)


@pytest.fixture(scope="module")
def problem(case):
    observation = observe(case.burst, CPU)
    return make_problem(observation, SMALL.wavefronts(case.burst.instruments, CPU), (32, 16), 1e9)


def test_the_gradient_is_the_slope_of_the_metric(problem):
    state = initial(problem)
    generator = torch.Generator().manual_seed(1)
    modes = 0.3 * torch.randn(state.modes.shape, generator=generator)
    direction = torch.randn(state.modes.shape, generator=generator)
    weights = torch.ones(1)

    def at(step):
        moved = type(state)(0, modes + step * direction, state.moments, state.levels)
        return evaluate(problem, moved, weights, prior=0.5, coupling=0.3)

    # The level of the noise does not depend on the modes here, so that its term drops out of the difference.
    slope = (at(1e-2).losses["loss"] - at(-1e-2).losses["loss"]) * problem.patches.count / 2e-2
    assert slope == pytest.approx(float((at(0.0).gradient * direction).sum()), rel=2e-2)
    losses = at(0.0).losses
    assert losses["loss"] == pytest.approx(losses["data"] + losses["modes"], rel=1e-6)
    assert "prior" not in losses  # the history has the setting of that name


def test_the_metric_does_not_see_a_common_shift(problem):
    state = initial(problem)
    generator = torch.Generator().manual_seed(2)
    modes = 0.3 * torch.randn(state.modes.shape, generator=generator)
    shifted = modes.clone()
    shifted[..., :2] += 0.1
    weights = torch.ones(1)
    losses = [
        evaluate(problem, type(state)(0, m, state.moments, state.levels), weights, prior=0.0).losses["data"]
        for m in (modes, shifted)
    ]
    turned = evaluate(
        problem, type(state)(0, modes * 1.2, state.moments, state.levels), weights, prior=0.0
    ).losses["data"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert abs(turned - losses[0]) > 5 * abs(losses[1] - losses[0])


def test_the_loss_falls_and_the_tilts_have_no_mean(problem):
    state, losses = initial(problem), []
    for _ in range(6):
        evaluation = evaluate(problem, state, torch.ones(1), prior=1.0)
        losses.append(evaluation.losses["residual"])
        state = advanced(problem, state, evaluation, 0.1)
    assert losses[-1] < 0.85 * losses[0]
    assert float(state.modes[..., :2].mean(1).abs().max()) < 1e-5


def test_a_burst_comes_closer_to_the_truth_than_its_mean_and_keeps_its_photometry(case):
    last = run(case.burst, SMALL)[-1]
    mean = np.asarray(case.burst.frames)[0].mean(0)
    error, gain = nmse(last.images[0] / 1000, case.truth[0])
    assert error < 0.3 * nmse(mean / 1000, case.truth[0], deconvolved=False)[0]
    assert 0.85 < gain < 1.15
    assert last.images.mean() == pytest.approx(mean.mean(), rel=0.01)
    assert last.stop is StopReason.DONE
    assert last.maps["modes"].shape[:2] == (6, 8)
    assert last.maps["modes"].step == pytest.approx((16, 16), abs=4)


def test_the_nodes_of_the_mode_maps_are_the_centres_of_the_patches(problem):
    step, first = nodes(problem.patches)
    for axis, centres in enumerate(problem.patches.centres):
        at = first[axis] + step[axis] * np.arange(len(centres))
        np.testing.assert_allclose(at, centres, atol=1)  # patches begin at whole pixels
        assert first[axis] == pytest.approx(float(centres[0]))
        assert len(centres) > 2


def test_two_objects_share_their_wavefronts_and_the_phase_grows_with_frequency():
    case = simulate(objects=2, wavelengths=(854.2, 630.2), noise=3e-3)
    wavefronts = make_wavefronts(case.burst.instruments, 8, 20.0, (0.0, 0.0), CPU)
    red, blue = wavefronts.optics(32)
    assert torch.allclose(
        blue.modes.norm() / red.modes.norm() * red.side / blue.side, torch.tensor(854.2 / 630.2), rtol=0.05
    )
    last = run(case.burst, SMALL)[-1]
    for object_ in range(2):
        mean = np.asarray(case.burst.frames)[object_].mean(0)
        assert (
            nmse(last.images[object_] / 1000, case.truth[object_])[0]
            < 0.6 * nmse(mean / 1000, case.truth[object_], deconvolved=False)[0]
        )


def test_a_weight_of_zero_takes_an_object_out_of_the_fit():
    case = simulate(objects=2, size=48)
    spoilt = np.asarray(case.burst.frames).copy()
    spoilt[1] += np.random.default_rng(0).normal(0, 100, spoilt[1].shape)
    settings = SMALL.replace(object_weights="1, 0", iterations=4)
    one = run(
        Burst(frames=case.burst.frames, instruments=case.burst.instruments), settings.replace(align=False)
    )[-1]
    other = run(Burst(frames=spoilt, instruments=case.burst.instruments), settings.replace(align=False))[-1]
    np.testing.assert_allclose(one.maps["modes"], other.maps["modes"], atol=1e-4)


def test_phase_diversity_recovers_one_wavefront_from_a_focused_and_a_defocused_frame():
    wavefronts = make_wavefronts((INSTRUMENT, INSTRUMENT), 8, 20.0, (0.0, 0.5), CPU, left_out=0.0)
    true = torch.zeros((1, 8))
    true[0, 3], true[0, 5] = 0.5, -0.4
    sharp = scene(128)[0]
    images = [convolve(sharp, psf(optics, true)[0])[32:96, 32:96] for optics in wavefronts.optics(32)]
    burst = Burst(frames=torch.stack(images)[:, None].numpy(), instruments=(INSTRUMENT, INSTRUMENT))
    settings = SMALL.replace(
        diversity="0, 0.5", iterations=60, patch=64, patch_step=32, align=False, prior=0.0, rate_modes=0.05
    )
    modes = run(burst, settings)[-1].maps["modes"].mean((2, 3))[0]
    assert np.abs(modes[2:] - true[0, 2:].numpy()).max() < 0.15


def test_live_settings_act_at_the_next_iteration(case):
    source = METHOD.stream(case.burst, SMALL, device=CPU, seed=0)
    first = next(source)
    narrow = source.send(SMALL.replace(filter_width=0.5, iterations=1))
    assert narrow.stop is StopReason.DONE
    assert narrow.images.std() < first.images.std()


def test_a_run_is_the_same_twice_and_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(case, tmp_path: Path):
    whole = run(case.burst, SMALL)
    again = run(case.burst, SMALL)
    np.testing.assert_array_equal(whole[-1].images, again[-1].images)
    settings = SMALL.replace(checkpoint=str(tmp_path / "state.pt"))
    observation = observe(case.burst, CPU)
    problem = make_problem(observation, settings.wavefronts(case.burst.instruments, CPU), (32, 16), 1e9)
    saver, state = Saver(settings.checkpoint, case.burst, settings), initial(problem)
    for _ in range(3):
        state = advanced(
            problem, state, evaluate(problem, state, torch.ones(1), settings.prior), settings.rate_modes
        )
    saver.write(state)
    resumed = run(case.burst, settings)
    assert resumed[0].step == 3
    assert resumed[-1].losses["loss"] == whole[-1].losses["loss"]
    np.testing.assert_array_equal(whole[-1].images, resumed[-1].images)
    assert not (tmp_path / "state.pt").exists()


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(case, tmp_path: Path):
    path = tmp_path / "state.pt"
    settings = SMALL.replace(checkpoint=str(path))
    problem = make_problem(
        observe(case.burst, CPU), settings.wavefronts(case.burst.instruments, CPU), (32, 16), 1e9
    )
    Saver(settings.checkpoint, case.burst, settings).write(initial(problem))
    with_less = Saver(str(path), case.burst, settings.replace(memory_gb=0.5))  # of a GPU that was full
    torch.testing.assert_close(resume(with_less, initial(problem)).modes, initial(problem).modes)
    other = settings.replace(r0_cm=12.0)
    with pytest.raises(SettingsError, match="another burst or other settings"):
        resume(Saver(str(path), case.burst, other), initial(problem))
    path.write_bytes(b"nothing")
    with pytest.raises(SettingsError, match="cannot be read"):
        resume(Saver(str(path), case.burst, settings), initial(problem))


def test_frames_are_aligned_by_whole_pixels():
    image = simulate(frames=1, size=96, strength=0.0).truth[0]
    shifts = np.array([[0, 0], [3, -2], [-4, 1], [1, 1]])
    frames = torch.stack([image.roll((int(y), int(x)), (0, 1)) for y, x in shifts])[None]
    found = frame_shifts(frames.numpy())
    np.testing.assert_array_equal(found - found[0], shifts - shifts[0])


def test_bad_pixels_are_filled_from_the_other_frames_and_weigh_nothing(case):
    frames = np.asarray(case.burst.frames).copy()
    frames[0, 2, 10:14, 20] = np.nan
    observation = observe(Burst(frames=frames, instruments=case.burst.instruments), CPU, align=False)
    pixels = observation.read()
    assert pixels.good is not None
    assert np.argwhere(~pixels.good.numpy()).tolist() == [[0, 2, row, 20] for row in range(10, 14)]
    expected = np.delete(frames[0, :, 12, 20] / observation.relative[0], 2).mean() / float(
        observation.scales[0]
    )
    assert float(pixels.images[0, 2, 12, 20]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"object_weights": "1, 2"}, "2 numbers"),
        ({"object_weights": "x"}, "must be numbers"),
        ({"object_weights": "-1"}, "at least 0"),
        ({"diversity": "0, 1"}, "the burst has 1 objects"),
        ({"patch_step": 32}, "leave gaps"),
    ],
)
def test_settings_that_contradict_the_burst_are_told(case, changes, sentence):
    with pytest.raises(SettingsError, match=sentence):
        run(case.burst, SMALL.replace(**changes))


def test_images_without_light_are_told():
    burst = Burst(frames=np.zeros((1, 2, 32, 32)), instruments=(INSTRUMENT,))
    with pytest.raises(BurstError, match="intensity image"):
        run(burst, SMALL)


def test_objects_on_different_pixels_are_told():
    case = simulate(objects=2, size=48)
    other = heliorestore.Instrument(name="coarse", diameter_m=1.0, pixel_arcsec=0.05, wavelength_nm=854.2)
    burst = Burst(frames=case.burst.frames, instruments=(INSTRUMENT, other))
    with pytest.raises(SettingsError, match="register them on equal pixels"):
        run(burst, SMALL)


def test_patches_of_frames_that_are_read_when_wanted_are_those_of_frames_that_are_held(case, monkeypatch):
    frames = np.asarray(case.burst.frames).copy()
    frames[0, 2, 10:14, 20] = np.nan
    burst = Burst(frames=frames, instruments=case.burst.instruments)
    held = make_problem(observe(burst, CPU), SMALL.wavefronts(burst.instruments, CPU), (32, 16), 1e9).patches
    read = make_problem(
        observe(burst, CPU, hold_bytes=0.0), SMALL.wavefronts(burst.instruments, CPU), (32, 16), 1e5
    )
    assert read.spectra is None
    assert read.patches.batch < held.batch
    assert torch.equal(
        held.pixels(slice(3, 9)), torch.cat([read.patches.pixels(slice(n, n + 1)) for n in range(3, 9)])
    )
    whole = run(burst, SMALL.replace(iterations=1))[0]
    monkeypatch.setattr("heliorestore.methods.momfbd.budget_bytes", lambda *_: 1e5)
    np.testing.assert_allclose(run(burst, SMALL.replace(iterations=1))[0].images, whole.images, rtol=1e-5)


def test_the_stop_rule_ends_a_run_that_explains_no_more(case):
    last = run(case.burst, SMALL.replace(stop_early=True, iterations=400, rate_modes=0.2))[-1]
    assert last.stop is StopReason.CONVERGED
    assert last.step < 400


def test_the_mean_tilt_is_taken_off_and_nothing_else():
    modes = torch.randn((5, 6, 3, 3), generator=torch.Generator().manual_seed(0)) + 1
    centred = centre_tilts(modes)
    assert float(centred[:, :2].mean(0).abs().max()) < 1e-6
    assert torch.equal(centred[:, 2:], modes[:, 2:])


def test_a_real_pair_of_phase_diversity_gains_contrast(shared_data: Path):
    pair = [heliorestore.read(shared_data / "bursts" / f"imax_{name}.fits") for name in ("focus", "defocus")]
    frames = np.concatenate([np.asarray(burst.frames)[:, :, 200:328, 200:328] for burst in pair])
    instrument = heliorestore.Instrument(
        name="Sunrise/IMaX", diameter_m=1.0, pixel_arcsec=0.055, wavelength_nm=525.02
    )
    burst = Burst(frames=frames.astype(np.float32), instruments=(instrument,) * 2)
    settings = MomfbdSettings(
        modes=20, left_out=0.0, r0_cm=30.0, diversity="0, 1", iterations=10, align=False
    )
    last = run(burst, settings)[-1]
    assert 1.1 < last.images[0].std() / last.images[0].mean() / (frames[0, 0].std() / frames[0, 0].mean()) < 3
    assert last.losses["residual"] < 0.8 * run(burst, settings.replace(iterations=1))[0].losses["residual"]


def test_a_run_is_not_ended_by_what_its_first_iterations_explain_worse(case):
    problem = make_problem(
        observe(case.burst, CPU), SMALL.wavefronts(case.burst.instruments, CPU), (32, 16), 1e9
    )
    state = initial(problem)
    for held in (1.0, *[1.02] * 28):
        state = judged(replace(state, step=state.step + 1), held)
    assert reason(state, 100, stop_early=True) is None
    state = judged(replace(state, step=state.step + 1), 1.02)
    assert reason(state, 100, stop_early=True) is StopReason.CONVERGED


def test_a_run_goes_on_while_it_gains_and_ends_when_it_hardly_does(case):
    problem = make_problem(
        observe(case.burst, CPU), SMALL.wavefronts(case.burst.instruments, CPU), (32, 16), 1e9
    )
    state, held = initial(problem), 1.0
    for _ in range(40):  # 3 % an iteration
        held *= 0.97
        state = judged(replace(state, step=state.step + 1), held)
        assert reason(state, MomfbdSettings().iterations, stop_early=True) is None
    for _ in range(16):  # 0.7 % an iteration
        held *= 0.993
        state = judged(replace(state, step=state.step + 1), held)
    assert reason(state, MomfbdSettings().iterations, stop_early=True) is StopReason.CONVERGED

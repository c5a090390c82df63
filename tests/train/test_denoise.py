import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from heliorestore.errors import SettingsError
from heliorestore.nets import weights
from heliorestore.nets.denoiser import Denoiser
from heliorestore.train import denoise
from heliorestore.train.denoise import TRAINER, DenoiseRecipe, DenoiseTask, calibration, settle
from heliorestore.train.polarised import correlated_noise, noise, of_light, simulated, weak_structure
from heliorestore.train.recipe import bundled, from_table, read_table

RECIPE = DenoiseRecipe(
    name="r", architecture="denoiser-uncertain", scenes=1, validation_scenes=1, patch=48, batch=4
)


@pytest.fixture(scope="module")
def task() -> DenoiseTask:
    return DenoiseTask(RECIPE, Path())


def test_noise_has_unit_deviation_whatever_its_correlation() -> None:
    random = np.random.default_rng(0)
    for known in ({}, {"smoothing_px": 1.0}, {"cutoff": 0.3, "boost": 2.0}):
        made = np.stack([correlated_noise(random, (64, 65), **known) for _ in range(20)])
        assert made.std() == pytest.approx(1, rel=0.03)
        assert made.mean() == pytest.approx(0, abs=0.05)
    smooth = correlated_noise(random, (256, 256), smoothing_px=1.0)
    # of a Gaussian convolved with itself
    assert np.mean(smooth[:, 1:] * smooth[:, :-1]) == pytest.approx(np.exp(-1 / 4), abs=0.03)
    assert {noise(random, (16, 16)).shape for _ in range(8)} == {(16, 16)}


def test_simulated_maps_are_polarisation_and_new_for_every_seed(task: DenoiseTask) -> None:
    name, maps = simulated(0, 5)
    assert "granulation 5" in name
    assert len(maps) == 9
    assert {each.shape for each in maps} == {(256, 256)}
    for each in maps:
        assert abs(each.mean()) < 0.05
        assert 1e-6 < each.std() < 0.3
        assert (each < 0).any()
        assert (each > 0).any()
    assert not set(task.training) & set(task.validation)


def test_maps_made_of_light_have_its_scales_and_both_signs() -> None:
    random = np.random.default_rng(0)
    light = 1 + 0.1 * correlated_noise(random, (128, 128), smoothing_px=3.0)
    for each in of_light(light.astype(np.float64)):
        assert each.std() == pytest.approx(4e-3, rel=1e-3)
        assert (each > 0).any()
        assert (each < 0).any()


def test_pairs_differ_by_noise_of_about_one(task: DenoiseTask) -> None:
    noisy, clean = task.batch(np.random.default_rng(0), 40, 48)
    assert noisy.shape == clean.shape == (40, 1, 48, 48)
    levels = (noisy - clean).std((1, 2, 3))
    assert levels.median() == pytest.approx(1, abs=0.15)
    assert 0.5 < levels.std() + levels.min() < 1.2
    assert clean.abs().max() < 1.01 * denoise._STRONGEST * 2.5
    again, _ = task.batch(np.random.default_rng(0), 40, 48)
    assert torch.equal(noisy, again)


def test_noisy_targets_are_the_same_map_with_another_noise(task: DenoiseTask) -> None:
    noisy_task = copy.copy(task)
    noisy_task.recipe = dataclasses.replace(RECIPE, targets="noisy", loss="l2", noise_low=1, noise_high=1)
    noisy, other = noisy_task.batch(np.random.default_rng(0), 40, 48)  # the signals are far below the noise
    assert (noisy.std((1, 2, 3)) / other.std((1, 2, 3))).mean() == pytest.approx(1, abs=0.02)
    pairs = zip(noisy.flatten(1), other.flatten(1), strict=True)
    correlations = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs]
    assert np.mean(correlations) == pytest.approx(0, abs=0.02)
    assert np.max(np.abs(correlations)) < 0.2
    # The mean over noisy targets leads to where the clean ones do: the gradients differ by noise alone.
    torch.manual_seed(0)
    net = Denoiser(kernels=2, residual=True, log_variance=4.0)
    noisy_task.objective(net, noisy, other).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.variance[-1].parameters())


def test_weak_structure_is_as_weak_as_the_noise_and_of_both_signs() -> None:
    random = np.random.default_rng(0)
    made = np.stack([weak_structure(random, (52, 60)) for _ in range(60)])
    assert made.shape == (60, 52, 60)
    assert np.median(made.std((1, 2))) == pytest.approx(0.4, abs=0.2)
    assert np.abs(made).max() < 12
    assert abs(made.mean()) < 0.1
    with_it = dataclasses.replace(RECIPE, weak_share=1.0, noise_low=1, noise_high=1)
    other = copy.copy(DenoiseTask(with_it, Path()))
    _, clean = other.batch(np.random.default_rng(0), 20, 48)
    assert float(clean.std()) > 0.2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"targets": "none"}, "targets is 'none'; possible are clean and noisy"),
        ({"loss": "l3"}, "loss is 'l3'; possible are huber and l2"),
        ({"targets": "noisy"}, "needs loss = 'l2'"),
        ({"weak_share": 2.0}, "it is a fraction from 0 to 1"),
    ],
)
def test_a_recipe_that_cannot_be_is_said(changes: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        dataclasses.replace(RECIPE, **changes)


def test_the_share_of_the_files_is_as_the_recipe_says(tmp_path: Path) -> None:
    light = 1 + 0.1 * correlated_noise(np.random.default_rng(0), (160, 160), smoothing_px=3.0)
    fits.writeto(tmp_path / "light.fits", light)
    tables = ({"file": "light.fits", "pixel_arcsec": 0.06},)
    recipe = DenoiseRecipe(
        name="r",
        architecture="denoiser",
        scenes=1,
        files=tables,
        validation_scenes=0,
        validation_files=tables,
        files_share=0.4,
    )
    task = DenoiseTask(recipe, tmp_path)
    random = np.random.default_rng(1)
    patches = [task._somewhere(random, 48) for _ in range(400)]
    of_files = [any(np.shares_memory(patch, each) for each in task.training["light"]) for patch in patches]
    assert np.mean(of_files) == pytest.approx(0.4 + 0.6 * 3 / 12, abs=0.08)  # 3 of all 12 maps are the file's


def test_the_second_head_learns_without_the_first(task: DenoiseTask) -> None:
    torch.manual_seed(0)
    net = Denoiser(kernels=2, residual=True, log_variance=4.0)
    noisy, clean = task.batch(np.random.default_rng(0), 4, 48)
    task.objective(net, noisy, clean).backward()
    first = [p.grad.clone() for p in net.out.parameters()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.variance[-1].parameters())
    net.zero_grad()
    net.highest = None
    task.objective(net, noisy, clean).backward()
    for one, two in zip(first, net.out.parameters(), strict=True):
        torch.testing.assert_close(one, two.grad)


def test_the_record_says_what_was_measured(task: DenoiseTask) -> None:
    torch.manual_seed(0)
    net = Denoiser(kernels=2, residual=True, log_variance=4.0).eval()
    record = TRAINER.record(net, task, RECIPE)
    assert record.normalisation == "noise"
    assert {"error_white", "error_correlated", "inside_1_sigma", "inside_2_sigma"} <= set(record.quality)
    assert "granulation" in record.quality_note


@pytest.mark.parametrize("sign", [1, -1])  # the head's modulus may be of either
def test_the_second_head_is_settled_on_the_errors_that_are_there(sign: int) -> None:
    torch.manual_seed(0)
    # a new network leaves the image nearly as it is
    net = Denoiser(kernels=2, residual=True, log_variance=4.0).eval()
    with torch.no_grad():
        net.variance[-1].weight.zero_()
        net.variance[-1].bias.fill_(3.0 * sign)
    noisy = torch.randn(1, 1, 96, 96)
    pairs = [(noisy, net(noisy).detach() + 0.5 * torch.randn(1, 1, 96, 96))]
    assert settle(pairs, net) == pytest.approx(2 * np.log(0.5) - 1, abs=0.05)  # from a log variance of 1
    assert calibration(pairs, net)["inside_2_sigma"] == pytest.approx(0.954, abs=0.002)


def test_a_recipe_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="both must be positive"):
        DenoiseRecipe(name="r", architecture="denoiser", noise_low=1e-2, noise_high=1e-3)
    with pytest.raises(SettingsError, match="needs scenes"):
        DenoiseRecipe(name="r", architecture="denoiser", scenes=0)
    with pytest.raises(SettingsError, match="with 0 files"):
        DenoiseRecipe(name="r", architecture="denoiser", files_share=0.5)
    for name in bundled():
        if name.startswith("denoise"):
            from_table(DenoiseRecipe, read_table(name))


def test_true_values_lie_within_the_uncertainty_as_often_as_they_should() -> None:
    """The calibration of the weights of the package, on maps that were neither trained on nor used to choose
    them."""
    net, record = weights.load("denoise-stokes")
    assert isinstance(net, Denoiser)
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    pairs = []
    for number in (2, 3):
        clean = simulated(number, 200_000)[1][0][80:176, 80:176] / np.float32(3e-3)
        noisy = clean + random.standard_normal(clean.shape, np.float32)
        pairs.append((torch.from_numpy(noisy)[None, None], torch.from_numpy(clean)[None, None]))
    facts = calibration(pairs, net)
    print(facts)
    # 0.683 for Gaussian errors; these weights are on the safe side
    assert 0.6 < facts["inside_1_sigma"] < 0.88
    assert 0.93 < facts["inside_2_sigma"] < 0.99
    error = np.mean([float((net(noisy) - clean).detach().square().mean()) for noisy, clean in pairs]) ** 0.5
    assert error < 0.5
    assert record.normalisation == "noise"

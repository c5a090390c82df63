import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from heliorestore.cli import main
from heliorestore.errors import BurstError, SettingsError
from heliorestore.nets import weights
from heliorestore.nets.enhance import CALIBRATION, Enhance
from heliorestore.train.enhance import (
    EnhanceRecipe,
    EnhanceTask,
    best_richardson_lucy,
    calibrate,
    validation_pairs,
)
from heliorestore.train.scenes import SceneFile, field_of_darkness, read, simulated
from heliorestore.train.views import observe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one image of smooth structures, 18 arcsec wide."""
    path = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(144)[:, None], np.fft.fftfreq(144)[None])
    field = np.fft.ifft2(
        np.fft.fft2(rng.standard_normal((144, 144))) * np.exp(-2 * (np.pi * 4 * frequency) ** 2)
    ).real
    image = 100 * (1 + 0.12 * field / field.std())
    image[60:90, 60:90] *= 0.3  # a pore
    fits.writeto(path / "scene.fits", image.astype(np.float32))
    return path


def recipe(**changes: object) -> EnhanceRecipe:
    scene = SceneFile("scene.fits", 0.126)
    fields = {
        "name": "test",
        "architecture": "enhance-small",
        "steps": 4,
        "validate_every": 2,
        "batch": 2,
        "patch": 16,
        "scenes": 0,
        "validation_scenes": 0,
        "files": (scene,),
        "validation_files": (scene,),
        "noise": 0.0,
    }
    return EnhanceRecipe(**(fields | changes))


@pytest.mark.parametrize("kind", ["continuum", "magnetogram"])
def test_pairs_are_two_views_of_one_place(folder: Path, kind: str) -> None:
    task = EnhanceTask(recipe(kind=kind), folder)
    low, high = task.batch(np.random.default_rng(0), 12, 16)
    assert low.shape == (12, 1, 16, 16)
    assert high.shape == (12, 1, 32, 32)
    # Seen coarsely both are alike: the pairs are registered after any turn and mirror.
    coarse, same = torch.nn.functional.avg_pool2d(high, 8), torch.nn.functional.avg_pool2d(low, 4)
    assert float(torch.corrcoef(torch.stack([coarse.flatten(), same.flatten()]))[0, 1]) > 0.97


def test_batches_are_repeatable_and_differ(folder: Path) -> None:
    task = EnhanceTask(recipe(noise=0.01), folder)
    first, again, other = (task.batch(np.random.default_rng(seed), 2, 16)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_noise_is_in_the_input_only(folder: Path) -> None:
    quiet, noisy = (
        EnhanceTask(recipe(noise=noise), folder).batch(np.random.default_rng(3), 40, 16)
        for noise in (0.0, 0.05)
    )
    assert torch.equal(quiet[1][:1], noisy[1][:1])
    assert float((noisy[0][:1] - quiet[0][:1]).std()) == pytest.approx(0.05, rel=0.2)


def test_magnetograms_come_with_both_signs(folder: Path) -> None:
    low, _ = EnhanceTask(recipe(kind="magnetogram"), folder).batch(np.random.default_rng(0), 30, 16)
    signs = torch.sign(low.flatten(1).sum(1))
    assert {-1.0, 1.0} <= set(signs.tolist())


def test_validation_measures_against_bicubic(folder: Path) -> None:
    task = EnhanceTask(recipe(), folder)

    class Bicubic(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.none = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.interpolate(images, scale_factor=2, mode="bicubic")

    figures = task.validate(Bicubic())
    assert figures["relative_to_bicubic"] == pytest.approx(1.0)
    [(low, high)] = validation_pairs(task.validation, 0.0)
    assert figures["loss"] == pytest.approx(float((Bicubic()(low) - high).square().mean()))


def test_richardson_lucy_beats_bicubic(folder: Path) -> None:
    _, image, pixel = read(SceneFile("scene.fits", 0.126), folder)
    low, high = observe("scene", image, pixel).whole()
    bicubic = torch.nn.functional.interpolate(low[None, None], scale_factor=2, mode="bicubic")[0, 0]
    assert best_richardson_lucy(low, high, iterations=20) < 0.85 * float(
        (bicubic - high).square().mean().sqrt()
    )


def test_a_scene_file_is_scaled_to_the_quiet_sun(folder: Path) -> None:
    name, image, pixel = read(SceneFile("scene.fits", 0.126, power=2.0), folder)
    assert (name, pixel) == ("scene", 0.126)
    assert np.median(image) == pytest.approx(1.0, abs=0.1)
    assert image[60:90, 60:90].mean() == pytest.approx(0.09, abs=0.03)
    assert field_of_darkness(image)[75, 75] > 2.0
    assert field_of_darkness(np.ones((2, 2))).max() == 0


def test_simulated_scenes_alternate_and_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliorestore.train.scenes.FIELD_ARCSEC", (28.0,))
    scenes = list(simulated("continuum", 2, 7))
    assert [name for name, _, _ in scenes] == ["sunspot 7", "granulation 8"]
    assert scenes[0][1].min() < 0.4 < scenes[1][1].min()
    field = next(simulated("magnetogram", 1, 7))[1]
    assert 1.5 < field.max() < 4.0  # kG


def test_mistakes_about_scenes_are_said(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"room for \(35, 35\) HMI pixels, less than patches of 50"):
        EnhanceTask(recipe(patch=50), folder)
    with pytest.raises(BurstError, match="--data is the folder"):
        EnhanceTask(recipe(files=(SceneFile("none.fits", 0.1),)), folder)
    with pytest.raises(SettingsError, match="at least 16 pixels"):
        EnhanceTask(recipe(files=(SceneFile("scene.fits", 0.1, rows=(0, 5)),)), folder)


def test_the_command_trains_and_writes_weights_with_their_record(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = tmp_path / "own-continuum.toml"
    table = '{file = "scene.fits", pixel_arcsec = 0.126}'
    toml.write_text(
        'architecture = "enhance-small"\ndescription = "a test"\nsteps = 4\nvalidate_every = 2\nbatch = '
        "2\npatch = 16\nseed = 5\n"
        f"scenes = 0\nvalidation_scenes = 0\nfiles = [{table}]\nvalidation_files = [{table}]\n"
    )
    command = [
        "train",
        "enhance",
        "--recipe",
        str(toml),
        "--data",
        str(folder),
        "-o",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    assert main(command) == 0
    said = capsys.readouterr()
    written = Path(said.out.strip())
    assert written == tmp_path / "out" / "own-continuum.safetensors"
    assert "step 4/4" in said.err
    _, record = weights.load(str(written))
    assert (record.name, record.kind, record.seed, record.data) == ("own-continuum", "continuum", 5, "a test")
    assert record.recipe["steps"] == 4
    assert set(record.quality) == {
        "validation_mse",
        "error_relative_to_bicubic",
        "error_relative_to_best_richardson_lucy",
        *CALIBRATION,
        "inside_1_sigma",
        "inside_2_sigma",
    }
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert weights.read_record(written).quality == record.quality


def test_an_unknown_method_cannot_be_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "magic", "--recipe", "enhance-continuum"]) == 2
    assert "no training for 'magic'; there is for enhance" in capsys.readouterr().err


def test_a_recipe_carries_its_files_into_the_record() -> None:
    assert dataclasses.asdict(recipe())["files"][0]["file"] == "scene.fits"


def test_a_recipe_chooses_the_psf_of_its_input(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scene.fits").write_bytes((folder / "scene.fits").read_bytes())
    fits.writeto(tmp_path / "point.fits", np.pad(np.ones((1, 1)), 4))  # sharper than any HMI
    contrasts = [
        float(EnhanceTask(recipe(psf=psf), tmp_path).validation[0].low.std())
        for psf in ("wachter", "wachter-short", "point.fits")
    ]
    assert contrasts == sorted(contrasts)
    assert contrasts[0] < 0.99 * contrasts[1] < 0.8 * contrasts[2]
    with pytest.raises(SettingsError, match=r"psf is 'gauss'; possible are airy, .* or a .fits file"):
        recipe(psf="gauss")


def test_the_uncertainty_is_calibrated_on_the_errors_that_are_there(folder: Path) -> None:
    class Bicubic(Enhance):
        """An interpolation that depends a little on the orientation."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            leaning = 0.9 * images + 0.1 * images.roll(1, -1)
            return torch.nn.functional.interpolate(leaning, scale_factor=2, mode="bicubic")

    for noise in (0.02, 0.2):
        task = EnhanceTask(recipe(noise=noise), folder)
        found = calibrate(Bicubic(blocks=1, kernels=1), task, task.recipe)
        assert all(found[name] > 0 for name in CALIBRATION)
        assert found["inside_1_sigma"] == pytest.approx(0.7, abs=0.1)
        assert found["inside_2_sigma"] == pytest.approx(0.95, abs=0.04)

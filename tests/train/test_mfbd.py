import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from heliorestore.errors import SettingsError
from heliorestore.nets import weights
from heliorestore.train import trainer
from heliorestore.train.mfbd import TRAINER, MfbdRecipe, MfbdTask, noise_of
from heliorestore.train.recipe import bundled, from_table, read_table

RECIPE = MfbdRecipe(
    name="r",
    architecture="mfbd-quarter",
    steps=30,
    batch=4,
    patch=32,
    learning_rate=3e-3,
    warmup=2,
    validate_every=10,
    instruments=("crisp-8542",),
    scenes=1,
    validation_scenes=1,
    days=1,
    size=80,
    psf_size=32,
    noise=(1e-3, 2e-3),
    r0_cm=(8.0, 10.0),
)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> MfbdTask:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder)
        return MfbdTask(RECIPE, folder)


def test_a_batch_has_the_sharpest_frame_first_and_its_target_in_place(task: MfbdTask) -> None:
    frames, targets = task.batch(np.random.default_rng(0), 40, 32)
    assert frames.shape == (40, 7, 32, 32)
    assert targets.shape == (40, 2, 32, 32)
    for burst, target in zip(frames.numpy(), targets.numpy(), strict=True):
        assert np.corrcoef(burst.mean(0).ravel(), target[0].ravel())[0, 1] > 0.7
    again, _ = task.batch(np.random.default_rng(0), 40, 32)
    assert torch.equal(frames, again)
    quiet, _ = _as(task, dataclasses.replace(RECIPE, noise=(1e-12, 1e-12))).batch(
        np.random.default_rng(5), 60, 32
    )
    repeated = [len({frame.std().item() for frame in task_frames}) for task_frames in quiet]
    assert max(repeated) == 7
    assert min(repeated) < 7  # some bursts have fewer frames


def test_the_papers_patches_are_flipped_and_their_frames_as_they_arrive(task: MfbdTask) -> None:
    paper = _as(task, dataclasses.replace(RECIPE, noise=(1e-12, 1e-12), order="arrival", augment="flips"))
    frames, targets = paper.batch(np.random.default_rng(5), 60, 48)  # patches as large as their bursts
    assert {len({frame.std().item() for frame in burst}) for burst in frames} == {7}  # never fewer
    sharpest = [int(burst.std((1, 2)).argmax()) for burst in frames]
    assert len(set(sharpest)) > 3
    known = {
        np.round(flip.std(0)[:5] / flip.std(), 4).tobytes()
        for scene in task.training
        for target in scene[:, :, -1].reshape(-1, 48, 48).numpy()
        for flip in (target, target[:, ::-1])  # the deviations along columns know no others
    }
    for target in targets.numpy()[:, 0]:
        assert np.round(target.std(0)[:5] / target.std(), 4).tobytes() in known
    net = weights.build("mfbd-quarter")
    TRAINER.start(net)  # gives the first frame, which is no longer the sharpest
    assert paper.validate(net.eval())["relative_to_best_frame"] > 1.05


def _as(task: MfbdTask, recipe: MfbdRecipe) -> MfbdTask:
    """The same bursts under another recipe."""
    other = copy.copy(task)
    other.recipe = recipe
    return other


def test_the_noise_has_the_variance_of_photons_and_read_out() -> None:
    frames = torch.tensor([0.0, 1.0, 2.0])[:, None, None].expand(3, 300, 300)
    variances = noise_of(frames, np.random.default_rng(0)).var((1, 2)).numpy()
    np.testing.assert_allclose(variances, [0.2, 1.0, 1.8], rtol=0.03)


def test_the_loss_is_relative_to_the_sharpest_frame_and_counts_all_outputs(task: MfbdTask) -> None:
    frames, targets = task.batch(np.random.default_rng(1), 6, 32)
    errors = (frames[:, :1] - targets[:, :1]).square().mean((1, 2, 3))
    assert float(task.loss(frames[:, :1], targets)) == pytest.approx(
        float((errors / (errors + 0.05**2)).mean()), rel=1e-4
    )
    # two estimates of a recurrent network, the second one perfect
    both = torch.cat([frames[:, :1], targets[:, :1]], 1)
    assert float(task.loss(both, targets)) == pytest.approx(
        float(task.loss(frames[:, :1], targets)) / 2, rel=1e-4
    )


def test_the_plain_loss_is_the_mean_squared_error(task: MfbdTask) -> None:
    frames, targets = _as(task, dataclasses.replace(RECIPE, loss="plain")).batch(
        np.random.default_rng(1), 6, 32
    )
    plain = (frames[:, :1] - targets[:, :1]).square().mean()
    assert float(task.loss(frames[:, :1], targets)) == pytest.approx(float(plain), rel=1e-5)


def test_the_statistics_of_the_normalisations_are_those_of_the_present_weights(task: MfbdTask) -> None:
    net = weights.build("mfbd-quarter")
    TRAINER.start(net)
    torch.nn.init.constant_(net.A01.bn.running_mean, 1e3)
    task.settle(net)
    assert float(net.A01.bn.running_mean.abs().max()) < 1
    assert net.A01.bn.momentum == 0.1
    settled = net.A01.bn.running_var.clone()
    task.validate(net.eval())
    torch.testing.assert_close(net.A01.bn.running_var, settled, rtol=0, atol=0)


def test_the_recurrent_network_validates_its_last_output(task: MfbdTask) -> None:
    net = weights.build("mfbd-recurrent-quarter")
    TRAINER.start(net)
    recipe = dataclasses.replace(RECIPE, architecture="mfbd-recurrent-quarter")
    assert _as(task, recipe).validate(net.eval())["relative_to_best_frame"] == pytest.approx(1.0, abs=1e-4)


def test_an_untrained_network_is_as_good_as_the_sharpest_frame(task: MfbdTask) -> None:
    net = weights.build("mfbd-quarter")
    TRAINER.start(net)
    assert task.validate(net.eval())["relative_to_best_frame"] == pytest.approx(1.0, abs=1e-4)


def test_the_error_of_a_committee_is_compared_with_its_spread(task: MfbdTask) -> None:
    class Wavering(torch.nn.Module):
        sign = 1.0

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            self.sign = -self.sign
            return frames[:, :1] + 0.1 * self.sign

    error = np.sqrt(
        np.mean([float((frames[:, :1] - target).square().mean()) for frames, target in task.noisy()])
    )
    spread = 0.1 * np.sqrt(8 / 7)
    assert task.error_over_spread(Wavering()) == pytest.approx(error / spread, rel=1e-4)


def test_training_makes_weights_with_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    recipe = tmp_path / "little.toml"
    lines = [
        'architecture = "mfbd-quarter"',
        "steps = 40",
        "batch = 4",
        "patch = 32",
        "learning_rate = 2e-3",
        "warmup = 2",
        "validate_every = 20",
        'instruments = ["crisp-8542"]',
        "scenes = 1",
        "validation_scenes = 1",
        "days = 1",
        "size = 80",
        "psf_size = 32",
        "r0_cm = [8, 10]",
    ]
    recipe.write_text("\n".join(lines))
    written = trainer.run(
        "mfbd", recipe, tmp_path / "out", data=tmp_path, device=torch.device("cpu"), say=lambda _: None
    )
    record = weights.read_record(written)
    assert record.normalisation == "contrast 1"
    assert record.pixel_arcsec == pytest.approx((0.0531, 0.0649))
    assert record.training.startswith("40 steps of 4 patches of 32 pixels")
    assert 0 < record.quality["error_relative_to_best_frame"] < 1.2
    assert record.quality["error_over_spread"] > 1
    recipe.write_text(
        "\n".join([*lines, f'start = "{written}"', 'name = "next"']).replace("steps = 40", "steps = 1")
    )
    trainer.run(
        "mfbd", recipe, tmp_path / "next", data=tmp_path, device=torch.device("cpu"), say=lambda _: None
    )
    further = weights.read_record(tmp_path / "next" / "next.safetensors").training
    assert (
        f"began as the weights little with the checksum {record.sha256[:16]}, whose training was: "
        f"{record.training}" in further
    )
    first, then = (
        weights.load(str(path))[0].state_dict() for path in (written, tmp_path / "next" / "next.safetensors")
    )
    # it went on from there
    assert max(float((first[name] - then[name]).abs().max()) for name in first if "weight" in name) < 2e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 30}, "multiple of 8"),
        ({"patch": 56}, "at most 48"),
        ({"noise": (0.1, 0.01)}, "smaller one first"),
        ({"scenes": 0}, "needs scenes"),
        ({"loss": "l1"}, "'relative' and 'plain'"),
        ({"order": "random"}, "'sharpest' and 'arrival'"),
        ({"r0_without_ao_cm": (9.0, 3.0)}, "smaller one first"),
        ({"instruments": ("crisp-85",)}, "No instrument"),
    ],
)
def test_an_impossible_recipe_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        dataclasses.replace(RECIPE, **changes)


@pytest.mark.parametrize("name", [name for name in bundled() if name.startswith("mfbd")])
def test_the_recipes_of_the_package_are_possible(name: str) -> None:
    assert from_table(MfbdRecipe, read_table(name)).name == name

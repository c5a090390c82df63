import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from heliorestore.errors import RestorationError
from heliorestore.nets.enhance import Enhance
from heliorestore.train import state_files
from heliorestore.train.loop import CHECKPOINT, Progress, train
from heliorestore.train.recipe import Recipe

RECIPE = Recipe(
    name="r",
    architecture="enhance-small",
    seed=4,
    steps=24,
    batch=2,
    patch=8,
    learning_rate=3e-3,
    warmup=2,
    cooldown=0.5,
    validate_every=6,
)
CPU = torch.device("cpu")


class Doubling:
    """A task a tiny network can learn: the image on twice as many pixels, negated."""

    def batch(self, random: np.random.Generator, size: int, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.from_numpy(random.random((size, 1, patch, patch), np.float32))
        return images, -torch.nn.functional.interpolate(images, scale_factor=2.0)

    def validate(self, net: torch.nn.Module) -> Mapping[str, float]:
        images, targets = self.batch(np.random.default_rng(99), 4, 12)
        with torch.inference_mode():
            return {"loss": float((net(images) - targets).square().mean())}


def tiny() -> Enhance:
    torch.manual_seed(0)
    return Enhance(blocks=1, kernels=4)


def state(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_it_learns_and_keeps_the_best(tmp_path: Path) -> None:
    net, said = tiny(), list[str]()
    recipe = dataclasses.replace(RECIPE, steps=120, validate_every=20, learning_rate=1e-2)
    progress = train(net, Doubling(), recipe, tmp_path, device=CPU, say=said.append)
    losses = [row["loss"] for row in progress.history]
    assert losses[-1] < 0.5 * losses[0]
    assert progress.best == min(losses)
    assert not net.training
    assert Doubling().validate(net)["loss"] == pytest.approx(progress.best, rel=1e-4)
    assert len(said) == 6
    assert said[-1].startswith("step 120/120")


class Interrupted(Exception):
    pass


class UntilStep(Doubling):
    """Doubling that is killed in the middle."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def batch(self, random: np.random.Generator, size: int, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.left -= 1
        if self.left < 0:
            raise Interrupted
        return super().batch(random, size, patch)


def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = tiny()
    first = train(unbroken, Doubling(), RECIPE, tmp_path / "a", device=CPU, say=lambda _: None)
    with pytest.raises(Interrupted):
        train(tiny(), UntilStep(15), RECIPE, tmp_path / "b", device=CPU, say=lambda _: None)
    resumed, said = tiny(), list[str]()
    second = train(resumed, Doubling(), RECIPE, tmp_path / "b", device=CPU, resume=True, say=said.append)
    assert said[0] == "continuing after step 12 of 24"
    assert [row["loss"] for row in second.history] == [row["loss"] for row in first.history]
    for name, value in state(unbroken).items():
        assert torch.equal(state(resumed)[name], value), name
    assert not list((tmp_path / "b").glob("*.part"))


class Settled(Doubling):
    """Doubling that counts how often the statistics are asked for."""

    times = 0

    def settle(self, net: torch.nn.Module) -> None:
        self.times += 1


def test_statistics_of_normalisations_are_held_towards_the_end(tmp_path: Path) -> None:
    # of 24 steps, validated every 6: from step 12 on
    task, recipe = Settled(), dataclasses.replace(RECIPE, held=0.6)
    train(
        tiny(),
        task,
        dataclasses.replace(recipe, steps=12, held=0.1),
        tmp_path,
        device=CPU,
        say=lambda _: None,
    )
    assert task.times == 2
    halfway = torch.load(tmp_path / CHECKPOINT, weights_only=True)["net"]
    train(tiny(), task, recipe, tmp_path, device=CPU, resume=True, say=lambda _: None)
    assert task.times == 2
    end = torch.load(tmp_path / CHECKPOINT, weights_only=True)["net"]
    statistics = [name for name in end if "running_" in name]
    assert statistics
    for name in statistics:
        torch.testing.assert_close(end[name], halfway[name], rtol=0, atol=0)
    weights = [name for name in end if name.endswith("weight")]
    assert all(not torch.equal(end[name], halfway[name]) for name in weights)


def test_the_best_is_not_lost_when_later_steps_are_worse(tmp_path: Path) -> None:
    class Worse(Doubling):
        calls = 0

        def validate(self, net: torch.nn.Module) -> Mapping[str, float]:
            self.calls += 1
            return {"loss": float(self.calls)}

    net = tiny()
    progress = train(net, Worse(), RECIPE, tmp_path, device=CPU, say=lambda _: None)
    assert (progress.best, progress.best_step) == (1.0, 6)
    other = tiny()
    train(
        other,
        Worse(),
        dataclasses.replace(RECIPE, cooldown=0.5),
        tmp_path / "other",
        device=CPU,
        say=lambda _: None,
    )
    saved = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert any(not torch.equal(saved["net"][name], value) for name, value in state(net).items())
    assert all(torch.equal(saved["best"][name], value) for name, value in state(net).items())


def test_a_checkpoint_is_not_overwritten_and_must_fit(tmp_path: Path) -> None:
    train(tiny(), Doubling(), dataclasses.replace(RECIPE, steps=6), tmp_path, device=CPU, say=lambda _: None)
    with pytest.raises(RestorationError, match="continue it with --resume"):
        train(tiny(), Doubling(), RECIPE, tmp_path, device=CPU)
    with pytest.raises(RestorationError, match="another network or recipe"):
        train(Enhance(blocks=2, kernels=4), Doubling(), RECIPE, tmp_path, device=CPU, resume=True)
    with pytest.raises(RestorationError, match="start without --resume"):
        train(tiny(), Doubling(), RECIPE, tmp_path / "none", device=CPU, resume=True)
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")
    with pytest.raises(RestorationError, match="cannot be read"):
        train(tiny(), Doubling(), RECIPE, tmp_path, device=CPU, resume=True)


def test_a_training_in_slices_with_a_large_checkpoint_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_files, "_PIECE", 4000)
    unbroken, sliced, said = tiny(), tiny(), list[str]()
    train(unbroken, Doubling(), RECIPE, tmp_path / "a", device=CPU, say=lambda _: None)
    progress = train(sliced, Doubling(), RECIPE, tmp_path / "b", device=CPU, seconds=0, say=said.append)
    assert progress.step == 1
    assert said[-1] == "stopped after step 1 of 24: continue it with --resume"
    first = {path.name for path in (tmp_path / "b").iterdir()}
    assert {"checkpoint.pt", "checkpoint-1-weights-1.pt", "checkpoint-1-optimiser-1.pt"} <= first
    assert max(path.stat().st_size for path in (tmp_path / "b").iterdir()) < 6000
    again = tiny()
    train(again, Doubling(), RECIPE, tmp_path / "b", device=CPU, resume=True, say=lambda _: None)
    for name, value in state(unbroken).items():
        assert torch.equal(state(again)[name], value), name
    assert not first & {path.name for path in (tmp_path / "b").iterdir()} - {"checkpoint.pt"}
    next((tmp_path / "b").glob("*-optimiser-1.pt")).unlink()
    with pytest.raises(RestorationError, match="to resume from"):
        train(tiny(), Doubling(), RECIPE, tmp_path / "b", device=CPU, resume=True)


def test_half_precision_learns_too(tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        RECIPE, precision="bfloat16", steps=120, learning_rate=1e-2, validate_every=20
    )
    history: Progress = train(tiny(), Doubling(), recipe, tmp_path, device=CPU, say=lambda _: None)
    assert history.history[-1]["loss"] < 0.7 * history.history[0]["loss"]


class Product(torch.nn.Module):
    """A network of two inputs, one of them no image."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        return self.factor * images * factors[:, :, None, None]


class TwoInputs:
    """A task with several inputs and a loss of its own, that is told where to work."""

    device = torch.device("meta")

    def to(self, device: torch.device) -> None:
        self.device = device

    def batch(
        self, random: np.random.Generator, size: int, patch: int
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        images = torch.from_numpy(random.random((size, 1, patch, patch), np.float32)).to(self.device)
        factors = torch.full((size, 1), 2.0, device=self.device)
        return (images, factors), 6 * images

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - 2 * targets).abs().mean()  # its minimum is not that of the mean squared error

    def validate(self, net: torch.nn.Module) -> Mapping[str, float]:
        return {"loss": float((net.factor.detach() - 6).abs())}


def test_a_task_may_have_several_inputs_and_its_own_loss(tmp_path: Path) -> None:
    net, task = Product(), TwoInputs()
    train(
        net,
        task,
        dataclasses.replace(RECIPE, steps=400, learning_rate=0.1, validate_every=100),
        tmp_path,
        device=CPU,
        say=lambda _: None,
    )
    assert task.device == CPU
    assert float(net.factor.detach()) == pytest.approx(6, abs=0.1)

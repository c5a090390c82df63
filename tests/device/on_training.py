"""Every training takes the steps of the CPU on an accelerator, and goes on there from a checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

from heliorestore.nets import weights
from heliorestore.train import denoise, emulator, enhance, mfbd
from heliorestore.train.bursts import Days
from heliorestore.train.loop import Progress, train
from heliorestore.train.scenes import SceneFile
from heliorestore.train.trainer import Trainer, finish

SCENE = SceneFile("scene.fits", 0.06)
FEW: dict[str, Any] = {"steps": 2, "validate_every": 2, "batch": 2, "warmup": 1}
FILES: dict[str, Any] = {
    **{"scenes": 0, "validation_scenes": 0, "files": (SCENE,), "validation_files": (SCENE,)}
}
BURSTS: dict[str, Any] = {"scenes": 1, "validation_scenes": 1, "size": 96, "patch": 16}
TRAININGS: dict[str, tuple[Trainer, dict[str, Any]]] = {
    "mfbd": (mfbd.TRAINER, {"architecture": "mfbd-quarter", **BURSTS}),
    "mfbd recurrent": (mfbd.TRAINER, {"architecture": "mfbd-recurrent-quarter", **BURSTS, "frames": 3}),
    "enhance": (enhance.TRAINER, {"architecture": "enhance-small", "patch": 16, **FILES}),
    "denoise": (denoise.TRAINER, {"architecture": "denoiser-uncertain", "patch": 32, **FILES}),
    "emulator": (
        emulator.TRAINER,
        {
            **{"architecture": "emulator-narrow", "patch": 32, "margin": 16, "flow_psf": 32},
            **{"flow_step": 8, "r0_cm": (20.0, 40.0), "varying": 0.5, **FILES},
        },
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image of smooth structures."""
    folder = tmp_path_factory.mktemp("data")
    frequency = np.hypot(np.fft.fftfreq(200)[:, None], np.fft.fftfreq(200)[None])
    noise = np.fft.fft2(np.random.default_rng(0).standard_normal((200, 200)))
    field = np.fft.ifft2(noise * np.exp(-2 * (np.pi * 2 * frequency) ** 2)).real
    fits.writeto(folder / "scene.fits", (1 + 0.12 * field / field.std()).astype(np.float32))
    return folder


def seen(days: Days, folder: Path) -> list[np.ndarray]:
    """Bursts (day, object, frame + target, y, x) in the place of simulated ones, which take seconds."""
    random = np.random.default_rng(days.seed)
    return [(1 + 0.1 * random.standard_normal((1, 1, days.frames + 1, 48, 48))).astype(np.float32)]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_takes_the_steps_of_the_cpu(
    name: str, data: Path, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mfbd, "cached", seen)
    monkeypatch.setattr(mfbd, "_SETTLING", 1)
    monkeypatch.setattr(emulator.EmulatorRecipe, "validation_r0_cm", [30.0])
    monkeypatch.setattr(denoise, "_VALIDATION_SIDE", 32)
    trainer, known = TRAININGS[name]
    recipe = trainer.recipe(name="test", **FEW | known)
    task = trainer.task(recipe, data)
    found: list[tuple[Progress, dict[str, torch.Tensor]]] = []
    for place in ("cpu", device):
        torch.manual_seed(0)
        net = weights.build(recipe.architecture)
        trainer.start(net)
        first = dataclasses.replace(recipe, steps=1)
        for step, resume in ((first, False), (recipe, True)):
            progress = train(
                *(net, task, step, tmp_path / place),
                **{"device": torch.device(place), "resume": resume, "say": lambda _: None},
            )
        found.append((progress, weights.copied(net)))
    if name == "emulator":  # whose task has made its data on the device until now
        assert weights.load(str(finish(trainer, net, task, recipe, progress, tmp_path)))[1].quality
    (here, state), (there, other) = found
    assert [row["step"] for row in there.history] == [1, 2]
    assert all(value.device.type == "cpu" for value in other.values())
    if device == "pretend" or name != "emulator":  # a GPU draws other random numbers for it
        for row, same in zip(here.history, there.history, strict=True):
            for figure in set(row) - {"seconds"}:
                assert same[figure] == pytest.approx(row[figure], rel=1e-4 if device == "pretend" else 0.05)
    if device == "pretend":
        for key, value in state.items():
            torch.testing.assert_close(other[key], value, rtol=1e-4, atol=1e-6)

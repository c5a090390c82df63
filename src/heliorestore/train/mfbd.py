"""Training the MFBD networks: bursts of the simulator, and the scene at the telescope's diffraction limit as the target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from heliorestore.burst import FloatArray
from heliorestore.errors import SettingsError
from heliorestore.instrument import find
from heliorestore.nets.mfbd import STRIDE, start_open
from heliorestore.nets.weights import WeightsRecord
from heliorestore.train.bursts import BORDER, Days, cached
from heliorestore.train.recipe import Recipe
from heliorestore.train.scenes import scene_file

VALIDATION_SEED = 100_000  # the simulator's validation scenes begin here, far from the training scenes' seeds
_LEVELS = (0.6, 1.4)  # of a patch: a field's mean is not that of its parts
_FEWER = 0.1  # share of bursts that have fewer frames than the network takes
_PHOTON_SHARE = 0.8  # of the noise variance at the mean intensity


@dataclass(frozen=True, kw_only=True)
class MfbdRecipe(Recipe):
    """A recipe with the Sun and the air: see `train.bursts.Days`; `noise` is drawn between its ends, in units of the mean."""

    instruments: tuple[Any, ...] = ("crisp-8542", "crisp-6302")
    scenes: int = 80
    validation_scenes: int = 8
    days: int = 3
    frames: int = 7
    size: int = 256
    r0_cm: tuple[Any, ...] = (5.0, 15.0)
    ao: float = 0.75
    psf_size: int = 128
    noise: tuple[Any, ...] = (5e-4, 1e-2)
    files: tuple[Any, ...] = ()
    validation_files: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.instruments:
            find(name)
        for name in ("files", "validation_files"):
            object.__setattr__(self, name, tuple(scene_file(table) for table in getattr(self, name)))
        if self.validation_scenes + len(self.validation_files) < 1 or self.scenes + len(self.files) < 1:
            raise SettingsError("The recipe needs scenes to train on, and others to validate with.")
        for name in ("r0_cm", "noise"):
            ends = getattr(self, name)
            if len(ends) != 2 or not 0 < ends[0] <= ends[1]:
                raise SettingsError(f"The recipe's {name} is {list(ends)}; it must be two positive numbers, the smaller one first.")
        room = self.size - 2 * BORDER
        if self.patch % STRIDE or self.patch > room or self.size % 2:
            raise SettingsError(
                f"The recipe has patches of {self.patch} and frames of {self.size} pixels; patches must be a multiple of {STRIDE} "
                f"and at most {room}, {2 * BORDER} less than the frames, whose size must be even."
            )

    def bursts(self, *, validation: bool) -> Days:
        """The bursts of one part of the recipe."""
        return Days(
            instruments=self.instruments,
            scenes=self.validation_scenes if validation else self.scenes,
            seed=VALIDATION_SEED if validation else 1 + 10_000 * self.seed,
            days=self.days,
            frames=self.frames,
            size=self.size,
            r0_cm=(self.r0_cm[0], self.r0_cm[1]),
            ao=self.ao,
            psf_size=self.psf_size,
            files=self.validation_files if validation else self.files,
        )


class MfbdTask:
    """Random patches of the training bursts, and the validation bursts whole."""

    def __init__(self, recipe: MfbdRecipe, folder: Path) -> None:
        self.recipe = recipe
        self.training = cached(recipe.bursts(validation=False), folder)
        self.validation = [burst for scene in cached(recipe.bursts(validation=True), folder) for day in scene for burst in day]

    def batch(self, random: np.random.Generator, size: int, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames (batch, frame, y, x), the sharpest first, with noise, and targets (batch, 1, y, x), turned and mirrored alike."""
        cuts = [self._cut(random, patch) for _ in range(size)]
        frames = torch.from_numpy(np.stack([cut[_ordered(random, len(cut) - 1)] for cut in cuts]))
        targets = torch.from_numpy(np.stack([cut[-1:] for cut in cuts]))
        if "recurrent" in self.recipe.architecture:  # every output has the same target (eq. 4)
            targets = targets.expand(-1, frames.shape[1] - 1, -1, -1)
        sigma = torch.from_numpy(_between(random, self.recipe.noise, size))[:, None, None, None]
        return frames + noise_of(frames, random) * sigma, targets

    def validate(self, net: nn.Module) -> Mapping[str, float]:
        """Mean squared error on the validation bursts, and the error (rms) relative to the sharpest frame's."""
        device = next(net.parameters()).device
        losses, ratios = [], []
        with torch.inference_mode():
            for frames, target in self.noisy():
                error = float((net(frames.to(device))[:, -1:].cpu() - target).square().mean())
                losses.append(error)
                ratios.append(math.sqrt(error / float((frames[:, :1] - target).square().mean())))
        return {"loss": float(np.mean(losses)), "relative_to_best_frame": float(np.mean(ratios))}

    def noisy(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The validation bursts (1, frame, y, x) with always the same noise, and their targets (1, 1, y, x)."""
        pairs = []
        for number, burst in enumerate(self.validation):
            random = np.random.default_rng((VALIDATION_SEED, number))
            side = burst.shape[-1] // STRIDE * STRIDE
            stack = torch.tensor(burst[None, :, :side, :side])
            sigma = float(_between(random, self.recipe.noise, 1)[0])
            pairs.append((stack[:, :-1] + sigma * noise_of(stack[:, :-1], random), stack[:, -1:]))
        return pairs

    def _cut(self, random: np.random.Generator, patch: int) -> FloatArray:
        """A patch (frame + target, y, x) of a random burst."""
        scene = self.training[int(random.integers(len(self.training)))]
        burst = scene[int(random.integers(scene.shape[0])), int(random.integers(scene.shape[1]))]
        row, column = (int(random.integers(0, n - patch + 1)) for n in burst.shape[-2:])
        cut = np.rot90(burst[:, row : row + patch, column : column + patch], int(random.integers(4)), (1, 2))
        return np.ascontiguousarray(cut[:, ::-1] if random.integers(2) else cut) * np.float32(random.uniform(*_LEVELS))


def noise_of(frames: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Photon and read noise of unit variance at an intensity of 1."""
    normal = torch.from_numpy(random.standard_normal(frames.shape, np.float32))
    return normal * (_PHOTON_SHARE * frames.clamp(min=0) + 1 - _PHOTON_SHARE).sqrt()


def _ordered(random: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    """Numbers of the frames to give: the sharpest, then the others in any order; sometimes only some, repeated."""
    kept = int(random.integers(1, count)) if count > 1 and random.random() < _FEWER else count
    chosen = np.concatenate([[0], 1 + random.permutation(count - 1)])[:kept]
    return np.resize(chosen, count)


def _between(random: np.random.Generator, ends: tuple[Any, ...], count: int) -> npt.NDArray[np.float32]:
    """Numbers spread evenly in their logarithm."""
    return np.exp(random.uniform(math.log(ends[0]), math.log(ends[1]), count)).astype(np.float32)


class MfbdTrainer:
    """How the MFBD networks are trained, as `train.command` wants to know it."""

    recipe = MfbdRecipe

    def task(self, recipe: MfbdRecipe, folder: Path) -> MfbdTask:
        return MfbdTask(recipe, folder)

    def start(self, net: nn.Module) -> None:
        start_open(net)

    def record(self, net: nn.Module, task: MfbdTask, recipe: MfbdRecipe) -> WeightsRecord:
        """Errors (rms) relative to the sharpest frame's, averaged over the validation bursts."""
        figures = task.validate(net)
        pixels = [find(name).pixel_arcsec or 0.0 for name in recipe.instruments]
        return WeightsRecord(
            name=recipe.name,
            architecture=recipe.architecture,
            normalisation="mean 1",
            instrument=", ".join(find(name).name for name in recipe.instruments),
            pixel_arcsec=(round(0.9 * min(pixels), 4), round(1.1 * max(pixels), 4)),
            quality={"validation_mse": figures["loss"], "error_relative_to_best_frame": figures["relative_to_best_frame"]},
            quality_note=(
                f"means over {len(task.validation)} simulated bursts of {recipe.frames} frames of scenes that were not trained on, with "
                f"r0 between {recipe.r0_cm[0]:g} and {recipe.r0_cm[1]:g} cm at 500 nm and noise between {recipe.noise[0]:g} and "
                f"{recipe.noise[1]:g} of the mean; the truth is moved by the mean distortion of the frames"
            ),
        )


TRAINER = MfbdTrainer()

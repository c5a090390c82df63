"""Training MFBD networks: simulated bursts, and as target the scene at the diffraction limit."""

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

from heliorestore.errors import SettingsError
from heliorestore.instrument import find
from heliorestore.nets.mfbd import ORIENTATIONS, STRIDE, start_open, turned, turned_back
from heliorestore.nets.mfbd_weights import ARRIVAL
from heliorestore.nets.weights import WeightsRecord
from heliorestore.train.bursts import BORDER, Days, cached
from heliorestore.train.scenes import VALIDATION_SEED, SceneRecipe
from heliorestore.train.trainer import Trainer

_CONTRASTS = (0.6, 1.5)  # and
_LEVEL = 0.5  # of a patch in units of a contrast: those of a real field are less well known
_FLOOR = 0.05  # of the contrast: smaller errors hardly count
_SETTLING = 24  # batches
_FEWER = 0.1  # share of bursts that have fewer frames than the network takes
_PHOTON_SHARE = 0.8  # of the noise variance at the mean intensity
_CHOICES = {
    "loss": ("relative", "plain"),
    "order": ("sharpest", ARRIVAL),
    "augment": ("all", "flips"),
}


@dataclass(frozen=True, kw_only=True)
class MfbdRecipe(SceneRecipe):
    """A recipe with the Sun and the air: see `train.bursts.Days`; `noise` is drawn between its limits, in
    units of the mean.

    `loss` is the squared error: `relative` to that of the sharpest frame, burst by burst, or `plain` in units
    of its contrast. The network sees the `sharpest` frame first, or the frames in the `order` of their
    `arrival`. Patches are varied (`augment`) by `all`: turned, mirrored, of another contrast and level, at
    times of fewer frames; or by `flips` alone.
    """

    instruments: tuple[Any, ...] = ("crisp-8542-paper", "crisp-6302-paper")
    scenes: int = 80
    validation_scenes: int = 8
    days: int = 3
    frames: int = 7
    size: int = 256
    r0_cm: tuple[Any, ...] = (5.0, 15.0)
    r0_without_ao_cm: tuple[Any, ...] = ()
    ao: float = 0.75
    flux_rms: float = 0.0
    outliers: float = 0.0
    psf_size: int = 128
    noise: tuple[Any, ...] = (5e-4, 1e-2)
    loss: str = "relative"
    order: str = "sharpest"
    augment: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.instruments:
            find(name)
        for name, (one, other) in _CHOICES.items():
            if getattr(self, name) not in (one, other):
                raise SettingsError(
                    f"The recipe's {name} is {getattr(self, name)!r}; possible are {one!r} and {other!r}."
                )
        for name in ("r0_cm", "noise", *(("r0_without_ao_cm",) if self.r0_without_ao_cm else ())):
            ends = getattr(self, name)
            if len(ends) != 2 or not 0 < ends[0] <= ends[1]:
                raise SettingsError(
                    f"The recipe's {name} is {list(ends)}; it must be two positive numbers, "
                    "the smaller one first."
                )
        room = self.size - 2 * BORDER
        if self.patch % STRIDE or self.patch > room or self.size % 2:
            raise SettingsError(
                f"The recipe has patches of {self.patch} and frames of {self.size} pixels; patches must be a "
                f"multiple of {STRIDE} "
                f"and at most {room}, {2 * BORDER} less than the frames, whose size must be even."
            )

    def bursts(self, *, validation: bool) -> Days:
        """The bursts of one part of the recipe."""
        scenes, seed, files = self.part(validation=validation)
        return Days(
            instruments=self.instruments,
            scenes=scenes,
            seed=seed,
            days=self.days,
            frames=self.frames,
            size=self.size,
            r0_cm=(self.r0_cm[0], self.r0_cm[1]),
            r0_without_ao_cm=self.r0_without_ao_cm,
            ao=self.ao,
            flux_rms=self.flux_rms,
            outliers=self.outliers,
            psf_size=self.psf_size,
            files=files,
        )


class MfbdTask:
    """Random patches of training bursts, cut out where the network is; validation bursts whole. The sharpest
    frame's contrast is 1.
    """

    def __init__(self, recipe: MfbdRecipe, folder: Path) -> None:
        self.recipe = recipe
        scenes = cached(recipe.bursts(validation=False), folder)
        self.contrasts = [np.asarray(scene[:, :, 0].std((-2, -1))) for scene in scenes]
        self.training = [torch.from_numpy(scene) for scene in scenes]
        self.validation = [
            burst
            for scene in cached(recipe.bursts(validation=True), folder)
            for day in scene
            for burst in day
        ]

    def to(self, device: torch.device) -> None:
        """Keep the bursts to train on there."""
        self.training = [scene.to(device) for scene in self.training]

    def batch(self, random: np.random.Generator, size: int, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames (batch, frame, y, x), the sharpest first, with noise; and (batch, 2, y, x): targets, and the
        weights of their errors.
        """
        cuts, numbers = zip(*(self._sample(random, patch) for _ in range(size)), strict=True)
        bursts = torch.stack(cuts)
        noise, factor, level = torch.tensor(numbers, device=bursts.device).T[..., None, None, None]
        frames, targets = bursts[:, :-1], bursts[:, -1:]
        frames = (frames + noise * noise_of(frames, random) - 1) * factor + level
        targets = (targets - 1) * factor + level
        weights = (
            _weights(frames, targets).expand_as(targets)
            if self.recipe.loss == "relative"
            else torch.ones_like(targets)
        )
        return frames, torch.cat([targets, weights], 1)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Weighted mean of the squared errors; all outputs of the recurrent network count (eq. 4).

        The worst bursts would dominate a plain mean: relative to the sharpest frame's errors the good ones
        count as much.
        """
        return ((outputs - targets[:, :1]).square() * targets[:, 1:]).mean()

    def validate(self, net: nn.Module) -> Mapping[str, float]:
        """The loss on the validation bursts, and the error (rms) relative to the sharpest frame's."""
        device = next(net.parameters()).device
        losses, ratios = [], []
        with torch.inference_mode():
            for frames, target in self.noisy():
                # Simulated frames are independent: theirs is any order.
                taken = frames[:, np.roll(np.arange(frames.shape[1]), 3)] if self._arriving else frames
                error = float((net(taken.to(device))[:, -1:].cpu() - target).square().mean())
                losses.append(error * float(_weights(frames, target)))
                ratios.append(math.sqrt(error / float((frames[:, :1] - target).square().mean())))
        return {"loss": float(np.mean(losses)), "relative_to_best_frame": float(np.mean(ratios))}

    def error_over_spread(self, net: nn.Module) -> float:
        """Rms error of a committee's mean over its members' rms spread, over the validation bursts."""
        random = np.random.default_rng(VALIDATION_SEED)
        errors, spreads = [], []
        with torch.inference_mode():
            for frames, target in self.noisy():
                orders = [self._order(random, frames.shape[1]) for _ in range(ORIENTATIONS)]
                # Turned and turned back, as the method's committee does it.
                members = torch.cat(
                    [
                        turned_back(net(turned(frames[:, order], n)), n)[:, -1:]
                        for n, order in enumerate(orders)
                    ]
                )
                errors.append(float((members.mean(0) - target).square().mean()))
                spreads.append(float(members.var(0).mean()))
        return math.sqrt(sum(errors) / sum(spreads))

    def noisy(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Validation bursts (1, frame, y, x) with the same noise each time; targets (1, 1, y, x)."""
        pairs = []
        for number, burst in enumerate(self.validation):
            random = np.random.default_rng((VALIDATION_SEED, number))
            side = burst.shape[-1] // STRIDE * STRIDE
            stack = torch.tensor(burst[None, :, :side, :side])
            frames = stack[:, :-1] + _between(random, self.recipe.noise) * noise_of(stack[:, :-1], random)
            factor = 1 / float(burst[0].std())
            pairs.append(((frames - 1) * factor, (stack[:, -1:] - 1) * factor))
        return pairs

    def _sample(
        self, random: np.random.Generator, patch: int
    ) -> tuple[torch.Tensor, tuple[float, float, float]]:
        """Frames and target (frame + target, y, x) of a patch of a random burst, turned and mirrored; its
        noise, and the factor and level of its contrast.
        """
        number = int(random.integers(len(self.training)))
        scene = self.training[number]
        day, object_ = int(random.integers(scene.shape[0])), int(random.integers(scene.shape[1]))
        row, column = (int(random.integers(0, n - patch + 1)) for n in scene.shape[-2:])
        varied = self.recipe.augment == "all"
        # Half a turn, with or without a mirror, makes all flips.
        turns = int(random.integers(4)) if varied else 2 * int(random.integers(2))
        cut = scene[day, object_, :, row : row + patch, column : column + patch].rot90(turns, (1, 2))
        cut = cut.flip(1) if random.integers(2) else cut
        count = kept = len(cut) - 1
        if varied and count > 1 and random.random() < _FEWER:
            kept = int(random.integers(1, count))
        order = np.resize(self._order(random, count)[:kept], count)
        noise = _between(random, self.recipe.noise)
        stretched = random.uniform(*_CONTRASTS) if varied else 1.0
        factor = float(stretched / self.contrasts[number][day, object_])
        # A patch may be darker or brighter than its field, whose mean the frames are scaled by.
        level = float(random.uniform(-_LEVEL, _LEVEL)) if varied else 0.0
        return cut[[*order.tolist(), count]], (noise, factor, level)

    @property
    def _arriving(self) -> bool:
        return self.recipe.order == ARRIVAL

    def _order(self, random: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        """The order in which a network sees the frames, of which the first is the sharpest."""
        if self._arriving:
            return random.permutation(count)
        return np.concatenate([[0], 1 + random.permutation(count - 1)])

    def settle(self, net: nn.Module) -> None:
        """Measure the statistics of the normalisations as means over some batches."""
        norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            # Running means lag behind the weights: these are measured with the weights as they are.
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        random = np.random.default_rng(self.recipe.seed)
        device = next(net.parameters()).device
        with torch.no_grad():
            for _ in range(_SETTLING):
                net(self.batch(random, self.recipe.batch, self.recipe.patch)[0].to(device))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _weights(frames: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Weights (batch, 1, 1, 1) of squared errors of bursts: smaller if the sharpest frame is bad."""
    return 1 / ((frames[:, :1] - targets).square().mean((1, 2, 3), keepdim=True) + _FLOOR**2)


def noise_of(frames: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Photon and read noise of unit variance at an intensity of 1; other numbers on another device."""
    generator = torch.Generator(frames.device).manual_seed(int(random.integers(2**62)))
    normal = torch.randn(frames.shape, generator=generator, device=frames.device)
    # Photon noise as a Gaussian of the same variance: at a noise of 1 % or less a pixel has 10,000 photons or
    # more.
    return normal * (_PHOTON_SHARE * frames.clamp(min=0) + 1 - _PHOTON_SHARE).sqrt()


def _between(random: np.random.Generator, ends: tuple[Any, ...]) -> float:
    """A random number between both ends, uniform in its logarithm."""
    return math.exp(random.uniform(math.log(ends[0]), math.log(ends[1])))


def _record(net: nn.Module, task: MfbdTask, recipe: MfbdRecipe) -> WeightsRecord:
    """Errors (rms) relative to the sharpest frame's, averaged over the validation bursts."""
    figures = task.validate(net)
    pixels = [find(name).require().pixel_arcsec for name in recipe.instruments]
    return WeightsRecord(
        name=recipe.name,
        architecture=recipe.architecture,
        normalisation="contrast 1",
        instrument=", ".join(find(name).name for name in recipe.instruments),
        pixel_arcsec=(round(0.9 * min(pixels), 4), round(1.1 * max(pixels), 4)),
        quality={
            "validation_loss": figures["loss"],
            "error_relative_to_best_frame": figures["relative_to_best_frame"],
            "error_over_spread": task.error_over_spread(net),
        },
        quality_note=(
            f"means over {len(task.validation)} simulated bursts of {recipe.frames} frames of "
            f"scenes that were not trained on, with r0 between {recipe.r0_cm[0]:g} and "
            f"{recipe.r0_cm[1]:g} cm at 500 nm and noise between {recipe.noise[0]:g} and "
            f"{recipe.noise[1]:g} of the mean; the truth is moved by the mean distortion of the "
            f"frames; error_over_spread is that of a committee of {ORIENTATIONS}"
        ),
    )


TRAINER = Trainer(MfbdRecipe, MfbdTask, _record, start_open)

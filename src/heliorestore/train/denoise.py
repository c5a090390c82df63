"""Training the denoiser on simulated maps of polarised light, in units of their noise.

Divided by its noise, every image has a noise of one, so one network serves observations of any noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from heliorestore.errors import SettingsError
from heliorestore.nets.denoiser import Denoiser
from heliorestore.nets.uncertainty import uncertain_image, unlikelihood
from heliorestore.nets.weights import WeightsRecord
from heliorestore.train.loop import Inputs
from heliorestore.train.polarised import (
    Map,
    correlated_noise,
    noise,
    of_light,
    simulated,
    weak_structure,
)
from heliorestore.train.scenes import VALIDATION_SEED, SceneRecipe, read
from heliorestore.train.trainer import Trainer

_VALIDATION_SIDE = 128
# factors of the signals, for structures that the simulator does not show
_STRENGTHS = (0.1, 1.5)
_MISJUDGED = 0.25  # spread of the logarithm of the noise over its estimate
_CANDIDATES = 4  # places of which every other patch takes the one with the strongest signal
# larger errors, in units of the noise, count linearly: strong signals must not outweigh all others
_MOST = 2.0
_STRONGEST = 150.0  # signal of a patch in units of its noise; stronger ones are scaled down
_TARGETS, _LOSSES = ("clean", "noisy"), ("huber", "l2")
_APART = 16  # pixels between two noises that are cut from one
_SHARE = 0.3  # of the patches of a step, from which the second head learns
_WITHIN_TWO = 0.954  # of the true values within two sigmas, as for Gaussian errors
_SETTLINGS = 2  # shifts of the log variance: the spread under dropout does not follow it
_PASSES = 8  # of Monte-Carlo dropout when the calibration is measured


@dataclass(frozen=True, kw_only=True)
class DenoiseRecipe(SceneRecipe):
    """A recipe with scenes; the noise of every patch is drawn between `noise_low` and `noise_high`, in units
    of the continuum.

    If `files_share` is above 0 it is the share of the patches from files; else that share is the files' part
    of all maps. `targets` are the clean maps, or the same with another noise (Noise2Noise); the latter need
    the `loss` l2, because the mean of a noisy target is the clean one, and what Huber's loss finds is not.
    Over `weak_share` of the patches lie structures of random scale, as weak as the noise.
    """

    noise_low: float = 1e-3
    noise_high: float = 1e-2
    files_share: float = 0.0
    targets: str = "clean"
    loss: str = "huber"
    weak_share: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.noise_low <= self.noise_high:
            raise SettingsError(
                f"The recipe's noise goes from {self.noise_low} to {self.noise_high}; both must be "
                "positive, the smaller one first."
            )
        for name, value, possible in (("targets", self.targets, _TARGETS), ("loss", self.loss, _LOSSES)):
            if value not in possible:
                raise SettingsError(
                    f"The recipe's {name} is {value!r}; possible are {' and '.join(possible)}."
                )
        if self.targets == "noisy" and self.loss != "l2":
            raise SettingsError(
                "A recipe with noisy targets needs loss = 'l2': only the mean of a noisy target is the clean "
                "one."
            )
        if not 0 <= self.weak_share <= 1:
            raise SettingsError(
                f"The recipe's weak_share is {self.weak_share}; it is a fraction from 0 to 1."
            )
        if not 0 <= self.files_share <= 1 or (self.files_share and not self.files):
            raise SettingsError(
                f"The recipe's files_share is {self.files_share} with {len(self.files)} files; it is a "
                "fraction between 0 and 1 of the patches, and needs files that they come from."
            )


class DenoiseTask:
    """Random patches of the training maps with ever new noise; parts of validation maps with the same."""

    def __init__(self, recipe: DenoiseRecipe, folder: Path) -> None:
        self.recipe = recipe
        self.training = _maps(recipe, folder, validation=False)
        self.validation = _maps(recipe, folder, validation=True)
        for maps in (*self.training.values(), *self.validation.values()):
            if min(maps[0].shape) < max(recipe.patch, _VALIDATION_SIDE):
                raise SettingsError(
                    f"A map of the recipe has {maps[0].shape} pixels, less than patches of "
                    f"{recipe.patch} need."
                )
        scenes = list(self.training.values())
        self._all = [each for maps in scenes for each in maps]
        self._of_files = [each for maps in scenes[recipe.scenes :] for each in maps]

    def batch(self, random: np.random.Generator, size: int, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Noisy patches and targets (batch, 1, y, x) in units of an imperfect estimate of the noise."""
        pairs = [self._pair(random, patch) for _ in range(size)]
        noisy, target = (torch.from_numpy(np.stack(side))[:, None] for side in zip(*pairs, strict=True))
        return noisy, target

    def objective(self, net: nn.Module, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """The error of the image and, if the network has that head, the unlikelihood of this error (equation
        1).

        Each head learns for itself: the second does not influence the first, and costs time only for a part
        of the patches.
        """
        assert isinstance(net, Denoiser)
        assert isinstance(inputs, torch.Tensor)
        denoised = net(inputs).float()
        squared = self.recipe.loss == "l2"
        error = nn.functional.mse_loss(denoised, targets) / 2 if squared else _error(denoised, targets)
        if net.highest is None:
            return error
        # Detached below: the image must not be drawn to where the second head finds small errors.
        few = max(1, round(_SHARE * len(inputs)))
        squares = (denoised[:few].detach() - targets[:few]).square()
        own = net.log_variance(inputs[:few]).float()
        if self.recipe.targets == "noisy":
            # sigma^2 = sigma_net^2 + sigma_noise^2; half of what input and target differ by is the noise.
            noise_variance = (inputs[:few] - targets[:few]).square().mean((1, 2, 3), keepdim=True) / 2
            own = torch.logaddexp(own, noise_variance.log())
        return error + unlikelihood(squares, own)

    def validate(self, net: nn.Module) -> Mapping[str, float]:
        """The loss of the image alone, its error (rms) relative to the noise by kind of noise, and how often
        that is below its sigma.
        """
        assert isinstance(net, Denoiser)
        device = next(net.parameters()).device
        losses, inside = [], []
        errors: dict[str, list[float]] = {"white": [], "correlated": []}
        with torch.inference_mode():
            for kind, *pair in self.validation_pairs():
                noisy, clean = (image.to(device) for image in pair)
                denoised = net(noisy)
                losses.append(float(_error(denoised, clean)))
                error = denoised - clean
                errors[kind].append(float(error.square().mean()))
                if net.highest is not None:
                    sigma = torch.exp(net.with_variance(noisy)[1] / 2)
                    inside.append(float((error.abs() < sigma).float().mean()))
        figures = {"loss": float(np.mean(losses))} | {
            f"error_{kind}": float(np.mean(each) ** 0.5) for kind, each in errors.items()
        }
        return figures | ({"inside_1_sigma": float(np.mean(inside))} if inside else {})

    def validation_pairs(self) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
        """Kind of noise, noisy and clean image (1, 1, y, x) over the noise, of every validation map."""
        pairs = []
        for number, whole in enumerate(each for maps in self.validation.values() for each in maps):
            random = np.random.default_rng((VALIDATION_SEED, number))
            row, column = ((n - _VALIDATION_SIDE) // 2 for n in whole.shape)
            low, high = self.recipe.noise_low, self.recipe.noise_high
            # Three levels of noise, from the lowest to the highest of the training.
            sigma = low * (high / low) ** (number % 3 / 2)
            clean = whole[row : row + _VALIDATION_SIDE, column : column + _VALIDATION_SIDE] / np.float32(
                sigma
            )
            side = (_VALIDATION_SIDE, _VALIDATION_SIDE)
            white = number % 2 == 0
            added = (
                random.standard_normal(side, np.float32)
                if white
                else correlated_noise(random, side, cutoff=0.35, boost=1.5)
            )
            noisy, truth = (torch.from_numpy(image)[None, None] for image in (clean + added, clean))
            pairs.append(("white" if white else "correlated", noisy, truth))
        return pairs

    def _pair(self, random: np.random.Generator, patch: int) -> tuple[Map, Map]:
        low, high = np.log([self.recipe.noise_low, self.recipe.noise_high])
        signal = self._cut(random, patch)
        # The noise is drawn on a logarithmic scale: all ratios of signal to noise are about equally frequent.
        strength = np.exp(random.uniform(*np.log(_STRENGTHS)) - random.uniform(low, high))
        clean = (
            min(strength, _STRONGEST / max(float(np.abs(signal).max()), 1e-30))
            * random.choice((-1, 1))
            * signal
        )
        if self.recipe.weak_share and random.random() < self.recipe.weak_share:
            clean = clean + weak_structure(random, (patch, patch))
        target = clean
        if self.recipe.targets == "noisy":
            # Two parts of one noise, so far apart that they are independent.
            both = noise(random, (patch, 2 * (patch + _APART)))
            added, other = both[:, :patch], both[:, patch + _APART : 2 * patch + _APART]
            target = clean + other
        else:
            added = noise(random, (patch, patch))
        noisy = clean + added
        # Input and truth are divided by an estimate of the noise that is a little wrong, as in an
        # observation.
        judged = np.exp(_MISJUDGED * random.standard_normal())
        return np.asarray(noisy * judged, np.float32), np.asarray(target * judged, np.float32)

    def _cut(self, random: np.random.Generator, patch: int) -> Map:
        """A patch, turned and mirrored; every other one the strongest of several."""
        found = [self._somewhere(random, patch) for _ in range(_CANDIDATES if random.random() < 0.5 else 1)]
        turned: Map = np.rot90(max(found, key=lambda each: float(np.std(each))), int(random.integers(4)))
        return turned[::-1] if random.random() < 0.5 else turned

    def _somewhere(self, random: np.random.Generator, patch: int) -> Map:
        share = self.recipe.files_share
        maps = self._of_files if share and random.random() < share else self._all
        whole = maps[random.integers(len(maps))]
        row, column = (int(random.integers(0, n - patch + 1)) for n in whole.shape)
        return whole[row : row + patch, column : column + patch]


def _error(denoised: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    # Quadratic up to `_MOST`, linear beyond.
    return nn.functional.huber_loss(denoised, targets, delta=_MOST)


def _maps(recipe: DenoiseRecipe, folder: Path, *, validation: bool) -> dict[str, list[Map]]:
    """The maps of the recipe's scenes of one part, by the scene's name."""
    count, seed, files = recipe.part(validation=validation)
    maps = dict(simulated(number, seed) for number in range(count))
    return maps | {name: of_light(image) for name, image, _ in (read(file, folder) for file in files)}


def _record(net: nn.Module, task: DenoiseTask, recipe: DenoiseRecipe) -> WeightsRecord:
    """Errors over the noise, and fractions of true values within one and two sigmas, once settled."""
    assert isinstance(net, Denoiser)
    quality = dict(task.validate(net))
    quality.pop("inside_1_sigma", None)
    sigma = ""
    if net.highest is not None:
        torch.manual_seed(recipe.seed)
        pairs = [(noisy, clean) for _, noisy, clean in task.validation_pairs()]
        shift = settle(pairs, net)
        quality |= calibration(pairs, net)
        sigma = (
            f"; sigma from both heads with {_PASSES} passes, the log variance shifted by {shift:+.2f} at "
            "the end, so that "
            f"{_WITHIN_TWO:.1%} of these maps' true values lie within two sigmas"
        )
    names = ", ".join(task.validation)
    return WeightsRecord(
        name=recipe.name,
        architecture=recipe.architecture,
        kind="polarisation",
        normalisation="noise",
        quality=quality,
        quality_note=(
            "errors (rms) relative to the noise, over the middles of maps that were not trained on: "
            f"{names}; noise from "
            f"{recipe.noise_low} to {recipe.noise_high} of the continuum{sigma}"
        ),
    )


def settle(pairs: list[tuple[torch.Tensor, torch.Tensor]], net: Denoiser) -> float:
    """Shift the second head so that as many true values lie within two sigmas as for Gaussian errors; return
    the log variance's change.
    """
    bias = net.variance[-1].bias
    assert isinstance(bias, torch.Tensor)
    total = 0.0
    for _ in range(_SETTLINGS):
        ratios = []
        for noisy, clean in pairs:
            denoised, sigma = uncertain_image(net, noisy, _PASSES)
            ratios.append(((denoised - clean).abs() / sigma).flatten().numpy())
        # Sigmas larger by a factor f are a log variance larger by 2 ln f.
        shift = 2 * float(np.log(np.quantile(np.concatenate(ratios), _WITHIN_TWO) / 2))
        total += shift
        with torch.no_grad():
            # the log variance is the highest one minus the modulus of this layer
            bias -= shift * bias.sign()
    return total


def calibration(pairs: list[tuple[torch.Tensor, torch.Tensor]], net: Denoiser) -> dict[str, float]:
    """Fractions of true values within one and two sigmas of the denoised; Gaussian: 0.683, 0.954."""
    within = []
    for noisy, clean in pairs:
        denoised, sigma = uncertain_image(net, noisy, _PASSES)
        error = (denoised - clean).abs() / sigma
        within.append([float((error < limit).float().mean()) for limit in (1, 2)])
    one, two = np.mean(within, axis=0)
    return {"inside_1_sigma": float(one), "inside_2_sigma": float(two)}


TRAINER = Trainer(DenoiseRecipe, DenoiseTask, _record)

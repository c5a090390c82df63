"""Training Enhance: scenes seen by HMI and by twice its aperture (Diaz Baso & Asensio Ramos 2018, 2.6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from heliorestore.burst import Burst
from heliorestore.errors import SettingsError
from heliorestore.instrument import PSF_FORMS
from heliorestore.methods.richardson_lucy import RichardsonLucy, RichardsonLucySettings
from heliorestore.nets.enhance import CALIBRATION, Enhance, sigma_of, start_linear
from heliorestore.nets.weights import WeightsRecord
from heliorestore.prepare.psf_file import read_psf
from heliorestore.train.scenes import (
    VALIDATION_SEED,
    Kind,
    Scene,
    SceneRecipe,
    field_of_darkness,
    read,
    simulated,
)
from heliorestore.train.trainer import Trainer
from heliorestore.train.views import HMI, SAMPLES, MeasuredPsf, Views, observe

_LEVELS = (0.9, 1.1)  # levels of the quiet Sun after an imperfect normalisation and limb darkening
_CONTRASTS = (0.75, 1.2)
_STRENGTHS = (0.5, 1.4)
_CALIBRATED = 50_000  # pixels that decide about the uncertainty


@dataclass(frozen=True, kw_only=True)
class EnhanceRecipe(SceneRecipe):
    """A recipe with scenes; `noise` is in units of the quiet Sun, or in kG.

    `psf` is HMI's: a form of `PSF_FORMS`, or a FITS file in the data's folder.
    """

    kind: str = "continuum"
    noise: float = 1e-3
    psf: str = "wachter"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("continuum", "magnetogram"):
            raise SettingsError(
                f"The recipe's kind is {self.kind!r}; possible are 'continuum' and 'magnetogram'."
            )
        if self.psf not in PSF_FORMS and not self.psf.endswith(".fits"):
            raise SettingsError(
                f"The recipe's psf is {self.psf!r}; possible are {', '.join(PSF_FORMS)}, or a .fits file."
            )
        if self.noise < 0:
            raise SettingsError(f"The recipe's noise is {self.noise}; it cannot be negative.")

    @property
    def physical_kind(self) -> Kind:
        return "continuum" if self.kind == "continuum" else "magnetogram"


class EnhanceTask:
    """Random registered pairs of the training scenes, and the validation scenes whole."""

    def __init__(self, recipe: EnhanceRecipe, folder: Path) -> None:
        self.recipe = recipe
        self.training = _views(recipe, folder, validation=False)
        self.validation = _views(recipe, folder, validation=True)
        for views in self.training:
            if min(views.room) < recipe.patch:
                raise SettingsError(
                    f"The scene {views.name} has room for {views.room} HMI pixels, less than "
                    f"patches of {recipe.patch}."
                )
        # Scenes are drawn by their area: every place is equally likely.
        areas = np.array([views.low.numel() for views in self.training], float)
        self._chances = areas / areas.sum()

    def batch(self, random: np.random.Generator, size: int, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs (batch, 1, y, x) and (batch, 1, 2 y, 2 x), turned and mirrored, with noise in the input."""
        pairs = [self._pair(random, patch) for _ in range(size)]
        low, high = (torch.stack(side)[:, None] for side in zip(*pairs, strict=True))
        noise = torch.from_numpy(random.standard_normal(low.shape, np.float32)) * self.recipe.noise
        return low + noise, high

    def validate(self, net: nn.Module) -> Mapping[str, float]:
        """Mean squared error on the validation scenes, and error (rms) over bicubic interpolation's."""
        device = next(net.parameters()).device
        errors, bicubic = [], []
        with torch.inference_mode():
            for low, high in validation_pairs(self.validation, self.recipe.noise):
                errors.append(float((net(low.to(device)).cpu() - high).square().mean()))
                plain = nn.functional.interpolate(low, scale_factor=2, mode="bicubic")
                bicubic.append(float((plain - high).square().mean()))
        ratios = np.sqrt(np.array(errors) / np.array(bicubic))
        return {"loss": float(np.mean(errors)), "relative_to_bicubic": float(np.mean(ratios))}

    def _pair(self, random: np.random.Generator, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        pair = self._cut(random, patch)
        if self.recipe.kind == "continuum":
            level, contrast = random.uniform(*_LEVELS), random.uniform(*_CONTRASTS)
            # Around the quiet Sun, which is 1: level and contrast vary independently.
            low, high = (level * (1 + contrast * (image - 1)) for image in pair)
            return low, high
        # Fields superpose, and so do their images: a second scene brings opposite polarities close together.
        strength = random.uniform(*_STRENGTHS) * random.choice((-1, 1))
        low, high = (strength * image for image in pair)
        if random.random() < 0.5:
            strength = random.uniform(*_STRENGTHS) * random.choice((-1, 1))
            more = self._cut(random, patch)
            low, high = low + strength * more[0], high + strength * more[1]
        return low, high

    def _cut(self, random: np.random.Generator, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        views = self.training[random.choice(len(self.training), p=self._chances)]
        row, column = (int(random.integers(0, n - SAMPLES * patch + 1)) for n in views.low.shape)
        turns, mirror = int(random.integers(4)), bool(random.integers(2))
        low, high = (torch.rot90(image, turns, (0, 1)) for image in views.cut(row, column, (patch, patch)))
        return (low.flip(0), high.flip(0)) if mirror else (low, high)


def validation_pairs(scenes: list[Views], noise: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Whole pairs (1, 1, y, x) and (1, 1, 2 y, 2 x) with always the same noise."""
    pairs = []
    for number, views in enumerate(scenes):
        low, high = views.whole()
        random = np.random.default_rng((VALIDATION_SEED, number))
        noisy = low + noise * torch.from_numpy(random.standard_normal(low.shape, np.float32))
        pairs.append((noisy[None, None], high[None, None].contiguous()))
    return pairs


def _views(recipe: EnhanceRecipe, folder: Path, *, validation: bool) -> list[Views]:
    """The recipe's scenes of one part as both telescopes see them."""
    count, seed, files = recipe.part(validation=validation)
    scenes: list[Scene] = [
        *simulated(recipe.physical_kind, count, seed),
        *(read(file, folder) for file in files),
    ]
    psf: str | MeasuredPsf = recipe.psf
    if recipe.psf not in PSF_FORMS:
        kernel, scale = read_psf(folder / recipe.psf)
        psf = kernel, scale or HMI.require().pixel_arcsec
    views = []
    for number, (name, image, pixel_arcsec) in enumerate(scenes):
        from_light = recipe.kind == "magnetogram" and number >= count
        shown = field_of_darkness(image) if from_light else image
        views.append(observe(name, shown, pixel_arcsec, psf))
    return views


def _start(net: nn.Module) -> None:
    if isinstance(net, Enhance):
        start_linear(net)


def _record(net: nn.Module, task: EnhanceTask, recipe: EnhanceRecipe) -> WeightsRecord:
    """Errors (rms) over those of bicubic interpolation and of the best Richardson-Lucy, averaged."""
    figures = dict(task.validate(net))
    pairs = validation_pairs(task.validation, recipe.noise)
    with torch.inference_mode():
        errors = [float((net(low) - high).square().mean().sqrt()) for low, high in pairs]
    calibrated = calibrate(net, task, recipe) if isinstance(net, Enhance) else {}
    lucy_psf = recipe.psf if recipe.psf in PSF_FORMS else HMI.psf
    lucy = [best_richardson_lucy(low[0, 0], high[0, 0], psf=lucy_psf) for low, high in pairs]
    ratios = [error / best for error, best in zip(errors, lucy, strict=True)]
    return WeightsRecord(
        name=recipe.name,
        architecture=recipe.architecture,
        kind=recipe.kind,
        normalisation="quiet Sun" if recipe.kind == "continuum" else "kG",
        instrument=HMI.name,
        pixel_arcsec=(0.45, 0.56),
        quality={
            "validation_mse": figures["loss"],
            "error_relative_to_bicubic": figures["relative_to_bicubic"],
            "error_relative_to_best_richardson_lucy": float(np.mean(ratios)),
            **calibrated,
        },
        quality_note=(
            f"means over {len(pairs)} simulated HMI images with known truth, of scenes that were "
            f"not trained on: {', '.join(views.name for views in task.validation)}; noise "
            f"{recipe.noise}; Richardson-Lucy at its best of 300 iterations; inside_N_sigma: share of the "
            "pixels whose error is below N standard deviations by the spread over orientations"
        ),
    )


def calibrate(net: Enhance, task: EnhanceTask, recipe: EnhanceRecipe) -> dict[str, float]:
    """Floor and factor that make the standard deviations most likely, and what lies within one and two."""
    errors, spreads, shares = [], [], []
    with torch.inference_mode():
        for low, high in validation_pairs(task.validation, recipe.noise):
            restored = net(low)
            errors.append((restored - high).flatten())
            # With a factor of 1 and a floor of 0 the sigma is the spread, and the other way round the share.
            only = [sigma_of(net, low, kind=recipe.kind, calibration=pair) for pair in ((0, 1), (1, 0))]
            spreads.append(only[0].flatten())
            shares.append(only[1].flatten())
    error, spread, share = (torch.cat(parts).double() for parts in (errors, spreads, shares))
    few = slice(None, None, max(1, len(error) // _CALIBRATED))
    squares, light, spreading = error[few].square(), share[few].square(), spread[few].square()
    tried = [
        (float((squares / variance + variance.log()).mean()), float(floor), float(factor))
        for floor in float(squares.mean().sqrt()) * np.geomspace(0.1, 2, 40)
        for factor in np.geomspace(0.5, 20, 40)
        for variance in [floor**2 * light + factor**2 * spreading]
    ]
    _, floor, factor = min(tried)
    sigma = torch.sqrt((floor * share) ** 2 + (factor * spread) ** 2)
    inside = {f"inside_{n}_sigma": float((error.abs() < n * sigma).double().mean()) for n in (1, 2)}
    return dict(zip(CALIBRATION, (floor, factor), strict=True)) | inside


def best_richardson_lucy(
    low: torch.Tensor, high: torch.Tensor, iterations: int = 300, *, psf: str = HMI.psf
) -> float:
    """The smallest error (rms) against `high` that Richardson-Lucy reaches after any number of iterations.

    It uses the PSF with which `low` was made, at the pixels' centres, and its result is interpolated to the
    finer pixels.
    """
    burst = Burst.from_array(low.numpy(), dataclasses.replace(HMI, psf=psf))
    steps = RichardsonLucy().stream(
        burst, RichardsonLucySettings(iterations=iterations), device=torch.device("cpu"), seed=0
    )
    return min(float((_doubled(snapshot.images[0]) - high).square().mean().sqrt()) for snapshot in steps)


def _doubled(image: npt.NDArray[np.float32]) -> torch.Tensor:
    """The image by bicubic interpolation on pixels of half the size."""
    return nn.functional.interpolate(torch.tensor(image)[None, None], scale_factor=2, mode="bicubic")[0, 0]


TRAINER = Trainer(EnhanceRecipe, EnhanceTask, _record, _start)

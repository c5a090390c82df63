"""Training the emulator: objects of many kinds, blurred by PSFs of random turbulence (Asensio Ramos 2024,
section 2.3).

Nothing is stored: coefficients, PSFs and blurred images are computed for every step, on the training device.
Beyond the paper, some images have modes that vary over the field, blurred by filter flow, and some turbulence
is partly corrected.
"""

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
from heliorestore.nets.emulator import BASIS, INSTRUMENTS, MODES, Emulator, start_neutral
from heliorestore.nets.weights import WeightsRecord
from heliorestore.optics.convolve import given_shape, interpolate, margins, node_grid
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.modes import make_basis
from heliorestore.optics.penalties import gradient
from heliorestore.optics.psf import Optics, make_optics, psf
from heliorestore.optics.pupil import Aperture
from heliorestore.optics.tiles import apodisation
from heliorestore.train.scenes import VALIDATION_SEED, SceneRecipe, read, simulated
from heliorestore.train.textures import cells, points, power_law
from heliorestore.train.trainer import Trainer

LAMBDA_GRADIENT, LAMBDA_FLUX = 10.0, 1.0  # eq. 11


@dataclass(frozen=True, kw_only=True)
class EmulatorRecipe(SceneRecipe):
    """A recipe with objects and turbulence; the learning rate falls as a cosine to `final_rate`.

    `r0_cm` is the range of the Fried parameter, at each instrument's wavelength; `tilts` is the fraction of
    the tilts that is left. Of a batch, the fractions `points` are points on a black sky, `textures` random
    textures, the rest `scenes` of the simulator and `files`; `varying` have modes that vary over the field,
    `corrected` an atmosphere that is weaker than r0 says, evenly between not at all and fully. Patches are
    blurred with `margin` further pixels, apodised, on each side.
    """

    patch: int = 128
    final_rate: float = 6e-5
    r0_cm: tuple[Any, ...] = (3.0, 15.0)
    tilts: float = 0.5
    points: float = 0.2
    textures: float = 0.3
    varying: float = 0.25
    corrected: float = 0.5
    margin: int = 12
    flow_step: int = 16
    flow_psf: int = 64
    scenes: int = 12
    validation_scenes: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tilts", "points", "textures", "varying", "corrected"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(
                    f"The recipe's {name} is {getattr(self, name)}; it is a fraction, from 0 to 1."
                )
        if len(self.r0_cm) != 2 or not 0 < self.r0_cm[0] <= self.r0_cm[1]:
            raise SettingsError(
                f"The recipe's r0_cm is {list(self.r0_cm)}; it must be two positive numbers, "
                "the smaller one first."
            )
        if self.points + self.textures > 1:
            raise SettingsError(
                "The recipe needs scenes to train on besides points and textures: the fractions of both "
                "together are at most 1."
            )
        if self.patch % 16 or self.margin < 2:
            raise SettingsError(
                f"The recipe's patch is {self.patch} and its margin {self.margin}; it must be a multiple of "
                "16, and at least 2."
            )

    @property
    def validation_r0_cm(self) -> list[float]:
        """Four Fried parameters over the range, rounded to whole cm."""
        smallest, largest = self.r0_cm
        return [float(round(smallest * (largest / smallest) ** (n / 3))) for n in range(4)]

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0: up over the warm-up, then down as half a cosine."""
        # At first the normalisations' statistics are wrong, and full steps would follow them.
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        done = min(1.0, step / self.steps)
        return rising * (
            self.final_rate + (self.learning_rate - self.final_rate) * (1 + math.cos(math.pi * done)) / 2
        )


@dataclass(frozen=True, eq=False)
class Turbulence:
    """An instrument of the training: place in the one-hot vector, optics, modes' sigmas at D/r0 = 1."""

    name: str
    number: int
    diameter_m: float
    sigmas: torch.Tensor
    whole: Optics  # PSFs on patch and margin
    local: Optics  # PSFs for filter flow

    def coefficients(self, r0_cm: torch.Tensor, white: torch.Tensor, tilts: float) -> torch.Tensor:
        """Modes (sample, mode, ...) in rad as strong as r0 (sample) says, from white noise."""
        # Variances go as (D/r0)^(5/3).
        strength = (self.diameter_m / (r0_cm / 100)) ** (5 / 6)
        sigmas = self.sigmas.clone()
        sigmas[:2] *= tilts
        extra = (1,) * (white.ndim - 2)
        return white * strength.reshape(-1, 1, *extra) * sigmas.reshape(1, -1, *extra)


class EmulatorTask:
    """Random objects, modes, instruments with their blurred image; validation is always the same."""

    def __init__(self, recipe: EmulatorRecipe, folder: Path) -> None:
        self.recipe = recipe
        self._scenes, self.kept = (_images(recipe, folder, validation=part) for part in (False, True))
        if min(min(image.shape) for image in self._scenes + self.kept) < self._side:
            raise SettingsError(
                f"The recipe's patches need scenes of at least {self._side} pixels; one is smaller."
            )
        # Towards its mean an object is the same on both borders, as the periodic blur needs it.
        self._window = apodisation((self._canvas, self._canvas), recipe.margin)
        self.to(torch.device("cpu"))

    @property
    def _canvas(self) -> int:
        return self.recipe.patch + 2 * self.recipe.margin

    @property
    def _side(self) -> int:
        """Pixels of an object that suffice for both kinds of blur."""
        return max(self._canvas, given_shape((self.recipe.patch,) * 2, self.recipe.flow_psf)[0])

    def to(self, device: torch.device) -> None:
        """Make batches on that device from now on."""
        self.device = device
        self._scenes, self.kept = (
            [image.to(device) for image in scenes] for scenes in (self._scenes, self.kept)
        )
        self._window = self._window.to(device)
        self._turbulence = [
            _turbulence(n, name, self._canvas, self.recipe.flow_psf, device)
            for n, name in enumerate(INSTRUMENTS)
        ]

    def batch(
        self, random: np.random.Generator, size: int, patch: int
    ) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
        """Objects (batch, 1, y, x), modes (batch, mode, y, x) in rad, one-hot instruments; and images."""
        recipe = self.recipe
        # On the device, so that no random numbers travel; seeded by the step's own stream.
        generator = torch.Generator(self.device).manual_seed(int(random.integers(2**62)))
        # Rounded up or down at random, so that the mean share is exact for small batches too.
        varying = int(recipe.varying * size + random.random())
        objects = self._objects(random, generator, size - varying)
        parts = []
        numbers = random.integers(0, len(INSTRUMENTS), len(objects))
        for turbulence in self._turbulence:
            chosen = np.flatnonzero(numbers == turbulence.number)
            if len(chosen):
                members = _in_order(objects, chosen)
                r0 = self._r0(len(members), generator)
                white = torch.randn((len(members), MODES), generator=generator, device=self.device)
                parts.append(
                    self.blurred(turbulence, members, turbulence.coefficients(r0, white, recipe.tilts))
                )
        if varying:
            turbulence = self._turbulence[int(random.integers(len(INSTRUMENTS)))]
            parts.append(
                self._varying(turbulence, self._objects(random, generator, 1)[0], varying, generator)
            )
        seen, modes, instruments, images = (torch.cat(column) for column in zip(*parts, strict=True))
        return (seen, modes, instruments), images

    def blurred(
        self, turbulence: Turbulence, objects: torch.Tensor, modes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Objects (sample, y, x) of canvas size or more with one PSF each of modes (sample, mode): inputs and
        image, cut to the patch.

        The object is apodised towards its mean and blurred as if it were periodic: the cut removes the
        affected border.
        """
        canvas, margin, patch = self._canvas, self.recipe.margin, self.recipe.patch
        objects = objects[:, :canvas, :canvas]
        mean = objects.mean((-2, -1), keepdim=True)
        spectra = torch.fft.rfft2((objects - mean) * self._window + mean)
        # Centre to pixel 0, so that the blur does not move the object.
        transfer = torch.fft.rfft2(psf(turbulence.whole, modes).roll((-(canvas // 2),) * 2, (-2, -1)))
        images = torch.fft.irfft2(spectra * transfer, s=(canvas, canvas))
        inner = (slice(None), None, slice(margin, margin + patch), slice(margin, margin + patch))
        maps = modes[:, :, None, None].expand(-1, -1, patch, patch)
        return objects[inner], maps, self._one_hot(turbulence, len(objects)), images[inner]

    def _varying(
        self, turbulence: Turbulence, object_: torch.Tensor, count: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """One object (y, x), seen `count` times through modes that vary over the field."""
        recipe = self.recipe
        shape = (recipe.patch, recipe.patch)
        grid = node_grid(shape, recipe.flow_step)
        white = torch.randn((count, MODES, 3, 3), generator=generator, device=self.device)
        # The variances `share` and 1 - `share` add up to one: the strength stays about that of r0.
        local = nn.functional.interpolate(white, grid, mode="bilinear", align_corners=True)
        common = torch.randn((count, MODES, 1, 1), generator=generator, device=self.device)
        share = torch.rand((count, 1, 1, 1), generator=generator, device=self.device)
        nodes = turbulence.coefficients(
            self._r0(count, generator), share.sqrt() * local + (1 - share).sqrt() * common, recipe.tilts
        )
        flow = FilterFlow(optics=[turbulence.local], shape=shape, step=recipe.flow_step, borders="given")
        side = flow.object_shape[0]
        before = margins(recipe.flow_psf)[0]
        with torch.no_grad():
            images = flow(object_[None, :side, :side], nodes)[0]
        inner = object_[before : before + recipe.patch, before : before + recipe.patch]
        # One object for all samples: filter flow transforms it once for many fields of modes.
        seen = inner[None, None].expand(count, -1, -1, -1)
        return (
            seen,
            interpolate(nodes, shape, recipe.flow_step),
            self._one_hot(turbulence, count),
            images[:, None],
        )

    def _r0(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Fried parameters (sample) in cm; those of a corrected atmosphere are larger than the recipe's."""
        smallest, largest = self.recipe.r0_cm
        draw = torch.rand((3, count), generator=generator, device=self.device)
        r0 = smallest + (largest - smallest) * draw[0]
        left = torch.where(draw[1] < self.recipe.corrected, draw[2].clamp(min=1e-3), torch.ones_like(r0))
        # Amplitudes go as r0^(-5/6): reduced to the fraction `left` they are those of this larger r0.
        weaker: torch.Tensor = r0 * left ** (-6 / 5)
        return weaker

    def _objects(self, random: np.random.Generator, generator: torch.Generator, count: int) -> torch.Tensor:
        """Objects (sample, y, x) over their maximum, turned and mirrored, in a random order of kinds."""
        side, kinds = self._side, random.random(count)
        on_sky = int((kinds < self.recipe.points).sum())
        textures = int((kinds < self.recipe.points + self.recipe.textures).sum()) - on_sky
        cellular = textures // 2
        margin = self.recipe.margin + 2
        parts = [torch.empty((0, side, side), device=self.device)]
        parts += [points(on_sky, side, generator, margin=margin)] if on_sky else []
        parts += [cells(cellular, side, generator)] if cellular else []
        parts += [power_law(textures - cellular, side, generator)] if textures > cellular else []
        parts += [self._cut(random, self._scenes)[None] for _ in range(count - on_sky - textures)]
        return _in_order(torch.cat(parts), random.permutation(count))

    def _cut(self, random: np.random.Generator, scenes: list[torch.Tensor]) -> torch.Tensor:
        scene = scenes[int(random.integers(len(scenes)))]
        row, column = (int(random.integers(n - self._side + 1)) for n in scene.shape)
        image = scene[row : row + self._side, column : column + self._side]
        image = torch.rot90(image, int(random.integers(4)), (0, 1))
        image = image.flip(0) if random.integers(2) else image
        return image / image.amax()

    def _one_hot(self, turbulence: Turbulence, count: int) -> torch.Tensor:
        return torch.eye(len(INSTRUMENTS), device=self.device)[turbulence.number].expand(count, -1)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Eq. 11: squared error, that of the gradients, and that of the light."""
        difference = outputs - targets
        return (
            difference.square().mean()
            + LAMBDA_GRADIENT * gradient(difference).square().mean()
            + LAMBDA_FLUX * difference.mean((-2, -1)).square().mean()
        )

    def validate(self, net: nn.Module) -> Mapping[str, float]:
        """Eq. 11, and NMSE (eq. 12) by instrument, by r0 and of points, over images that no batch shows."""
        losses, errors = [], dict[str, list[float]]()
        with torch.inference_mode():
            for turbulence in self._turbulence:
                for r0_cm in self.recipe.validation_r0_cm:
                    objects, modes, instruments, images = self.validation(turbulence, r0_cm)
                    outputs = net(objects, modes, instruments)
                    losses.append(float(self.loss(outputs, images)))
                    # Eq. 12, image by image; the last one is the sky of points.
                    found = (outputs - images).square().sum((1, 2, 3)) / images.square().sum((1, 2, 3))
                    suns, sky = found[:-1].tolist(), found[-1:].tolist()
                    for name, values in (
                        ("nmse", suns),
                        (turbulence.name, suns),
                        (f"r0_{r0_cm:g}_cm", suns),
                        ("points", sky),
                    ):
                        errors.setdefault(name, []).extend(values)
        return {"loss": float(np.mean(losses))} | {
            name: float(np.mean(values)) for name, values in errors.items()
        }

    def validation(
        self, turbulence: Turbulence, r0_cm: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Two views of every validation scene and a sky of points, without correction; and images."""
        random = np.random.default_rng((VALIDATION_SEED, turbulence.number, round(100 * r0_cm)))
        suns = [self._cut(random, [scene]) for scene in self.kept for _ in range(2)]
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))  # the same on every device
        sky = points(1, self._side, generator, margin=self.recipe.margin + 2).to(self.device)
        white = torch.randn((len(suns) + 1, MODES), generator=generator).to(self.device)
        r0 = torch.full((len(white),), r0_cm, device=self.device)
        return self.blurred(
            turbulence,
            torch.cat([torch.stack(suns), sky]),
            turbulence.coefficients(r0, white, self.recipe.tilts),
        )


def _in_order(images: torch.Tensor, numbers: npt.NDArray[np.int64]) -> torch.Tensor:
    """These images (sample, y, x) in that order; a tensor of numbers would make a GPU wait."""
    return torch.stack([images[number] for number in numbers.tolist()]) if len(numbers) else images[:0]


def _turbulence(number: int, name: str, canvas: int, local: int, device: torch.device) -> Turbulence:
    instrument = find(name).require()
    basis = make_basis(MODES, Aperture.of(instrument), BASIS)
    sigmas = torch.tensor(np.sqrt(basis.variances), dtype=torch.float32, device=device)
    whole, narrow = (make_optics(instrument, size, basis, device=device) for size in (canvas, local))
    return Turbulence(name, number, instrument.diameter_m, sigmas, whole, narrow)


def _images(recipe: EmulatorRecipe, folder: Path, *, validation: bool) -> list[torch.Tensor]:
    """Scenes (y, x) of the simulator, and those of the files."""
    count, seed, files = recipe.part(validation=validation)
    scenes = [*simulated("continuum", count, seed), *(read(file, folder) for file in files)]
    return [torch.tensor(image, dtype=torch.float32) for _, image, _ in scenes]


def _start(net: nn.Module) -> None:
    if isinstance(net, Emulator):
        start_neutral(net)


def _record(net: nn.Module, task: EmulatorTask, recipe: EmulatorRecipe) -> WeightsRecord:
    """NMSE by instrument, by r0 and of points, measured after the training."""
    task.to(torch.device("cpu"))
    scales = [find(name).require().pixel_arcsec for name in INSTRUMENTS]
    return WeightsRecord(
        name=recipe.name,
        architecture=recipe.architecture,
        normalisation="less the object's mean, over its spread",
        instrument="; ".join(INSTRUMENTS),
        pixel_arcsec=(min(scales), max(scales)),
        quality=dict(task.validate(net)),
        quality_note=(
            f"loss is eq. 11; NMSE of eq. 12 over {len(task.kept)} scenes that were not trained on, "
            "two views each, and a sky of points, for every instrument and r0 of "
            f"{', '.join(f'{r0:g}' for r0 in recipe.validation_r0_cm)} cm, uncorrected but for "
            f"{1 - recipe.tilts:.0%} of the tilts"
        ),
    )


TRAINER = Trainer(EmulatorRecipe, EmulatorTask, _record, _start)

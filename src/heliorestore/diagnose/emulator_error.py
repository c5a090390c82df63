"""The errors of an emulator and of filter flow against the exact sum, in which every pixel has its own PSF:
`heliorestore weights compare`.

The tests are those of Asensio Ramos (2024), section 2.4: a defocus at places along the diagonal (fig. 5), and
turbulence of several strengths (fig. 8), whose modes vary over the field.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import Instrument
from heliorestore.methods.blind.emulated import Emulated, Trained, emulated, load_emulator
from heliorestore.nets.emulator import BASIS, MODES
from heliorestore.optics.convolve import PerPixelSum, at_nodes, given_shape, margins
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.modes import make_basis
from heliorestore.optics.psf import Optics, make_optics
from heliorestore.optics.pupil import Aperture

Blur = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

STEPS = (32, 16, 8)
R0_CM = (60.0, 40.0, 25.0, 15.0, 10.0, 5.0)
TILTS = 0.5  # of the tilts of the turbulence, as in the training
DEFOCUS_RAD, DEFOCUS_PX = 3.0, 30.0
_PLACES = (0.25, 0.5, 0.75)  # of the defocus, as fractions of the diagonal
_SEEDS = (1, 2)
_VARYING_ARCSEC = 3.0
_DEFOCUS_SIDE, _DEFOCUS_PSF = 256, 64
_TURBULENCE_SIDE, _TURBULENCE_PSF = 96, 128
LEAST_SIDE = _DEFOCUS_SIDE + _DEFOCUS_PSF - 1
"""Pixels of an object that suffice for all tests."""


@dataclass(frozen=True)
class Error:
    """|image - exact|^2 over |exact|^2 (eq. 12), the same over the variance of the exact image, and the
    largest over its maximum.
    """

    nmse: float
    of_variance: float
    largest: float


@dataclass(frozen=True, eq=False)
class Models:
    """Models of one blur for images of `side` pixels: each maps an object (y, x) with its borders, and modes
    (mode, y, x), to an image.

    The `blurs` are `exact`, `emulator`, and filter flow as `step 32` and so on.
    """

    optics: Optics
    side: int
    blurs: Mapping[str, Blur]

    @property
    def object_side(self) -> int:
        return given_shape((self.side, self.side), self.optics.size)[0]

    def inner(self, object_: torch.Tensor) -> torch.Tensor:
        """The part of an object with its borders that the image shows."""
        before = margins(self.optics.size)[0]
        return object_[before : before + self.side, before : before + self.side]


def make_models(trained: Trained, instrument: Instrument, side: int, psf_px: int) -> Models:
    """All models for an instrument, with PSFs of `psf_px` pixels, on the CPU."""
    optics = make_optics(instrument, psf_px, make_basis(MODES, Aperture.of(instrument), BASIS))
    shape = (side, side)
    exact = PerPixelSum(optics=[optics], shape=shape, borders="given")
    blurs: dict[str, Blur] = {"exact": lambda object_, modes: exact(object_[None], modes[None])[0, 0]}
    # Nodes on every fourth pixel are as good as the modes at every pixel, which the network needs.
    blurs["emulator"] = _on_nodes(emulated(trained)([optics], shape, 4, 1e9), 4)
    for step in STEPS:
        blurs[f"step {step}"] = _on_nodes(
            FilterFlow(optics=[optics], shape=shape, step=step, borders="given"), step
        )
    return Models(optics, side, blurs)


def _on_nodes(model: FilterFlow | Emulated, step: int) -> Blur:
    def blur(object_: torch.Tensor, modes: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            image: torch.Tensor = model(object_[None], at_nodes(modes, step)[None])[0, 0]
            return image

    return blur


def middle(image: torch.Tensor, side: int) -> torch.Tensor:
    """The middle of an image (y, x), `side` pixels each way."""
    if min(image.shape) < side:
        raise SettingsError(f"The object has {tuple(image.shape)} pixels; blurring it needs {side} x {side}.")
    top, left = ((n - side) // 2 for n in image.shape)
    return image[top : top + side, left : left + side].contiguous()


def defocus_modes(models: Models, place: float) -> torch.Tensor:
    """Modes (mode, y, x) of a defocus centred at a fraction of the diagonal that falls off as a Gaussian."""
    axis = torch.arange(models.side).float() - place * models.side
    number = int(np.abs(models.optics.basis.expansion[:, 3]).argmax())  # the mode that is mostly Noll 4
    modes = torch.zeros(MODES, models.side, models.side)
    modes[number] = DEFOCUS_RAD * torch.exp(
        -(axis[:, None].square() + axis[None, :].square()) / (2 * DEFOCUS_PX**2)
    )
    return modes


def strengths(optics: Optics, r0_cm: float) -> torch.Tensor:
    """Standard deviations (mode) in rad of turbulence with a part of its tilts."""
    diameter_cm = 100 * optics.instrument.diameter_m
    sigmas: torch.Tensor = torch.tensor(np.sqrt(optics.basis.variances), dtype=torch.float32) * (
        diameter_cm / r0_cm
    ) ** (5 / 6)
    sigmas[:2] *= TILTS
    return sigmas


def wandering_modes(
    optics: Optics, size: int, strength: float, sigma_px: float, seed: int = 1
) -> torch.Tensor:
    """Kolmogorov modes (1, mode, y, x) of D/r0 = `strength`: white noise smoothed by a Gaussian of
    `sigma_px`.

    The correlation of the modes at two points r apart is exp(-r^2 / 4 sigma^2).
    """
    # A margin of 8 sigma: the FFT makes opposite edges alike.
    wide = int(size + 8 * sigma_px)
    frequency = torch.hypot(torch.fft.fftfreq(wide)[:, None], torch.fft.rfftfreq(wide)[None, :]).double()
    smooth = torch.exp(-2 * (math.pi * sigma_px * frequency) ** 2)
    white = torch.randn(
        len(optics.modes), wide, wide, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    maps = torch.fft.irfft2(torch.fft.rfft2(white) * smooth, s=(wide, wide))
    maps = maps[:, :size, :size] / maps.square().mean((1, 2), keepdim=True).sqrt()
    scale = torch.as_tensor(optics.basis.variances**0.5) * strength ** (5 / 6)
    modes: torch.Tensor = (maps * scale[:, None, None])[None].to(optics.modes)
    return modes


def error(image: torch.Tensor, exact: torch.Tensor) -> Error:
    """The error of an image (y, x) against the exact one."""
    square = float((image - exact).square().mean())
    largest = float((image - exact).abs().max() / exact.max())
    return Error(square / float(exact.square().mean()), square / float(exact.var(correction=0)), largest)


def defocus_errors(models: Models, object_: torch.Tensor) -> dict[str, Error]:
    """Fig. 5: means over three places of a defocus for every model, and for `no blur`."""
    return _means(_errors(models, object_, defocus_modes(models, place), "exact") for place in _PLACES)


def turbulence_errors(
    models: Models, object_: torch.Tensor, r0_cm: float, *, varying: bool = True
) -> dict[str, Error]:
    """Fig. 8: means over two draws of all modes, which vary over 3 arcsec, or are the same everywhere."""

    def drawn(seed: int) -> torch.Tensor:
        if not varying:
            white = torch.randn(MODES, generator=torch.Generator().manual_seed(seed))
            flat = (white * strengths(models.optics, r0_cm))[:, None, None]
            return flat.expand(-1, models.side, models.side).contiguous()
        instrument = models.optics.instrument
        strength, sigma_px = (
            100 * instrument.diameter_m / r0_cm,
            _VARYING_ARCSEC / instrument.pixel_arcsec,
        )
        modes = wandering_modes(models.optics, models.side, strength, sigma_px, seed)[0]
        modes[:2] *= TILTS
        return modes

    # With the same PSF everywhere filter flow is the convolution, and a thousand times faster than the sum.
    exact = "exact" if varying else f"step {STEPS[0]}"
    return _means(_errors(models, object_, drawn(seed), exact) for seed in _SEEDS)


def _errors(models: Models, object_: torch.Tensor, modes: torch.Tensor, reference: str) -> dict[str, Error]:
    exact = models.blurs[reference](object_, modes)
    found = {
        name: error(blur(object_, modes), exact)
        for name, blur in models.blurs.items()
        if name not in ("exact", reference)
    }
    return found | {"no blur": error(models.inner(object_), exact)}


def _means(cases: Iterator[dict[str, Error]]) -> dict[str, Error]:
    found = list(cases)
    return {
        name: Error(
            *np.mean([(e.nmse, e.of_variance, e.largest) for e in (f[name] for f in found)], 0).tolist()
        )
        for name in found[0]
    }


def least_seconds(blur: Blur, object_: torch.Tensor, modes: torch.Tensor, runs: int = 3) -> float:
    """The least processor time of some runs, of which the first warms up."""
    times = []
    for _ in range(runs):
        # Processor time: other programs on the machine do not count.
        began = time.process_time()
        blur(object_, modes)
        times.append(time.process_time() - began)
    return min(times)


def report(name: str, instrument: Instrument, image: npt.ArrayLike) -> Iterator[str]:
    """Lines of a table: the error of every model in each test, on the middle of an image (y, x)."""
    trained = load_emulator(name or "emulator-narrow", torch.device("cpu"))
    instrument = instrument.require()
    trained.number(instrument)  # refuses one that it does not know, before anything takes time
    large = make_models(trained, instrument, _DEFOCUS_SIDE, _DEFOCUS_PSF)
    small = make_models(trained, instrument, _TURBULENCE_SIDE, _TURBULENCE_PSF)
    seen, less = (_object(image, models) for models in (large, small))
    names = [name for name in large.blurs if name != "exact"]
    yield f"{trained.name} beside filter flow, {instrument.name}: |image - exact|^2 / |exact|^2"
    yield f"{'':<28}" + "".join(f"{name:>11}" for name in [*names, "no blur"])
    found = defocus_errors(large, seen)
    yield _row(
        f"defocus of {DEFOCUS_RAD:g} rad, {large.side} px", [found[name].nmse for name in [*names, "no blur"]]
    )
    for r0_cm in R0_CM:
        found = turbulence_errors(small, less, r0_cm)
        yield _row(
            f"varying, r0 {r0_cm:g} cm, {small.side} px", [found[name].nmse for name in [*names, "no blur"]]
        )
    modes = defocus_modes(large, 0.5)
    yield _row(
        f"processor seconds, {large.side} px",
        [least_seconds(large.blurs[name], seen, modes) for name in names],
    )


def _object(image: npt.ArrayLike, models: Models) -> torch.Tensor:
    """The object to blur (y, x), of mean 1."""
    object_ = middle(torch.tensor(np.asarray(image, np.float32)), models.object_side)
    if not bool(torch.isfinite(object_).all()) or float(object_.mean()) <= 0:
        raise SettingsError(
            "The object has bad pixels, or is dark, in its middle: choose an image of intensities "
            "without bad pixels there."
        )
    return object_ / object_.mean()


def _row(label: str, values: list[float]) -> str:
    return f"{label:<28}" + "".join(f"{value:>11.2g}" for value in values)

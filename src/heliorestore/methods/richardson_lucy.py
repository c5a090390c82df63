"""Richardson-Lucy deconvolution with the telescope's own PSF, damped, on the same or a twice finer grid.

Richardson (1972), doi:10.1364/JOSA.62.000055; Lucy (1974), doi:10.1086/111605; damping after White (1994).
Bad pixels and the surroundings of the image have no weight: the surroundings are restored with the image as
far as the data constrain them (Bertero & Boccacci 2005, doi:10.1051/0004-6361:20052717), so that borders do
not ring.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from heliorestore.burst import Burst, FloatArray
from heliorestore.instrument import KnownInstrument
from heliorestore.optics.psf import fast_length, sampled_psf, telescope_psf
from heliorestore.prepare.average import average_frames
from heliorestore.prepare.psf_file import read_psf
from heliorestore.settings import Settings, file_option, option
from heliorestore.snapshot import DATA_UNIT, Map, Snapshot, StopReason
from heliorestore.storage import at_home

_DAMPING_POWER = 10  # White's N: the steepness of the damping at its threshold


@dataclass(frozen=True, kw_only=True)
class RichardsonLucySettings(Settings):
    """Settings of the Richardson-Lucy deconvolution."""

    method: ClassVar[str] = "richardson-lucy"

    iterations: int = option(
        20, minimum=1, maximum=10_000, live=True, help="Iterations; more sharpen further and amplify noise."
    )
    damping: float = option(
        0.0, unit="sigma", minimum=0.0, maximum=20.0, live=True,
        help="Do not change what fits the data within this many noise sigmas; 0 is undamped.",
    )  # fmt: skip
    upsampling: Literal[1, 2] = option(1, help="Pixels of the result per pixel of the image along each axis.")
    psf: Literal["instrument", "airy", "wachter", "wachter-short", "wachter-2012", "yeo-2014"] = option(
        "instrument", help="The PSF: the instrument's, or another of the closed forms."
    )
    psf_file: str = file_option(help="FITS file with a measured PSF, which is used instead.")
    stop_at_noise: bool = option(
        False, live=True, help="Stop once the residual is no larger than the noise of the image."
    )

    def files(self) -> dict[str, Path]:
        """The file of the PSF, if one is named."""
        return {"psf_file": at_home(self.psf_file)} if self.psf_file else {}


@dataclass(frozen=True)
class _Problem:
    """The data and the operators of one deconvolution; channels are objects, or their positive and negative
    parts.

    data and weight (channel, y, x) on the image's pixels; otf (channel, ky, kx) on the padded finer grid;
    norm = H^T weight, the part of an object pixel's light that falls on valid data.
    """

    data: torch.Tensor
    weight: torch.Tensor
    otf: torch.Tensor
    grid: tuple[int, int]
    margin: int
    zoom: int
    norm: torch.Tensor

    def blur(self, objects: torch.Tensor) -> torch.Tensor:
        """H: convolve with the PSF, cut the margin off, average zoom x zoom pixels to one."""
        blurred = self.crop(torch.fft.irfft2(torch.fft.rfft2(objects) * self.otf, s=self.grid))
        averaged: torch.Tensor = torch.nn.functional.avg_pool2d(blurred, self.zoom)
        return averaged

    def adjoint(self, images: torch.Tensor) -> torch.Tensor:
        """H^T, so that <H u, v> = <u, H^T v>."""
        spread = _repeat(images, self.zoom) / self.zoom**2
        felt: torch.Tensor = torch.fft.irfft2(
            torch.fft.rfft2(self.pad(spread)) * self.otf.conj(), s=self.grid
        )
        return felt

    def crop(self, grid: torch.Tensor) -> torch.Tensor:
        rows, columns = (n * self.zoom for n in self.data.shape[-2:])
        return grid[..., self.margin : self.margin + rows, self.margin : self.margin + columns]

    def pad(self, image: torch.Tensor) -> torch.Tensor:
        below, right = (n - self.margin - m for n, m in zip(self.grid, image.shape[-2:], strict=True))
        padded: torch.Tensor = torch.nn.functional.pad(image, (self.margin, right, self.margin, below))
        return padded


class RichardsonLucy:
    """The method as `methods.base` loads it."""

    name = RichardsonLucySettings.method
    settings = RichardsonLucySettings

    def stream(
        self,
        burst: Burst,
        settings: RichardsonLucySettings,
        *,
        device: torch.device,
        seed: int,
        start: Snapshot | None = None,
    ) -> Generator[Snapshot, RichardsonLucySettings | None, None]:
        """Yield a snapshot per iteration; with `start` an earlier snapshot of the same grid is continued."""
        began = time.perf_counter() - (start.elapsed_s if start else 0.0)
        mean = average_frames(burst)
        images, sigma = mean.images, mean.sigmas
        bad = np.isnan(images).repeat(settings.upsampling, 1).repeat(settings.upsampling, 2)
        size = np.nanmean(np.abs(images), axis=(1, 2))
        size[size == 0] = 1
        signed = bool(np.nanmin(images) < 0)
        problem = prepare(burst, images, signed, settings, device)
        threshold = torch.tensor(sigma, device=device, dtype=torch.float32).repeat_interleave(1 + signed)[
            :, None, None
        ]
        objects = initial(problem, start, signed)
        step_number = start.step if start is not None else 0
        stop = None
        while stop is None:
            objects = step(problem, objects, settings.damping * threshold)
            step_number += 1
            restored = np.where(bad, np.float32(np.nan), _join(problem.crop(objects), signed).cpu().numpy())
            residual = images - _join(problem.blur(objects), signed).cpu().numpy()
            # relative: the square of large values has no place in single precision
            parts = np.sqrt(np.nanmean((residual / size[:, None, None]) ** 2, axis=(1, 2)))
            stop = _reason(step_number, settings, parts * size, sigma)
            sent = yield Snapshot(
                step=step_number,
                total=max(settings.iterations, step_number),
                images=restored,
                maps={"residual": Map(residual, unit=DATA_UNIT, signed=True)},
                losses={"residual": float(np.mean(parts))},
                elapsed_s=time.perf_counter() - began,
                zoom=problem.zoom,
                stop=stop,
                messages=mean.messages,
            )
            settings = sent or settings


METHOD = RichardsonLucy()


def prepare(
    burst: Burst, images: FloatArray, signed: bool, settings: RichardsonLucySettings, device: torch.device
) -> _Problem:
    """Put data, weights and OTFs on the device; the grid has a margin as wide as the PSF reaches."""
    known, zoom = [instrument.require() for instrument in burst.instruments], settings.upsampling
    resolution = max(i.resolution_arcsec / i.pixel_arcsec for i in known)
    # Twelve resolution elements: beyond, a PSF has little light left.
    margin = zoom * min(max(16, math.ceil(12 * resolution)), max(images.shape[1:]))
    rows, columns = (fast_length(n * zoom + 2 * margin) for n in images.shape[1:])
    grid = (rows, columns)
    otf = torch.stack([torch.fft.rfft2(_psf(i, settings, grid)) for i in known])
    # Bad pixels are 0 here, and have no weight.
    data = torch.from_numpy(np.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0)).to(device)
    weight = torch.from_numpy(np.isfinite(images).astype(np.float32)).to(device)
    parts = 1 + signed
    # A magnetogram has two signs, the method only positive light: both polarities are restored as channels.
    data = torch.stack([data, -data][:parts], dim=1).flatten(0, 1).clamp(min=0)
    problem = _Problem(
        data,
        weight.repeat_interleave(parts, 0),
        otf.to(device).repeat_interleave(parts, 0),
        grid,
        margin,
        zoom,
        data,
    )
    return _with_norm(problem)


def _psf(known: KnownInstrument, settings: RichardsonLucySettings, grid: tuple[int, int]) -> torch.Tensor:
    """The PSF that the settings choose, on the finer grid; a file without a scale has the image's pixels."""
    if settings.psf_file:
        image, pixel_arcsec = read_psf(settings.files()["psf_file"])
        fine_arcsec = known.pixel_arcsec / settings.upsampling
        return sampled_psf(image, pixel_arcsec or known.pixel_arcsec, grid, fine_arcsec)
    chosen = known if settings.psf == "instrument" else replace(known, psf=settings.psf)
    return telescope_psf(chosen, grid, oversampling=settings.upsampling, device="cpu")


def initial(problem: _Problem, start: Snapshot | None, signed: bool) -> torch.Tensor:
    """The first object (channel, y, x) on the grid: the data's mean, or the earlier result."""
    mean = (problem.data * problem.weight).sum((1, 2)) / problem.weight.sum((1, 2))
    objects = mean[:, None, None].expand(-1, *problem.grid).clone()
    if start is not None and start.images.shape[1:] == tuple(
        n * problem.zoom for n in problem.data.shape[1:]
    ):
        before = torch.from_numpy(np.array(start.images)).to(objects)
        parts = torch.stack([before, -before][: 1 + signed], dim=1).flatten(0, 1).clamp(min=0)
        if parts.shape[0] == objects.shape[0]:
            # A view: the margin around keeps the mean, and so do pixels without a value.
            inner = problem.crop(objects)
            inner.copy_(torch.where(torch.isfinite(parts), parts, inner))
    return objects


def step(problem: _Problem, objects: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """One iteration, u <- u H^T(w d/Hu) / H^T w, damped below `threshold` (channel, 1, 1)."""
    # The iteration divides by the model, and an FFT leaves small negative values where the object is dark.
    model = problem.blur(objects).clamp(min=torch.finfo(objects.dtype).tiny)
    correction = (problem.data - model) / model
    if bool((threshold > 0).any()):
        # With J = min(misfit, 1), White's derivative J^(N-1) (N - (N-1) J) is 1 at J = 1 and 0 at a perfect
        # fit.
        misfit = ((problem.data - model) / threshold.clamp(min=1e-30)).square().clamp(max=1.0)
        n = _DAMPING_POWER
        correction = correction * torch.where(
            threshold > 0, misfit ** (n - 1) * (n - (n - 1) * misfit), torch.ones_like(misfit)
        )
    # Without damping 1 + correction is d/Hu.
    ratio = problem.adjoint(problem.weight * (1 + correction)) / problem.norm
    # Far out in the margin no valid pixel constrains the object; there it stays unchanged.
    return objects * torch.where(problem.norm > 1e-3, ratio, torch.ones_like(ratio)).clamp(min=0)


def _with_norm(problem: _Problem) -> _Problem:
    """Fill in H^T w, scaled like H^T 1 of a full image: 1 where every data pixel around is valid."""
    return replace(problem, norm=problem.adjoint(problem.weight).clamp(min=1e-6))


def _join(channels: torch.Tensor, signed: bool) -> torch.Tensor:
    """Channels back to objects: the positive part minus the negative one."""
    return channels[0::2] - channels[1::2] if signed else channels


def _repeat(images: torch.Tensor, zoom: int) -> torch.Tensor:
    return images if zoom == 1 else images.repeat_interleave(zoom, -2).repeat_interleave(zoom, -1)


def _reason(
    number: int, settings: RichardsonLucySettings, rms: FloatArray, sigma: FloatArray
) -> StopReason | None:
    if settings.stop_at_noise and bool(np.all(rms <= sigma)):
        return StopReason.NOISE
    return StopReason.DONE if number >= settings.iterations else None

"""A burst made ready for blind deconvolution: normalised, aligned to whole pixels, its bad pixels known, its noise measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst
from heliorestore.errors import BurstError
from heliorestore.optics.filters import frequency
from heliorestore.optics.noise import estimate_sigma


@dataclass(frozen=True, eq=False)
class Observation:
    """Frames (object, frame, y, x) in units of each object's mean `scales` (object), with weights of the same shape, 0 or 1.

    `sigmas` (object) is the noise in the same units. `shifts` (frame, [y, x]) whole pixels have been taken off every frame.
    Bad pixels hold the mean of the other frames there, so that transforms see no holes.
    """

    frames: torch.Tensor
    weights: torch.Tensor
    scales: torch.Tensor
    sigmas: torch.Tensor
    shifts: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.frames.shape[-2]), int(self.frames.shape[-1])

    @property
    def all_good(self) -> bool:
        return bool((self.weights == 1).all())


def observe(burst: Burst, device: torch.device, *, align: bool = True) -> Observation:
    """Read every frame once; `align` moves each by whole pixels onto the mean, the uncovered border then weighs nothing."""
    objects, count = burst.shape[:2]
    frames = torch.empty(burst.shape, dtype=torch.float32)
    for object_, frame, image in burst.images():
        frames[object_, frame] = torch.tensor(image)
    frames[~torch.isfinite(frames)] = math.nan
    shifts = np.zeros((count, 2), np.int64)
    if align and count > 1:
        shifts = frame_shifts(frames)
        for frame, (dy, dx) in enumerate(shifts):
            frames[:, frame] = _moved(frames[:, frame], -int(dy), -int(dx))
    weights = torch.isfinite(frames).to(torch.float32)
    scales, sigmas = torch.empty(objects), torch.empty(objects)
    for object_ in range(objects):
        good = weights[object_] > 0
        if not bool(good.any()):
            raise BurstError(f"{burst.labels[object_]} has no valid pixel: every value is NaN.")
        scales[object_] = frames[object_][good].mean()
        if not float(scales[object_]) > 0:
            raise BurstError(
                f"{burst.labels[object_]} has a mean of {float(scales[object_]):.4g}; blind deconvolution needs an intensity image: "
                "choose others with --objects."
            )
        sigmas[object_] = float(np.median([estimate_sigma(image.numpy()) for image in frames[object_]])) / scales[object_]
        frames[object_] = _filled(frames[object_] / scales[object_], good)
    # A burst without any noise would make the data weigh infinitely much.
    sigmas = sigmas.clamp(min=1e-5)
    return Observation(frames.to(device), weights.to(device), scales.to(device), sigmas.to(device), shifts)


def frame_shifts(frames: torch.Tensor) -> npt.NDArray[np.int64]:
    """Whole-pixel displacements (frame, [y, x]) of frames (object, frame, y, x) from their mean, by cross-correlation.

    The mean is made again of the aligned frames once, for the first one is blurred by the motion itself.
    """
    count, rows, columns = frames.shape[1:]
    images = torch.nan_to_num(frames - torch.nanmean(frames, dim=(-2, -1), keepdim=True))
    window = torch.hann_window(rows, periodic=False)[:, None] * torch.hann_window(columns, periodic=False)
    spectra = torch.fft.rfft2(images * window)
    # Granules are smooth against the noise: frequencies above a quarter of the sampling say nothing on large motions.
    spectra = spectra * (frequency((rows, columns)) < 0.25)
    reach = max(1, min(rows, columns) // 4)
    shifts = torch.zeros((count, 2), dtype=torch.int64)
    for _ in range(3):
        reference = (spectra * _turned(shifts, (rows, columns)).conj()).mean(1, keepdim=True)
        correlation = torch.fft.irfft2((spectra * reference.conj()).sum(0), s=(rows, columns))
        near = torch.cat([correlation[..., -reach:, :], correlation[..., : reach + 1, :]], dim=-2)
        near = torch.cat([near[..., -reach:], near[..., : reach + 1]], dim=-1)
        peak = near.flatten(1).argmax(1)
        shifts = torch.stack([peak // near.shape[-1] - reach, peak % near.shape[-1] - reach], dim=1)
        shifts = shifts - shifts.float().mean(0).round().long()
    found: npt.NDArray[np.int64] = shifts.numpy()
    return found


def _turned(shifts: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Transfer functions (frame, ky, kx) of displacements (frame, [y, x]) in pixels."""
    ky, kx = torch.fft.fftfreq(shape[0])[:, None], torch.fft.rfftfreq(shape[1])[None, :]
    phase = -2 * math.pi * (shifts[:, 0, None, None] * ky + shifts[:, 1, None, None] * kx)
    return torch.polar(torch.ones_like(phase), phase)


def _moved(images: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """Images (..., y, x) moved by whole pixels; what comes in from outside is NaN."""
    moved = torch.full_like(images, math.nan)
    rows, columns = images.shape[-2:]
    to_y, to_x = slice(max(0, dy), rows + min(0, dy)), slice(max(0, dx), columns + min(0, dx))
    from_y, from_x = slice(max(0, -dy), rows + min(0, -dy)), slice(max(0, -dx), columns + min(0, -dx))
    moved[..., to_y, to_x] = images[..., from_y, from_x]
    return moved


def _filled(frames: torch.Tensor, good: torch.Tensor) -> torch.Tensor:
    """Frames (frame, y, x) whose bad pixels hold the mean of the good frames there, or 1 where no frame is good."""
    count = good.sum(0)
    mean = torch.where(good, frames, 0.0).sum(0) / count.clamp(min=1)
    return torch.where(good, frames, torch.where(count > 0, mean, 1.0))

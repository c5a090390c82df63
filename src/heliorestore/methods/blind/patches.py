"""Overlapping patches of an observation: their places, windows, spectra and transfer functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from heliorestore.methods.blind.noise_model import beyond_flux, flux_power
from heliorestore.methods.blind.wavefronts import Wavefronts
from heliorestore.optics.filters import flat_top, frequency
from heliorestore.optics.psf import Optics, fast_length, intensity, intensity_gradient, light, otf
from heliorestore.optics.shown import run
from heliorestore.optics.tiles import Tiling
from heliorestore.prepare.observe import Observation

_CPU_BATCH, _GPU_BATCH = 64, 4096  # patches at once, at most
# Bytes per frequency pixel of a patch at the peak of a gradient: of an image (five spectra), and of the light
# of a frame in one optics; with a third more that the allocator holds between them.
_OF_IMAGE, _OF_LIGHT = 29.0, 19.0
BINS = 24  # of frequency, up to the cut-off
_HELD = 4  # side in frequency pixels of the blocks that are held out


@dataclass(frozen=True, eq=False)
class Patches:
    """The patches of an observation and the frequencies at which they are compared.

    Spectra are cut at the diffraction limit: a grid of `grid` frequency pixels, on which PSFs are computed
    with coarser pixels, costs half of the patch's own. `used` (object, ky, kx) weighs the frequencies, 0
    beyond each object's limit; `held_out` is a mask of blocks that are left out of the fit, to see what the
    fit is worth. Spectra and transfer functions are those of the images there are, the axis `image`: the
    frames of the first object, then those of the next. With `one_object` all objects of the burst are one,
    seen through different optics: what is summed over the frames has one object. With `exact_flux` the frames
    have no error of the flux.
    """

    observation: Observation
    wavefronts: Wavefronts
    tiling: Tiling
    margin: int
    batch: int
    one_object: bool = False
    exact_flux: bool = False

    @cached_property
    def mean(self) -> torch.Tensor:
        """Mean of the frames (object, y, x) with mirrored margins."""
        return _mirrored(self.observation.mean, self.margin)

    @cached_property
    def grid(self) -> int:
        return grid_of(self.size, self.wavefronts.cutoff)

    @cached_property
    def optics(self) -> list[Optics]:
        """The optics of every object, with the coarser pixels; equal ones are the same."""
        return self.wavefronts.optics(self.grid, zoom=self.size / self.grid)

    @cached_property
    def window(self) -> torch.Tensor:
        hann = torch.hann_window(self.size, periodic=True, device=self.observation.device)
        return hann[:, None] * hann[None, :]

    @cached_property
    def _limits(self) -> torch.Tensor:
        """Frequencies (object, ky, kx) in units of each object's diffraction limit."""
        v = self.frequencies
        return torch.stack([v / _limit(o, self.size, self.grid) for o in self.optics])

    @property
    def frequencies(self) -> torch.Tensor:
        """Frequencies (ky, kx) in cycles per pixel."""
        return frequency((self.grid, self.grid), device=self.observation.device) * (self.grid / self.size)

    @property
    def summed_over(self) -> slice:
        """The objects whose frequencies count: the first stands for all where they are one."""
        return slice(1) if self.one_object else slice(None)

    @cached_property
    def used(self) -> torch.Tensor:
        v = self.frequencies
        half_plane = torch.full_like(v, 2.0)
        half_plane[:, 0] = half_plane[:, -1] = 1.0
        return (half_plane * ((self._limits < 1) & (v > 0)))[self.summed_over]

    @cached_property
    def remainder(self) -> torch.Tensor:
        """Transfer functions (object, ky, kx) of the turbulence beyond the modes."""
        return self.wavefronts.remainders(self._limits)

    @cached_property
    def bins(self) -> torch.Tensor:
        """The bin of every frequency (object, ky, kx); the last one is beyond the limit."""
        return (self._limits * BINS).long().clamp(max=BINS)[self.summed_over]

    @cached_property
    def _middles(self) -> torch.Tensor:
        """Frequencies (bin) in the middle of the bins, in units of an object's diffraction limit."""
        return (torch.arange(BINS + 1, device=self.observation.device) + 0.5) / BINS

    @cached_property
    def flux(self) -> torch.Tensor:
        """Power (bin) in a spectrum of a smooth error of the flux."""
        power = flux_power(self._middles) * self.window.square().sum()
        return torch.zeros_like(power) if self.exact_flux else power

    @cached_property
    def beyond_flux(self) -> torch.Tensor:
        """The bins (bin) that tell the noise: finer than the flux error; the last bin counts nothing."""
        return beyond_flux(self._middles) | self.exact_flux

    @cached_property
    def held_out(self) -> torch.Tensor:
        return _blocks(self.grid, self.observation.device)

    @cached_property
    def noise(self) -> torch.Tensor:
        """Power (object) of the detector's noise in a spectrum."""
        return (self.observation.sigmas**2 * self.window.square().sum())[self.summed_over]

    @property
    def size(self) -> int:
        return min(self.tiling.tile_shape)

    @property
    def count(self) -> int:
        return self.tiling.grid[0] * self.tiling.grid[1]

    @cached_property
    def independent(self) -> float:
        """The fraction of the frequencies that the window leaves independent of their neighbours."""
        square = self.window.square()
        return float(square.mean() ** 2 / square.square().mean())

    @property
    def places(self) -> tuple[list[float], list[float]]:
        """Rows and columns of the image, in pixels, in which the patches have their centres."""
        every, across, middle = self.tiling.places(), self.tiling.grid[1], self.size / 2 - self.margin
        rows, columns = (row for row, _ in every[::across]), (column for _, column in every[:across])
        return [row.start + middle for row in rows], [column.start + middle for column in columns]

    @cached_property
    def centres(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`places` on the device."""
        rows, columns = (torch.tensor(part, dtype=torch.float32) for part in self.places)
        return rows.to(self.mean.device), columns.to(self.mean.device)

    def maps(self, modes: torch.Tensor) -> torch.Tensor:
        """Mode maps (frame, mode, py, px) of modes (patch, frame, mode)."""
        return modes.reshape(*self.tiling.grid, *modes.shape[1:]).permute(2, 3, 0, 1)

    def at(self, modes: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Mode maps (frame, mode, row, column) of modes (patch, frame, mode) at other places, linear between
        the patches' centres.
        """
        weights = [
            _between(centres, places) for centres, places in zip(self.centres, (rows, columns), strict=True)
        ]
        return weights[0] @ self.maps(modes) @ weights[1].T

    @cached_property
    def frames(self) -> list[list[int]]:
        """The frames of each object that have an image of it."""
        present, (objects, frames) = self.observation.present, self.observation.source.shape[:2]
        if present is None:
            return [list(range(frames))] * objects
        return [np.flatnonzero(row).tolist() for row in present]

    def images_of(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Values (patch, image, ...) parted into those (patch, frame, ...) of each object."""
        return list(torch.split(values, [len(own) for own in self.frames], dim=1))

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """Sums (patch, object, ...) of values (patch, image, ...) over the images of each object."""
        if self.one_object:
            return values.sum(1, keepdim=True)
        return torch.stack([part.sum(1) for part in self.images_of(values)], dim=1)

    def batches(self) -> Iterator[slice]:
        return (
            slice(first, min(first + self.batch, self.count)) for first in range(0, self.count, self.batch)
        )

    def pixels(self, some: slice) -> torch.Tensor:
        """Patches (patch, object, frame, y, x)."""
        places = self.tiling.places()[some]
        # One piece that holds them all is read, for a file gives neighbouring pixels at the price of one.
        rows, columns = (_around([place[axis] for place in places]) for axis in (0, 1))
        frames = self._read(rows, columns)
        return torch.stack(
            [frames[..., _within(rows, place[0]), _within(columns, place[1])] for place in places]
        )

    def _read(self, rows: slice, columns: slice) -> torch.Tensor:
        """A piece of the frames (object, frame, y, x) in pixels of the image with its mirrored margin."""
        wanted = [
            _reflected(torch.arange(part.start, part.stop) - self.margin, n)
            for part, n in zip((rows, columns), self.observation.shape, strict=True)
        ]
        low, high = [int(index.min()) for index in wanted], [int(index.max()) + 1 for index in wanted]
        images = self.observation.read(
            slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True))
        ).images
        for axis, index, first in zip((-2, -1), wanted, low, strict=True):
            images = images.index_select(axis, (index - first).to(images.device))
        return images

    def spectra(self, some: slice) -> torch.Tensor:
        """Spectra (patch, image, ky, kx) of patches without their mean, windowed, up to the diffraction
        limit.
        """
        every = self.pixels(some)
        patches = torch.cat([every[:, k, run(own)] for k, own in enumerate(self.frames)], dim=1)
        mean = (patches * self.window).sum((-2, -1), keepdim=True) / self.window.sum()
        spectra = self.cut(torch.fft.rfft2((patches - mean) * self.window))
        used = (self.used > 0).expand(len(self.frames), -1, -1)
        return spectra * torch.cat([used[k].expand(len(own), -1, -1) for k, own in enumerate(self.frames)])

    def cut(self, spectra: torch.Tensor) -> torch.Tensor:
        """The frequencies of the coarser grid."""
        half = self.grid // 2
        return torch.cat(
            [spectra[..., :half, : half + 1], spectra[..., self.size - half :, : half + 1]], dim=-2
        )

    def uncut(self, spectra: torch.Tensor) -> torch.Tensor:
        """The patch's own frequencies, zero beyond the coarser grid."""
        half = self.grid // 2
        whole = spectra.new_zeros(*spectra.shape[:-2], self.size, self.size // 2 + 1)
        whole[..., :half, : half + 1] = spectra[..., :half, :]
        whole[..., self.size - half :, : half + 1] = spectra[..., half:, :]
        return whole

    def transfer(self, modes: torch.Tensor) -> torch.Tensor:
        """Transfer functions (patch, image, ky, kx) of whitened modes (patch, frame, mode); a gradient goes
        to the modes.
        """
        radian = (modes * self.wavefronts.sigmas[: modes.shape[-1]]).flatten(0, 1)
        made: dict[int, torch.Tensor] = {}
        for optics in self.optics:
            if id(optics) not in made:
                make: Any = _Psf.apply  # torch gives it no types
                transfer = otf(make(radian, optics))
                made[id(optics)] = transfer.reshape(*modes.shape[:2], *transfer.shape[1:])
        every = zip(self.optics, self.frames, self.remainder, strict=True)
        return torch.cat([made[id(optics)][:, run(own)] * seen for optics, own, seen in every], dim=1)

    def images(self, restored: torch.Tensor, transfer_filter: torch.Tensor) -> torch.Tensor:
        """Patches (patch, object, y, x), apodised by the window and without their mean, of restored spectra
        through a filter.
        """
        patches: torch.Tensor = torch.fft.irfft2(
            self.uncut(restored * transfer_filter), s=(self.size, self.size)
        )
        return patches

    def filters(self, width: float, smoothness: float) -> torch.Tensor:
        """The filter of eq. 16 of the SV-MOMFBD paper (object, ky, kx) on the patches' grid."""
        return torch.stack(
            [
                flat_top(
                    self.frequencies, _limit(o, self.size, self.grid), width=width, smoothness=smoothness
                )
                for o in self.optics
            ]
        )


class _Psf(torch.autograd.Function):
    """PSFs (batch, y, x) of coefficients (batch, mode) in radian, with the gradient in closed form."""

    @staticmethod
    def forward(ctx: Any, coefficients: torch.Tensor, optics: Optics) -> torch.Tensor:
        pupil_light, image_light = light(optics, coefficients)
        ctx.save_for_backward(pupil_light, image_light)
        ctx.optics, ctx.count = optics, coefficients.shape[-1]
        return intensity(optics, image_light)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        pupil_light, image_light = ctx.saved_tensors
        return intensity_gradient(ctx.optics, pupil_light, image_light, gradient, ctx.count), None


def make_patches(
    observation: Observation,
    wavefronts: Wavefronts,
    *,
    patch: int,
    step: int,
    memory_bytes: float,
    one_object: bool = False,
    exact_flux: bool = False,
) -> Patches:
    """Cover the image with patches of `patch` pixels at most `step` pixels apart; batches keep within the
    memory.
    """
    size = min(patch, *observation.shape)
    size -= size % 2
    margin = size // 4  # mirrored pixels around the image, so that its border lies where the windows are open
    rows, columns = observation.shape
    tiling = Tiling((rows + 2 * margin, columns + 2 * margin), size, size - min(step, size - 1))
    grid = grid_of(size, wavefronts.cutoff)
    optics = len(set(zip(wavefronts.instruments, wavefronts.defocus_waves, strict=True)))
    each = gradient_bytes(grid, observation.image_count, optics * observation.frames)
    batch = patches_at_once(memory_bytes / each, observation.device)
    return Patches(observation, wavefronts, tiling, margin, batch, one_object, exact_flux)


def grid_of(size: int, limit: float) -> int:
    """Side of the spectra of patches of `size` pixels, up to the limit in cycles per pixel."""
    return min(size, 2 * fast_length(math.ceil(limit * size) + 1))


def gradient_bytes(grid: int, images: int, lights: int) -> float:
    """Bytes at the peak of the gradient of a patch, of so many images and of frames in different optics."""
    return (_OF_IMAGE * images + _OF_LIGHT * lights) * grid**2


def patches_at_once(room: float, device: torch.device) -> int:
    """How many patches are done at once where so many have room."""
    return min(max(1, int(room)), _CPU_BATCH if device.type == "cpu" else _GPU_BATCH)


def blend(patches: Patches, restored: Iterable[torch.Tensor]) -> torch.Tensor:
    """Image (object, y, x) of restored patches (object, y, x): the windowed structure and the windowed local
    means.

    Every patch gives sum(w (w s + w m)) and the sum of w^2 divides it: patches that agree leave no seam.
    """
    window = patches.window
    image = torch.zeros_like(patches.mean)
    weight = image.new_zeros(patches.tiling.shape)
    for patch, (rows, columns) in zip(restored, patches.tiling.places(), strict=True):
        mean = (patches.mean[..., rows, columns] * window).sum((-2, -1), keepdim=True) / window.sum()
        image[:, rows, columns] += (patch + mean * window) * window
        weight[rows, columns] += window.square()
    image /= weight.clamp(min=1e-6)
    m, (height, width) = patches.margin, patches.observation.shape
    return image[:, m : m + height, m : m + width]


def _mirrored(images: torch.Tensor, margin: int) -> torch.Tensor:
    """Images (object, y, x) with `margin` mirrored pixels on every side."""
    padded: torch.Tensor = torch.nn.functional.pad(images, (margin,) * 4, mode="reflect")
    return padded


def _reflected(index: torch.Tensor, n: int) -> torch.Tensor:
    """The pixels, of n along an axis, that stand at these places when the image is mirrored at its border
    pixels.
    """
    return (n - 1) - ((n - 1) - index.abs()).abs()


def _around(places: list[slice]) -> slice:
    """What holds all these places along an axis."""
    return slice(min(place.start for place in places), max(place.stop for place in places))


def _within(whole: slice, part: slice) -> slice:
    """A part of a whole, counted from its beginning."""
    return slice(part.start - whole.start, part.stop - whole.start)


def _between(centres: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Weights (place, centre) of linear interpolation, constant beyond the first and the last centre."""
    if len(centres) == 1:
        return torch.ones(len(places), 1, device=places.device)
    clamped = torch.minimum(torch.maximum(places.to(centres), centres[0]), centres[-1])
    after = torch.searchsorted(centres, clamped).clamp(1, len(centres) - 1)
    share = (clamped - centres[after - 1]) / (centres[after] - centres[after - 1])
    weights = torch.zeros(len(places), len(centres), device=places.device)
    index = torch.arange(len(places), device=places.device)
    weights[index, after - 1] = 1 - share
    weights[index, after] = share
    return weights


def _limit(optics: Optics, size: int, grid: int) -> float:
    """The diffraction limit in cycles per detector pixel of optics whose pixels are size / grid as wide."""
    return optics.diameter / optics.size * grid / size


def _blocks(grid: int, device: torch.device) -> torch.Tensor:
    """Every eighth block of 4 x 4 frequencies (ky, kx), in a knight's pattern, symmetric as the spectrum of
    an image.
    """
    index = torch.fft.fftfreq(grid, d=1 / grid, device=device).long()
    rows, columns = index[:, None], index[: grid // 2 + 1].abs()[None, :]
    turned = torch.where(columns == 0, rows.abs(), rows)
    mask: torch.Tensor = (
        torch.div(turned, _HELD, rounding_mode="floor") + 3 * torch.div(columns, _HELD, rounding_mode="floor")
    ) % 8 == 4
    return mask

"""A second, independent blur: every point of the Sun spreads its light with the PSF of its own place.

`exposure` lets every pixel of the detector gather light through the PSF of that pixel ("gather"); here the
light of every pixel of the scene is scattered with the PSF of the point that it comes from ("scatter"), the
transpose of the former. The scattered light is divided by what a uniform Sun gives: an incoherent uniform
source has a coherence that no phase screen changes, so a uniform Sun stays uniform.

A scene (object, y, x) has the frame and a margin of half a PSF on every side; PSFs have their centre in pixel
[n // 2, n // 2], and `psfs_at` takes places in the margin, below 0 and beyond the frame, as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from heliorestore.optics.noise import half_plane
from heliorestore.optics.psf import fast_length
from heliorestore.simulate.exposure import PsfsAt

_GROUP = 4  # nodes along each axis that share a Fourier transform


def scatter_everywhere(scene: torch.Tensor, psfs_at: PsfsAt, size: int) -> torch.Tensor:
    """Light (object, y, x) on the frame when every pixel of the scene has its own PSF, summed directly."""
    n = int(psfs_at(torch.zeros(1), torch.zeros(1)).shape[-1])
    margin, side = n // 2, scene.shape[-1]
    canvas = scene.new_zeros((len(scene), scene.shape[-2] + n - 1, side + n - 1))
    columns = torch.arange(side, dtype=torch.float32) - margin
    for row in range(scene.shape[-2]):
        psfs = psfs_at(torch.full((side,), float(row - margin)), columns)
        pieces = scene[:, row, None, :] * psfs.flatten(1).T
        # `fold` adds the pieces up where they overlap.
        canvas[:, row : row + n] += torch.nn.functional.fold(pieces, (n, side + n - 1), (n, n))[:, 0]
    first = margin + n // 2
    return canvas[:, first : first + size, first : first + size]


@dataclass(frozen=True, eq=False)
class Scatter:
    """The light of a scene that spreads with PSFs computed at every `step`-th pixel, linearly between them.

    Hat functions around the nodes share out the light of the scene, and each node's share is convolved with
    its PSF. `spectra` holds a PSF's transforms (node y, node x, ky, kx) for each group of nodes, row by row.
    """

    size: int
    side: int
    psf: int
    step: int
    spectra: tuple[torch.Tensor, ...]
    response: torch.Tensor

    @property
    def margin(self) -> int:
        return self.psf // 2

    def spread(self, scene: torch.Tensor) -> torch.Tensor:
        """The light (object, y, x) that falls on the frame."""
        nodes, length, reach = _nodes(self.side, self.step), self._length, 2 * self.step - 1
        after = self.step * nodes - self.side
        padded = torch.nn.functional.pad(scene, (self.step - 1, after, self.step - 1, after))
        # What each node gets of the light, (object, node y, node x, pixel y, pixel x).
        windows = padded.unfold(-2, reach, self.step).unfold(-2, reach, self.step) * self._hat(scene)
        along_y, along_x = self._waves(scene, half=False), self._waves(scene, half=True)
        canvas = scene.new_zeros((len(scene), *[self.step * nodes + length] * 2))
        for (rows, columns), spectra in zip(_groups(nodes), self.spectra, strict=True):
            part = windows[:, rows, columns].to(along_y.dtype)
            # Transforms of the windows at their places within the group: the shift is in the Fourier
            # matrices.
            light = along_y[: part.shape[1], None] @ (part @ along_x[: part.shape[2]].mT)
            # Summed over the nodes before the transform back: one inverse FFT for a group.
            blurred = torch.fft.irfft2(torch.einsum("oabkl,abkl->okl", light, spectra), s=(length, length))
            y, x = self.step * rows.start, self.step * columns.start
            canvas[:, y : y + length, x : x + length] += blurred
        first = self._first
        return canvas[:, first : first + self.size, first : first + self.size]

    def transpose(self, frame: torch.Tensor) -> torch.Tensor:
        """The adjoint of `spread`: a scene (object, y, x) of a frame (object, y, x)."""
        nodes, length, reach = _nodes(self.side, self.step), self._length, 2 * self.step - 1
        extent, first = self.step * nodes + length, self._first
        after = extent - first - self.size
        canvas = torch.nn.functional.pad(frame, (first, after, first, after))
        along_y, along_x = self._waves(frame, half=False), self._waves(frame, half=True)
        # The transpose of irfft2: a frequency that stands for its conjugate as well counts twice.
        twice = torch.from_numpy(half_plane(length)).to(frame)
        windows = frame.new_zeros((len(frame), nodes, nodes, reach, reach))
        for (rows, columns), spectra in zip(_groups(nodes), self.spectra, strict=True):
            y, x = self.step * rows.start, self.step * columns.start
            seen = torch.fft.rfft2(canvas[:, y : y + length, x : x + length]) * twice / length**2
            back = seen[:, None, None] * spectra.conj()
            part = along_y[: spectra.shape[0], None].mH @ back @ along_x[: spectra.shape[1]].conj()
            windows[:, rows, columns] = part.real
        pieces = (windows * self._hat(frame)).reshape(len(frame), nodes**2, reach**2).mT
        across = self.step * (nodes - 1) + reach
        scene = torch.nn.functional.fold(pieces, (across, across), (reach, reach), stride=self.step)[:, 0]
        return scene[:, self.step - 1 : self.step - 1 + self.side, self.step - 1 : self.step - 1 + self.side]

    def __call__(self, scene: torch.Tensor) -> torch.Tensor:
        """The frame (object, y, x), in which a uniform scene stays uniform."""
        return self.spread(scene) / self.response

    @property
    def _length(self) -> int:
        return _transform_length(self.psf, self.step)

    @property
    def _first(self) -> int:
        """Where the frame begins on the canvas: the hats of the first node reach step - 1 pixels back."""
        return self.step - 1 + self.margin + self.psf // 2

    def _hat(self, like: torch.Tensor) -> torch.Tensor:
        steps = torch.arange(1 - self.step, self.step, dtype=like.dtype, device=like.device)
        hat = 1 - steps.abs() / self.step
        return hat[:, None] * hat[None, :]

    def _waves(self, like: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Fourier matrices (node of a group, k, pixel of a window)."""
        length = self._length
        k = torch.arange(length // 2 + 1 if half else length, dtype=torch.float64)
        pixel = self.step * torch.arange(_GROUP)[:, None] + torch.arange(2 * self.step - 1)
        angle = -2 * math.pi / length * (k[None, :, None] * pixel[:, None, :])
        waves = torch.polar(torch.ones_like(angle), angle)
        return waves.to(torch.complex128 if like.dtype == torch.float64 else torch.complex64)


def make_scatter(psfs_at: PsfsAt, size: int, step: int) -> Scatter:
    """Compute the PSFs of a frame of `size` pixels and its margins, at every `step`-th pixel of the scene."""
    sample = psfs_at(torch.zeros(1), torch.zeros(1))
    n = int(sample.shape[-1])
    side = size + 2 * (n // 2)
    nodes, length = _nodes(side, step), _transform_length(n, step)
    places = torch.arange(nodes, dtype=torch.float32) * step - n // 2
    spectra = []
    for rows, columns in _groups(nodes):
        y, x = torch.meshgrid(places[rows], places[columns], indexing="ij")
        psfs = psfs_at(y.reshape(-1), x.reshape(-1)).reshape(*y.shape, n, n)
        spectra.append(torch.fft.rfft2(psfs, s=(length, length)))
    undivided = Scatter(size, side, n, step, tuple(spectra), sample.new_ones(1))
    uniform = undivided.spread(sample.new_ones((1, side, side)))
    return Scatter(size, side, n, step, tuple(spectra), uniform)


def _nodes(side: int, step: int) -> int:
    return math.ceil((side - 1) / step) + 1


def _transform_length(psf: int, step: int) -> int:
    """A group's windows reach over (_GROUP + 1) step - 1 pixels, and the PSF over psf - 1 more."""
    return fast_length((_GROUP + 1) * step + psf - 2)


def _groups(nodes: int) -> list[tuple[slice, slice]]:
    parts = [slice(first, min(first + _GROUP, nodes)) for first in range(0, nodes, _GROUP)]
    return [(rows, columns) for rows in parts for columns in parts]

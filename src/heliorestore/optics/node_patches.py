"""Geometry of filter flow: which patch of the object a node sees, and where its result is blended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from heliorestore.optics.convolve import given_shape, node_grid
from heliorestore.optics.psf import Optics, fast_length


def at_once() -> None:
    """Nothing is to be done between two parts of the work."""


@dataclass(frozen=True)
class NodePatches:
    """Geometry of one model along y and x: `grid` nodes, one every `step` pixels, cover an image of `shape`.

    A node turns a patch of `length` object pixels into 2 `step` image pixels, beginning `step` before the
    node. `between` is called before each batch of rows; what it raises ends the work.

    Spectra are (..., kx, ky): an FFT along the last axis, in which memory is contiguous, takes half the time
    of one along another, and so does a product of spectra that are stored alike.
    """

    shape: tuple[int, int]
    step: int
    size: int
    batch: int
    between: Callable[[], None] = at_once

    @property
    def grid(self) -> tuple[int, int]:
        return node_grid(self.shape, self.step)

    @property
    def length(self) -> int:
        # A multiple of four: transforms of odd lengths like 135 take twice as long as those of 144.
        return 4 * fast_length(-(-(self.size - 1 + 2 * self.step) // 4))

    @property
    def valid(self) -> slice:
        return slice(self.size - 1, self.size - 1 + 2 * self.step)

    def row_batches(self) -> Iterator[slice]:
        """Rows of nodes that are computed together: at least one, about `batch` nodes."""
        rows, columns = self.grid
        some = max(1, min(rows, self.batch // columns))
        for row in range(0, rows, some):
            self.between()
            yield slice(row, min(row + some, rows))

    def frame_batches(self, frames: int) -> Iterator[slice]:
        """Frames that are computed together: several where the field has few nodes."""
        rows, columns = self.grid
        some = max(1, self.batch // (columns * max(1, min(rows, self.batch // columns))))
        return (slice(frame, min(frame + some, frames)) for frame in range(0, frames, some))

    def values_kept(self, optics: Optics) -> int:
        """Complex numbers per frame that are kept for a gradient without `checkpoint`."""
        rows, columns = self.grid
        # Transfer function, light in the image and light in the pupil box of every node.
        return rows * columns * (self.length * (self.length // 2 + 1) + optics.field**2 + optics.side**2)

    def window(self, like: torch.Tensor) -> torch.Tensor:
        """Hat function (2 step, 2 step) of a node; those of neighbours sum to one."""
        # It begins at 0: a node's own pixel sees that node alone.
        rising = torch.arange(self.step, device=like.device, dtype=like.dtype) / self.step
        hat = torch.cat([rising, 1 - rising])
        return hat[:, None] * hat[None, :]

    # -- object <-> patches: a canvas begins `step` pixels before the extended object, node j's patch at j *
    # step

    def canvas(self, extended: torch.Tensor) -> torch.Tensor:
        rows, columns = ((g - 1) * self.step + self.length for g in self.grid)
        bottom, right = rows - self.step - extended.shape[-2], columns - self.step - extended.shape[-1]
        return torch.nn.functional.pad(extended, (self.step, right, self.step, bottom))

    def canvas_adjoint(self, canvas: torch.Tensor) -> torch.Tensor:
        rows, columns = given_shape(self.shape, self.size)
        return canvas[..., self.step : self.step + rows, self.step : self.step + columns]

    def spectra(self, canvas: torch.Tensor, rows: slice) -> torch.Tensor:
        """Transforms (object, gy, gx, kx, ky) of the patches of some rows of nodes."""
        patches = canvas.unfold(-2, self.length, self.step).unfold(-2, self.length, self.step)[:, rows]
        return self.transform(patches)

    def add_patches(self, canvas: torch.Tensor, patches: torch.Tensor, rows: slice) -> None:
        """Add patches (object, gy, gx, y, x) back where `spectra` took them from: its adjoint."""
        s, n = self.step, self.length
        columns = self.grid[1]
        count = rows.stop - rows.start
        # Patches overlap, so one in-place sum over all of them would be wrong; their blocks at one offset do
        # not.
        for top in range(0, n, s):
            for left in range(0, n, s):
                part = patches[..., top : top + s, left : left + s]
                high, wide = part.shape[-2:]
                first, begin = rows.start * s + top, left
                place = canvas[
                    :, first : first + (count - 1) * s + high, begin : begin + (columns - 1) * s + wide
                ]
                place.unfold(1, high, s).unfold(2, wide, s).add_(part)

    # -- images <-> blended patches: a sheet of step x step blocks, one more than nodes along each axis

    def sheet(self, like: torch.Tensor, objects: int, frames: int) -> torch.Tensor:
        rows, columns = self.grid
        # One block more than nodes: a node's patch reaches a step to either side.
        return like.new_zeros(objects, frames, rows + 1, self.step, columns + 1, self.step)

    def images(self, sheet: torch.Tensor) -> torch.Tensor:
        flat = sheet.flatten(4, 5).flatten(2, 3)
        return flat[..., self.step : self.step + self.shape[0], self.step : self.step + self.shape[1]]

    def images_adjoint(self, images: torch.Tensor) -> torch.Tensor:
        sheet = self.sheet(images, *images.shape[:2])
        # `images` is a view of the sheet, so copying into it is the transpose of taking it out.
        self.images(sheet.view(sheet.shape)).copy_(images)
        return sheet

    def blend(self, sheet: torch.Tensor, patches: torch.Tensor, rows: slice, frames: slice) -> None:
        """Add patches (object, frame, gy, gx, 2 step, 2 step) to the four blocks around their nodes."""
        s, columns = self.step, self.grid[1]
        for a in (0, 1):
            for b in (0, 1):
                block = patches[..., a * s : (a + 1) * s, b * s : (b + 1) * s].transpose(-3, -2)
                sheet[:, frames, rows.start + a : rows.stop + a, :, b : b + columns] += block

    def blend_adjoint(self, sheet: torch.Tensor, rows: slice, frames: slice) -> torch.Tensor:
        """Patches (object, frame, gy, gx, 2 step, 2 step) of the four blocks around each node."""
        columns = self.grid[1]
        halves = [
            torch.cat(
                [sheet[:, frames, rows.start + a : rows.stop + a, :, b : b + columns] for b in (0, 1)], dim=-1
            )
            for a in (0, 1)
        ]
        return torch.cat(halves, dim=-3).transpose(-3, -2)

    # -- transforms that skip what is known to be zero or will be cut off ------------------------------------

    def transform(self, images: torch.Tensor, before: int = 0, *, conjugate: bool = False) -> torch.Tensor:
        """Transforms of patches that hold images (..., m, m) in their corner, or `before` pixels from it; or
        their complex conjugates, which cost nothing more.
        """
        n, m = self.length, images.shape[-1]
        rows = torch.fft.rfft(torch.nn.functional.pad(images, (before, n - m - before)))
        # Rows of zeros need no transform along x.
        columns = rows.new_empty(*rows.shape[:-2], rows.shape[-1], n)
        columns[..., :before] = columns[..., before + m :] = 0
        columns[..., before : before + m] = (rows.conj() if conjugate else rows).mT
        spectra: torch.Tensor = (
            torch.fft.ifft(columns, norm="forward") if conjugate else torch.fft.fft(columns)
        )
        return spectra

    def back(self, spectra: torch.Tensor, kept: slice, *, conjugate: bool = False) -> torch.Tensor:
        """The pixels `kept`, along y and x, of patches with these transforms or their complex conjugates."""
        # Along y first: rows that are cut off need no transform along x.
        columns = torch.fft.fft(spectra, norm="forward") if conjugate else torch.fft.ifft(spectra)
        columns = columns[..., kept]
        rows = (columns.conj() if conjugate else columns).mT
        patches: torch.Tensor = torch.fft.irfft(rows, self.length)[..., kept]
        return patches

"""Destretching: local displacements of each frame from the mean of all, removed before a restoration.

Windows on a coarse grid are cross-correlated with the same places of the reference (November & Simon 1988,
doi:10.1086/166758); errors of single windows are corrected by their neighbours. Frames are then read through
the displacements by an interpolation that preserves constants, so that intensities do not change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from heliorestore.optics.convolve import interpolate, node_grid
from heliorestore.optics.filters import frequency

_WINDOW = 48  # pixels along a side of the compared windows
_STEP = 16  # pixels from one place to the next
_REACH = 8  # largest displacement in pixels
_FINEST = 0.25  # cycles per pixel: finer structure is noise and speckle
_OUTLIER = 2.0  # pixels from the median of the neighbours, beyond which a displacement is rejected
_TAPS = 3  # pixels on either side from which one is interpolated


@dataclass(frozen=True, eq=False)
class Distortion:
    """Displacements (frame, [y, x], gy, gx) in pixels at nodes every `step` pixels of an image of `shape`,
    linear in between.

    A frame shows at p + displacement what belongs in pixel p.
    """

    displacements: torch.Tensor
    shape: tuple[int, int]
    step: int = _STEP

    @property
    def rms(self) -> float:
        """The root mean square of the displacements along an axis, in pixels."""
        return float(self.displacements.square().mean().sqrt())

    @property
    def largest(self) -> float:
        """The largest displacement along an axis, in pixels."""
        return float(self.displacements.abs().max())

    @property
    def margin(self) -> int:
        """Pixels around a place that are needed to interpolate it."""
        return math.ceil(self.largest) + _TAPS

    def everywhere(self, frame: int) -> torch.Tensor:
        """The displacements ([y, x], y, x) of a frame at every pixel."""
        return interpolate(self.displacements[frame], self.shape, self.step, (slice(None), slice(None)))

    def straight(self, frame: int, rows: slice, columns: slice, seen: torch.Tensor) -> torch.Tensor:
        """A straightened piece (y, x) of a frame, from pixels `seen` around it; NaN where they are bad."""
        displacement = interpolate(self.displacements[frame], self.shape, self.step, (rows, columns))
        y, x = (torch.arange(n, dtype=seen.dtype) + self.margin for n in displacement.shape[-2:])
        return sample(seen, y[:, None] + displacement[0], x[None, :] + displacement[1])


def sample(image: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Values of an image (y, x) at places in pixels, by Lanczos' kernel of 6 x 6 pixels; a constant is
    preserved.

    Bad pixels (NaN) are ignored; where they would have more than half of the weight the value is bad.
    """
    good = torch.isfinite(image)
    filled, flat_good = torch.where(good, image, 0.0).flatten(), good.to(image.dtype).flatten()
    rows, columns = image.shape
    first_y, first_x = y.floor(), x.floor()
    weights_y, weights_x = (_lanczos(places - first) for places, first in ((y, first_y), (x, first_x)))
    total, weight = torch.zeros_like(first_y + first_x), torch.zeros_like(first_y + first_x)
    for a in range(2 * _TAPS):
        # Beyond the border the edge pixels are repeated.
        row = (first_y.long() + a + 1 - _TAPS).clamp(0, rows - 1) * columns
        for b in range(2 * _TAPS):
            index = row + (first_x.long() + b + 1 - _TAPS).clamp(0, columns - 1)
            share = weights_y[a] * weights_x[b] * flat_good[index]
            total += share * filled[index]
            weight += share
    return torch.where(weight > 0.5, total / weight.clamp(min=0.5), math.nan)


def measure(read: Callable[[int], torch.Tensor], frames: int, reference: torch.Tensor) -> Distortion:
    """Local displacements from the reference of every frame (object, y, x) that `read` gives.

    Displacements that all frames share belong to the object and are subtracted.
    """
    displacements = torch.stack([local(read(frame), reference) for frame in range(frames)])
    shape = (int(reference.shape[-2]), int(reference.shape[-1]))
    return Distortion(displacements - displacements.mean(0), shape)


def local(seen: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Local displacements ([y, x], gy, gx) of one frame (object, y, x) from the reference, at the nodes."""
    shape = reference.shape[-2:]
    size = min(_WINDOW, *shape)
    corners = [_corners(n, size) for n in shape]
    window = torch.hann_window(size, periodic=True)
    window = window[:, None] * window[None, :]
    rows = [
        _displacements(_windows(seen, top, corners[1], window), _windows(reference, top, corners[1], window))
        for top in corners[0]
    ]
    return _agreed(torch.stack(rows, dim=1))


def _corners(n: int, size: int) -> list[int]:
    """First pixels of the windows around the nodes along an axis; those at the border are moved inside."""
    return [min(max(0, node * _STEP - size // 2), n - size) for node in range(node_grid((n, 1), _STEP)[0])]


def _windows(images: torch.Tensor, top: int, lefts: list[int], window: torch.Tensor) -> torch.Tensor:
    """Spectra (object, place, ky, kx) of a row of windowed pieces of images, without their mean."""
    size = len(window)
    pieces = torch.stack([images[:, top : top + size, left : left + size] for left in lefts], dim=1)
    # With its mean a piece would show the window, which never moves and draws displacements towards zero.
    mean = (pieces * window).sum((-2, -1), keepdim=True) / window.sum()
    spectra: torch.Tensor = torch.fft.rfft2((pieces - mean) * window)
    return spectra * (frequency((size, size)) < _FINEST)


def _displacements(seen: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Displacements ([y, x], place) of spectra (object, place, ky, kx) to a fraction of a pixel."""
    size = seen.shape[-2]
    # The air moves all objects alike, so their correlations add up. Rolled: displacement 0 is in the middle.
    # With the conjugate on the reference it peaks at +d where the frame shows at p + d what belongs in
    # p.
    correlation = torch.fft.irfft2((seen * reference.conj()).sum(0), s=(size, size)).roll(
        (size // 2, size // 2), (-2, -1)
    )
    reach = min(_REACH, size // 2 - 1)
    near = correlation[
        :, size // 2 - reach : size // 2 + reach + 1, size // 2 - reach : size // 2 + reach + 1
    ]
    side = near.shape[-1]
    best = near.flatten(1).argmax(1)
    # A parabola needs a neighbour on either side.
    y, x = (best // side).clamp(1, side - 2), (best % side).clamp(1, side - 2)
    place = torch.arange(len(near))
    peak = near[place, y, x]
    fine = [
        _vertex(near[place, y - dy, x - dx], peak, near[place, y + dy, x + dx]) + at - reach
        for dy, dx, at in ((1, 0, y), (0, 1, x))
    ]
    return torch.stack(fine)


def _vertex(before: torch.Tensor, peak: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Where a parabola through three values one pixel apart is highest, from the middle one."""
    curvature = 2 * peak - before - after
    return torch.where(curvature > 0, 0.5 * (after - before) / curvature.clamp(min=1e-30), 0.0).clamp(-1, 1)


def _agreed(displacements: torch.Tensor) -> torch.Tensor:
    """Displacements ([y, x], gy, gx) smoothed, after what contradicts its neighbours became the median."""
    around = _neighbours(displacements)  # ([y, x], gy, gx, 9)
    median = around.median(-1).values
    kept = torch.where((displacements - median).abs().amax(0) < _OUTLIER, displacements, median)
    weights = torch.tensor([1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0]) / 16  # (1 2 1) x (1 2 1)
    return _neighbours(kept) @ weights


def _neighbours(maps: torch.Tensor) -> torch.Tensor:
    """The nine values (..., gy, gx, 9) around each of maps ([y, x], gy, gx), the border's repeated."""
    padded = torch.nn.functional.pad(maps, (1, 1, 1, 1), mode="replicate")
    return padded.unfold(-2, 3, 1).unfold(-2, 3, 1).flatten(-2)


def _lanczos(fraction: torch.Tensor) -> torch.Tensor:
    """Weights (tap, ...) for a place a fraction of a pixel behind the middle tap; they sum to one."""
    distance = torch.stack([fraction + _TAPS - 1 - tap for tap in range(2 * _TAPS)])
    weights = torch.sinc(distance) * torch.sinc(distance / _TAPS) * (distance.abs() < _TAPS)
    # Lanczos' weights sum to one only nearly: without this a flat image would get ripples.
    return weights / weights.sum(0)

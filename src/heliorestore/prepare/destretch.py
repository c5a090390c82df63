"""Destretching: local displacements of each frame against the mean of all, taken off before a restoration.

Windows on a coarse grid are cross-correlated with the same places of the reference (November & Simon 1988,
doi:10.1086/166758); what single windows get wrong is voted down by their neighbours. Frames are then read
through the displacements by an interpolation that keeps constants, so that intensities stay what they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from heliorestore.optics.convolve import interpolate, node_grid
from heliorestore.optics.filters import frequency

_WINDOW = 48  # pixels along a side of what is compared
_STEP = 16  # pixels from one place to the next
_REACH = 8  # pixels that a place moves at most
_FINEST = 0.25  # cycles per pixel: what is finer is noise and speckle
_OUTLIER = 2.0  # pixels from the median of the neighbours beyond which a displacement is not believed
_TAPS = 3  # pixels on either side that an interpolated one is made of


@dataclass(frozen=True, eq=False)
class Distortion:
    """Displacements (frame, [y, x], gy, gx) in pixels at nodes every `step` pixels of an image of `shape`,
    linear in between.

    What belongs in pixel p is seen in a frame at p + displacement.
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
        """Pixels around a place of which what belongs there is made."""
        return math.ceil(self.largest) + _TAPS

    def straight(self, frame: int, rows: slice, columns: slice, seen: torch.Tensor) -> torch.Tensor:
        """A piece (y, x) of a frame as it belongs, of what is seen there and in a margin around it; NaN where
        that is bad.
        """
        displacement = interpolate(self.displacements[frame], self.shape, self.step, (rows, columns))
        y, x = (torch.arange(n, dtype=seen.dtype) + self.margin for n in displacement.shape[-2:])
        return sample(seen, y[:, None] + displacement[0], x[None, :] + displacement[1])


def sample(image: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Values of an image (y, x) at places in pixels, by Lanczos' kernel of 6 x 6 pixels; a constant stays
    what it is.

    Bad pixels (NaN) take no part; where they would have more than half of the weight the value is bad.
    """
    good = torch.isfinite(image)
    filled, flat_good = torch.where(good, image, 0.0).flatten(), good.to(image.dtype).flatten()
    rows, columns = image.shape
    first_y, first_x = y.floor(), x.floor()
    weights_y, weights_x = (_lanczos(places - first) for places, first in ((y, first_y), (x, first_x)))
    total, weight = torch.zeros_like(first_y + first_x), torch.zeros_like(first_y + first_x)
    for a in range(2 * _TAPS):
        row = (first_y.long() + a + 1 - _TAPS).clamp(0, rows - 1) * columns
        for b in range(2 * _TAPS):
            index = row + (first_x.long() + b + 1 - _TAPS).clamp(0, columns - 1)
            share = weights_y[a] * weights_x[b] * flat_good[index]
            total += share * filled[index]
            weight += share
    return torch.where(weight > 0.5, total / weight.clamp(min=0.5), math.nan)


def measure(read: Callable[[int], torch.Tensor], frames: int, reference: torch.Tensor) -> Distortion:
    """How far every frame (object, y, x) that `read` gives is displaced from the reference, place by place.

    What all frames have in common belongs to the object and is taken off.
    """
    shape = (int(reference.shape[-2]), int(reference.shape[-1]))
    size = min(_WINDOW, *shape)
    corners = [_corners(n, size) for n in shape]
    window = torch.hann_window(size, periodic=True)
    window = window[:, None] * window[None, :]
    found = []
    for frame in range(frames):
        seen = read(frame)
        rows = [
            _displacements(
                _windows(seen, top, corners[1], window), _windows(reference, top, corners[1], window)
            )
            for top in corners[0]
        ]
        found.append(_agreed(torch.stack(rows, dim=1)))
    displacements = torch.stack(found)
    return Distortion(displacements - displacements.mean(0), shape)


def _corners(n: int, size: int) -> list[int]:
    """First pixels of the windows around the nodes along an axis; those at the border are moved inside."""
    return [min(max(0, node * _STEP - size // 2), n - size) for node in range(node_grid((n, 1), _STEP)[0])]


def _windows(images: torch.Tensor, top: int, lefts: list[int], window: torch.Tensor) -> torch.Tensor:
    """Spectra (object, place, ky, kx) of a row of windowed pieces of images (object, y, x), without their
    mean.
    """
    size = len(window)
    pieces = torch.stack([images[:, top : top + size, left : left + size] for left in lefts], dim=1)
    mean = (pieces * window).sum((-2, -1), keepdim=True) / window.sum()
    spectra: torch.Tensor = torch.fft.rfft2((pieces - mean) * window)
    return spectra * (frequency((size, size)) < _FINEST)


def _displacements(seen: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Displacements ([y, x], place) of spectra (object, place, ky, kx) from the reference's, to a fraction of
    a pixel.
    """
    size = seen.shape[-2]
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
    """Displacements ([y, x], gy, gx) with those that contradict their neighbours replaced by their median,
    then smoothed a little.
    """
    around = _neighbours(displacements)
    median = around.median(-1).values
    kept = torch.where((displacements - median).abs().amax(0) < _OUTLIER, displacements, median)
    weights = torch.tensor([1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0]) / 16
    return _neighbours(kept) @ weights


def _neighbours(maps: torch.Tensor) -> torch.Tensor:
    """The nine values (..., gy, gx, 9) around each of maps ([y, x], gy, gx); at the border those inside stand
    for those outside.
    """
    padded = torch.nn.functional.pad(maps, (1, 1, 1, 1), mode="replicate")
    return padded.unfold(-2, 3, 1).unfold(-2, 3, 1).flatten(-2)


def _lanczos(fraction: torch.Tensor) -> torch.Tensor:
    """Weights (tap, ...) of the pixels around a place that lies by a fraction behind the middle one; they sum
    to one.
    """
    distance = torch.stack([fraction + _TAPS - 1 - tap for tap in range(2 * _TAPS)])
    weights = torch.sinc(distance) * torch.sinc(distance / _TAPS) * (distance.abs() < _TAPS)
    return weights / weights.sum(0)

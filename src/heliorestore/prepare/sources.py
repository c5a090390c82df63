"""Where prepared frames come from: memory, or the burst itself whenever a part of them is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.prepare.destretch import Distortion
from heliorestore.selection import Frames

_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images (object, frame, y, x) and where they are `good`, a mask of the same shape, None where all are.

    Bad pixels hold the mean of the other frames there, so that transforms see no holes.
    """

    images: torch.Tensor
    good: torch.Tensor | None = None

    def masked(self, values: torch.Tensor) -> torch.Tensor:
        """Values (object, frame, y, x), 0 where the pixel is bad."""
        return values if self.good is None else values * self.good


class Source(Protocol):
    """Where the prepared frames (object, frame, y, x) of an observation come from."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    def read(self, frames: slice, rows: slice, columns: slice) -> Pixels: ...


@dataclass(frozen=True, eq=False)
class Stream:
    """Frames that are prepared whenever they are read: moved, divided by `scales` (object, frame), bad pixels
    filled from `fill`.

    `used` are the numbers of its frames in `frames`.
    """

    frames: Frames
    used: tuple[int, ...]
    shifts: npt.NDArray[np.int64]
    device: torch.device
    scales: npt.NDArray[np.float64]
    fill: torch.Tensor | None = None
    distortion: Distortion | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        objects, _, rows, columns = self.frames.shape
        return objects, len(self.used), rows, columns

    def read(self, frames: slice, rows: slice, columns: slice) -> Pixels:
        """A part of the frames on the device."""
        numbers = range(self.shape[1])[frames]
        images = torch.stack(
            [torch.stack([self.image(k, f, rows, columns) for f in numbers]) for k in range(self.shape[0])]
        )
        images = images.to(self.device)
        good = torch.isfinite(images)
        if bool(good.all()):
            return Pixels(images)
        assert self.fill is not None
        return Pixels(torch.where(good, images, self.fill[:, None, rows, columns]), good)

    def image(self, object_: int, frame: int, rows: slice = _ALL, columns: slice = _ALL) -> torch.Tensor:
        """A part of one frame (y, x) after it was moved; NaN where it is bad or beyond the frame."""
        pixels = [range(n)[part] for n, part in zip(self.shape[2:], (rows, columns), strict=True)]
        if self.distortion is None:
            return self._moved(object_, frame, pixels) / float(self.scales[object_, frame])
        margin = self.distortion.margin
        seen = self._moved(
            object_, frame, [range(place.start - margin, place.stop + margin) for place in pixels]
        )
        return self.distortion.straight(frame, rows, columns, seen) / float(self.scales[object_, frame])

    def _moved(self, object_: int, frame: int, places: list[range]) -> torch.Tensor:
        """The pixels (y, x) of a frame in these rows and columns after it was moved by whole pixels."""
        image = torch.full([len(place) for place in places], math.nan)
        taken, put = [], []
        for place, shift, n in zip(places, self.shifts[frame], self.shape[2:], strict=True):
            # The part that the frame covers; the rest stays NaN.
            # A frame displaced by `shift` shows at p + shift what belongs in p.
            first, last = max(0, place.start + int(shift)), min(n, place.stop + int(shift))
            taken.append(slice(first, max(first, last)))
            put.append(slice(first - int(shift) - place.start, max(first, last) - int(shift) - place.start))
        if all(part.stop > part.start for part in taken):
            seen = np.asarray(self.frames[(object_, self.used[frame], *taken)])
            image[put[0], put[1]] = torch.tensor(np.asarray(seen, dtype=np.float32))
        image[~torch.isfinite(image)] = math.nan
        return image


@dataclass(frozen=True, eq=False)
class Held:
    """Prepared frames (object, frame, y, x) in memory, with their mask of good pixels."""

    pixels: Pixels
    device: torch.device

    @property
    def shape(self) -> tuple[int, int, int, int]:
        objects, frames, rows, columns = self.pixels.images.shape
        return objects, frames, rows, columns

    def read(self, frames: slice, rows: slice, columns: slice) -> Pixels:
        """A part of the frames on the device."""
        images, good = self.pixels.images, self.pixels.good
        part = (_ALL, frames, rows, columns)
        return Pixels(images[part].to(self.device), None if good is None else good[part].to(self.device))

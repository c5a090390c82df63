"""A burst made ready for blind deconvolution: normalised, aligned to whole pixels, its bad pixels known, its noise measured.

Frames are held in memory where they fit, and else made ready again whenever a part of them is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst, Frames
from heliorestore.errors import BurstError
from heliorestore.methods.alignment import frame_shifts
from heliorestore.methods.destretch import Distortion, measure
from heliorestore.optics.noise import estimate_sigma

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


@dataclass(frozen=True, eq=False)
class Stream:
    """Frames that are made ready whenever they are read: moved, divided by `scales` (object), bad pixels filled from `fill`."""

    frames: Frames
    shifts: npt.NDArray[np.int64]
    device: torch.device
    scales: npt.NDArray[np.float64]
    fill: torch.Tensor | None = None
    distortion: Distortion | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        objects, frames, rows, columns = self.frames.shape
        return objects, frames, rows, columns

    def read(self, frames: slice, rows: slice, columns: slice) -> Pixels:
        """A part of the frames on the device."""
        numbers = range(self.shape[1])[frames]
        images = torch.stack([torch.stack([self.image(k, f, rows, columns) for f in numbers]) for k in range(self.shape[0])])
        images = images.to(self.device)
        good = torch.isfinite(images)
        if bool(good.all()):
            return Pixels(images)
        assert self.fill is not None
        return Pixels(torch.where(good, images, self.fill[:, None, rows, columns]), good)

    def image(self, object_: int, frame: int, rows: slice = _ALL, columns: slice = _ALL) -> torch.Tensor:
        """A part of one frame (y, x); NaN where the pixel is bad, or lies outside after the frame was moved."""
        pixels = [range(n)[part] for n, part in zip(self.shape[2:], (rows, columns), strict=True)]
        if self.distortion is None:
            return self._moved(object_, frame, pixels) / float(self.scales[object_])
        margin = self.distortion.margin
        seen = self._moved(object_, frame, [range(place.start - margin, place.stop + margin) for place in pixels])
        return self.distortion.straight(frame, rows, columns, seen) / float(self.scales[object_])

    def _moved(self, object_: int, frame: int, places: list[range]) -> torch.Tensor:
        """The pixels (y, x) of a frame that stand in these rows and columns after it was moved by whole pixels."""
        image = torch.full([len(place) for place in places], math.nan)
        taken, put = [], []
        for place, shift, n in zip(places, self.shifts[frame], self.shape[2:], strict=True):
            first, last = max(0, place.start + int(shift)), min(n, place.stop + int(shift))
            taken.append(slice(first, max(first, last)))
            put.append(slice(first - int(shift) - place.start, max(first, last) - int(shift) - place.start))
        if all(part.stop > part.start for part in taken):
            seen = np.asarray(self.frames[(object_, frame, *taken)])
            image[put[0], put[1]] = torch.tensor(np.asarray(seen, dtype=np.float32))
        image[~torch.isfinite(image)] = math.nan
        return image


@dataclass(frozen=True, eq=False)
class Held:
    """Frames (object, frame, y, x) that are ready in memory, with their mask of good pixels."""

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


@dataclass(frozen=True, eq=False)
class Observation:
    """Frames (object, frame, y, x) in units of each object's mean `scales` (object), read part by part.

    `mean` (object, y, x) is that of the good frames at each pixel, 1 where there is none; `counts` of the same shape says how many
    they are, None where all are good. `sigmas` (object) is the noise in the same units. `shifts` (frame, [y, x]) whole pixels have
    been taken off every frame, and the distortion, where there is one.
    """

    source: Stream | Held
    mean: torch.Tensor
    counts: torch.Tensor | None
    scales: torch.Tensor
    sigmas: torch.Tensor
    shifts: npt.NDArray[np.int64]
    distortion: Distortion | None = None

    @property
    def objects(self) -> int:
        return self.source.shape[0]

    @property
    def frames(self) -> int:
        return self.source.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape[2:]

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def values(self) -> float:
        """How many good values there are in all frames."""
        return float(math.prod(self.source.shape)) if self.counts is None else float(self.counts.sum(dtype=torch.float64))

    def read(self, frames: slice = _ALL, rows: slice = _ALL, columns: slice = _ALL) -> Pixels:
        """A part of the frames, in the units of the mean."""
        return self.source.read(frames, rows, columns)

    def good(self, frames: slice = _ALL, rows: slice = _ALL, columns: slice = _ALL) -> torch.Tensor | None:
        """Where a part of the frames is good, None where all of the burst is."""
        return None if self.counts is None else self.read(frames, rows, columns).good


def observe(
    burst: Burst, device: torch.device, *, align: bool = True, destretch: bool = False, hold_bytes: float = math.inf
) -> Observation:
    """Make the frames ready; `align` moves each by whole pixels onto the mean, the uncovered border then weighs nothing.

    `destretch` takes local displacements off as well, measured against the mean, and once more against the mean that this makes.

    Frames that take no more than `hold_bytes` are read once and held; others are read part by part, whenever they are wanted.
    """
    held = _read(burst) if 4.0 * math.prod(burst.shape) <= hold_bytes else None
    frames: Frames = burst.frames if held is None else held
    shifts = np.zeros((burst.shape[1], 2), np.int64)
    if align and burst.shape[1] > 1:
        shifts = frame_shifts(frames)
    stream = Stream(frames, shifts, device, np.ones(burst.shape[0]))
    observation = _measured(burst, stream)
    for _ in range(2 if destretch and burst.shape[1] > 1 else 0):
        observation = _straightened(burst, observation)
    return observation if held is None else replace(observation, source=_settled(observation.source, held, observation.counts is None))


def _read(burst: Burst) -> npt.NDArray[np.float32]:
    """All frames (object, frame, y, x)."""
    frames = np.empty(burst.shape, np.float32)
    for object_, frame, image in burst.images():
        frames[object_, frame] = image
    return frames


def _measured(burst: Burst, stream: Stream) -> Observation:
    """Mean, good pixels and noise of frames as they come, and the stream in units of the mean."""
    objects, frames, rows, columns = stream.shape
    mean, counts = torch.ones(objects, rows, columns), torch.zeros(objects, rows, columns, dtype=torch.int16)
    scales, sigmas = np.ones(objects), np.zeros(objects)
    for object_ in range(objects):
        total, noise = torch.zeros(rows, columns), []
        for frame in range(frames):
            image = stream.image(object_, frame)
            noise.append(estimate_sigma(image.numpy()))
            good = torch.isfinite(image)
            total += torch.where(good, image, 0.0)
            counts[object_] += good
        seen = int(counts[object_].sum(dtype=torch.int64))
        if not seen:
            raise BurstError(f"{burst.labels[object_]} has no valid pixel: every value is NaN.")
        scale = float(total.sum(dtype=torch.float64)) / seen
        if not scale > 0:
            raise BurstError(
                f"{burst.labels[object_]} has a mean of {scale:.4g}; blind deconvolution needs an intensity image: "
                "choose others with --objects."
            )
        scales[object_], sigmas[object_] = scale, float(np.median(noise)) / scale
        mean[object_] = torch.where(counts[object_] > 0, total / (scale * counts[object_].clamp(min=1)), 1.0)
    mean = mean.to(stream.device)
    # A burst without any noise would make the data weigh infinitely much.
    measured = [torch.tensor(values, dtype=torch.float32, device=stream.device) for values in (scales, sigmas.clip(min=1e-5))]
    whole = bool((counts == frames).all())
    ready = replace(stream, scales=scales, fill=mean)
    return Observation(ready, mean, None if whole else counts.to(stream.device), measured[0], measured[1], stream.shifts)


def _straightened(burst: Burst, observation: Observation) -> Observation:
    """The observation with the displacements taken off that are left between its frames and its mean."""
    stream = observation.source
    assert isinstance(stream, Stream)

    def read(frame: int) -> torch.Tensor:
        return stream.read(slice(frame, frame + 1), _ALL, _ALL).images[:, 0].cpu()

    left = measure(read, stream.shape[1], observation.mean.cpu())
    if observation.distortion is not None:
        left = replace(left, displacements=left.displacements + observation.distortion.displacements)
    straight = _measured(burst, replace(stream, distortion=left, scales=np.ones(stream.shape[0])))
    # Interpolation smooths the noise: what it is, the frames tell as they were.
    return replace(straight, sigmas=observation.sigmas, distortion=left)


def _settled(stream: Stream | Held, frames: npt.NDArray[np.float32], all_good: bool) -> Held:
    """The frames made ready once and for all, in the memory that they were read into."""
    objects, count = frames.shape[:2]
    good = None if all_good else torch.ones(frames.shape, dtype=torch.bool)
    assert isinstance(stream, Stream)
    assert stream.fill is not None
    fill = stream.fill.cpu()
    for object_ in range(objects):
        for frame in range(count):
            image = stream.image(object_, frame)
            if good is not None:
                good[object_, frame] = torch.isfinite(image)
                image = torch.where(good[object_, frame], image, fill[object_])
            frames[object_, frame] = image.numpy()
    return Held(Pixels(torch.from_numpy(frames).to(stream.device), None if good is None else good.to(stream.device)), stream.device)

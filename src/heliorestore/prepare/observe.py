"""A burst prepared for blind deconvolution: outliers left out, frames scaled to one mean and aligned, the
noise measured.

Frames are held in memory if they fit, otherwise prepared again whenever a part of them is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import BurstError
from heliorestore.optics.noise import estimate_sigma
from heliorestore.optics.shown import Shown
from heliorestore.prepare.align import LowFrequencies
from heliorestore.prepare.destretch import Distortion, measure
from heliorestore.prepare.intensities import relative_intensities
from heliorestore.prepare.outliers import Selection, select
from heliorestore.prepare.sources import Held, Pixels, Source, Stream
from heliorestore.prepare.spikes import WithoutSpikes
from heliorestore.prepare.spikes import in_words as spikes_in_words
from heliorestore.selection import Frames

_ALL = slice(None)
_FLAT = 1e-7  # contrast below which float32 has no structure
_SMALLEST = 16  # pixels of a side: the blur is as wide, and nothing is left to fit
_REPORTED = 1e-2  # peak to peak of the frames' intensities; less is about their error on a small field


@dataclass(frozen=True, eq=False)
class Observation:
    """Frames (object, frame, y, x), each in units of its own mean, read part by part.

    The frames are the numbers `selection.used` of all `burst_frames`. `scales` (object) converts results to
    the burst's units; `relative` (object, frame) is the intensity of each frame in these units, which has
    been divided out. `mean` (object, y, x) is the mean of the good frames at each pixel, 1 where there is
    none; `counts` of the same shape is their number, None if all are good. `sigmas` (object) is the noise in
    the same units. `shifts` (frame, [y, x]) in whole pixels, and the distortion if there is one, were removed
    from every frame. `present` (object, frame) is False where a frame has no image of an object, None where
    all have. So many values were `spikes`, and taken as bad.
    """

    source: Source
    mean: torch.Tensor
    counts: torch.Tensor | None
    scales: torch.Tensor
    sigmas: torch.Tensor
    shifts: npt.NDArray[np.int64]
    selection: Selection
    relative: npt.NDArray[np.float64]
    burst_frames: int
    distortion: Distortion | None = None
    present: Shown = None
    spikes: int = 0

    @cached_property
    def shown(self) -> torch.Tensor:
        """1 where a frame has an image of an object (object, frame), else 0."""
        if self.present is None:
            return torch.ones(self.objects, self.frames, device=self.device)
        return torch.from_numpy(self.present).to(self.device, torch.float32)

    def shown_in(self, frames: slice) -> Shown:
        """Which objects some of the frames have images of."""
        return None if self.present is None else self.present[:, frames]

    @cached_property
    def images(self) -> torch.Tensor:
        """The number of images of each object."""
        return self.shown.sum(1)

    @property
    def image_count(self) -> int:
        """The number of images of all objects."""
        return self.objects * self.frames if self.present is None else int(self.present.sum())

    @property
    def objects(self) -> int:
        return self.source.shape[0]

    @property
    def frames(self) -> int:
        return self.source.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape[2:]

    def of_burst(self, values: FloatArray) -> FloatArray:
        """Values (frame, ...) for all frames of the burst, NaN for those that were left out."""
        if self.frames == self.burst_frames:
            return values
        whole = np.full((self.burst_frames, *values.shape[1:]), np.nan, np.float32)
        whole[list(self.selection.used)] = values
        return whole

    def of_used(self, values: FloatArray) -> FloatArray:
        """Values (frame, ...) of the frames that are used, out of all of the burst; unknown ones are 0."""
        return np.nan_to_num(values[list(self.selection.used)])

    def where_seen(self, images: torch.Tensor) -> torch.Tensor:
        """Images (object, y, x) with NaN where no frame has a good value."""
        counts = self.counts
        return images if counts is None else torch.where(counts.to(images.device) == 0, math.nan, images)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @cached_property
    def values(self) -> float:
        """Number of good values in all frames."""
        return float(math.prod(self.source.shape)) if self.counts is None else float(self.counts.sum())

    def read(self, frames: slice = _ALL, rows: slice = _ALL, columns: slice = _ALL) -> Pixels:
        """A part of the frames, in the units of the mean."""
        return self.source.read(frames, rows, columns)

    def good(self, frames: slice = _ALL, rows: slice = _ALL, columns: slice = _ALL) -> torch.Tensor | None:
        """Where a part of the frames is good, None where all of the burst is."""
        return None if self.counts is None else self.read(frames, rows, columns).good


def observe(
    burst: Burst,
    device: torch.device,
    *,
    align: bool = True,
    destretch: bool = False,
    hold_bytes: float = math.inf,
) -> Observation:
    """Prepare the frames; `align` moves each by whole pixels onto the mean, and the uncovered border has no
    weight.

    `destretch` also removes local displacements, measured against the mean, and once more against the new
    mean.

    Frames that take no more than `hold_bytes` are read once and held; others are read part by part, whenever
    they are needed.
    """
    if min(burst.shape[2:]) < _SMALLEST:
        rows, columns = burst.shape[2:]
        raise BurstError(
            f"The frames have {rows} x {columns} pixels; the method needs {_SMALLEST} x {_SMALLEST} at least."
        )
    cleaned = WithoutSpikes(burst.frames)
    held = _read(burst, cleaned) if 4.0 * math.prod(burst.shape) <= hold_bytes else None
    frames: Frames = cleaned if held is None else held
    selection = _selected(burst, LowFrequencies.of(frames, burst.present))
    present = None if burst.present is None else burst.present[:, list(selection.used)]
    shifts = selection.shifts if align else np.zeros_like(selection.shifts)
    stream = Stream(frames, selection.used, shifts, device, np.ones((burst.shape[0], len(selection.used))))
    # On aligned frames: intensities are compared place by place.
    relative = relative_intensities(stream.image, burst.shape[0], len(selection.used), present)
    observation = _measured(burst, replace(stream, scales=relative), selection, present)
    # Twice: the first mean is blurred by the very displacements that it should show.
    for _ in range(2 if destretch and observation.frames > 1 else 0):
        observation = _straightened(burst, observation)
    source = observation.source
    if held is not None:
        source = _settled(source, held, observation.counts is None)
    return replace(observation, source=source, spikes=cleaned.count)


def in_words(burst: Burst, observation: Observation) -> tuple[str, ...]:
    """What was done to the frames before the restoration, in sentences for the record of the run."""
    numbers, selection = burst.frame_numbers, observation.selection
    messages = list(spikes_in_words(observation.spikes))
    if selection.reasons:
        each = "; ".join(f"{numbers[frame]}: {reason}" for frame, reason in selection.reasons.items())
        messages.append(f"{len(selection.reasons)} of {len(numbers)} frames were left out ({each}).")
    used = [numbers[frame] for frame in selection.used]
    for label, every, shown in zip(
        burst.labels, observation.relative, observation.shown.cpu().bool().numpy(), strict=True
    ):
        name, relative = f" of {label}" if len(burst.labels) > 1 else "", every[shown]
        if np.ptp(relative) >= _REPORTED:
            listed = ", ".join(
                f"{frame}: {intensity:.3f}"
                for frame, intensity, is_shown in zip(used, every, shown, strict=True)
                if is_shown
            )
            messages.append(
                f"The frames{name} differ in intensity by {100 * np.ptp(relative):.2g} % peak to peak and "
                f"were brought to one level; before, they were {listed}."
            )
    if observation.shifts.any():
        moved = ", ".join(f"{-dy}/{-dx}" for dy, dx in observation.shifts)
        messages.append(f"The frames were moved by whole pixels (y/x) onto their mean: {moved}.")
    if observation.distortion is not None:
        found = observation.distortion
        messages.append(
            f"The frames were destretched every {found.step} pixels: displacements of {found.rms:.2f} "
            f"pixels rms along an axis, {found.largest:.1f} at most."
        )
    return tuple(messages)


def _read(burst: Burst, cleaned: Frames) -> npt.NDArray[np.float32]:
    """All frames (object, frame, y, x)."""
    frames = np.full(burst.shape, np.nan, np.float32)  # where an image is missing
    for object_ in range(burst.shape[0]):
        for frame in burst.frames_of(object_):
            frames[object_, frame] = cleaned[object_, frame]
    return frames


def _selected(burst: Burst, seen: LowFrequencies) -> Selection:
    """The frames to restore from, or an error if none can be used."""
    for label, good, means, contrast in zip(
        burst.labels, seen.good, seen.means, seen.contrasts(), strict=True
    ):
        if not good.any():
            raise BurstError(f"{label} has no valid pixel: every value is NaN.")
        if (means > 0).any() and contrast.max() < _FLAT:
            raise BurstError(
                f"{label} shows nothing: all its pixels have the same value, so there is nothing to restore."
            )
    selection = select(seen)
    if not selection.used:
        frame, reason = next(iter(selection.reasons.items()))
        raise BurstError(
            f"No frame of the burst can be used; the first, {burst.frame_numbers[frame]}: {reason}."
        )
    if burst.present is not None:
        for label, shown in zip(burst.labels, burst.present[:, list(selection.used)], strict=True):
            if not shown.any():
                raise BurstError(f"No frame with an image of {label} can be used: leave it out (--objects).")
    return selection


def _measured(
    burst: Burst, stream: Stream, selection: Selection, present: npt.NDArray[np.bool_] | None
) -> Observation:
    """Mean, good pixels and noise of frames of relative intensities `scales`, of each object from its own
    images; the stream over the mean.
    """
    objects, frames, rows, columns = stream.shape
    mean, counts = torch.ones(objects, rows, columns), torch.zeros(objects, rows, columns, dtype=torch.int16)
    scales, sigmas = np.ones(objects), np.zeros(objects)
    for object_ in range(objects):
        total, noise = torch.zeros(rows, columns), []
        for frame in range(frames) if present is None else np.flatnonzero(present[object_]).tolist():
            image = stream.image(object_, frame)
            noise.append(estimate_sigma(image.numpy()))
            good = torch.isfinite(image)
            total += torch.where(good, image, 0.0)
            counts[object_] += good
        # In double precision: a float32 sum over many pixels loses digits.
        level = float(total.sum(dtype=torch.float64)) / int(counts[object_].sum(dtype=torch.int64))
        if not level > 0:
            raise BurstError(
                f"{burst.labels[object_]} has a mean of {level:.4g}; blind deconvolution needs an "
                "intensity image: choose others with --objects."
            )
        # The median: a single frame with clouds or defects does not decide.
        scales[object_], sigmas[object_] = level, float(np.median(noise)) / level
        mean[object_] = torch.where(counts[object_] > 0, total / (level * counts[object_].clamp(min=1)), 1.0)
    mean = mean.to(stream.device)
    # Without any noise the data would have infinite weight.
    scale, sigma = (
        torch.tensor(values, dtype=torch.float32, device=stream.device)
        for values in (scales, sigmas.clip(min=1e-5))
    )
    whole = bool((counts == frames).all())
    ready = replace(stream, scales=scales[:, None] * stream.scales, fill=mean)
    seen = None if whole else counts.to(stream.device)
    return Observation(
        ready,
        mean,
        seen,
        scale,
        sigma,
        stream.shifts,
        selection,
        stream.scales,
        burst.shape[1],
        present=present,
    )


def _straightened(burst: Burst, observation: Observation) -> Observation:
    """The observation without the displacements that remain between its frames and its mean."""
    stream = observation.source
    assert isinstance(stream, Stream)

    def read(frame: int) -> torch.Tensor:
        images = stream.read(slice(frame, frame + 1), _ALL, _ALL).images[:, 0]
        # An image that is missing holds the mean, which has not moved.
        return (images * observation.shown[:, frame, None, None]).cpu()

    left = measure(read, stream.shape[1], observation.mean.cpu())
    if observation.distortion is not None:
        # Small displacements add up: reading through their sum interpolates once, not twice.
        left = replace(left, displacements=left.displacements + observation.distortion.displacements)
    straight = _measured(
        burst,
        replace(stream, distortion=left, scales=observation.relative),
        observation.selection,
        observation.present,
    )
    # Interpolation smooths the noise: measure it on the frames before that.
    return replace(straight, sigmas=observation.sigmas, distortion=left)


def _settled(stream: Source, frames: npt.NDArray[np.float32], all_good: bool) -> Held:
    """The frames prepared once, in the memory into which they were read."""
    assert isinstance(stream, Stream)
    assert stream.fill is not None
    objects, count = stream.shape[:2]
    good = None if all_good else torch.ones(stream.shape, dtype=torch.bool)
    fill = stream.fill.cpu()
    for object_ in range(objects):
        for frame in range(count):
            image = stream.image(object_, frame)
            if good is not None:
                good[object_, frame] = torch.isfinite(image)
                image = torch.where(good[object_, frame], image, fill[object_])
            # never overwrites a frame that is still needed: left-out frames only move others forward
            frames[object_, frame] = image.numpy()
    return Held(
        Pixels(
            torch.from_numpy(frames[:, :count]).to(stream.device),
            None if good is None else good.to(stream.device),
        ),
        stream.device,
    )

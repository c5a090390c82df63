"""The forward model of an observation: frames stream through it in batches, and so do its adjoint and its normal operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch

from heliorestore.methods.observation import Observation
from heliorestore.methods.wavefronts import Wavefronts
from heliorestore.optics.convolve import extend, margins
from heliorestore.optics.filter_flow import FilterFlow, Spectra
from heliorestore.optics.filters import filter_grid, filtered, flat_top, frequency
from heliorestore.optics.psf import Optics, fast_length
from heliorestore.optics.pupil import cutoff


class Filter(Protocol):
    """The two numbers of the filter of eq. 16."""

    @property
    def filter_width(self) -> float: ...
    @property
    def filter_smoothness(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Flow:
    """The forward model of an observation: objects (object, y, x) with their surroundings, modes (frame, mode, gy, gx) in radian.

    Frames go through in batches whose transfer functions keep within `memory_bytes`; they are kept from one product to the next
    where those of all frames do.
    """

    observation: Observation
    wavefronts: Wavefronts
    psf_size: int
    step: int
    memory_bytes: float
    optics: list[Optics] = field(init=False, repr=False)
    model: FilterFlow = field(init=False, repr=False)
    _halo: list[torch.Tensor] = field(init=False, repr=False, default_factory=list)
    _last: list[Transfers] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "optics", self.wavefronts.optics(self.psf_size))
        model = FilterFlow(optics=self.optics, shape=self.observation.shape, step=self.step, borders="given")
        object.__setattr__(self, "model", model)

    @property
    def grid(self) -> tuple[int, int]:
        return self.model.grid

    @property
    def inner(self) -> tuple[slice, slice]:
        """Where the image lies in an object with its surroundings."""
        before = margins(self.optics[0].size)[0]
        rows, columns = self.observation.shape
        return slice(before, before + rows), slice(before, before + columns)

    def batches(self) -> Iterator[slice]:
        """Frames that are done together."""
        frames = int(self.observation.frames.shape[1])
        some = max(1, min(frames, int(self.memory_bytes / self._bytes_per_frame())))
        return (slice(first, min(first + some, frames)) for first in range(0, frames, some))

    def transfers(self, modes: torch.Tensor) -> Transfers:
        """The model with these modes; the last one asked for is kept, for an iteration asks for it again to be measured."""
        if not self._last or not torch.equal(self._last[0].modes, modes):
            self._last[:] = [Transfers(self, modes, keep=self._bytes_per_frame() * len(modes) <= self.memory_bytes)]
        return self._last[0]

    def surround(self, images: torch.Tensor) -> torch.Tensor:
        """Objects for a start: images (object, y, x), mirrored at their borders."""
        return extend(images, self.optics[0].size, "reflect")

    def filters(self, knobs: Filter) -> torch.Tensor:
        """The filter of eq. 16 (object, ky, kx) for objects with their surroundings."""
        rows, columns = self.model.object_shape
        frequencies = frequency(filter_grid((rows, columns)), device=self.observation.frames.device)
        return torch.stack([
            flat_top(frequencies, cutoff(o.instrument), width=knobs.filter_width, smoothness=knobs.filter_smoothness) for o in self.optics
        ])  # fmt: skip

    def blurred(self, objects: torch.Tensor) -> torch.Tensor:
        """Objects in the halo of the turbulence beyond the modes: one blur for the whole field, so that it commutes with the PSFs."""
        if self.wavefronts.left_out == 0:
            return objects
        if not self._halo:
            rows, columns = self.model.object_shape
            frequencies = frequency(filter_grid((rows, columns)), device=objects.device)
            v = torch.stack([(frequencies / cutoff(o.instrument)).clamp(max=1) for o in self.optics])
            self._halo.append(self.wavefronts.remainders(v))
        return filtered(objects, self._halo[0])

    def _bytes_per_frame(self) -> float:
        rows, columns = self.grid
        length = fast_length(self.optics[0].size - 1 + 2 * self.step)
        return 8.0 * len({id(o) for o in self.optics}) * rows * columns * length * (length // 2 + 1)


class Transfers:
    """The model with one set of modes: transfer functions of all frames, kept or made again batch by batch."""

    def __init__(self, flow: Flow, modes: torch.Tensor, *, keep: bool) -> None:
        self.flow, self.modes, self._keep = flow, modes, keep
        self._kept: dict[int, Spectra] = {}

    def of(self, frames: slice) -> Spectra:
        if frames.start in self._kept:
            return self._kept[frames.start]
        made = self.flow.model.transfer(self.modes[frames])
        if self._keep:
            self._kept[frames.start] = made
        return made

    def residuals(self, objects: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Model minus frames (object, frame, y, x), 0 where a pixel is bad, of one batch of frames after the other."""
        observation = self.flow.observation
        objects = self.flow.blurred(objects)
        for frames in self.flow.batches():
            residual = self.flow.model.apply(objects, self.of(frames)) - observation.frames[:, frames]
            yield frames, residual * observation.weights[:, frames]

    def normal(self, objects: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        """Sum over frames of F^T gamma F o."""
        total, objects = torch.zeros_like(objects), self.flow.blurred(objects)
        for frames in self.flow.batches():
            transfer = self.of(frames)
            seen = self.flow.model.apply(objects, transfer) * self.flow.observation.weights[:, frames] * gamma
            total += self.flow.model.adjoint(seen, transfer)
        return self.flow.blurred(total)

    def back(self, gamma: torch.Tensor) -> torch.Tensor:
        """Sum over frames of F^T gamma d."""
        observation = self.flow.observation
        total = None
        for frames in self.flow.batches():
            seen = observation.frames[:, frames] * observation.weights[:, frames] * gamma
            part = self.flow.model.adjoint(seen, self.of(frames))
            total = part if total is None else total + part
        assert total is not None
        return self.flow.blurred(total)

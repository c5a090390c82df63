"""The forward model of an observation: tiles of the field and batches of frames stream through it, its
adjoint and its gradient.

Objects and modes stay whole. A tile takes from them what its pixels see, and gives back what belongs there;
neighbours share the nodes on their border, so that the sum over all tiles is that of the undivided field, to
rounding: there is nothing to blend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any, Protocol

import torch

from heliorestore.methods.blind.model import MakeModel, Model, filter_flow
from heliorestore.methods.blind.noise_model import BINS, Noise, radial_power
from heliorestore.methods.blind.parts import Layout, Part, make_layout
from heliorestore.methods.blind.wavefronts import Wavefronts
from heliorestore.optics.convolve import extend, margins, node_grid
from heliorestore.optics.filters import filtered, flat_top, frequency
from heliorestore.optics.psf import Optics, fast_length
from heliorestore.optics.pupil import cutoff
from heliorestore.optics.shown import Shown
from heliorestore.prepare.observe import Observation

Images = dict[int, torch.Tensor]
"""What the model makes of an observation or leaves of it, (object, frame, y, x), by the number of a part."""


class PlanLayout(Protocol):
    """What decides how large the parts are that a model works on; `make_layout` does it for filter flow."""

    def __call__(
        self,
        burst_shape: tuple[int, int, int, int],
        *,
        step: int,
        psf: int,
        optics: int,
        memory_bytes: float,
        device: torch.device,
    ) -> Layout: ...


class Filter(Protocol):
    """The two numbers of the filter of eq. 16."""

    @property
    def filter_width(self) -> float: ...
    @property
    def filter_smoothness(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Slope:
    """The gradient of sum gamma r^2 in objects (object, y, x), where asked for, and in modes.

    `squares` (object, y, x) is the sum of r^2 over the frames.
    """

    squares: torch.Tensor
    modes: torch.Tensor
    objects: torch.Tensor | None

    @property
    def square(self) -> float:
        return float(self.squares.sum())


@dataclass(frozen=True, eq=False)
class Compared:
    """Sums over the frames of the squared residuals (object, y, x); their radial power (object, ring) per
    pixel without the smooth error of the flux, and the rms (object) of that; and the slope in modes (frame,
    mode, gy, gx) in radian.
    """

    squares: torch.Tensor
    power: torch.Tensor
    flux: torch.Tensor
    modes: torch.Tensor


@dataclass(frozen=True, eq=False)
class Flow:
    """The forward model of an observation: objects (object, y, x) with their surroundings, modes (frame,
    mode, gy, gx) in radian.

    The work keeps within `memory_bytes`; `plan` says how large the tiles are, and `make` makes the model of
    one. With `one_object` all objects of the burst are one, seen through different optics: they stay equal.
    """

    observation: Observation
    wavefronts: Wavefronts
    psf_size: int
    step: int
    memory_bytes: float
    make: MakeModel = filter_flow
    plan: PlanLayout = make_layout
    one_object: bool = False

    @cached_property
    def optics(self) -> list[Optics]:
        """The optics of every object; equal ones are the same."""
        return self.wavefronts.optics(self.psf_size)

    @cached_property
    def layout(self) -> Layout:
        """The tiles and batches of frames that keep within the memory."""
        seen = self.observation
        return self.plan(
            (seen.objects, seen.frames, *seen.shape),
            step=self.step,
            psf=self.psf_size,
            optics=len({id(o) for o in self.optics}),
            memory_bytes=self.memory_bytes,
            device=seen.device,
        )

    @property
    def grid(self) -> tuple[int, int]:
        return node_grid(self.observation.shape, self.step)

    @property
    def object_shape(self) -> tuple[int, int]:
        """Shape of an object with its surroundings, a little larger where that makes its transforms fast."""
        rows, columns = (fast_length(n + self.psf_size - 1) for n in self.observation.shape)
        return rows, columns

    @property
    def inner(self) -> tuple[slice, slice]:
        """Where the image lies in an object with its surroundings."""
        before = margins(self.psf_size)[0]
        rows, columns = self.observation.shape
        return slice(before, before + rows), slice(before, before + columns)

    @cached_property
    def models(self) -> dict[tuple[int, int], Model]:
        """The models of the tiles by their shape."""
        return {
            shape: self.make(self.optics, shape, self.step, self.layout.gradient_bytes)
            for shape in dict.fromkeys(part.shape for part in self.layout.parts())
        }

    def transfers(self, modes: torch.Tensor, used: Transfers | None = None) -> Transfers:
        """The model with these modes; that of `used` is no longer needed, and its memory is used again."""
        return Transfers(self, modes, used)

    def given(self, wavefronts: Wavefronts) -> Flow:
        """The same model in other air; what does not depend on the air is kept."""
        flow = replace(self, wavefronts=wavefronts)
        kept = ("optics", "layout", "models", "_flat_tops")
        flow.__dict__.update({name: self.__dict__[name] for name in kept if name in self.__dict__})
        return flow

    def slope(
        self, objects: torch.Tensor, modes: torch.Tensor, gamma: torch.Tensor, *, in_objects: bool = False
    ) -> Slope:
        """The gradient of the misfit sum gamma r^2 of filtered objects and modes in radian; gamma
        (object).
        """
        sharp = self.blurred(objects)
        to_modes, squares = torch.zeros_like(modes), torch.zeros_like(self.observation.mean)
        to_objects = torch.zeros_like(objects) if in_objects else None
        for part in self.layout.parts():
            part_squares, (in_modes, *rest) = self._part_slope(part, sharp, modes, gamma, in_objects)
            squares[:, *part.pixels] += part_squares
            to_modes[part.frames, :, *part.nodes] += in_modes
            if to_objects is not None:
                to_objects[:, *part.seen] += rest[0]
        return Slope(squares, to_modes, None if to_objects is None else self.blurred(to_objects))

    def _part_slope(
        self, part: Part, sharp: torch.Tensor, modes: torch.Tensor, gamma: torch.Tensor, in_objects: bool
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Sums of r^2 over the frames of a part, and the gradient in its modes and, where asked for, in what
        it sees of the objects.

        By itself, so that nothing of one part's graph is alive when the next one's is made.
        """
        seen = sharp[:, *part.seen].detach().requires_grad_(in_objects)
        own = modes[part.frames, :, *part.nodes].detach().requires_grad_(True)
        pixels = self.observation.read(part.frames, *part.pixels)
        shown = self.observation.shown_in(part.frames)
        residual = pixels.masked(self.models[part.shape](seen, own, shown) - pixels.images)
        misfit = (residual.square() * gamma[:, None, None, None]).sum()
        return residual.detach().square().sum(1), torch.autograd.grad(
            misfit, (own, seen) if in_objects else (own,)
        )

    def surround(self, images: torch.Tensor) -> torch.Tensor:
        """Objects for a start: images (object, y, x), mirrored at their borders."""
        wide = extend(images, self.psf_size, "reflect")
        below, right = (n - m for n, m in zip(self.object_shape, wide.shape[-2:], strict=True))
        surrounded: torch.Tensor = torch.nn.functional.pad(wide, (0, right, 0, below), mode="replicate")
        return surrounded

    def filters(self, knobs: Filter) -> torch.Tensor:
        """The filter of eq. 16 (object, ky, kx) for objects with their surroundings."""
        return self._flat_tops(knobs.filter_width, knobs.filter_smoothness)

    @cached_property
    def _flat_tops(self) -> Callable[[float, float], torch.Tensor]:
        """Makes the filter; an iteration asks for the same one more than once."""
        frequencies = frequency(self.object_shape, device=self.observation.device)
        limits = [cutoff(o.instrument) for o in self.optics]
        return lru_cache(maxsize=1)(partial(_flat_tops, frequencies, limits))

    def sharp(self, objects: torch.Tensor, knobs: Filter) -> torch.Tensor:
        """Objects after the filter of eq. 16, wrapped around: data barely constrain the edge pixels."""
        return filtered(objects, self.filters(knobs), "periodic")

    @cached_property
    def halo(self) -> torch.Tensor:
        """Transfer functions (object, ky, kx) of the turbulence beyond the modes, for objects with their
        surroundings.
        """
        frequencies = frequency(self.object_shape, device=self.observation.device)
        v = torch.stack([(frequencies / cutoff(o.instrument)).clamp(max=1) for o in self.optics])
        return self.wavefronts.remainders(v) if self.wavefronts.blurs else torch.ones_like(v)

    def shared(self, pulls: torch.Tensor) -> torch.Tensor:
        """What pulls at the objects (object, ...), at all alike where they are one."""
        return pulls.sum(0, keepdim=True).expand_as(pulls) if self.one_object else pulls

    def blurred(self, objects: torch.Tensor) -> torch.Tensor:
        """Objects in the halo of the turbulence beyond the modes: one blur for the whole field, so that it
        commutes with the PSFs.
        """
        return filtered(objects, self.halo, "periodic") if self.wavefronts.blurs else objects


def _flat_tops(
    frequencies: torch.Tensor, limits: Sequence[float], width: float, smoothness: float
) -> torch.Tensor:
    """Flat-top filters (object, ky, kx) of objects with these cut-offs."""
    return torch.stack([flat_top(frequencies, limit, width=width, smoothness=smoothness) for limit in limits])


class Transfers:
    """The model with one set of modes: what it keeps of them, part by part, or makes again where the memory
    is too small.
    """

    def __init__(self, flow: Flow, modes: torch.Tensor, used: Transfers | None = None) -> None:
        self.flow, self.modes = flow, modes
        self._kept: dict[int, Any] = {}
        # Memory that is new to the process costs as much as what is computed into it.
        self._free: dict[int, Any] = {} if used is None else used._kept

    def given(self, flow: Flow) -> Transfers:
        """The same modes in a model that differs in its air alone; what is kept of them is shared."""
        same = Transfers(flow, self.modes)
        same._kept = self._kept
        return same

    def shown(self, part: Part) -> Shown:
        """Which objects the frames of a part have images of."""
        return self.flow.observation.shown_in(part.frames)

    def parts(self) -> Iterator[tuple[Part, Model, Any]]:
        """Every part, its model, and what `Model.transfer` made of its modes."""
        for number, part in enumerate(self.flow.layout.parts()):
            model = self.flow.models[part.shape]
            known = self._kept.get(number)
            if known is None:
                own = self.modes[part.frames, :, *part.nodes]
                known = model.transfer(own, self.shown(part), self._free.pop(number, None))
            if number < self.flow.layout.kept:
                self._kept[number] = known
            yield part, model, known

    def residuals(
        self, objects: torch.Tensor, left: Images | None = None
    ) -> Iterator[tuple[Part, torch.Tensor]]:
        """Model minus frames (object, frame, y, x), 0 where a pixel is bad, of one part after the other;
        `left` has them if they are known.
        """
        return ((part, residual) for part, _, _, residual in self._residuals(objects, left))

    def _residuals(
        self, objects: torch.Tensor, left: Images | None
    ) -> Iterator[tuple[Part, Model, Any, torch.Tensor]]:
        """`residuals` with the model of each part and its transfer functions."""
        objects = self.flow.blurred(objects)
        for number, (part, model, known) in enumerate(self.parts()):
            if left is not None:
                yield part, model, known, left[number]
                continue
            pixels = self.flow.observation.read(part.frames, *part.pixels)
            images = model.apply(objects[:, *part.seen], known, self.shown(part))
            residual = pixels.masked(images - pixels.images)
            yield part, model, known, residual

    def compared(
        self, objects: torch.Tensor, noise: Noise, weights: torch.Tensor, left: Images | None = None
    ) -> Compared:
        """What the model of filtered objects leaves of the data, and the slope of sum w |r|^2 / 2N in the
        modes, w (object), with the smooth error of the flux taken off.

        That is measured in whole frames, so that tiles give what the undivided field gives. `left` has the
        residuals, if they are known.
        """
        flow, observation = self.flow, self.flow.observation
        sharp = flow.blurred(objects)
        squares, in_modes = torch.zeros_like(observation.mean), torch.zeros_like(self.modes)
        power, smooth = objects.new_zeros(len(objects), BINS), objects.new_zeros(len(objects))
        pieces: list[tuple[Part, Model]] = []
        whole = objects.new_zeros(0)
        for part, model, _, residual in self._residuals(objects, left):
            if not pieces:
                count = part.frames.stop - part.frames.start
                whole = objects.new_zeros(observation.objects, count, *observation.shape)
            whole[:, :, *part.pixels] = residual
            pieces.append((part, model))
            if len(pieces) < math.prod(flow.layout.tiles):
                continue
            # One frame after the other: transforms of all would be as large as the model's own.
            for frame in torch.split(whole, 1, dim=1):
                squares += frame[:, 0].square()
                flux = noise.flux_error(frame)
                smooth += flux.square().mean((-2, -1))[:, 0]
                frame.sub_(flux)
                power += radial_power(frame)
                frame.mul_((weights / noise.level)[:, None, None, None])
            for piece, its in pieces:
                own = self.modes[piece.frames, :, *piece.nodes]
                in_modes[piece.frames, :, *piece.nodes] += its.slope(
                    sharp[:, *piece.seen], own, whole[:, :, *piece.pixels], self.shown(piece)
                )
            pieces = []
        images = observation.images
        return Compared(squares, power / images[:, None], (smooth / images).sqrt(), in_modes)

    def squares(self, objects: torch.Tensor, left: Images | None = None) -> torch.Tensor:
        """Sum over the frames of the squared residuals (object, y, x); `left` has them if they are known."""
        total = torch.zeros_like(self.flow.observation.mean)
        for part, residual in self.residuals(objects, left):
            total[:, *part.pixels] += residual.square().sum(1)
        return total

    def residual(self, objects: torch.Tensor, frame: int) -> torch.Tensor:
        """Model minus data (object, y, x) of one frame."""
        seen = torch.zeros_like(self.flow.observation.mean)
        for part, residual in self.residuals(objects):
            if part.frames.start <= frame < part.frames.stop:
                seen[:, *part.pixels] = residual[:, frame - part.frames.start]
        return seen

    def normal(self, objects: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        """Sum over frames of F^T gamma F o; gamma broadcasts against images (object, frame, y, x)."""
        total, objects = torch.zeros_like(objects), self.flow.blurred(objects)
        for part, model, known in self.parts():
            shown = self.shown(part)
            images = model.apply(objects[:, *part.seen], known, shown) * gamma
            good = self.flow.observation.good(part.frames, *part.pixels)
            total[:, *part.seen] += model.adjoint(images if good is None else images * good, known, shown)
        return self.flow.shared(self.flow.blurred(total))

    def energy(self, objects: torch.Tensor, gamma: torch.Tensor, made: Images | None = None) -> torch.Tensor:
        """The product (object, 1, 1) of objects with `normal` of them, sum gamma (F o)^2, for half its work;
        `made` is filled with F o.
        """
        total, objects = objects.new_zeros(len(objects), 1, 1), self.flow.blurred(objects)
        for number, (part, model, known) in enumerate(self.parts()):
            images = model.apply(objects[:, *part.seen], known, self.shown(part))
            good = self.flow.observation.good(part.frames, *part.pixels)
            images = images if good is None else images * good
            total += (images.square().sum((-2, -1), keepdim=True) * gamma).sum(1)
            if made is not None:
                made[number] = images
        return self.flow.shared(total)

    def back(self, objects: torch.Tensor, gamma: torch.Tensor, left: Images | None = None) -> torch.Tensor:
        """Sum over frames of F^T gamma (d - F o): where the objects should go; `left` is filled with
        F o - d.
        """
        total = torch.zeros_like(objects)
        for number, (part, model, known, residual) in enumerate(self._residuals(objects, None)):
            total[:, *part.seen] -= model.adjoint(residual * gamma, known, self.shown(part))
            if left is not None:
                left[number] = residual
        return self.flow.shared(self.flow.blurred(total))

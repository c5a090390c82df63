"""The neural emulator as forward model: what `methods.blind.forward` asks of a model, done by a frozen
network.

Asensio Ramos (2024), section 3.3. Frames go through the network some at a time; what they need for the
gradient is computed again, so that memory does not grow with the burst. The field goes through it whole where
that fits into the memory, for the network sees further than a PSF reaches. On a GPU it computes in half
precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.checkpoint import checkpoint

from heliorestore.errors import SettingsError, WeightsError
from heliorestore.instrument import Instrument
from heliorestore.methods.blind.forward import PlanLayout
from heliorestore.methods.blind.parts import Layout, image_bytes
from heliorestore.nets import weights
from heliorestore.nets.emulator import LEVELS, MODES, Emulator
from heliorestore.optics.convolve import given_shape, interpolate, margins, node_grid
from heliorestore.optics.precision import half
from heliorestore.optics.psf import Optics
from heliorestore.optics.pupil import Aperture, sampling
from heliorestore.optics.shown import Shown, run

# sampling and obscuration may differ by this fraction from those that the network was trained on: it knows
# the SST with 1.00 m, of which the real aperture is 97 %, and the scales of cameras differ by as much again
_ALIKE = 0.06
_EXACT = 0.01  # a smaller difference is not worth a message
# full-size channels at the peak of a gradient, all levels together, as benchmarks/emulator.py measures
_PER_INPUT, _PER_WIDTH = 4, 26


@dataclass(frozen=True, eq=False)
class Trained:
    """A frozen network and the instruments it knows, in the order of its one-hot vector."""

    name: str
    net: Emulator
    instruments: tuple[Instrument, ...]
    sha256: str = ""

    def messages(self, instruments: Iterable[Instrument]) -> Iterator[str]:
        """What the record of a run with these instruments says of it."""
        yield (
            f"The blur was that of the emulator {self.name}, sha256 {self.sha256}; AdamW sought "
            f"objects and modes at once."
        )
        for instrument in dict.fromkeys(instruments):
            trained = self.instruments[self.number(instrument)]
            ratio = sampling(instrument) / sampling(trained)
            if abs(ratio - 1) > _EXACT:
                yield (
                    f"The emulator was trained for {trained.name}, {trained.diameter_m:g} m and pixels of "
                    f"{trained.pixel_arcsec:g} arcsec; {instrument.name} has {instrument.diameter_m:g} m and "
                    f"{instrument.pixel_arcsec:g} arcsec: the emulator's PSFs are {abs(1 - ratio):.0%} too "
                    f"{'wide' if ratio > 1 else 'narrow'}."
                )

    def number(self, instrument: Instrument) -> int:
        """Which of them samples the diffraction pattern as that instrument does: nothing else about it shapes
        a PSF in pixels.
        """
        wanted = Aperture.of(instrument).obscuration
        like = [
            n
            for n, known in enumerate(self.instruments)
            if abs(Aperture.of(known).obscuration - wanted) <= _ALIKE
        ]
        errors = {
            number: abs(sampling(instrument) / sampling(self.instruments[number]) - 1) for number in like
        }
        if errors and min(errors.values()) <= _ALIKE:
            return min(errors, key=errors.__getitem__)
        raise SettingsError(
            f"The emulator {self.name} was not trained for {instrument.name}, D p/lambda = "
            f"{sampling(instrument):.3f}: it knows "
            f"{', '.join(f'{known.name} ({sampling(known):.3f})' for known in self.instruments)}. Choose "
            "--forward filter-flow, "
            "which needs no training."
        )


def load_emulator(name: str, device: torch.device) -> Trained:
    """The weights of that name or file as a frozen network on a device, its norms folded into its
    convolutions.
    """
    net, record = weights.load(name)
    if not isinstance(net, Emulator):
        raise WeightsError(
            f"The weights {name} are of the network {record.architecture}, not of an emulator."
        )
    instruments = tuple(Instrument.recorded(text) for text in record.instrument.split("; "))
    return Trained(record.name, frozen(net).to(device), instruments, record.sha256)


def frozen(net: Emulator) -> Emulator:
    """The network ready for use as a model: its norms folded into its convolutions, its channels last,
    nothing trainable.
    """
    for part in net.eval().modules():
        if isinstance(part, nn.Sequential):
            for place, layer in enumerate(part):
                if isinstance(layer, nn.BatchNorm2d):
                    before = part[place - 1]
                    assert isinstance(before, nn.Conv2d)
                    part[place - 1], part[place] = fuse_conv_bn_eval(before, layer), nn.Identity()
    weights.place(net, next(net.parameters()).device)
    return net.requires_grad_(False)


def frame_bytes(width: int, shape: tuple[int, int]) -> float:
    """Bytes at the peak of the gradient of one frame, for a network of that width and objects of that shape
    with their margins.
    """
    rows, columns = (n + -n % (1 << LEVELS) for n in shape)
    return 4.0 * (_PER_INPUT * (1 + MODES) + _PER_WIDTH * width) * rows * columns


@cache
def size_of(architecture: str) -> tuple[int, float]:
    """Width of a network of that name, and bytes that its weights take."""
    net = weights.outline(architecture)
    if not isinstance(net, Emulator):
        raise WeightsError(f"The network {architecture} is no emulator.")
    numbers: int = sum(parameter.numel() for parameter in net.parameters())
    return net.width, 4.0 * numbers


def emulator_layout(width: int) -> PlanLayout:
    """What decides how large the parts are that a network of that width works on, as `flow.Flow` wants it."""
    return partial(_layout, width)


def _layout(
    width: int,
    burst_shape: tuple[int, int, int, int],
    *,
    step: int,
    psf: int,
    optics: int,
    memory_bytes: float,
    device: torch.device,
) -> Layout:
    """The largest tiles of which the gradient of one frame keeps within half of the memory, and frames whose
    images do in a quarter.

    Nothing is kept for later but the modes themselves, whatever the optics and the device.
    """
    objects, frames, rows, columns = burst_shape
    side = max(1, *(-(-(n - 1) // step) for n in (rows, columns)))
    layout = Layout((rows, columns), frames, step, psf, side, frames, 0, memory_bytes / 2)
    while layout.side > 2 and frame_bytes(width, given_shape(layout.largest, psf)) > layout.gradient_bytes:
        layout = replace(layout, side=-(-layout.side // 2))
    at_once = int(memory_bytes / 4 / image_bytes(replace(layout, at_once=1), objects))
    return replace(layout, at_once=min(frames, max(1, at_once)))


def emulator_working_bytes(layout: Layout, objects: int, width: int) -> float:
    """Bytes that a part takes at the peak: its images, and the frames whose gradient is made at once."""
    frame = frame_bytes(width, given_shape(layout.largest, layout.psf))
    return image_bytes(layout, objects) + min(layout.at_once, max(1, layout.gradient_bytes // frame)) * frame


def emulated(trained: Trained) -> Callable[[Sequence[Optics], tuple[int, int], int, float], Emulated]:
    """What makes the model of a tile, as `flow.Flow` wants it."""
    return partial(_emulated, trained)


def _emulated(
    trained: Trained, optics: Sequence[Optics], shape: tuple[int, int], step: int, memory_bytes: float
) -> Emulated:
    return Emulated(trained=trained, optics=optics, shape=shape, step=step, memory_bytes=memory_bytes)


@dataclass(frozen=True, eq=False, kw_only=True)
class Emulated:
    """Objects (object, y, x) with the margins of the PSFs, modes (frame, mode, gy, gx) in rad of the first
    object, to images.

    The network sees the whole object and the modes at every pixel, continued at the borders as they are
    there; the images are what it makes without the margins.
    """

    trained: Trained
    optics: Sequence[Optics]
    shape: tuple[int, int]
    step: int
    memory_bytes: float

    def __post_init__(self) -> None:
        for optics in self.optics:
            if len(optics.modes) > MODES:
                raise SettingsError(
                    f"There are {len(optics.modes)} modes, but the emulator knows {MODES}: choose --modes "
                    f"{MODES} or another --forward."
                )

    @cached_property
    def _numbers(self) -> tuple[int, ...]:
        """Which of the network's instruments sees each object."""
        return tuple(self.trained.number(optics.instrument) for optics in self.optics)

    @property
    def grid(self) -> tuple[int, int]:
        return node_grid(self.shape, self.step)

    @property
    def object_shape(self) -> tuple[int, int]:
        return given_shape(self.shape, self.optics[0].size)

    def __call__(self, objects: torch.Tensor, modes: torch.Tensor, shown: Shown = None) -> torch.Tensor:
        """Images (object, frame, y, x); gradients go to the objects and to the modes."""
        some = self._frames_at_once()
        images = objects.new_zeros(len(objects), len(modes), *self.shape)
        for number, object_ in enumerate(objects):
            frames = run(range(len(modes)) if shown is None else np.flatnonzero(shown[number]).tolist())
            parts = [self._checkpointed(number, object_, part) for part in torch.split(modes[frames], some)]
            images[number, frames] = torch.cat(parts)
        return images

    def transfer(
        self, modes: torch.Tensor, shown: Shown = None, into: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Nothing can be kept but the modes themselves."""
        return modes.detach()

    def apply(self, objects: torch.Tensor, transfer: torch.Tensor, shown: Shown = None) -> torch.Tensor:
        """Images without a gradient."""
        with torch.no_grad():
            return self(objects, transfer, shown)

    def slope(
        self, objects: torch.Tensor, modes: torch.Tensor, images: torch.Tensor, shown: Shown = None
    ) -> torch.Tensor:
        """Gradient (frame, mode, gy, gx) of sum(images * model) in the modes."""
        own = modes.detach().requires_grad_(True)
        (in_modes,) = torch.autograd.grad(self(objects, own, shown), (own,), images)
        return in_modes

    def adjoint(self, images: torch.Tensor, transfer: torch.Tensor, shown: Shown = None) -> torch.Tensor:
        """Refused: the network is not linear in the objects, so that conjugate gradients cannot solve for
        them.
        """
        raise SettingsError(
            f"The emulator {self.trained.name} is not linear in the objects: use --optimiser adamw with it, "
            "or --forward filter-flow."
        )

    def _checkpointed(self, number: int, object_: torch.Tensor, modes: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return self._images(number, object_, modes)
        # Nothing is random: to keep the state of the generators would make a GPU wait.
        images: Any = checkpoint(
            self._images, number, object_, modes, use_reentrant=False, preserve_rng_state=False
        )
        part: torch.Tensor = images
        return part

    def _images(self, number: int, object_: torch.Tensor, modes: torch.Tensor) -> torch.Tensor:
        """Images (frame, y, x) of one object (y, x)."""
        before, behind = margins(self.optics[number].size)
        reference, own = (self.optics[k].instrument.wavelength_nm for k in (0, number))
        maps = interpolate(modes * (reference / own), self.shape, self.step)
        maps = nn.functional.pad(maps, (before, behind, before, behind), mode="replicate")
        maps = nn.functional.pad(maps, (0, 0, 0, 0, 0, MODES - maps.shape[1]))
        one_hot = torch.eye(len(self.trained.instruments), dtype=maps.dtype, device=maps.device)[
            self._numbers[number]
        ]
        seen = object_[None, None].expand(len(maps), -1, -1, -1)
        with half(maps.device):
            images: torch.Tensor = self.trained.net.field(seen, maps, one_hot.expand(len(maps), -1))
        rows, columns = self.shape
        return images[:, 0, before : before + rows, before : before + columns]

    def _frames_at_once(self) -> int:
        """Frames whose gradient keeps within the memory."""
        return max(1, int(self.memory_bytes / frame_bytes(self.trained.net.width, self.object_shape)))

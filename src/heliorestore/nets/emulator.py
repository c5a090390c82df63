"""The emulator of the space-variant blur: a U-Net with an object and a map of every mode as input,
conditioned on the instrument.

Asensio Ramos (2024), section 2.2; layers bear the names of the published code, so that published weights load
by name. It approximates `optics.filter_flow`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from heliorestore.instrument import Instrument
from heliorestore.optics.modes import Kind, make_basis
from heliorestore.optics.precision import single
from heliorestore.optics.pupil import Aperture, sampling

MODES = 44
INSTRUMENTS = ("crisp-6302-paper", "crisp-8542-paper", "chromis-3934-paper", "hifi-6563")
"""Table 1 of the paper, in the order of the one-hot vector."""
PUBLISHED_INSTRUMENTS = (
    "chromis-3934-paper",
    "crisp-6302-paper,wavelength_nm=617.3",
    "crisp-8542-paper",
    "hifi-6563",
)
"""The order of the published training code, and its second line: both differ from the paper's table."""
BASIS: Kind = "kl-tilt"
"""Pure tilts first, as in the published code and `methods.blind.wavefronts`."""
LEVELS = 4
_SMOOTH_PX = 16.0  # sigma of what a blur only moves
_TYPICAL_D_OVER_R0 = 10.0  # modes of this turbulence enter the network with unit variance


class Film(nn.Module):
    """One-hot instrument (batch, instrument) to factor and offset (batch) of all conditioned layers."""

    def __init__(self, instruments: int, hidden: int = 64) -> None:
        super().__init__()
        sizes = (instruments, hidden, hidden, hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden, 2))

    def forward(self, instrument: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # One factor and one offset for all channels and layers, as published.
        gamma, beta = self.net(instrument)[:, :, None, None, None].unbind(1)
        return gamma, beta


class TwoConvolutions(nn.Module):
    """Twice convolution, BN, ReLU (eqs. 7 and 9)."""

    def __init__(self, before: int, between: int, after: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(*_layer(before, between), *_layer(between, after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.double_conv(x)
        return out


class Conditioned(nn.Module):
    """Twice convolution, BN, ReLU, with gamma x + beta in between (eq. 8)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.double_conv1 = nn.Sequential(*_layer(before, after))
        self.double_conv2 = nn.Sequential(*_layer(after, after))

    def forward(self, x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.double_conv2(gamma * self.double_conv1(x) + beta)
        return out


class Down(nn.Module):
    """Half the size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.doubleconvfilm = Conditioned(before, after)

    def forward(self, x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.doubleconvfilm(nn.functional.max_pool2d(x, 2), gamma, beta)
        return out


class Up(nn.Module):
    """Twice the size, joined with the encoder's features of that size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = TwoConvolutions(before, before // 2, after)

    def forward(self, x: torch.Tensor, skipped: torch.Tensor) -> torch.Tensor:
        # Corners as published: the other convention would shift the features by a fraction of a pixel.
        wide = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        out: torch.Tensor = self.conv(torch.cat([skipped, wide], 1))
        return out


class Emulator(nn.Module):
    """Objects (batch, 1, y, x), modes (batch, mode, y, x) in rad and one-hot instruments (batch, instrument)
    to images (batch, 1, y, x).

    64 channels at the first level are the published network: 17,295,939 parameters.

    A blur leaves a constant unchanged and is independent of the unit of the light: with `relative` the
    network sees the object minus its mean in units of its spread, and its output is scaled back. The
    published network sees the object over its maximum. `mode_scale` converts coefficients of modes of unit
    rms to the network's units: unit variance in typical turbulence or, for the published one, modes with a
    peak of 1. `field` applies what was learned on patches to fields of any size.
    """

    mode_scale: torch.Tensor
    tilt_pixels: torch.Tensor

    def __init__(
        self, width: int = 64, *, relative: bool = True, instruments: Sequence[str] = INSTRUMENTS
    ) -> None:
        super().__init__()
        w = width
        self.width, self.relative = width, relative
        self.film = Film(len(instruments))
        self.inc = TwoConvolutions(1 + MODES, w, w)
        self.down1, self.down2, self.down3, self.down4 = (
            Down(w, 2 * w),
            Down(2 * w, 4 * w),
            Down(4 * w, 8 * w),
            Down(8 * w, 8 * w),
        )
        self.up1, self.up2, self.up3, self.up4 = (
            Up(16 * w, 4 * w),
            Up(8 * w, 2 * w),
            Up(4 * w, w),
            Up(2 * w, w),
        )
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(w, 1, 1)})
        # Not persistent: both follow from the basis, and published files do not have them.
        self.register_buffer("mode_scale", _whitening() if relative else _peaks(), persistent=False)
        self.register_buffer("tilt_pixels", _tilt_pixels(instruments), persistent=False)

    def forward(self, objects: torch.Tensor, modes: torch.Tensor, instruments: torch.Tensor) -> torch.Tensor:
        rows, columns = objects.shape[-2:]
        level, gain = self._level_and_gain(objects)
        seen = torch.cat([(objects - level) / gain, modes * self.mode_scale[:, None, None]], 1)
        # Sizes that cannot be halved four times are extended by their last row and column, and cropped again.
        seen = nn.functional.pad(seen, (0, -columns % 2**LEVELS, 0, -rows % 2**LEVELS), mode="replicate")
        gamma, beta = self.film(instruments)
        first = self.inc(seen)
        second = self.down1(first, gamma, beta)
        third = self.down2(second, gamma, beta)
        fourth = self.down3(third, gamma, beta)
        fifth = self.down4(fourth, gamma, beta)
        x = self.up4(self.up3(self.up2(self.up1(fifth, fourth), third), second), first)
        # The last sum determines the contrast: half precision has too few digits for it.
        with single(x.device):
            image = self.outc["conv"](x.to(self.mode_scale.dtype))[..., :rows, :columns]
        out: torch.Tensor = level + gain * image
        return out

    def field(self, objects: torch.Tensor, modes: torch.Tensor, instruments: torch.Tensor) -> torch.Tensor:
        """The same for objects with their surroundings, larger than the patches on which the network was
        trained.

        A blur does little more to structure that is smooth over 16 pixels than move it by the tilts. So a
        `relative` network sees the object without it, as flat as the patches without their means, and only
        the part of its output that is not smooth is used.
        """
        # The published network was trained on objects over their maximum and sees fields the same way.
        if not self.relative:
            return self.forward(objects, modes, instruments)
        with single(objects.device):
            smooth = _smooth(objects)
            detail = objects - smooth
        found = self(detail, modes, instruments)
        with single(objects.device):
            images: torch.Tensor = (
                found - _smooth(found) + self._moved(smooth + _smooth(detail), modes[:, :2], instruments)
            )
        return images

    def _level_and_gain(self, objects: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.relative:
            return torch.zeros_like(objects[..., :1, :1]), objects.amax((-2, -1), keepdim=True).clamp(
                min=1e-12
            )
        # A blur is linear: the image of a + b o is a + b times the image of o.
        level = objects.mean((-2, -1), keepdim=True)
        # A flat object has no spread; a millionth of its level keeps the division and its gradient finite.
        square = (objects - level).square().mean((-2, -1), keepdim=True)
        return level, (square + 1e-12 * level.square() + 1e-24).sqrt()

    def _moved(self, images: torch.Tensor, tilts: torch.Tensor, instruments: torch.Tensor) -> torch.Tensor:
        """Images (batch, 1, y, x) moved by tilts (batch, [x, y], y, x) in rad."""
        shift = tilts * (instruments @ self.tilt_pixels)[:, None, None, None]
        places = []
        for axis, n in ((-1, images.shape[-1]), (-2, images.shape[-2])):
            pixel = torch.arange(n, dtype=images.dtype, device=images.device)
            # The image at a pixel comes from where the light was: the opposite of the shift.
            along = (pixel if axis == -1 else pixel[:, None]) - shift[:, 0 if axis == -1 else 1]
            # grid_sample counts from -1 to 1 between the centres of the outermost pixels.
            places.append(2 * along / max(1, n - 1) - 1)
        where = torch.stack(places, -1)
        moved: torch.Tensor = nn.functional.grid_sample(
            images, where, mode="bilinear", padding_mode="border", align_corners=True
        )
        return moved


def full() -> Emulator:
    """The network of the paper's width."""
    return Emulator()


def narrow() -> Emulator:
    """A quarter of the width: a sixteenth of the arithmetic, for processors without a GPU."""
    return Emulator(16)


def published() -> Emulator:
    """The network as published: objects over their maximum, coefficients of modes that peak at 1."""
    return Emulator(relative=False, instruments=PUBLISHED_INSTRUMENTS)


def start_neutral(net: Emulator) -> None:
    """At first the instrument neither scales nor shifts."""
    last = net.film.net[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([1.0, 0.0]))


def _layer(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


def _smooth(images: torch.Tensor) -> torch.Tensor:
    """Images (..., y, x) smoothed by a Gaussian over what lies inside, so that a constant stays."""
    rows, columns = (_gaussian(n, images) for n in images.shape[-2:])
    # As two products of matrices: at the border the weights differ, which a convolution cannot do.
    return rows @ images @ columns.T


def _gaussian(n: int, like: torch.Tensor) -> torch.Tensor:
    """Weights (pixel, pixel) along an axis; every row sums to one."""
    pixel = torch.arange(n, dtype=like.dtype, device=like.device)
    # What lies outside has no weight, and the rest is normalised: a constant stays.
    weights = torch.exp(-(pixel[:, None] - pixel[None, :]).square() / (2 * _SMOOTH_PX**2))
    return weights / weights.sum(1, keepdim=True)


def _tilt_pixels(instruments: Sequence[str]) -> torch.Tensor:
    """Pixels (instrument) by which a tilt of unit rms and 1 rad moves the light: slope / (pi D p / lambda),
    the slope per radius.
    """
    found = []
    for text in instruments:
        instrument = Instrument.parse(text)
        # The slope near the edge in units of the radius; a pure tilt has it everywhere.
        tilt = make_basis(2, Aperture.of(instrument), BASIS).sample(
            np.array([0.0, 0.0]), np.array([0.9, 1.0])
        )[0]
        found.append(float(tilt[1] - tilt[0]) / 0.1 / (np.pi * sampling(instrument)))
    return torch.tensor(found, dtype=torch.float32)


def _whitening() -> torch.Tensor:
    sigmas = torch.tensor(make_basis(MODES, kind=BASIS).variances, dtype=torch.float32).sqrt()
    # Amplitudes grow as (D/r0)^(5/6), variances as its square.
    scale: torch.Tensor = 1 / (sigmas * _TYPICAL_D_OVER_R0 ** (5 / 6))
    return scale


def _peaks() -> torch.Tensor:
    """The largest absolute value (mode) of each mode over the aperture."""
    # A polar grid has points exactly on the edge, where many modes have their peak.
    radius, angle = np.meshgrid(np.linspace(0, 1, 101), np.arange(180) * (2 * np.pi / 180), indexing="ij")
    modes = make_basis(MODES, kind=BASIS).sample(radius * np.sin(angle), radius * np.cos(angle))
    return torch.tensor(np.abs(modes).max((1, 2)), dtype=torch.float32)

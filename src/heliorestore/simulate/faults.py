"""What telescopes and cameras do to the frames of a burst besides blur and noise, and a record of it.

Every fault has random numbers of its own: switching one on does not change the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from heliorestore.burst import FloatArray
from heliorestore.errors import SettingsError

if TYPE_CHECKING:  # the settings are those of the view, which knows nothing of faults
    from heliorestore.simulate.view import SimulationSettings

Shape = tuple[int, int, int, int]
_FLUX, _EXPOSURE, _GAIN, _FRINGES, _BAD = (n * 1_000_000 + 3 for n in (2, 3, 4, 5, 6))  # added to the seed
_DRAWN_OUT = 1.5  # the seeing disc of an outlier frame over that of the others
_LEAST_PX = 4.0  # of a seeing disc: in space too an outlier is one


@dataclass(frozen=True, eq=False)
class Faults:
    """What is done to a burst: the true factors of its light, None or empty where a fault is off.

    `scales` (frame) are the exposures, the same for all objects; `flux` and `fringes` (object, frame, y, x)
    and `gain_table` (object, y, x) are errors relative to 1. `dead` frames hold 0 or NaN in turns, `outliers`
    are blurred by bad seeing or show another place of the Sun (the frame turned by half a turn) in turns.
    """

    scales: FloatArray | None = None
    flux: FloatArray | None = None
    gain_table: FloatArray | None = None
    fringes: FloatArray | None = None
    dead: tuple[int, ...] = ()
    outliers: tuple[int, ...] = ()
    blur_px: float = 0.0  # sigma of what bad seeing adds

    def on_light(self, light: torch.Tensor) -> torch.Tensor:
        """The light (object, frame, y, x) that is detected."""
        # In the order in which light meets them: the air, the optics, the shutter, the detector.
        light = self._with_outliers(light)
        for errors in (self.flux, self.fringes):
            if errors is not None:
                light = light * (1 + torch.from_numpy(errors))
        if self.scales is not None:
            light = light * torch.from_numpy(self.scales)[:, None, None]
        if self.gain_table is not None:
            light = light * (1 + torch.from_numpy(self.gain_table)[:, None])
        return light

    def on_counts(self, counts: FloatArray) -> FloatArray:
        """The counts (object, frame, y, x), without those of the dead frames."""
        if not self.dead:
            return counts
        counts = counts.copy()
        for number, frame in enumerate(self.dead):
            counts[:, frame] = np.nan if number % 2 else 0.0
        return counts

    def images(self) -> dict[str, FloatArray]:
        """What there is to know of the faults, by the name of its extension."""
        every = {
            "SCALES": self.scales,
            "FLUX": self.flux,
            "GAINTABLE": self.gain_table,
            "FRINGES": self.fringes,
        }
        return {name: image for name, image in every.items() if image is not None}

    def _with_outliers(self, light: torch.Tensor) -> torch.Tensor:
        if not self.outliers:
            return light
        light = light.clone()
        for number, frame in enumerate(self.outliers):
            if number % 2:
                light[:, frame] = light[:, frame].flip(-2, -1)
            else:
                light[:, frame] = _blurred(light[:, frame], self.blur_px)
        return light


def draw_faults(settings: SimulationSettings, shape: Shape, seeing_px: float, seed: int) -> Faults:
    """The faults of a burst (object, frame, y, x); `seeing_px` is the seeing disc's full width lambda/r0."""
    bad = settings.dead_frames + settings.outlier_frames
    if bad >= settings.frames and bad:
        raise SettingsError(
            f"{settings.dead_frames} dead and {settings.outlier_frames} outlier frames leave none of "
            f"{settings.frames}: ask for more frames, or for fewer of those."
        )
    places = np.random.default_rng(seed + _BAD).permutation(settings.frames)[:bad].tolist()
    return Faults(
        scales=_scales(settings, seed),
        flux=flux_fields(shape, settings.flux_rms, settings.flux_scale_px, seed)
        if settings.flux_rms
        else None,
        gain_table=_gain_table(shape, settings.gain_table_rms, seed) if settings.gain_table_rms else None,
        fringes=_fringes(settings, shape, seed) if settings.fringe_amplitude else None,
        dead=tuple(sorted(places[: settings.dead_frames])),
        outliers=tuple(sorted(places[settings.dead_frames :])),
        blur_px=0.42 * math.sqrt(_DRAWN_OUT**2 - 1) * max(seeing_px, _LEAST_PX),  # full width -> sigma
    )


def flux_fields(shape: Shape, rms: float, scale_px: float, seed: int) -> FloatArray:
    """Smooth relative errors of the flux (object, frame, y, x), a draw per object and frame.

    Gaussian fields with a Gaussian correlation of sigma `scale_px`, of that rms over many draws; a field has
    a mean of its own.
    """
    objects, frames, rows, columns = shape
    generator = torch.Generator().manual_seed(seed + _FLUX)
    around = int(4 * scale_px) + 1
    kernel = _bell(scale_px / math.sqrt(2), around)  # twice, as in a correlation, it has the width asked for
    kernel = kernel / kernel.square().sum().sqrt()
    noise = torch.randn((objects * frames, 1, rows + 2 * around, columns + 2 * around), generator=generator)
    smooth = torch.nn.functional.conv2d(noise, kernel[None, None, :, None])
    smooth = torch.nn.functional.conv2d(smooth, kernel[None, None, None, :])
    fields: FloatArray = (rms * smooth.reshape(shape)).numpy()
    return fields


def _scales(settings: SimulationSettings, seed: int) -> FloatArray | None:
    if not settings.exposure_rms:
        return None
    drawn = np.random.default_rng(seed + _EXPOSURE).standard_normal(settings.frames)
    return np.exp(settings.exposure_rms * drawn).astype(np.float32)


def _gain_table(shape: Shape, rms: float, seed: int) -> FloatArray:
    """Fixed pattern (object, y, x) of exactly that rms: half its variance is broad (16 px), the rest are
    specks of some 2 px, columns, and single pixels.
    """
    generator = torch.Generator().manual_seed(seed + _GAIN)
    grid = (shape[0], *shape[2:])
    white = [torch.randn(grid, generator=generator) for _ in range(4)]
    # A column of the detector shares its amplifier.
    columns = white[2].mean(-2, keepdim=True).expand(grid)
    parts = (_blurred(white[0], 16.0), _blurred(white[1], 0.8), columns, white[3])
    shares = (0.5, 0.25, 0.1, 0.15)
    pattern = _unit(
        torch.stack([share**0.5 * _unit(p) for share, p in zip(shares, parts, strict=True)]).sum(0)
    )
    table: FloatArray = (rms * pattern).numpy()
    return table


def _fringes(settings: SimulationSettings, shape: Shape, seed: int) -> FloatArray:
    """Sinusoids (object, frame, y, x) of a direction and phase of their own per object; they drift along."""
    random = np.random.default_rng(seed + _FRINGES)
    angle, phase = random.uniform(0, 2 * math.pi, (2, shape[0], 1, 1, 1))
    y, x = np.meshgrid(*(np.arange(n) for n in shape[2:]), indexing="ij")
    moved = settings.fringe_drift_px * np.arange(shape[1])[:, None, None]
    along = (y * np.sin(angle) + x * np.cos(angle) - moved) / settings.fringe_period_px
    return np.asarray(settings.fringe_amplitude * np.sin(2 * math.pi * along + phase), np.float32)


def _bell(sigma_px: float, reach_px: int) -> torch.Tensor:
    return torch.exp(-0.5 * (torch.arange(-reach_px, reach_px + 1) / sigma_px) ** 2)


def _blurred(images: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """Images (object, y, x) under a Gaussian, their edge pixels going on beyond the edges."""
    reach = math.ceil(4 * sigma_px)
    kernel = _bell(sigma_px, reach) / _bell(sigma_px, reach).sum()
    padded = torch.nn.functional.pad(images[:, None], (reach,) * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, kernel[None, None, :, None])
    return torch.nn.functional.conv2d(rows, kernel[None, None, None, :])[:, 0]


def _unit(patterns: torch.Tensor) -> torch.Tensor:
    """Patterns (object, y, x) of mean 0 and rms 1."""
    centred = patterns - patterns.mean((-2, -1), keepdim=True)
    return centred / centred.square().mean((-2, -1), keepdim=True).sqrt()

"""Turbulence in layers above a telescope, blown by the wind, seen from every point of the field, partly
corrected by AO.

The wavefronts are those of the phase screens themselves, not sums of the modes that the methods fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import RADIAN_ARCSEC
from heliorestore.optics.psf import Optics, make_optics, psf_of_phase, pupil_axis
from heliorestore.simulate.turbulence import phase_screen


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A thin turbulent layer; its pattern moves with the wind towards `direction_deg`, +x to +y."""

    height_m: float
    fraction: float
    wind_m_s: float = 10.0
    direction_deg: float = 0.0

    def r0_m(self, total_r0_m: float) -> float:
        """Fried's parameter of the layer alone."""
        return float(total_r0_m * self.fraction ** (-3 / 5))


@dataclass(frozen=True, kw_only=True)
class AdaptiveOptics:
    """A deformable mirror at the ground that takes the first KL modes off, measured in the field's centre; 1
    is full gain.

    With `isoplanatic_arcsec` the correction falls off as exp(-(theta / isoplanatic)^(5/3)) from the centre.
    """

    modes: int = 36
    gain: float = 0.85
    isoplanatic_arcsec: float = math.inf

    def share(self, field_arcsec: torch.Tensor) -> torch.Tensor:
        """The part (point) of the correction that is left at field points (point, [y, x])."""
        # Fried (1982): the wavefronts of two directions differ by the variance (theta / theta_0)^(5/3).
        distance = torch.linalg.vector_norm(field_arcsec, dim=-1)
        return torch.exp(-((distance / self.isoplanatic_arcsec) ** (5 / 3)))


def daytime_layers(high_layer_km: float) -> tuple[Layer, ...]:
    """Three quarters of the turbulence at the ground, the rest around the high layer; for 0 km, all."""
    if high_layer_km == 0:
        return (Layer(height_m=0.0, fraction=1.0, wind_m_s=6.0, direction_deg=20.0),)
    shares = (
        (0.0, 0.75, 6.0, 20.0),
        (0.5, 0.10, 12.0, 75.0),
        (1.0, 0.10, 22.0, 160.0),
        (1.5, 0.05, 30.0, 120.0),
    )
    return tuple(
        Layer(height_m=1e3 * high_layer_km * height, fraction=share, wind_m_s=wind, direction_deg=direction)
        for height, share, wind, direction in shares
    )


def two_layers(high_layer_km: float, high_share: float) -> tuple[Layer, ...]:
    """A layer at the ground and one at a height, which holds `high_share` of the turbulence."""
    ground = Layer(height_m=0.0, fraction=1 - high_share, wind_m_s=6.0, direction_deg=20.0)
    high = Layer(height_m=1e3 * high_layer_km, fraction=high_share, wind_m_s=22.0, direction_deg=160.0)
    return tuple(layer for layer in (ground, high) if layer.fraction > 0)


@dataclass(frozen=True, kw_only=True)
class Seeing:
    """The strength of the turbulence (Fried's parameter, all layers together) and its heights."""

    r0_m: float
    wavelength_nm: float
    layers: tuple[Layer, ...] = daytime_layers(8.0)
    outer_scale_m: float = math.inf

    def __post_init__(self) -> None:
        total = sum(layer.fraction for layer in self.layers)
        if not self.layers or abs(total - 1) > 1e-6:
            raise SettingsError(
                f"The {len(self.layers)} layers hold {total:.3f} of the turbulence; it must be 1 in all."
            )
        if not (self.r0_m > 0 and self.wavelength_nm > 0 and self.outer_scale_m > 0):
            raise SettingsError(
                f"Fried's parameter is {self.r0_m} m and the outer scale "
                f"{self.outer_scale_m} m; both must be positive."
            )

    @property
    def isoplanatic_arcsec(self) -> float:
        """The angle over which the wavefront changes by 1 rad rms: 0.314 r0 / H, H^(5/3) = sum of f h^(5/3)
        (Fried 1982).
        """
        moment = sum(layer.fraction * layer.height_m ** (5 / 3) for layer in self.layers)
        return math.inf if moment == 0 else float(0.314 * self.r0_m / moment ** (3 / 5) * RADIAN_ARCSEC)


@dataclass(frozen=True, eq=False)
class Atmosphere:
    """Frozen screens above the telescope: `screens` (along the wind, across it) in rad at the seeing's
    wavelength.

    A screen's first pixel lies at `corners` (along, across) [m] in the layer at time 0.
    """

    seeing: Seeing
    screens: tuple[torch.Tensor, ...]
    corners: tuple[tuple[float, float], ...]
    pitch_m: float

    def phase(
        self, y_m: torch.Tensor, x_m: torch.Tensor, field_arcsec: torch.Tensor, time_s: float
    ) -> torch.Tensor:
        """Phase (point, y, x) in rad on a grid in the pupil, seen from field points (point, [y, x])."""
        total = torch.zeros((len(field_arcsec), len(y_m), len(x_m)), dtype=y_m.dtype, device=y_m.device)
        for layer, screen, corner in zip(self.seeing.layers, self.screens, self.corners, strict=True):
            # A ray from a field point meets a layer at height h displaced by h theta.
            shift = field_arcsec.to(y_m) * (layer.height_m / RADIAN_ARCSEC)
            # The ground layer is the same for all field points: one sample of it is enough.
            if layer.height_m == 0:
                shift = shift[:1]
            y, x = y_m[None, :, None] + shift[:, 0, None, None], x_m[None, None, :] + shift[:, 1, None, None]
            cos, sin = (f(math.radians(layer.direction_deg)) for f in (math.cos, math.sin))
            # Frozen flow (Taylor): the pattern travels with the wind, so the pupil goes against it.
            along, across = x * cos + y * sin - layer.wind_m_s * time_s, y * cos - x * sin
            total += _sample(
                screen.to(y_m), (along - corner[0]) / self.pitch_m, (across - corner[1]) / self.pitch_m
            )
        return total


def make_atmosphere(
    seeing: Seeing, *, diameter_m: float, field_arcsec: float, duration_s: float, pitch_m: float, seed: int
) -> Atmosphere:
    """Draw the screens, large enough for the field (its full width) and the wind over the duration."""
    generator = torch.Generator().manual_seed(seed)
    screens, corners = [], []
    for layer in seeing.layers:
        reach = diameter_m / 2 + layer.height_m * field_arcsec / RADIAN_ARCSEC / math.sqrt(2) + 4 * pitch_m
        travel = layer.wind_m_s * duration_s
        # Twice as wide as needed: the Fourier part of a screen repeats.
        shape = tuple(math.ceil(length / pitch_m) for length in (travel + 4.3 * reach, 4.3 * reach))
        screen = phase_screen(
            (shape[0], shape[1]),
            pitch_m,
            layer.r0_m(seeing.r0_m),
            generator,
            outer_scale_m=seeing.outer_scale_m,
        )
        screens.append(screen.to(torch.float32))
        # Room behind the pupil for the pattern that the wind brings, and `reach` around it.
        corners.append((-1.5 * reach - travel, -1.5 * reach))
    return Atmosphere(seeing, tuple(screens), tuple(corners), pitch_m)


class Telescope:
    """An instrument's PSFs through an atmosphere, at any place and time, with adaptive optics or not."""

    def __init__(
        self, optics: Optics, atmosphere: Atmosphere, correction: AdaptiveOptics | None = None
    ) -> None:
        self.optics, self.atmosphere, self.correction = optics, atmosphere, correction
        radius = optics.instrument.diameter_m / 2
        self._axis = pupil_axis(optics) * radius
        self._scale = atmosphere.seeing.wavelength_nm / optics.instrument.wavelength_nm
        if correction is not None:
            mirror = make_optics(
                optics.instrument,
                optics.size,
                correction.modes,
                dtype=optics.modes.dtype,
                device=optics.modes.device,
            )
            lit = optics.amplitude / optics.amplitude.max()
            self._modes = mirror.modes * (lit > 0)
            # Least squares over the lit pupil: coefficients = sensor @ phase; the piston is fitted along and
            # thrown away.
            weighted = torch.cat([torch.ones_like(lit)[None], mirror.modes]) * lit
            normal = weighted.double() @ torch.cat([torch.ones_like(lit)[None], mirror.modes]).double().T
            self._sensor = torch.linalg.solve(normal, weighted.double())[1:].to(mirror.modes)

    @property
    def isoplanatic(self) -> bool:
        """Whether all places of the field have the same PSF."""
        decays = self.correction is not None and math.isfinite(self.correction.isoplanatic_arcsec)
        return not decays and all(layer.height_m == 0 for layer in self.atmosphere.seeing.layers)

    def wavefronts(self, field_arcsec: torch.Tensor, time_s: float) -> torch.Tensor:
        """Phases (point, y, x) in rad at the instrument's wavelength on the pupil's pixels; field points
        (point, [y, x]).
        """
        phase = self.atmosphere.phase(self._axis, self._axis, field_arcsec, time_s) * self._scale
        if self.correction is None:
            return phase
        centre = self.atmosphere.phase(self._axis, self._axis, torch.zeros((1, 2)), time_s) * self._scale
        # The sensor sees the field's centre alone; elsewhere the mirror is as wrong as the air differs.
        commands = self.correction.gain * (self._sensor @ centre.reshape(-1))
        mirror = (commands @ self._modes).reshape(centre.shape)
        if math.isfinite(self.correction.isoplanatic_arcsec):
            mirror = mirror * self.correction.share(field_arcsec).to(mirror)[:, None, None]
        corrected: torch.Tensor = phase - mirror
        return corrected

    def psfs(self, field_arcsec: torch.Tensor, time_s: float) -> torch.Tensor:
        """PSFs (point, y, x) of unit sum at field points (point, [y, x]) counted from the field's centre."""
        batches = [
            psf_of_phase(self.optics, self.wavefronts(part, time_s))
            for part in torch.split(field_arcsec, 512)
        ]
        return torch.cat(batches)


def _sample(screen: torch.Tensor, along: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
    """The screen between its pixels, by bicubic interpolation; along and across (point, y, x) in pixels."""
    rows, columns = screen.shape
    # grid_sample counts x before y, from -1 to 1 between the centres of the outermost pixels.
    where = torch.stack([across * (2 / (columns - 1)) - 1, along * (2 / (rows - 1)) - 1], dim=-1)
    flat = where.reshape(1, -1, where.shape[-2], 2)
    sampled = torch.nn.functional.grid_sample(
        screen[None, None], flat, mode="bicubic", padding_mode="border", align_corners=True
    )
    values: torch.Tensor = sampled.reshape(along.shape)
    return values

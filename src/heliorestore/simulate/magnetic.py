"""The magnetic field of the scene in the photosphere, and the direction of the canopy above it."""

from __future__ import annotations

import math

import numpy as np

from heliorestore.simulate.granulation import granulation
from heliorestore.simulate.lattice import Array, bilinear, smooth_noise
from heliorestore.simulate.patch import Patch, network, polarity
from heliorestore.simulate.photosphere import bright_points
from heliorestore.simulate.sunspot import place_in_spot, streaks

UMBRA_GAUSS = 2800.0  # in the spot's centre
CANOPY_MM = 1.6  # height at which the chromosphere's fibrils follow the field
_COARSE_MM = 0.25
_AROUND_MM = 10.0


def magnetic_field(patch: Patch) -> Array:
    """Bx, By, Bz (component, y, x) in gauss: spot, pores, strong elements in lanes, salt and pepper."""
    x, y, seed = patch.x, patch.y, patch.seed
    granules = granulation(x, y, seed, time_s=patch.time_s)
    elements = bright_points(x, y, granules.lane_mm, patch)
    salt = smooth_noise(x, y, 0.55, seed + 85, octaves=3, persistence=0.7, time=patch.time_s / 1200)
    lanes = np.exp(-((granules.lane_mm / 0.25) ** 2))
    # Kilogauss fields where the bright points are, weak mixed polarities everywhere.
    vertical = 2300.0 * np.clip(elements, 0, 0.6) * polarity(x, y, patch) + 22.0 * salt * np.abs(salt) * (
        0.3 + lanes
    )
    tilt = [
        55.0 * smooth_noise(x, y, 0.5, seed + s, octaves=2, time=patch.time_s / 1200) * (0.3 + 0.7 * lanes)
        for s in (86, 87)
    ]
    field = np.stack([*tilt, vertical])
    for px, py, radius in patch.pores:
        inside = 1 / (1 + (np.hypot(x - px, y - py) / (1.15 * radius)) ** 6)
        field[2] += inside * (1900.0 - field[2])
    return field if patch.spot is None else _with_spot(field, patch)


def _with_spot(field: Array, patch: Patch) -> Array:
    """Put the spot's field in: from vertical in the umbra to almost horizontal, combed by the filaments."""
    spot = patch.spot
    assert spot is not None
    place = place_in_spot(patch.x, patch.y, spot, patch.seed)
    reach = place.radius_mm / place.outer_mm
    # Strongest and upright in the centre, weaker and nearly horizontal at the outer border.
    strength = UMBRA_GAUSS * np.exp(-1.25 * np.clip(reach, 0, 1.3) ** 1.7)
    comb = streaks(place, spot, patch.seed)
    penumbra = np.clip(place.depth / 0.15, 0, 1)
    inclination = np.radians(np.clip(86.0 * np.clip(reach, 0, 1.05) ** 0.85 + 9.0 * comb * penumbra, 0, 97))
    azimuth = place.angle + 0.12 * smooth_noise(patch.x, patch.y, 3.2, patch.seed + 30)
    horizontal = strength * np.sin(inclination)
    inner = np.stack(
        [horizontal * np.cos(azimuth), horizontal * np.sin(azimuth), strength * np.cos(inclination)]
    )
    edge = np.clip((1.04 + 0.04 * comb - reach) / 0.10, 0, 1)
    merged: Array = field + edge * (inner - field)
    return merged


def canopy_direction(patch: Patch) -> Array:
    """Angle (y, x) of the horizontal potential field above the patch's flux, radian from +x to +y."""
    height, width = (size + 2 * patch.margin * patch.pixel_mm + 2 * _AROUND_MM for size in patch.size_mm)
    corner = -patch.margin * patch.pixel_mm - _AROUND_MM
    rows, columns = math.ceil(height / _COARSE_MM), math.ceil(width / _COARSE_MM)
    y, x = np.meshgrid(*(corner + (np.arange(n) + 0.5) * _COARSE_MM for n in (rows, columns)), indexing="ij")
    flux = 420.0 * network(x, y, patch) * polarity(x, y, patch) + 12.0 * smooth_noise(
        x, y, 1.5, patch.seed + 89, octaves=2
    )
    spot = patch.spot
    if spot is not None:
        reach = np.hypot(x - spot.x_mm, y - spot.y_mm) / spot.outer_mm
        flux = flux + 2500.0 * np.exp(-((reach / 0.62) ** 2))
    # B = -grad of the potential of the flux below (Nakagawa & Raadu 1972): (Bx, By) = -i (kx, ky)/k Bz exp(-k
    # h).
    ky, kx = (2 * math.pi * np.fft.fftfreq(n, _COARSE_MM) for n in flux.shape)
    k = np.hypot(ky[:, None], kx[None, :])
    # Fine structure of the flux is damped with height: fibrils follow the large-scale field.
    damped = np.fft.fft2(flux - flux.mean()) * np.exp(-k * CANOPY_MM) / np.where(k == 0, 1, k)
    bx = np.fft.ifft2(-1j * kx[None, :] * damped).real
    by = np.fft.ifft2(-1j * ky[:, None] * damped).real
    row, column = ((place - corner) / _COARSE_MM - 0.5 for place in (patch.y, patch.x))
    swirl = 0.12 * smooth_noise(patch.x, patch.y, 4.0, patch.seed + 90, octaves=2, time=patch.time_s / 1200)
    angle: Array = np.arctan2(bilinear(by, row, column), bilinear(bx, row, column)) + swirl
    return angle

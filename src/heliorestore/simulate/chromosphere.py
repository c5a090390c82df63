"""The chromosphere in a strong line's core: fibrils along the field, bright network, a dim umbra."""

from __future__ import annotations

import math

import numpy as np

from heliorestore.simulate.granulation import granulation
from heliorestore.simulate.lattice import Array, bilinear, blocks, rise, smooth_noise
from heliorestore.simulate.magnetic import canopy_direction
from heliorestore.simulate.patch import Patch, network
from heliorestore.simulate.sunspot import place_in_spot

_STEP_MM = 0.09  # along a fibril
FIVE_MINUTES_S = 300.0


def chromosphere(patch: Patch) -> Array:
    """Intensity (y, x) near the core of Ca II 8542 A, in units of the quiet Sun's mean there."""
    x, y, seed, t = patch.x, patch.y, patch.seed, patch.time_s / FIVE_MINUTES_S
    # Fibrils stand out where the field is ordered; far from flux the pattern is tangled and grainy.
    order = np.clip(0.45 + 0.8 * _neighbourhood(patch), 0.45, 1)
    angle = canopy_direction(patch) + 0.9 * (1 - order) * smooth_noise(
        x, y, 1.1, seed + 208, octaves=2, time=t
    )
    if patch.spot is not None:  # in the umbra the field stands upright and shows no fibrils
        order = order * rise(place_in_spot(x, y, patch.spot, seed).depth, -0.45, 0.35)
    fine = _along(patch, angle, 0.07, 1.5, seed + 201, 3 * t)
    middle = _along(patch, angle, 0.28, 3.4, seed + 202, 2 * t)
    broad = _along(patch, angle, 0.85, 5.0, seed + 203, t)
    dotted = _along(patch, angle, 0.20, 0.5, seed + 205, 3 * t)
    clouds = smooth_noise(x, y, 2.4, seed + 204, octaves=3, persistence=0.6, time=t)
    dense = network(x, y, patch)
    here = np.clip(0.75 + 0.65 * smooth_noise(x, y, 1.5, seed + 209, octaves=2, time=t), 0.35, 2.2)
    fibrils = here * (0.3 + 0.7 * order) * (0.13 * fine + 0.045 * middle) + order * 0.075 * broad
    # In the logarithm: bright fibrils stand out more than dark ones, and no light is negative.
    log_light = fibrils + 0.16 * clouds + (0.035 + 0.09 * (1 - order)) * here * dotted
    log_light = log_light + 0.42 * dense * np.clip(0.55 + 0.5 * dotted, 0, 1.6) - 0.06
    # Reversed granulation: dark above what was bright in the photosphere two minutes before.
    reversed_ = granulation(x, y, seed, time_s=patch.time_s - 120.0).intensity - 1
    image: Array = np.exp(log_light) * (1 - 0.10 * reversed_ * (1 - order))
    if patch.spot is not None:
        place = place_in_spot(x, y, patch.spot, seed)
        ragged = place.depth + 0.10 * broad + 0.05 * middle
        dim = 0.27 + 0.45 * rise(ragged, -0.35, 0.45) + 0.28 * rise(ragged, 0.35, 1.25)
        # Umbral flashes: patches that brighten and fade faster than all else.
        flashes = 1 + 0.25 * np.clip(smooth_noise(x, y, 0.5, seed + 206, octaves=2, time=4 * t), 0, 2) * rise(
            -place.depth, 0.05, 0.4
        )
        image = image * dim * flashes
    return image


def _neighbourhood(patch: Patch) -> Array:
    """How near strong flux is, 0 to 1."""
    near = smooth_noise(patch.x, patch.y, 5.0, patch.seed + 207, octaves=2) * 0.35 + 0.4
    if patch.spot is not None:
        distance = np.hypot(patch.x - patch.spot.x_mm, patch.y - patch.spot.y_mm) / patch.spot.outer_mm
        # The superpenumbra orders the fibrils far beyond the spot's border.
        near = near + np.exp(-((distance / 1.6) ** 2))
    return np.clip(near + 0.5 * network(patch.x, patch.y, patch), 0, 1)


def _along(patch: Patch, angle: Array, width_mm: float, length_mm: float, seed: int, t: float) -> Array:
    """Unit-variance noise averaged along the field: a line integral convolution (Cabral & Leedom 1993,
    doi:10.1145/166117.166151).
    """
    noise = smooth_noise(patch.x, patch.y, width_mm, seed, octaves=2, persistence=0.4, time=t)
    cos, sin = np.cos(angle).ravel(), np.sin(angle).ravel()
    rows, columns = patch.grid
    step = max(_STEP_MM, 0.3 * width_mm) / patch.pixel_mm
    count = max(1, round(length_mm / 2 / (step * patch.pixel_mm)))
    total = noise.ravel().copy()
    weight_sum = 1.0
    # A window that falls to 0: no streak begins or ends abruptly.
    weights = [math.cos(0.5 * math.pi * n / (count + 1)) ** 2 for n in range(1, count + 1)]
    for sense in (1.0, -1.0):
        for part in blocks(total.size):
            row, column = np.divmod(np.arange(total.size, dtype=np.float64)[part], columns)
            heading_x, heading_y = sense * cos[part], sense * sin[part]
            for weight in weights:
                column += step * heading_x
                row += step * heading_y
                i, j = np.rint(row).astype(np.int64), np.rint(column).astype(np.int64)
                nearest = np.clip(i, 0, rows - 1) * columns + np.clip(j, 0, columns - 1)
                along_x, along_y = cos.take(nearest), sin.take(nearest)
                # a direction has no sign
                turn = np.where(along_x * heading_x + along_y * heading_y < 0, -1.0, 1.0)
                heading_x, heading_y = turn * along_x, turn * along_y
                total[part] += weight * bilinear(noise, row, column)
        for weight in weights:  # Python 3.12 has another sum
            weight_sum += weight
    total = total.reshape(noise.shape) / weight_sum
    spread = float(total.std())
    return (total - float(total.mean())) / spread if spread > 0 else total

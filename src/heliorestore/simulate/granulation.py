"""Granulation: competing cells of hot gas with dark lanes between them, each cell with its own life."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from heliorestore.simulate.lattice import Array, blocks, smooth_noise, uniform

CELL_MM = 0.98  # mean distance of granules' centres, dying and newborn ones included
LIFETIME_S = 650.0  # of a typical granule


@dataclass(frozen=True)
class Granules:
    """Intensity (mean 1, about 15 % rms) and the distance from the nearest lane in Mm, both (y, x)."""

    intensity: Array
    lane_mm: Array


def granulation(x: Array, y: Array, seed: int, *, time_s: float = 0.0) -> Granules:
    """Granulation at the places (x, y) in Mm; granules are born, grow, drift and die within minutes.

    The cells are those of a power diagram, whose weights are the granules' strengths: a strong one pushes its
    neighbours' lanes away, as in the model of Schrijver et al. (1997), doi:10.1086/303587.
    """
    t = time_s / LIFETIME_S
    x, y = _warp(x, y, seed, t)
    lane_mm, cell, rim, crowd = _cells(x, y, CELL_MM, seed, t)
    fine_mm, *_ = _cells(x, y, 0.42 * CELL_MM, seed + 101, 1.7 * t)
    ragged = smooth_noise(x, y, 0.5, seed + 11, octaves=3, persistence=0.7, time=t)
    # 1 in the middle of a lane, 0 inside a cell; a ragged width keeps lanes from being ruled lines.
    lane = np.exp(
        -((np.maximum(lane_mm - 0.025 * ragged, 0) / np.maximum(0.13 + 0.03 * ragged, 0.06)) ** 1.6)
    )
    # Dark bites: cold gas that the lanes draw out of the granules, and the notches between their fragments.
    blotch = smooth_noise(x, y, 0.27, seed + 12, octaves=2, time=1.5 * t)
    near = np.exp(-((lane_mm / 0.36) ** 2))
    notch = np.exp(-((fine_mm / 0.085) ** 1.5)) * np.clip(
        0.5 + 0.6 * smooth_noise(x, y, 0.9, seed + 13, time=t), 0, 1.3
    )
    bite = np.clip(0.75 * notch + 0.7 * np.clip(blotch - 0.55, 0, 1.2), 0, 1) * (0.12 + 0.88 * near)
    texture = smooth_noise(x, y, 0.8, seed + 14, octaves=4, persistence=0.66, time=t)
    bright = 1.06 + 0.06 * cell + 0.062 * texture
    shine = np.clip(0.35 + 0.75 * rim + 0.5 * smooth_noise(x, y, 0.45, seed + 15, octaves=2, time=t), 0, 1.8)
    # A bright rim a quarter of a Mm from the lane, stronger on one side of the granule.
    bright += 0.17 * np.exp(-(((lane_mm - 0.24) / 0.12) ** 2)) * shine
    # Large granules are darker in the middle, before they split.
    bright -= 0.26 * np.clip(lane_mm - 0.36, 0, 0.40)
    # Lanes are darkest where several meet.
    dark = (
        0.735
        + 0.05 * smooth_noise(x, y, 0.35, seed + 16, octaves=2, time=t)
        - 0.05 * np.clip(crowd - 1.25, 0, 1.2)
    )
    floor = np.minimum(dark, bright - 0.08)
    intensity = bright + (floor - bright) * (1 - (1 - lane) * (1 - 0.85 * bite))
    return Granules(1 + 1.155 * (intensity - 0.924), lane_mm)


def _warp(x: Array, y: Array, seed: int, t: float) -> tuple[Array, Array]:
    """Bend the straight borders of the power diagram as turbulence does, strongest on granular scale."""
    shift = [
        0.10 * smooth_noise(x, y, 0.75, seed + s, time=t)
        + 0.058 * smooth_noise(x, y, 0.27, seed + s + 1, octaves=3, time=2 * t)
        for s in (21, 23)
    ]
    # Both axes by noise of their own: the borders bend without a preferred direction.
    return x + shift[0], y + shift[1]


def _cells(x: Array, y: Array, spacing: float, seed: int, t: float) -> tuple[Array, Array, Array, Array]:
    """Distance to the nearest border [Mm]; brightness (-1..1) of the own cell; rim contrast; crowd of
    borders.
    """
    u, v = (x / spacing).ravel(), (y / spacing).ravel()
    (i0, i1), (j0, j1) = ((math.floor(w.min()) - 2, math.floor(w.max()) + 3) for w in (u, v))
    granules = _granules(np.arange(i0, i1)[None, :], np.arange(j0, j1)[:, None], seed, t)
    corner = ((np.floor(v) - j0 - 2) * (i1 - i0) + (np.floor(u) - i0 - 2)).astype(np.int64)
    reach = [b * (i1 - i0) + a for b in range(5) for a in range(5)]
    found = np.empty((4, u.size))
    for part in blocks(u.size):
        found[:, part] = _borders(u[part], v[part], granules, corner[part], reach, spacing)
    border, light, rim, crowd = found.reshape(4, *x.shape)
    return border * spacing, 2 * light - 1, rim, crowd


def _borders(
    u: Array, v: Array, granules: tuple[Array, ...], corner: np.ndarray, reach: list[int], spacing: float
) -> tuple[Array, Array, Array, Array]:
    """For places (n): distance to the nearest border, brightness of the own cell, rim contrast and crowd.

    `granules` are tables by the lattice's cells; those around a place are `reach` behind its corner.
    """
    best = np.full(u.shape, np.inf)
    owner = corner
    seeds = []
    for shift in reach:
        px, py, weight = (table[shift:].take(corner) for table in granules[:3])
        # The squared distance less the weight: the granule with the smallest owns the place.
        power = (u - px) ** 2 + (v - py) ** 2 - weight
        seeds.append((px, py, power))
        owner = np.where(power < best, corner + shift, owner)
        best = np.minimum(power, best)
    own_x, own_y, _, light = (table.take(owner) for table in granules)
    border = np.full(u.shape, np.inf)
    crowd = np.zeros(u.shape)
    for px, py, power in seeds:
        apart = np.hypot(px - own_x, py - own_y)
        # Two powers are equal on a straight line across the line of centres: the distance from it.
        distance = np.where(apart > 1e-9, (power - best) / (2 * np.maximum(apart, 1e-9)), np.inf)
        border = np.minimum(border, distance)
        crowd += np.exp(-((distance * spacing / 0.16) ** 2))
    du, dv = u - own_x, v - own_y
    angle = 2 * np.pi * light
    rim = (du * np.cos(angle) + dv * np.sin(angle)) / np.maximum(np.hypot(du, dv), 1e-3)
    return border, light, rim, crowd


def _granules(columns: np.ndarray, rows: np.ndarray, seed: int, t: float) -> tuple[Array, ...]:
    """Place, power weight and brightness (0..1) of what lives now in the lattice's cells, flat."""
    life = 0.6 + 0.9 * uniform(seed + 1, rows, columns)
    age = t / life + uniform(seed + 2, rows, columns)
    # When a granule dies another is born in its cell of the lattice, with numbers of its own.
    generation = np.floor(age).astype(np.int64)
    age = age - generation
    draw = [uniform(seed + n, rows, columns, generation) for n in range(3, 8)]
    px = columns + draw[0] + 0.12 * (draw[3] - 0.5) * (age - 0.5)
    py = rows + draw[1] + 0.12 * (draw[4] - 0.5) * (age - 0.5)
    # Without weight at birth and death, so that no lane jumps.
    grown = np.sin(np.pi * age) ** 0.7
    weight = 0.75 * grown * (0.25 + draw[2]) - 0.45 * (1 - grown)
    return tuple(table.ravel() for table in (px, py, weight, draw[3]))

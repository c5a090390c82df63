"""Random fields that belong to places on the Sun, not to pixels: the same seed is the same Sun on every grid.

Random numbers sit on lattice points, found by hashing the point's integer coordinates; nothing depends on the
order of calls, the number of threads or the library's random generator.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_SPLINE_RMS = 151 / 315  # mean of (sum of squared cubic B-spline weights) along one axis
_BLOCK = 8192


def uniform(seed: int, *coordinates: npt.ArrayLike) -> Array:
    """A number in [0, 1) for each combination of integers (broadcast), the same on every machine."""
    state = _mix(np.array([(seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D) % 2**64], dtype=np.uint64))
    for coordinate in coordinates:
        values = np.asarray(coordinate, dtype=np.int64).astype(np.uint64)
        state = _mix(state ^ (values * np.uint64(0xD6E8FEB86659FD93)))
    # The upper 53 bits are what a double can hold.
    scale = 2.0**-53
    numbers: Array = ((state >> np.uint64(11)).astype(np.float64) * scale).reshape(
        np.broadcast_shapes(*map(np.shape, coordinates))
    )
    return numbers


def normal(seed: int, *coordinates: npt.ArrayLike) -> Array:
    """A unit Gaussian number for every combination of integer coordinates (Box-Muller)."""
    # 1 - u, which is never 0: its logarithm would be infinite.
    radius = np.sqrt(-2 * np.log(1 - uniform(seed, *coordinates)))
    wave: Array = radius * np.cos(2 * math.pi * uniform(seed + 0x5BD1E995, *coordinates))
    return wave


def smooth_noise(
    x: Array,
    y: Array,
    scale: float,
    seed: int,
    *,
    octaves: int = 1,
    persistence: float = 0.5,
    time: float = 0.0,
) -> Array:
    """Smooth noise of zero mean and unit variance at the places (x, y); `scale` is the lattice spacing in
    their unit.

    Each octave halves the scale, multiplies the amplitude by `persistence` and changes 1.4 times faster.
    `time` runs in lattice steps: fields one step apart are independent.
    """
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    power = 0.0
    for octave in range(octaves):
        amplitude = persistence**octave
        power += amplitude**2
        layer = seed * 31 + octave * 7919
        step = math.floor(time * 1.4**octave)
        # Cosine and sine: a mean of two independent fields would lose variance half way between them.
        phase = (time * 1.4**octave - step) * math.pi / 2
        field = math.cos(phase) * _spline(x, y, scale / 2**octave, layer, step)
        if phase:
            field = field + math.sin(phase) * _spline(x, y, scale / 2**octave, layer, step + 1)
        total += amplitude * field
    noise: Array = total / math.sqrt(power)
    return noise


def rise(value: Array, low: float | Array, high: float | Array) -> Array:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    rise: Array = t * t * (3 - 2 * t)
    return rise


def bilinear(image: Array, row: Array, column: Array) -> Array:
    """The image between its pixels; beyond its border it goes on as there."""
    rows, columns = image.shape
    row, column = np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)
    i, j = np.minimum(row.astype(np.int64), rows - 2), np.minimum(column.astype(np.int64), columns - 2)
    i, j = np.maximum(i, 0), np.maximum(j, 0)
    a, b = row - i, column - j
    i1, j1 = np.minimum(i + 1, rows - 1), np.minimum(j + 1, columns - 1)
    flat, i, i1 = image.ravel(), i * columns, i1 * columns
    value: Array = (flat.take(i + j) * (1 - b) + flat.take(i + j1) * b) * (1 - a) + (
        flat.take(i1 + j) * (1 - b) + flat.take(i1 + j1) * b
    ) * a
    return value


def blocks(size: int) -> Iterator[slice]:
    """Parts of a flat array, so short that what is computed of one stays in the processor's cache."""
    for start in range(0, size, _BLOCK):
        yield slice(start, start + _BLOCK)


def _spline(x: Array, y: Array, scale: float, seed: int, step: int) -> Array:
    """Cubic B-spline of hashed lattice values: unit variance on average over the lattice."""
    # Lattices are turned against each other, or the eye finds their rows.
    cos, sin = math.cos(seed % 6007), math.sin(seed % 6007)
    u, v = (x * cos - y * sin) / scale, (x * sin + y * cos) / scale
    (i0, i1), (j0, j1) = ((math.floor(w.min()) - 1, math.floor(w.max()) + 3) for w in (u, v))
    table = uniform(seed, np.arange(j0, j1)[:, None], np.arange(i0, i1)[None, :], step)
    flat, width = ((table - 0.5) * (math.sqrt(12) / _SPLINE_RMS)).ravel(), i1 - i0
    total = np.zeros(u.shape)
    for part in blocks(u.size):
        here_u, here_v = u.ravel()[part], v.ravel()[part]
        column, row = np.floor(here_u), np.floor(here_v)
        wx, wy = _weights(here_u - column), _weights(here_v - row)
        corner = ((row - j0 - 1) * width + (column - i0 - 1)).astype(np.int64)
        for b in range(4):
            along = sum(wx[a] * flat[b * width + a :].take(corner) for a in range(4))
            total.ravel()[part] += wy[b] * along
    return total


def _weights(t: Array) -> tuple[Array, Array, Array, Array]:
    """The four weights of the uniform cubic B-spline at the fraction t of a cell."""
    s = 1 - t
    t2, s2 = t * t, s * s
    # numpy takes a general power for a cube, ten times as long.
    t3, s3 = t2 * t, s2 * s
    return s3 / 6, (4 - 6 * t2 + 3 * t3) / 6, (4 - 6 * s2 + 3 * s3) / 6, t3 / 6


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))

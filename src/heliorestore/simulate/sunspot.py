"""A sunspot: umbra with dots and a light bridge, penumbral filaments with dark cores, pores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from heliorestore.simulate.granulation import granulation
from heliorestore.simulate.lattice import Array, normal, rise, smooth_noise, uniform

DOT_LIFE_S = 600.0  # an umbral dot brightens and fades in this time
FILAMENT_MM = 0.25  # width of a penumbral filament
INFLOW_MM_S = 3e-4  # penumbral grains move towards the umbra, some 0.3 km/s


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Where a spot lies and how large it is, in Mm; radii are means, the borders are ragged."""

    x_mm: float
    y_mm: float
    umbra_mm: float
    outer_mm: float
    bridge: bool = True


@dataclass(frozen=True)
class SpotPlace:
    """Distance and angle of pixels from a spot's centre, and path from umbra (0) to outer border (1)."""

    radius_mm: Array
    angle: Array
    depth: Array
    umbra_mm: Array
    outer_mm: Array


def place_in_spot(x: Array, y: Array, spot: Spot, seed: int) -> SpotPlace:
    """Every pixel's place within the spot; the borders are lobed and ragged, the path between too."""
    dx, dy = x - spot.x_mm, y - spot.y_mm
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    cos, sin = np.cos(angle), np.sin(angle)
    # Noise of places on a circle, so that the border closes.
    lobes = 0.13 * smooth_noise(cos, sin, 0.8, seed + 1, octaves=3, persistence=0.6)
    turned = 2 * (angle - math.pi * float(uniform(seed + 12, 0)))
    umbra = spot.umbra_mm * (1 + lobes + 0.10 * np.cos(turned))
    outer = spot.outer_mm * (
        1 + 0.05 * np.cos(turned) + 0.055 * smooth_noise(cos, sin, 0.55, seed + 2, octaves=3, persistence=0.6)
    )
    # Some penumbra stays everywhere.
    umbra = np.minimum(umbra, 0.85 * outer)
    return SpotPlace(radius, angle, (radius - umbra) / (outer - umbra), umbra, outer)


def sunspot(x: Array, y: Array, quiet: Array, spot: Spot, seed: int, *, time_s: float = 0.0) -> Array:
    """Paint the spot over the quiet Sun (y, x), intensities relative to the quiet Sun's mean."""
    x = x + 0.06 * smooth_noise(x, y, 1.1, seed + 3, octaves=2, persistence=0.35)
    y = y + 0.06 * smooth_noise(x, y, 1.1, seed + 4, octaves=2, persistence=0.35)
    place = place_in_spot(x, y, spot, seed)
    # Nothing of the spot is in view.
    if place.depth.min() > 1.4:
        return quiet
    umbra = _umbra(x, y, place, spot, seed, time_s)
    streak = streaks(place, spot, seed)
    # Between the filaments the penumbra is dark; it ends in fingers.
    base = 0.52 + 0.13 * streak + 0.24 * np.clip(place.depth, 0, 1)
    inner = rise(place.depth + 0.05 * streak, 0.0, 0.14)
    outer = 1 - rise(place.depth + 0.05 * streak, 0.86, 1.03)
    image = quiet + (umbra + (base - umbra) * inner - quiet) * outer
    image = _filaments(image, x, y, place, spot, seed, time_s)
    image = quiet + (image - quiet) * (1 - rise(place.depth + 0.05 * streak, 0.94, 1.12))
    if spot.bridge:
        image = _bridge(image, x, y, place, spot, seed, time_s)
    fine: Array = 1 + 0.08 * streak * np.clip(inner * outer, 0, 1)
    return image * fine


def pore(x: Array, y: Array, image: Array, x_mm: float, y_mm: float, radius_mm: float, seed: int) -> Array:
    """Paint a pore: dark, without penumbra, its border along the granules around."""
    ragged = smooth_noise(x, y, 0.7, seed + 41, octaves=3, persistence=0.55)
    stretch = 1 + 0.25 * np.tanh(normal(seed + 42, 0))
    distance = np.hypot((x - x_mm) / stretch, (y - y_mm) * stretch) - radius_mm * (1 + 0.28 * ragged)
    dark = (
        0.30
        + 0.06 * smooth_noise(x, y, 0.35, seed + 43, octaves=2)
        + 0.12 * rise(distance, -0.6 * radius_mm, 0.0)
    )
    painted: Array = image + (dark - image) * (1 - rise(distance, -0.20, 0.16))
    return painted


def streaks(place: SpotPlace, spot: Spot, seed: int) -> Array:
    """Noise drawn out along the radius, of unit variance; it closes around the spot."""
    middle = (spot.umbra_mm + spot.outer_mm) / 2
    x, y = place.radius_mm * np.cos(place.angle), place.radius_mm * np.sin(place.angle)
    turn = place.angle + 0.05 * smooth_noise(x, y, 2.4, seed + 5)
    total = np.zeros_like(turn)
    for number, (width, length) in enumerate(((0.34, 2.4), (0.17, 1.5), (0.09, 1.0))):
        # Two copies, faded into each other, join at the angle +-pi.
        fade = rise(np.abs(place.angle), 2.6, math.pi) / 2
        here = smooth_noise(turn * middle / width, place.radius_mm / length, 1.0, seed + 50 + number)
        there = smooth_noise(
            (turn - np.sign(turn) * 2 * math.pi) * middle / width,
            place.radius_mm / length,
            1.0,
            seed + 50 + number,
        )
        # By roots: the sum of two independent noises keeps its variance.
        total += (here * np.sqrt(1 - fade) + there * np.sqrt(fade)) / 1.6**number
    streaks: Array = total / math.sqrt(1 + 1.6**-2 + 1.6**-4)
    return streaks


def _umbra(x: Array, y: Array, place: SpotPlace, spot: Spot, seed: int, time_s: float) -> Array:
    """The umbra with dark nuclei and dots; brighter dots near its border."""
    rim = np.clip(place.radius_mm / place.umbra_mm, 0, 1.2)
    image = 0.125 + 0.035 * smooth_noise(x, y, 1.3, seed + 6, octaves=4, persistence=0.6) + 0.10 * rim**4
    reach = spot.umbra_mm * 1.25
    count = int(4.5 * math.pi * reach**2)
    index = np.arange(count)
    # The root spreads the dots evenly over the area.
    distance = reach * np.sqrt(uniform(seed + 7, index))
    angle = 2 * math.pi * uniform(seed + 8, index)
    life = np.sin(math.pi * (uniform(seed + 9, index) + time_s / DOT_LIFE_S)) ** 2
    peak = (0.06 + 0.34 * uniform(seed + 10, index) ** 2.0 * (0.4 + (distance / reach) ** 2)) * (
        0.35 + 0.65 * life
    )
    width = 0.085 + 0.055 * uniform(seed + 11, index)
    for n in index:
        _add_dot(
            image,
            x,
            y,
            spot.x_mm + distance[n] * math.cos(angle[n]),
            spot.y_mm + distance[n] * math.sin(angle[n]),
            width[n],
            peak[n],
        )
    return np.maximum(image, 0.05)


def _add_dot(image: Array, x: Array, y: Array, x_mm: float, y_mm: float, width: float, peak: float) -> None:
    part = _window(x, y, x_mm, y_mm, 3.5 * width)
    if part is not None:
        image[part] += peak * np.exp(-((x[part] - x_mm) ** 2 + (y[part] - y_mm) ** 2) / (2 * width**2))


def _window(x: Array, y: Array, x_mm: float, y_mm: float, reach: float) -> tuple[slice, slice] | None:
    """The part of the grid within `reach` of a place, with room for the warp of the grid; None outside."""
    rows, columns = y.shape
    x0, y0 = float(x.min()), float(y.min())
    step_x, step_y = (float(x.max()) - x0) / max(columns - 1, 1), (float(y.max()) - y0) / max(rows - 1, 1)
    room = reach + 0.3
    left, right = (math.floor((x_mm + s * room - x0) / step_x) for s in (-1, 1))
    low, high = (math.floor((y_mm + s * room - y0) / step_y) for s in (-1, 1))
    if right < 0 or high < 0 or left >= columns or low >= rows:
        return None
    return slice(max(low, 0), high + 2), slice(max(left, 0), right + 2)


def _filaments(
    image: Array, x: Array, y: Array, place: SpotPlace, spot: Spot, seed: int, time_s: float
) -> Array:
    """Paint the filaments from the umbra outwards, so that later heads lie on earlier tails."""
    image = image.copy()
    thickness = spot.outer_mm - spot.umbra_mm
    middle = (spot.umbra_mm + spot.outer_mm) / 2
    count = int(2.6 * 2 * math.pi * middle * thickness / (FILAMENT_MM * 3.2))
    index = np.arange(count)
    draw = [uniform(seed + 20 + n, index) for n in range(9)]
    # Each generation of a filament starts further out and drifts inwards.
    drift = INFLOW_MM_S * time_s / thickness
    depth = 0.92 * draw[0] ** 1.25 - 0.06
    order = np.argsort(depth, kind="stable")
    angle = 2 * math.pi * draw[1]
    length = np.minimum(1.8 + 3.0 * draw[2], 0.85 * thickness)
    width = FILAMENT_MM * (0.55 + 0.75 * draw[3])
    cos, sin = np.cos(angle), np.sin(angle)
    # The ragged borders in the direction of each filament.
    border = place_in_spot(spot.x_mm + cos, spot.y_mm + sin, spot, seed)
    start = border.umbra_mm + (depth - drift) * (border.outer_mm - border.umbra_mm)
    length = np.minimum(length, np.maximum((1.10 + 0.10 * draw[4] - depth) * thickness, 0.5))
    head_x, head_y = spot.x_mm + start * cos, spot.y_mm + start * sin
    twist = 0.20 * smooth_noise(head_x, head_y, 3.2, seed + 30) + 0.09 * (draw[5] - 0.5)
    bend = 0.10 * smooth_noise(head_x, head_y, 1.9, seed + 31) + 0.06 * (draw[6] - 0.5)
    glow = (1.02 - 0.10 * np.clip(depth, 0, 1)) * (0.74 + 0.36 * draw[7])
    beacon = 0.34 * np.exp(-np.clip(depth, 0, 1) / 0.45) * (0.5 + draw[5])
    for n in order:
        direction = angle[n] + twist[n]
        shape = (length[n], width[n], bend[n], glow[n], draw[8][n], beacon[n])
        _paint_filament(image, x, y, (head_x[n], head_y[n], direction), shape)
    return image


def _paint_filament(
    image: Array, x: Array, y: Array, head: tuple[float, float, float], shape: tuple[float, ...]
) -> None:
    """One filament: a bright round head, a tail that thins out, a dark core between bright edges."""
    x_mm, y_mm, direction = head
    length, width, bend, glow, core, head_light = shape
    cos, sin = math.cos(direction), math.sin(direction)
    part = _window(x, y, x_mm + cos * length / 2, y_mm + sin * length / 2, length * (0.5 + abs(bend)) + width)
    if part is None:
        return
    dx, dy = x[part] - x_mm, y[part] - y_mm
    along = (dx * cos + dy * sin) / length
    # Bent as a parabola along its length.
    across = -dx * sin + dy * cos - bend * length * along * np.abs(along)
    inside = np.clip(along, 0, 1)
    half = 0.5 * width * np.sqrt(np.clip((along + 0.03) / 0.07, 0, 1)) * (1 - 0.45 * inside)
    offset = np.abs(across) / np.maximum(half, 1e-3)
    cover = (1 - rise(offset, 0.55, 1.35)) * (half > 0) * np.clip((1 - along) / 0.6, 0, 1)
    light = glow * (0.84 + head_light * np.exp(-(((along * length - 0.10) / 0.28) ** 2)) - 0.18 * inside)
    dark = (
        (0.10 + 0.26 * core)
        * np.exp(-((offset / 0.42) ** 2))
        * rise(along, 0.06, 0.22)
        * (1 - rise(along, 0.7, 1.0))
    )
    image[part] += cover * (light * (1 - dark) - image[part])


def _bridge(
    image: Array, x: Array, y: Array, place: SpotPlace, spot: Spot, seed: int, time_s: float
) -> Array:
    """A light bridge across the umbra: small granules on both sides of a dark central lane."""
    tilt = 2 * math.pi * float(uniform(seed + 60, 0))
    along = (x - spot.x_mm) * math.cos(tilt) + (y - spot.y_mm) * math.sin(tilt)
    across = -(x - spot.x_mm) * math.sin(tilt) + (y - spot.y_mm) * math.cos(tilt) - 0.34 * spot.umbra_mm
    winding = 0.13 * smooth_noise(along, along * 0, 1.5, seed + 61, octaves=2) + 0.05 * smooth_noise(
        x, y, 0.3, seed + 64
    )
    across = across + 0.10 * along**2 / spot.umbra_mm + winding
    half = (
        0.26
        + 0.09 * smooth_noise(x, y, 0.5, seed + 62, octaves=2)
        + 0.10 * np.clip(np.abs(along) / spot.umbra_mm, 0, 1.2) ** 2
    )
    # About half the size of granules outside.
    cells = granulation(2.1 * x, 2.1 * y, seed + 63, time_s=time_s).intensity
    light = 0.70 * cells * (1 - 0.30 * np.exp(-((across / 0.07) ** 2)))
    cover = (1 - rise(np.abs(across), 0.55 * half, 1.5 * half)) * (1 - rise(place.depth, -0.04, 0.10))
    bridged: Array = image + np.clip(cover, 0, 1) * np.maximum(light - image, 0)
    return bridged

"""Two cameras that see the same: known maps between them, spots and granules in closed form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heliorestore.prepare.camera_map import CameraMap, projected

Floats = npt.NDArray[np.float64]


def known_map(
    orientation: Floats,
    wide: tuple[int, int],
    narrow: tuple[int, int],
    *,
    turn=3.3,
    scale=1.02,
    offset=(4.3, -2.6),
) -> CameraMap:
    """Orientation, rotation [degrees] and scale about the middle, and an offset [x, y]."""
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[c, -s], [s, c]]) @ orientation
    middles = [np.array([n[1] - 1, n[0] - 1]) / 2 for n in (wide, narrow)]
    matrix[:2, 2] = middles[1] + offset - matrix[:2, :2] @ middles[0]
    return CameraMap(matrix=matrix, wide_shape=wide, narrow_shape=narrow)


def granules(places: Floats) -> Floats:
    """A scene anywhere (..., [x, y]): waves of 8 to 40 pixels, contrast 15 %, mean near 1000."""
    rng = np.random.default_rng(0)
    angle, wave, phase = 2 * np.pi * rng.random(80), 0.025 + 0.1 * rng.random(80), 2 * np.pi * rng.random(80)
    total = np.zeros(places.shape[:-1])
    for a, w, p in zip(angle, wave, phase, strict=True):
        total += np.cos(2 * np.pi * w * (np.cos(a) * places[..., 0] + np.sin(a) * places[..., 1]) + p)
    return 1000 * (1 + 0.15 * total / 80**0.5 * 2**0.5)


def pixels(shape: tuple[int, int]) -> Floats:
    """The places (y, x, [x, y]) of all pixels."""
    return np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0])), -1).astype(float)


def seen_by(narrow: tuple[int, int], known: CameraMap) -> Floats:
    """The granules on the narrow camera."""
    return granules(projected(np.linalg.inv(known.matrix), pixels(narrow)))


def holes(shape: tuple[int, int], step: float = 28.3) -> Floats:
    """Places (spot, [x, y]) of a grid of pinholes, a little rotated, that covers more than the field."""
    reach = np.arange(-3 * step, max(shape) + 3 * step, step)
    return np.stack(np.meshgrid(reach, reach), -1).reshape(-1, 2) @ np.array(
        [[0.9995, 0.03], [-0.03, 0.9995]]
    )


def spots(
    places: Floats, fluxes: Floats, shape: tuple[int, int], sigma: float = 1.8, noise: float = 5
) -> Floats:
    """An image of Gaussian spots on a background of 20."""
    away = pixels(shape)
    image = np.random.default_rng(3).normal(20, noise, shape)
    for (x, y), flux in zip(places, fluxes, strict=True):
        if -9 < x < shape[1] + 9 and -9 < y < shape[0] + 9:
            part = np.s_[max(0, int(y) - 9) : int(y) + 10, max(0, int(x) - 9) : int(x) + 10]
            image[part] += flux * np.exp(-0.5 * np.square(away[part] - (x, y)).sum(-1) / sigma**2)
    return image


def distance(found: CameraMap, known: CameraMap) -> float:
    """The rms distance over the wide field, in pixels of the narrow camera."""
    assert known.wide_shape is not None
    places = pixels(known.wide_shape)[::16, ::16]
    return float(np.sqrt(np.square(found(places) - known(places)).sum(-1).mean()))

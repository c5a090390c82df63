"""The brightness of the quiet Sun over an image, fitted robustly against spots, faculae and granules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.optics.noise import GAUSSIAN_MAD

Array = npt.NDArray[np.float64]
_DARKEST_MU = 0.05
_SAMPLES = 250_000
_BLOCKS = 12  # along each axis
_CLIP = 3.0  # sigmas
_GRANULAR = 0.15  # relative distance from the first fit up to which a pixel counts in the second


@dataclass(frozen=True, eq=False)
class QuietSun:
    """Brightness of the quiet Sun (y, x) in its unit; `lowest` is the smallest over the largest."""

    brightness: npt.NDArray[np.float32]
    lowest: float


def limb_cosine(header: Mapping[str, Any], shape: tuple[int, int]) -> Array | None:
    """Cosine mu of the heliocentric angle of every pixel (y, x), NaN off the limb; None where the header does
    not give the geometry.

    Needs CRPIX, CDELT in arcsec, CRVAL and the Sun's radius in RSUN_OBS or R_SUN (pixels).
    """
    try:
        step = [float(header[f"CDELT{axis}"]) for axis in (1, 2)]
        reference = [float(header[f"CRPIX{axis}"]) for axis in (1, 2)]
        value = [float(header[f"CRVAL{axis}"]) for axis in (1, 2)]
        radius = float(header["RSUN_OBS"]) if "RSUN_OBS" in header else float(header["R_SUN"]) * abs(step[0])
        angle = math.radians(float(header.get("CROTA2", 0.0)))
        turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        if any(f"PC{i}_{j}" in header for i in (1, 2) for j in (1, 2)):
            # PCi_j acts on pixels, before CDELT scales them: here both are in arcsec, hence the ratio of the
            # steps.
            turn = [
                [float(header.get(f"PC{i}_{j}", i == j)) * step[i - 1] / step[j - 1] for j in (1, 2)]
                for i in (1, 2)
            ]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    units = {str(header.get(f"CUNIT{axis}", "arcsec")).strip().lower() or "arcsec" for axis in (1, 2)}
    ctypes = [str(header.get(f"CTYPE{axis}", name)).strip() for axis, name in ((1, "HPLN"), (2, "HPLT"))]
    solar = all(
        ctype.startswith(name) and not ctype.endswith("-TAB")
        for ctype, name in zip(ctypes, ("HPLN", "HPLT"), strict=True)
    )
    if units != {"arcsec"} or not solar or not radius > 0 or 0 in step:
        return None
    # FITS counts pixels from 1.
    x, y = (step[k] * (np.arange(shape[1 - k]) + 1 - reference[k]) for k in (0, 1))
    east = value[0] + x[None, :] * turn[0][0] + y[:, None] * turn[0][1]
    north = value[1] + x[None, :] * turn[1][0] + y[:, None] * turn[1][1]
    inside = 1 - (east**2 + north**2) / radius**2
    return np.where(inside > 0, np.sqrt(np.clip(inside, 0, None)), np.nan)


def quiet_sun(image: npt.NDArray[np.floating], mu: Array | None = None) -> QuietSun:
    """Fit the quiet Sun in a continuum image (y, x), NaN where bad: a parabola in `mu` where it is known,
    else a plane.

    Least squares on every pixel within three sigmas of the fit. It begins with the bright quarter of each of
    12 x 12 blocks, fitted in the least-modulus sense, which tolerates spots in nearly half of them.
    """
    terms = _plane(image.shape) if mu is None else _parabola(mu)
    # Three coefficients need no more pixels than these, however large the disc.
    stride = max(1, math.isqrt(image.size // _SAMPLES))
    thin = np.s_[::stride, ::stride]
    sampled = image[thin].astype(np.float64)
    usable = np.isfinite(sampled) & (sampled > 0)
    if mu is not None:
        usable &= np.nan_to_num(mu[thin]) > _DARKEST_MU
    if usable.sum() < 16:
        raise BurstError(
            "The continuum image has too few bright pixels to find the level of the quiet Sun: is it a "
            "continuum image?"
        )
    basis = np.stack([term[thin] for term in terms], -1)  # (y, x, term)
    fit = _least_modulus(*_bright_blocks(np.where(usable, sampled, np.nan), basis))
    values, rows = sampled[usable], basis[usable]
    keep = np.abs(values / (rows @ fit) - 1) < _GRANULAR
    for _ in range(8):
        if keep.sum() < 16:
            break
        fit = np.asarray(np.linalg.lstsq(rows[keep], values[keep], rcond=None)[0], np.float64)
        misfit = np.abs(values - rows @ fit)
        sigma = float(np.median(misfit[keep])) / GAUSSIAN_MAD
        # The floor is for images without noise.
        keep = misfit <= max(_CLIP * sigma, 1e-6 * float(values.max()))
    fitted = np.asarray(sum(coefficient * term for coefficient, term in zip(fit, terms, strict=True)))
    # Images are divided by it: a parabola that falls to zero near the limb must not blow them up.
    surface = np.maximum(fitted, 0.05 * fitted.max())
    on_disc = surface[np.isfinite(mu)] if mu is not None else surface
    return QuietSun(surface.astype(np.float32), float(on_disc.min() / on_disc.max()))


def _plane(shape: tuple[int, ...]) -> list[Array]:
    # From -1 to 1, so that the terms are of one size for the least squares.
    y, x = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])[None, :]
    return [np.broadcast_to(term, shape) for term in (np.ones((1, 1)), x, y)]


def _parabola(mu: Array) -> list[Array]:
    # Off the limb too every term needs a number; pixels there have no weight.
    safe = np.clip(np.nan_to_num(mu, nan=_DARKEST_MU), _DARKEST_MU, 1)
    return [np.ones(mu.shape), safe, safe**2]


def _bright_blocks(values: Array, basis: Array) -> tuple[Array, Array]:
    """The 75th percentile of the valid pixels of each block, and the mean of the basis over them."""
    bright, places = [], []
    for rows in np.array_split(np.arange(values.shape[0]), min(_BLOCKS, values.shape[0])):
        for columns in np.array_split(np.arange(values.shape[1]), min(_BLOCKS, values.shape[1])):
            part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            good = np.isfinite(values[part])
            # A block at the limb or in a gap says little of its surroundings.
            if good.mean() > 0.3:
                bright.append(float(np.percentile(values[part][good], 75)))
                places.append(basis[part][good].mean(0))
    if not bright:
        good = np.isfinite(values)
        bright, places = [float(np.percentile(values[good], 75))], [basis[good].mean(0)]
    return np.array(bright), np.array(places)


def _least_modulus(values: Array, basis: Array) -> Array:
    """Coefficients (term) that minimise sum |values - basis c|, by reweighted least squares."""
    weight = np.ones(values.shape)
    for _ in range(30):
        fit = np.linalg.lstsq(basis * weight[:, None], values * weight, rcond=None)[0]
        # w^2 r^2 = |r|: the least squares of this step have the modulus as their loss.
        weight = 1 / np.sqrt(np.maximum(np.abs(values - basis @ fit), 1e-4 * np.abs(values).max()))
    return np.asarray(fit)

"""Stokes profiles of a line that belong to the scene: its brightness, flows and magnetic field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heliorestore.errors import SettingsError
from heliorestore.simulate.lattice import Array
from heliorestore.simulate.magnetic import magnetic_field
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.photosphere import photosphere

_LIGHT_KM_S = 299_792.458


@dataclass(frozen=True, kw_only=True)
class Line:
    """An absorption line: wavelength, effective Lande factor, depth and Gaussian width."""

    wavelength_nm: float
    lande: float
    depth: float
    sigma_pm: float


LINES = {
    "fe-6173": Line(wavelength_nm=617.33, lande=2.5, depth=0.62, sigma_pm=4.6),
    "fe-6302": Line(wavelength_nm=630.25, lande=2.5, depth=0.65, sigma_pm=5.0),
    "ca-8542": Line(wavelength_nm=854.21, lande=1.1, depth=0.80, sigma_pm=22.0),
}


def splitting_pm(line: Line, gauss: Array) -> Array:
    """Zeeman shift of the sigma components: 4.6686e-13 g lambda^2 B with angstrom and gauss, here in pm."""
    angstrom = line.wavelength_nm * 10
    return np.asarray(4.6686e-13 * line.lande * angstrom**2 * gauss * 100)


def stokes(patch: Patch, line: str, offsets_pm: Sequence[float]) -> Array:
    """I, Q, U, V (stokes, wavelength, y, x) in units of the quiet Sun's continuum; offsets count from the
    line's centre.

    Three Gaussian components share the absorption as Seares (1913) has it, doi:10.1086/142067: the weak-field
    relation where the splitting is small, split sigma components where it is not. +Q is the x axis, +V a
    field towards us.
    """
    if line not in LINES:
        raise SettingsError(f"No line is called {line!r}; there are {', '.join(LINES)}.")
    known = LINES[line]
    continuum = photosphere(patch, known.wavelength_nm)
    field = magnetic_field(patch)
    strength = np.sqrt((field**2).sum(0))
    cos = field[2] / np.maximum(strength, 1e-9)
    azimuth = np.arctan2(field[1], field[0])
    shift = splitting_pm(known, strength)
    # Hot gas rises, cool gas sinks; in strong field nothing moves.
    rising = np.clip(3.5 * (continuum - 1), -1.5, 1.5) / (1 + (strength / 800.0) ** 2)
    # Rising gas comes towards us: the line is shifted to the blue.
    centre = -rising / _LIGHT_KM_S * known.wavelength_nm * 1e3
    depth = known.depth * (0.55 + 0.45 * np.clip(continuum, 0, 1)) * continuum
    cube = np.empty((4, len(offsets_pm), *patch.grid))
    for n, offset in enumerate(offsets_pm):
        pi, red, blue = (
            np.exp(-(((offset - centre + s * shift) / known.sigma_pm) ** 2) / 2) for s in (0, -1, 1)
        )
        linear = -depth / 2 * (pi - (red + blue) / 2) * (1 - cos**2)
        cube[0, n] = continuum - depth * (pi * (1 - cos**2) / 2 + (red + blue) * (1 + cos**2) / 4)
        cube[1, n] = linear * np.cos(2 * azimuth)
        cube[2, n] = linear * np.sin(2 * azimuth)
        # A field towards us (cos > 0) has V > 0 in the blue wing.
        cube[3, n] = depth / 2 * (blue - red) * cos
    return cube

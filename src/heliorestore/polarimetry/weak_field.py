"""Magnetic fields from Stokes profiles where the Zeeman splitting is small against the line's width.

V = -C B dI/dlambda with C = 4.6686e-13 g lambda^2 (angstrom, gauss): Landi Degl'Innocenti & Landolfi (2004),
Polarization in Spectral Lines, section 9.6. Standard errors are those of independent noise in the images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heliorestore.errors import SettingsError

Floats = npt.NDArray[np.float64]

_PER_GAUSS = 4.6686e-13  # per gauss and angstrom
_FEWEST = 3  # wavelengths, for a slope


@dataclass(frozen=True, eq=False)
class Field:
    """Maps (y, x) with their standard errors: the line-of-sight field in gauss, positive towards us, None
    with too few wavelengths; linear polarisation sqrt(Q^2 + U^2) / I without the bias of noise, the mean
    over wavelength; and its azimuth in degrees from 0 to 180.
    """

    line_of_sight: Floats | None
    line_of_sight_sigma: Floats | None
    linear: Floats
    linear_sigma: Floats
    azimuth: Floats
    azimuth_sigma: Floats


def weak_field(
    stokes: npt.NDArray[np.floating],
    sigmas: npt.NDArray[np.floating],
    waves_nm: Floats | None,
    lande: float,
) -> Field:
    """The field of I, Q, U, V (stokes, wavelength, y, x) with their sigmas at these wavelengths."""
    if stokes.ndim != 4 or len(stokes) != 4 or sigmas.shape != stokes.shape:
        raise SettingsError(
            "Stokes images have the axes (stokes, wavelength, y, x) and sigmas of the same shape; these have "
            f"{stokes.shape} and {sigmas.shape}."
        )
    if not lande > 0:
        raise SettingsError(f"The Lande factor is {lande:g}; it must be above 0.")
    field: Floats | None = None
    field_sigma: Floats | None = None
    if waves_nm is not None and len(waves_nm) >= _FEWEST:
        field, field_sigma = _line_of_sight(stokes, sigmas, waves_nm, lande)
    return Field(field, field_sigma, *_linear(stokes, sigmas), *_azimuth(stokes, sigmas))


def _line_of_sight(
    stokes: npt.NDArray[np.floating], sigmas: npt.NDArray[np.floating], waves_nm: Floats, lande: float
) -> tuple[Floats, Floats]:
    """Least squares over the wavelengths, each with the weight of its noise."""
    order = np.argsort(waves_nm)
    waves = waves_nm[order] * 10  # angstrom
    intensity, v, sigma = (np.asarray(part[order], np.float64) for part in (stokes[0], stokes[3], sigmas[3]))
    slope = np.gradient(intensity, waves, axis=0)
    per_gauss = -_PER_GAUSS * lande * float(waves.mean()) ** 2 * slope
    weights = 1 / np.maximum(sigma, 1e-30) ** 2
    known = (weights * per_gauss**2).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):  # a flat profile knows no field
        return (weights * per_gauss * v).sum(0) / known, 1 / np.sqrt(known)


def _linear(stokes: npt.NDArray[np.floating], sigmas: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Mean over wavelength of sqrt(Q^2 + U^2 - sigma^2) / I, and its standard error."""
    i, q, u = (np.asarray(stokes[k], np.float64) for k in range(3))
    variance = (np.square(sigmas[1], dtype=np.float64) + np.square(sigmas[2], dtype=np.float64)) / 2
    linear = np.sqrt(np.maximum(q**2 + u**2 - variance, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative, sigma = linear / i, np.sqrt(variance) / np.abs(i)
    return relative.mean(0), np.sqrt(np.square(sigma).sum(0)) / len(i)


def _azimuth(stokes: npt.NDArray[np.floating], sigmas: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Half the angle of (Q, U), of the wavelength at which they are strongest, and its standard error."""
    q, u = (np.asarray(stokes[k], np.float64) for k in (1, 2))
    strength = np.hypot(q, u)
    best = np.expand_dims(strength.argmax(0), 0)
    q, u, strength, one, other = (
        np.take_along_axis(np.asarray(part, np.float64), best, 0)[0]
        for part in (q, u, strength, sigmas[1], sigmas[2])
    )
    azimuth = np.degrees(np.arctan2(u, q) / 2) % 180
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = np.degrees(np.sqrt((u * one) ** 2 + (q * other) ** 2) / strength**2 / 2)
    return azimuth, np.minimum(np.nan_to_num(sigma, nan=90.0, posinf=90.0), 90.0)

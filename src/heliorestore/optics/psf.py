"""Point spread functions of a telescope without an atmosphere, in closed form."""

from __future__ import annotations

import math

import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import RADIAN_ARCSEC, Instrument


def telescope_psf(
    instrument: Instrument,
    shape: tuple[int, int],
    *,
    oversampling: int = 1,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """PSF (y, x) of unit sum, its peak in pixel [0, 0] and wrapped around, as an FFT wants it.

    `oversampling` grid pixels make one pixel of the instrument.
    """
    known = instrument.require()
    assert known.diameter_m
    assert known.wavelength_nm
    assert known.pixel_arcsec  # `require` has checked; this tells mypy
    pixel_rad = known.pixel_arcsec / oversampling / RADIAN_ARCSEC
    y, x = (torch.fft.fftfreq(n, d=1 / n, device=device, dtype=torch.float64) for n in shape)
    radius = torch.hypot(y[:, None], x[None, :]) * (math.pi * known.diameter_m * pixel_rad / (known.wavelength_nm * 1e-9))
    psf = wachter(radius) if known.psf == "wachter" else airy(radius, known.obscuration_m / known.diameter_m)
    return (psf / psf.sum()).to(dtype)


def airy(radius: torch.Tensor, obscuration: float = 0.0) -> torch.Tensor:
    """Intensity of a circular aperture at r = pi D theta / lambda, 1 in the centre; `obscuration` is D2/D.

    ((J(r) - e^2 J(e r)) / (1 - e^2))^2 with J(r) = 2 J1(r)/r.
    """
    if not 0 <= obscuration < 1:
        raise SettingsError(f"The central obscuration is {obscuration} of the aperture; it must be at least 0 and below 1.")
    amplitude = _jinc(radius) - obscuration**2 * _jinc(obscuration * radius)
    return (amplitude / (1 - obscuration**2)) ** 2


def wachter(radius: torch.Tensor, *, wings: float = 0.1, slope: float = 3.0, core: float = 2.0, reach: float = 3.4) -> torch.Tensor:
    """HMI's PSF at r = pi D theta / lambda: a Gaussian core and stray-light wings, 1 in the centre.

    (1 - e) exp(-(r/w)^2) + e / (1 + (r/W)^k); Wachter et al. (2012), doi:10.1007/s11207-011-9842-6,
    with the constants of Diaz Baso & Asensio Ramos (2018), doi:10.1051/0004-6361/201731344.
    """
    return (1 - wings) * torch.exp(-((radius / core) ** 2)) + wings / (1 + (radius / reach) ** slope)


def _jinc(r: torch.Tensor) -> torch.Tensor:
    """2 J1(r)/r, 1 at r = 0."""
    safe = torch.where(r == 0, torch.ones_like(r), r)
    return torch.where(r == 0, torch.ones_like(r), 2 * torch.special.bessel_j1(safe) / safe)

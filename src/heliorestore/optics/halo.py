"""The light that the modes leave out: turbulence finer than the last mode scatters it into a halo that no
fitted wavefront can produce.

Its mean transfer function exp(-D(lambda u)/2) multiplies those of the fitted wavefronts, as in the
reconstruction of the PSFs of adaptive optics (Veran et al. 1997, doi:10.1364/JOSAA.14.003057). D is the
structure function of the modes left out, averaged over the aperture. Without this factor the fit
imitates the halo with low modes that are not there.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from heliorestore.optics.modes import MOST_MODES, Basis, make_basis, noll_residual
from heliorestore.optics.pupil import Aperture, FloatArray, pupil_coordinates, transmission

_PUPIL_PX = 64  # across the aperture, where structure functions are sampled
_MODES = 300  # of the sum over the modes left out


def halo_transfer(basis: Basis, d_over_r0: float, phase_scale: float, v: torch.Tensor) -> torch.Tensor:
    """Mean transfer function of the turbulence beyond the modes of `basis`, at frequencies v in units of the
    cut-off.

    `phase_scale` is the reference wavelength over the object's: phases, not wavefronts, scatter light.
    """
    distances, structure = _structure(basis.aperture, basis.count)
    # Variances go as (D/r0)^(5/3), and phases as the inverse wavelength.
    power = d_over_r0 ** (5 / 3) * phase_scale**2
    # At the frequency u two points of the aperture lambda u apart interfere: v is that distance in
    # diameters.
    values = np.exp(-0.5 * power * np.interp(v.cpu().double().numpy(), distances, structure))
    return torch.from_numpy(values).to(v)


def mode_blur(basis: Basis, variances: FloatArray, phase_scale: float, v: torch.Tensor) -> torch.Tensor:
    """Mean transfer function of modes that scatter by `variances` (mode) in rad^2 around the fitted ones, at
    frequencies v in units of the cut-off.

    exp(-1/2 sum_j V_j D_j), with D_j the structure function of mode j at unit variance.
    """
    distances, structures = _structures(basis)
    values = np.exp(
        -0.5 * phase_scale**2 * np.interp(v.cpu().double().numpy(), distances, variances @ structures)
    )
    return torch.from_numpy(values).to(v)


@functools.lru_cache(maxsize=8)
def _structure(aperture: Aperture, count: int) -> tuple[FloatArray, FloatArray]:
    """Distances in diameters, structure function of what the first modes leave, rad^2 at D/r0 = 1."""
    # Of many fitted modes as many again are summed one by one: the strongest are those that come next.
    many = max(_MODES, min(2 * count, MOST_MODES))
    basis = make_basis(many, aperture)
    distances, structures = _structures(basis)
    # Modes beyond the last one vary over less than any distance here: their structure function is twice their
    # variance.
    beyond = np.where(distances > 0, 2 * noll_residual(many + 1), 0.0)
    return distances, basis.variances[count:] @ structures[count:] + beyond


@functools.lru_cache(maxsize=8)
def _structures(basis: Basis) -> tuple[FloatArray, FloatArray]:
    """Distances in diameters, and structure functions (mode, distance) of unit modes, aperture mean."""
    axis = pupil_coordinates(_PUPIL_PX)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    open_ = transmission(basis.aperture, _PUPIL_PX)
    # Twice the pupil, so that displaced apertures do not wrap around.
    size = 2 * _PUPIL_PX
    open_spectrum = np.fft.rfft2(open_, (size, size))
    overlap = np.fft.irfft2(np.abs(open_spectrum) ** 2, (size, size))
    shift = np.fft.fftfreq(size, 1 / size) / _PUPIL_PX
    distance = np.hypot(shift[:, None], shift[None, :])
    seen = overlap > 0.02 * overlap.max()  # where less of the apertures overlaps the mean says nothing
    edges = np.linspace(0, 1, _PUPIL_PX // 2 + 1)
    # It counts from 1; what lies outside all rings is dropped with the first and the last number.
    ring = np.digitize(distance[seen], edges)
    counts = np.bincount(ring, minlength=edges.size + 1)[1:-1]
    full = counts > 0
    structures = np.zeros((basis.count, 1 + int(full.sum())))
    for number, mode in enumerate(basis.sample(y, x)):
        # The coefficients of KL modes are uncorrelated: of the functions U_ij of Veran et al. only i = j
        # remain.
        square = np.fft.rfft2(open_ * mode**2, (size, size))
        product = np.fft.rfft2(open_ * mode, (size, size))
        # Sums over the overlap of f(x)^2 - f(x) f(x + r); with -r they give the square of the
        # difference.
        correlation = np.fft.irfft2(square * open_spectrum.conj() - np.abs(product) ** 2, (size, size))
        # The mean over the overlap of (f(x) - f(x + r))^2, the same for r and -r.
        both = correlation + np.roll(np.flip(correlation), (1, 1), (0, 1))
        sums = np.bincount(ring, both[seen] / overlap[seen], minlength=edges.size + 1)[1:-1]
        structures[number, 1:] = sums[full] / counts[full]
    return np.concatenate([[0.0], ((edges[:-1] + edges[1:]) / 2)[full]]), structures

"""The light that the modes leave out: turbulence finer than the last mode scatters it into a halo that no
fitted wavefront can produce.

Its mean transfer function exp(-D(lambda u)/2) multiplies those of the fitted wavefronts, as in the
reconstruction of the PSFs of adaptive optics (Veran et al. 1997, doi:10.1364/JOSAA.14.003057). D is the
structure function of the modes left out, averaged over the aperture. Without this factor the fit imitates the
halo with low modes that are not there.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from heliorestore.optics.modes import MOST_MODES, Basis, make_basis, noll_residual
from heliorestore.optics.pupil import Aperture, FloatArray, pupil_coordinates, transmission

_PUPIL_PX = 64
_MODES = 300  # of the sum over the modes left out


def halo_transfer(basis: Basis, d_over_r0: float, phase_scale: float, v: torch.Tensor) -> torch.Tensor:
    """Mean transfer function of the turbulence beyond the modes of `basis`, at frequencies v in units of the
    cut-off.

    `phase_scale` is the reference wavelength over the object's: phases, not wavefronts, scatter light.
    """
    distances, structure = _structure(basis.aperture, basis.count)
    # Variances go as (D/r0)^(5/3), and phases as the inverse wavelength.
    power = d_over_r0 ** (5 / 3) * phase_scale**2
    values = np.exp(-0.5 * power * np.interp(v.double().cpu().numpy(), distances, structure))
    return torch.from_numpy(values).to(v)


@functools.lru_cache(maxsize=8)
def _structure(aperture: Aperture, count: int) -> tuple[FloatArray, FloatArray]:
    """Distances in diameters, and the structure function of what the first `count` modes leave, in rad^2 at
    D/r0 = 1.
    """
    many = max(_MODES, min(2 * count, MOST_MODES))
    basis = make_basis(many, aperture)
    axis = pupil_coordinates(_PUPIL_PX)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    open_ = transmission(aperture, _PUPIL_PX)
    # Twice the pupil, so that displaced apertures do not wrap around.
    size = 2 * _PUPIL_PX
    open_spectrum = np.fft.rfft2(open_, (size, size))
    overlap = np.fft.irfft2(np.abs(open_spectrum) ** 2, (size, size))
    total = np.zeros((size, size))
    for mode, variance in zip(basis.sample(y, x)[count:], basis.variances[count:], strict=True):
        # The coefficients of KL modes are uncorrelated: of the functions U_ij of Veran et al. only i = j
        # remain.
        square = np.fft.rfft2(open_ * mode**2, (size, size))
        product = np.fft.rfft2(open_ * mode, (size, size))
        correlation = np.fft.irfft2(square * open_spectrum.conj() - np.abs(product) ** 2, (size, size))
        # The mean over the overlap of (f(x) - f(x + r))^2, the same for r and -r.
        total += variance * (correlation + np.roll(np.flip(correlation), (1, 1), (0, 1)))
    shift = np.fft.fftfreq(size, 1 / size) / _PUPIL_PX
    distance = np.hypot(shift[:, None], shift[None, :])
    seen = overlap > 0.02 * overlap.max()  # where the apertures overlap less, the mean is unreliable
    left = np.divide(total, overlap, out=np.zeros_like(total), where=seen)
    edges = np.linspace(0, 1, _PUPIL_PX // 2 + 1)
    ring = np.digitize(distance[seen], edges)
    counts = np.bincount(ring, minlength=edges.size + 1)[1:-1]
    means = np.bincount(ring, left[seen], minlength=edges.size + 1)[1:-1] / np.maximum(counts, 1)
    centres, full = (edges[:-1] + edges[1:]) / 2, counts > 0
    # Modes beyond the last one vary over less than any distance here, so their structure function is twice
    # their variance.
    return np.concatenate([[0.0], centres[full]]), np.concatenate(
        [[0.0], means[full] + 2 * noll_residual(many + 1)]
    )

"""What a frame has besides the blurred object: photon noise, a smooth error of the flux, and what the model
leaves out.

A frame is d = s (1 + f(x)) F o + n with an f that varies over tens of pixels: flat fields, thin clouds and
stray light leave one. Averaged over f, the misfit is weighted by 1/N(k) with N the power of f on top of that
of the noise. The scales of f then no longer pull at the wavefronts: fine structure determines those as well,
and a fit that explains a flux error by wavefronts gets the contrast wrong by a factor of two or three.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from heliorestore.optics.filters import cosines, filter_grid, filtered, frequency

BINS = 64
"""Rings of frequency up to Nyquist's; the last one holds the corners too."""

# Power at k = 0 that f is given, in all bursts alike: as of several per cent rms on 10 px. To measure it
# would let the fit give up whatever it does not explain yet; large scales that are not needed cost nothing.
_FLUX = 0.2
_SCALE = 0.033  # of the diffraction limit: the width of its spectrum
_FREE = 0.25  # of the diffraction limit: N is measured beyond it
_LAST = 0.95  # of the diffraction limit


@dataclass(frozen=True, eq=False)
class Noise:
    """Power of the noise per pixel at a frequency k in cycles per pixel: N(k) = level + flux(k).

    `level` (object) is that of photons and of what the model leaves out, `limits` (object) are the
    diffraction limits.
    """

    level: torch.Tensor
    limits: torch.Tensor

    @property
    def rms(self) -> torch.Tensor:
        """Of the level, over the objects."""
        return self.level.mean().sqrt()

    def at(self, frequencies: torch.Tensor) -> torch.Tensor:
        """N (object, ...) at frequencies (...)."""
        level, limits = (part.reshape(-1, *[1] * frequencies.ndim) for part in (self.level, self.limits))
        return level + flux_power(frequencies / limits)

    def flux_error(self, residual: torch.Tensor) -> torch.Tensor:
        """The smooth error of the flux that residuals (object, frame, y, x) show, of images around 1: what is
        left of them with every frequency times 1 - level / N.
        """
        frequencies = frequency(filter_grid((residual.shape[-2], residual.shape[-1])), device=residual.device)
        return filtered(residual, (1 - self.level[:, None, None] / self.at(frequencies))[:, None])


def flux_power(v: torch.Tensor) -> torch.Tensor:
    """Power per pixel that a smooth error of the flux is expected to have, at frequencies v in units of the
    diffraction limit.
    """
    power: torch.Tensor = _FLUX * torch.exp(-0.5 * (v / _SCALE).square())
    return power


def beyond_flux(v: torch.Tensor) -> torch.Tensor:
    """Where structure is finer than the flux error, a mask of frequencies v in units of the diffraction
    limit.
    """
    beyond: torch.Tensor = v > _FREE
    return beyond


def radial_power(images: torch.Tensor) -> torch.Tensor:
    """Mean power per pixel (object, ring) of images (object, frame, y, x), mirrored at the borders."""
    rows, columns = images.shape[-2:]
    # The spectrum of a mirrored image is its cosine transform; one image at a time, for fields are large.
    power = images.new_zeros(len(images), rows, columns)
    for image in images.unbind(1):
        power.addcmul_(*[cosines(cosines(image).mT).mT] * 2, value=4 / (rows * columns * images.shape[1]))
    # Waves along an axis have no nodes along the other: noise of the same variance is twice as strong there.
    power[:, 0, :] /= 2
    power[:, :, 0] /= 2
    # A spectrum has frequencies along y of both signs, and of 0 one.
    signs = power.new_full((rows, columns), 2.0)
    signs[0] = 1.0
    ring = (frequency((2 * rows, 2 * columns), device=images.device)[:rows, :columns] * 2 * BINS).int()
    ring = ring.clamp_(max=BINS - 1).flatten()
    sums: torch.Tensor = power.new_zeros(len(power), BINS).index_add_(1, ring, (power * signs).flatten(1))
    counts = power.new_zeros(BINS).index_add_(0, ring, signs.flatten())
    means: torch.Tensor = sums / counts.clamp(min=1)
    return means


def measured_level(power: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """Mean power (object) of radial power (object, ring) between the flux error and the diffraction limit.

    The mean square of a residual would be too low: two thirds of a pixel's noise lie beyond the limit, where
    nothing is fitted.
    """
    middle = (torch.arange(BINS, device=power.device) + 0.5) / (2 * BINS)
    v = middle / limits[:, None]
    # A ring has as many frequencies as it is long.
    weights = middle * (beyond_flux(v) & (v < _LAST))
    return (power * weights).sum(1) / weights.sum(1)

"""Two telescopes look at one scene: HMI, and one of twice its aperture with pixels of half the size.

Both images are kept on a grid of four samples per HMI pixel, from which registered pairs are cut without
interpolation: samples 4i + 1 and 4i + 3 are the output pixels that lie within the input pixel centred on
sample 4i + 2.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.errors import BurstError
from heliorestore.instrument import KNOWN
from heliorestore.optics.psf import resampled, sampled_psf, telescope_psf

HMI = KNOWN["hmi-6173"]
TWICE = dataclasses.replace(HMI, name="twice HMI's aperture", diameter_m=0.28, pixel_arcsec=0.252, psf="airy")
SAMPLES = 4  # per HMI pixel
_GRID_ARCSEC = 0.504 / SAMPLES


@dataclass(frozen=True, eq=False)
class Views:
    """A scene by HMI (`low`) and twice its aperture (`high`), (y, x) at four samples per HMI pixel."""

    name: str
    low: torch.Tensor
    high: torch.Tensor

    @property
    def room(self) -> tuple[int, int]:
        """Numbers of HMI pixels that fit along y and x, from whichever sample the cut starts."""
        rows, columns = self.low.shape
        return (rows - SAMPLES) // SAMPLES, (columns - SAMPLES) // SAMPLES

    def cut(self, row: int, column: int, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Input (y, x) of `size` HMI pixels from the sample (row, column) on, and its target (2 y, 2 x)."""
        rows, columns = (SAMPLES * n for n in size)
        part = slice(row, row + rows), slice(column, column + columns)
        return self.low[part][2::SAMPLES, 2::SAMPLES], self.high[part][1::2, 1::2]

    def whole(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest pair."""
        return self.cut(0, 0, self.room)


MeasuredPsf = tuple[npt.NDArray[np.float64], float]
"""A PSF (y, x) of HMI and its pixel in arcsec."""


def observe(
    name: str, scene: npt.NDArray[np.floating], pixel_arcsec: float, psf: str | MeasuredPsf = HMI.psf
) -> Views:
    """Look at a scene (y, x) with both telescopes, with one of HMI's PSFs; its mirror images surround it.

    The point-spread functions hold for the centres of the pixels: the constants of HMI's were chosen so that
    simulations have the power spectrum of HMI images with all that the detector does (Diaz Baso & Asensio
    Ramos 2018, section 2.6).
    """
    if scene.ndim != 2 or not np.isfinite(scene).all():
        raise BurstError(f"The scene {name} has the shape {scene.shape} and must be one image without NaN.")
    shape = tuple(round(n * pixel_arcsec / _GRID_ARCSEC) for n in scene.shape)
    if min(shape) < 2 * SAMPLES:
        raise BurstError(
            f"The scene {name} has {scene.shape} pixels of {pixel_arcsec} arcsec: it is smaller "
            "than two HMI pixels."
        )
    # Mirrored to twice the size, the scene is periodic without a jump at its borders.
    mirrored = torch.from_numpy(
        np.pad(scene.astype(np.float64), [(0, n) for n in scene.shape], mode="symmetric")
    )
    spectrum = torch.fft.rfft2(mirrored, norm="forward")
    views = []
    size = (mirrored.shape[0], mirrored.shape[1])
    # On the scene's own pixels, which are finer than the telescope resolves.
    kernels = [
        sampled_psf(*psf, size, pixel_arcsec)
        if isinstance(psf, tuple)
        else telescope_psf(dataclasses.replace(HMI, psf=psf, pixel_arcsec=pixel_arcsec), size),
        telescope_psf(dataclasses.replace(TWICE, pixel_arcsec=pixel_arcsec), size),
    ]
    for kernel in kernels:
        blurred = resampled(
            spectrum * torch.fft.rfft2(kernel.double()), mirrored.shape[1], (2 * shape[0], 2 * shape[1])
        )
        views.append(blurred[: shape[0], : shape[1]].float().contiguous())
    return Views(name, *views)

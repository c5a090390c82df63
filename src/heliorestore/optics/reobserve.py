"""A restored image seen again through its telescope: structure is real as far as both agree."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.instrument import Instrument, KnownInstrument
from heliorestore.optics.psf import telescope_psf

_MARGIN = 32  # observed pixels, mirrored around the image
_GRID = 1024
_STEPS = 12  # of the grid per lambda/D
_PARTS = 16
_WEAKEST = 0.02  # of the restored image's transfer function


def radial_otf(instrument: Instrument, frequency: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Modulation transfer of the telescope's closed-form PSF at frequencies in cycles per arcsec."""
    known = instrument.require()
    sampled, transfer = _profile(dataclasses.replace(known, pixel_arcsec=known.resolution_arcsec / _STEPS))
    transferred: npt.NDArray[np.float64] = np.interp(frequency, sampled, transfer, right=0.0)
    return transferred


@lru_cache(maxsize=16)
def _profile(instrument: KnownInstrument) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    psf = telescope_psf(instrument, (_GRID, _GRID), dtype=torch.float64)
    # One row is enough: the PSF is round, so its transfer is real and the same in all directions.
    transfer = torch.fft.rfft2(psf)[0].real.numpy()
    return np.asarray(np.fft.rfftfreq(_GRID, instrument.pixel_arcsec), np.float64), transfer


def twice_the_aperture(instrument: Instrument) -> KnownInstrument:
    """A perfect telescope of twice the diameter, with half the pixels."""
    known = instrument.require()
    return dataclasses.replace(
        known,
        name=f"twice {known.name}",
        diameter_m=2 * known.diameter_m,
        obscuration_m=0.0,
        pixel_arcsec=known.pixel_arcsec / 2,
        psf="airy",
    )


def reobserved(image: npt.NDArray[np.floating], instrument: Instrument) -> npt.NDArray[np.float32]:
    """The image (2 y, 2 x) of a telescope of twice the aperture as `instrument` sees it (y, x); NaN where a
    pixel is.

    Its transfer function is divided by the finer telescope's; a pixel is sampled at its centre, the corner of
    four finer ones.
    """
    holes = ~np.isfinite(image)
    filled = np.where(holes, np.nanmean(image) if not holes.all() else 0.0, image)
    fine_margin = [(min(2 * _MARGIN, n),) * 2 for n in image.shape]
    padded = torch.from_numpy(np.pad(filled.astype(np.float32), fine_margin, mode="symmetric"))
    rows, columns = padded.shape
    pixel_arcsec = instrument.require().pixel_arcsec / 2
    spectrum = torch.fft.rfft2(padded)
    fx = np.fft.rfftfreq(columns, pixel_arcsec)[None, :]
    for part in np.array_split(np.arange(rows), min(_PARTS, rows)):  # a full disc is large
        fy = np.fft.fftfreq(rows, pixel_arcsec)[part, None]
        frequency = np.hypot(fy, fx)
        ratio = radial_otf(instrument, frequency) / np.maximum(
            radial_otf(twice_the_aperture(instrument), frequency), _WEAKEST
        )
        # Half a fine pixel along both axes: from the centre of a fine pixel to the corner where four of them
        # meet.
        to_centre = np.exp(1j * np.pi * pixel_arcsec * (fy + fx))
        spectrum[part[0] : part[-1] + 1] *= torch.from_numpy((ratio * to_centre).astype(np.complex64))
    seen = torch.fft.irfft2(spectrum, s=(rows, columns)).numpy()
    first = [side for side, _ in fine_margin]
    result: npt.NDArray[np.float32] = seen[
        first[0] : first[0] + image.shape[0] : 2, first[1] : first[1] + image.shape[1] : 2
    ].copy()
    result[holes[::2, ::2]] = np.nan
    return result

"""The PSF of a result at one place, with the halo beyond the fitted modes, its Strehl ratio and width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import FloatArray
from heliorestore.diagnose.fitted_air import fitted_wavefronts
from heliorestore.errors import RestorationError
from heliorestore.instrument import Instrument
from heliorestore.methods.blind.settings import ASSUMED_R0_CM, BlindSettings
from heliorestore.methods.blind.wavefronts import make_wavefronts, modes_at
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.optics.filters import filtered, frequency
from heliorestore.optics.modes import Basis
from heliorestore.optics.psf import Optics, psf
from heliorestore.optics.pupil import cutoff
from heliorestore.snapshot import Snapshot

_ACROSS = 96  # pixels of the shown wavefront
_FINER = 4  # pixels of the shown PSF per pixel of the detector


@dataclass(frozen=True, eq=False)
class ProbedPsf:
    """A PSF (y, x) of unit sum with its centre in pixel [n // 2, n // 2], on pixels of `pixel_arcsec`.

    `strehl` is its peak over that of the telescope alone, `fwhm_arcsec` the diameter of a circle as large as
    the area above half of the peak, `limit_arcsec` the first dark ring's radius without aberrations, 1.22
    lambda/D. `wavefront` (y, x) is what was fitted, in radian at `wavelength_nm`, that of the first object,
    over the aperture, without the tilts, which only move the image; NaN where the aperture is closed.
    """

    image: FloatArray
    pixel_arcsec: float
    strehl: float
    fwhm_arcsec: float
    limit_arcsec: float
    wavefront: FloatArray
    wavelength_nm: float

    @property
    def wavefront_rms(self) -> float:
        """In radian, over the aperture."""
        return float(np.nanstd(self.wavefront))


def probe(
    snapshot: Snapshot, settings: BlindSettings, place: tuple[float, float], frame: int, object_: int = 0
) -> ProbedPsf:
    """The PSF of a frame and an object at a place (y, x) in pixels of the snapshot's images.

    Between the centres of the patches of `momfbd` the modes are interpolated.
    """
    if snapshot.run is None or "modes" not in snapshot.maps:
        raise RestorationError("This result has no mode maps, so its PSFs are unknown.")
    maps = snapshot.maps["modes"]
    if maps.step is None:
        raise RestorationError("This result does not record where the nodes of its mode maps are.")
    # So the maps mark frames that were left out.
    if np.isnan(maps.array[frame]).any():
        raise RestorationError("This frame was left out of the restoration, so its PSFs are unknown.")
    instruments = snapshot.run.instruments
    defocus = settings.defocus(len(instruments)) or (0.0,) * len(instruments)
    size = settings.psf if isinstance(settings, SvMomfbdSettings) else settings.patch
    every, peak = _optics(instruments, defocus, object_, settings.modes, size)
    optics = every[object_]
    wavefronts = fitted_wavefronts(snapshot, settings)
    v = torch.stack([(frequency((o.size, o.size)) / cutoff(o.instrument)).clamp(max=1) for o in every])
    halo = wavefronts.remainders(v)[object_] if wavefronts.blurs else torch.ones_like(v[object_])
    modes = torch.from_numpy(maps.array[frame : frame + 1].copy())
    # From pixels of the images to numbers of nodes.
    at = tuple((p - first) / step for p, first, step in zip(place, maps.first, maps.step, strict=True))
    # The halo multiplies the transfer function: the mean over turbulence that no mode describes.
    coefficients = modes_at(modes, 1, [(at[0], at[1])])[0, :, 0]
    image = _seen(optics, halo, coefficients)
    pixel = optics.instrument.pixel_arcsec
    # On the fine pixels: on the detector's a width would be a few whole numbers.
    area = float((image >= image.max() / 2).sum()) * pixel**2
    return ProbedPsf(
        image=np.asarray(image),
        pixel_arcsec=pixel,
        strehl=float(image.max()) / peak,
        fwhm_arcsec=2 * math.sqrt(area / math.pi),
        limit_arcsec=1.22 * optics.instrument.resolution_arcsec,
        wavefront=_wavefront(wavefronts.basis, coefficients.numpy()),
        wavelength_nm=every[0].instrument.wavelength_nm,
    )


def _wavefront(basis: Basis, coefficients: FloatArray) -> FloatArray:
    """The sum (y, x) of all modes but the tilts, which are the first two."""
    shapes, is_open = _shapes(basis)
    total: FloatArray = np.tensordot(coefficients[2:], shapes[2:], 1).astype(np.float32)
    total[~is_open] = np.nan
    return total


@lru_cache(maxsize=2)
def _shapes(basis: Basis) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """The modes (mode, y, x) over a square around the aperture, and where it is open."""
    y, x = (np.indices((_ACROSS, _ACROSS)) - (_ACROSS - 1) / 2) * 2 / _ACROSS
    return basis.sample(y, x).astype(np.float32), basis.aperture.covers(y, x)


@lru_cache(maxsize=4)
def _optics(
    instruments: tuple[Instrument, ...], defocus: tuple[float, ...], object_: int, modes: int, size: int
) -> tuple[list[Optics], float]:
    """Optics with fine pixels of all objects, and the peak of the telescope's own PSF for one, in focus."""
    # As many more pixels as they are smaller: the pupil is sampled as in the restoration.
    every, sharp = (
        make_wavefronts(instruments, modes, ASSUMED_R0_CM, waves, torch.device("cpu")).optics(
            _FINER * size, zoom=1 / _FINER
        )
        for waves in (defocus, (0.0,) * len(instruments))
    )
    return every, float(psf(sharp[object_], torch.zeros(1)).max())


def _seen(optics: Optics, halo: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    return filtered(psf(optics, coefficients), halo, "periodic")


def psfs_at(
    modes: torch.Tensor,
    step: int,
    instruments: Sequence[Instrument],
    places: Sequence[tuple[float, float]],
    *,
    object_: int = 0,
    size: int = 96,
) -> torch.Tensor:
    """PSFs (frame, place, y, x) at places (y, x) in pixels, from SV-MOMFBD's mode maps (frame, mode, gy, gx)
    in radian.

    The maps' nodes are at every `step` pixels from pixel 0 on (the setting grid_step), linear in between.
    These are the PSFs of the fitted wavefronts, without the halo of the turbulence beyond the modes.
    """
    wavefronts = make_wavefronts(
        instruments, modes.shape[1], ASSUMED_R0_CM, (0.0,) * len(instruments), modes.device
    )
    found = modes_at(modes, step, places)
    return psf(wavefronts.optics(size)[object_], found.movedim(1, -1))

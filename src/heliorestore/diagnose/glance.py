"""A quick preview of the effect of the object's settings, long before an iteration can show it.

To first order the objects of eq. 17 of Asensio Ramos (2024) are, at each frequency, the data over S + lambda
P, with S the summed squared transfer functions of the frames and P the penalty's: another lambda multiplies
them by a ratio of two numbers. S is the field's mean, an approximation: the next iteration will differ there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import FloatArray
from heliorestore.diagnose.fitted_air import fitted_wavefronts
from heliorestore.instrument import Instrument
from heliorestore.methods.blind.settings import ASSUMED_R0_CM
from heliorestore.methods.blind.wavefronts import Wavefronts, make_wavefronts
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.optics.filters import filter_grid, filtered, flat_top, frequency
from heliorestore.optics.psf import Optics, psf
from heliorestore.optics.pupil import cutoff
from heliorestore.snapshot import Snapshot

KNOBS = ("lambda_object", "filter_width", "filter_smoothness")
_PSF, _NODES, _FRAMES, _BINS = 64, 2, 6, 48  # enough for a mean over the field
# of frequency from 0 to the grid's corner: what depends on its modulus is computed once for each
_RINGS, _LARGEST = 8192, 0.5**0.5
_LEAST = 0.05  # lower limit of the old filter where it is divided out
# largest gain: only an iteration can recover what was damped further, a glance would amplify its noise
_MOST = 4.0


@dataclass(frozen=True)
class Knob:
    """The values of `KNOBS` that an image was made with."""

    lambda_object: float
    filter_width: float
    filter_smoothness: float


def knob_of(settings: SvMomfbdSettings) -> Knob:
    """The values in the settings."""
    return Knob(*(float(getattr(settings, name)) for name in KNOBS))


def knob_behind(snapshot: Snapshot) -> Knob | None:
    """The values of the last iteration; None if they did not act on the images, as on patches."""
    if "residual" not in snapshot.maps or any(name not in snapshot.history for name in KNOBS):
        return None
    return Knob(*(float(snapshot.history[name][-1]) for name in KNOBS))


def glance(snapshot: Snapshot, settings: SvMomfbdSettings) -> FloatArray:
    """The snapshot's images (object, y, x) approximately as they would be with these settings."""
    before, after = knob_behind(snapshot), knob_of(settings)
    if before is None or before == after or snapshot.run is None:
        return snapshot.images
    rows, columns = snapshot.images.shape[-2:]
    rings, penalised = _geometry((rows, columns))
    radii = torch.arange(_RINGS + 1) * (_LARGEST / _RINGS)
    grid = filter_grid((rows, columns))
    # of mirrored images the cosine transform asks for no other frequencies
    transfer = torch.empty(grid[0], grid[1] // 2 + 1)
    shown = np.empty_like(snapshot.images)
    # The settings decide which optics; the tensors of another device are not asked for.
    wavefronts = fitted_wavefronts(snapshot, settings)
    all_optics = _optics(snapshot.run.instruments, wavefronts.count)
    for object_, optics in enumerate(all_optics):
        limit = cutoff(optics.instrument)
        seen = _summed(wavefronts, all_optics, object_, snapshot.maps["modes"].array)
        edges = torch.linspace(0, 1, len(seen)) * limit
        # The small number keeps frequencies beyond the cut-off from dividing by 0.
        total = torch.from_numpy(np.interp(radii.numpy(), edges.numpy(), seen)).float()[rings] + 1e-3
        old, new = (
            flat_top(radii, limit, width=k.filter_width, smoothness=k.filter_smoothness)
            for k in (before, after)
        )
        ratio = (total + before.lambda_object * penalised) / (total + after.lambda_object * penalised)
        ratio = (ratio * (new / old.clamp(min=_LEAST))[rings]).clamp(max=_MOST)
        # The filter must not change the mean.
        transfer[:rows, :columns] = ratio / ratio[0, 0]
        shown[object_] = filtered(torch.from_numpy(snapshot.images[object_].copy()), transfer).numpy()
    return shown


@lru_cache(maxsize=2)
def _geometry(shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The ring and the squared transfer function of Sobel's two derivatives at every frequency (ky, kx) that
    the cosine transform of an image of that shape has.
    """
    grid = filter_grid(shape)
    part = (slice(shape[0]), slice(shape[1]))
    rings = (frequency(grid)[part] * (_RINGS / _LARGEST)).round().int()
    return rings, _sobel(grid)[part].contiguous()


@lru_cache(maxsize=4)
def _optics(instruments: tuple[Instrument, ...], modes: int) -> list[Optics]:
    any_air = make_wavefronts(
        instruments, modes, ASSUMED_R0_CM, (0.0,) * len(instruments), torch.device("cpu")
    )
    return any_air.optics(_PSF)


def _summed(
    wavefronts: Wavefronts, all_optics: list[Optics], object_: int, modes: FloatArray
) -> npt.NDArray[np.float64]:
    """|OTF|^2 at frequencies from 0 to the cut-off, summed over frames, averaged over angle and nodes."""
    modes = modes[np.isfinite(modes[:, 0, 0, 0])]  # frames that were left out have none
    # A few frames and nodes give the mean well enough, away from the borders.
    frames, _, rows, columns = modes.shape
    some = np.unique(np.linspace(0, frames - 1, _FRAMES).astype(int))
    places = [np.unique(np.linspace(n // 4, n - 1 - n // 4, _NODES).astype(int)) for n in (rows, columns)]
    chosen = torch.from_numpy(np.ascontiguousarray(modes[np.ix_(some, np.arange(modes.shape[1]), *places)]))
    optics = all_optics[object_]
    # Squared before the mean, as in the sum over the frames.
    power = torch.fft.rfft2(psf(optics, chosen, mode_axis=1)).abs().square().mean((0, 1, 2))
    limit = cutoff(optics.instrument)
    v = (frequency((_PSF, _PSF)) / limit).flatten()
    bins = (v * (_BINS - 1)).round().long().clamp(max=_BINS)
    counts = torch.bincount(bins, minlength=_BINS + 1)[:_BINS]
    means = torch.bincount(bins, power.flatten(), minlength=_BINS + 1)[:_BINS] / counts.clamp(min=1)
    at = torch.linspace(0, 1, _BINS)
    halo = (
        wavefronts.remainders(torch.stack([at] * len(all_optics)))[object_]
        if wavefronts.blurs
        else torch.ones_like(at)
    )
    # A small grid has rings without a frequency.
    filled = np.interp(np.arange(_BINS), np.flatnonzero(counts), means[counts > 0].double().numpy())
    return np.asarray(frames * filled * halo.double().square().numpy())


def _sobel(grid: tuple[int, int]) -> torch.Tensor:
    """The squared transfer functions (ky, kx) of Sobel's two derivatives."""
    ky, kx = (
        2 * torch.pi * torch.fft.fftfreq(grid[0])[:, None],
        2 * torch.pi * torch.fft.rfftfreq(grid[1])[None, :],
    )
    power: torch.Tensor = (kx.sin() * (1 + ky.cos()) / 2).square() + (ky.sin() * (1 + kx.cos()) / 2).square()
    return power

"""The classical engine: overlapping patches with one PSF each, from whose metric the object is eliminated
analytically.

Gonsalves (1982), Paxman, Schulz & Fienup (1992), doi:10.1364/JOSAA.9.001072; Loefdahl & Scharmer (1994); for
several objects van Noort, Rouppe van der Voort & Loefdahl (2005), doi:10.1007/s11207-005-5782-z. The object
is marginalised rather than maximised (Blanc, Mugnier & Idier 2003, doi:10.1364/JOSAA.20.001035): with D the
spectra, S the transfer functions, P the power of the object and N that of the noise,

    L = sum_u [ (sum |D|^2 - |sum S* D|^2 / (sum |S|^2 + N/P)) / N + log(1 + sum |S|^2 P/N) ],

sums over the frames. P(u) and N are measured from the data and follow the fit: N holds what the model does
not explain, and never falls below the detector's noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from heliorestore.methods.blind.patches import BINS, Patches


@dataclass(frozen=True, eq=False)
class Levels:
    """Power of object and noise (object, bin) per frequency bin, in the units of `Patches.spectra`."""

    object_power: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True, eq=False)
class Tally:
    """What a pass over all patches adds up, per object and frequency bin: signal, transfer, misfit, and the
    count of each.
    """

    signal: torch.Tensor
    transfer: torch.Tensor
    misfit: torch.Tensor
    count: torch.Tensor

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            *(getattr(self, n) + getattr(other, n) for n in ("signal", "transfer", "misfit", "count"))
        )


@dataclass(frozen=True, eq=False)
class Metric:
    """The metric of some patches: `loss` (patch) to be minimised, `held` (patch) the misfit where frequencies
    are kept out of the fit.

    `restored` (patch, object, ky, kx) are the spectra of the objects: Wiener's filter of the frames.
    """

    loss: torch.Tensor
    held: torch.Tensor
    restored: torch.Tensor
    tally: Tally


def metric(
    patches: Patches, modes: torch.Tensor, spectra: torch.Tensor, levels: Levels, object_weights: torch.Tensor
) -> Metric:
    """The metric L of whitened modes (patch, frame, mode) for the spectra of the same patches."""
    transfer = patches.transfer(modes)
    noise, power = (spread(level, patches.bins) for level in (levels.noise, levels.object_power))
    total = patches.summed(_square(spectra))
    seen = patches.summed(_square(transfer)) + noise / power
    product = patches.summed(transfer.conj() * spectra)
    misfit = total - _square(product) / seen
    terms = (
        (misfit / noise + torch.log(seen * power / noise))
        * object_weights[: len(patches.used), None, None]
        * patches.used
    )
    fitted = (terms * ~patches.held_out).sum((1, 2, 3)) * patches.independent
    with torch.no_grad():
        held = (misfit * patches.used * patches.held_out).sum((1, 2, 3))
        tally = _tally(patches, total, seen - noise / power, misfit)
        return Metric(fitted, held, (product / seen).detach(), tally)


def start_levels(patches: Patches) -> Levels:
    """Levels as if the telescope alone had blurred the frames; the noise, a tenth of them."""
    tally = None
    for some in patches.batches():
        spectra = patches.spectra(some)
        flat = torch.zeros(1, patches.observation.frames, patches.wavefronts.count, device=spectra.device)
        seen = patches.summed(_square(patches.transfer(flat))).expand(len(spectra), -1, -1, -1)
        total = patches.summed(_square(spectra))
        part = _tally(patches, total, seen, 0.1 * total)
        tally = part if tally is None else tally + part
    assert tally is not None
    return measured_levels(patches, tally)


def measured_levels(patches: Patches, tally: Tally) -> Levels:
    """Object power (signal - noise) / transfer and noise misfit / degrees of freedom, bin by bin."""
    images = _images(patches)
    floor = patches.noise[:, None]
    # One level of noise besides the flux error: a level per bin would let the fit give up whatever it
    # does not explain yet.
    misfit, count = ((part * patches.beyond_flux).sum(1) for part in (tally.misfit, tally.count))
    noise = (misfit / (count * (images - 1).clamp(min=1))).clamp(min=0)[:, None]
    signal = (tally.signal - tally.count * images[:, None] * floor).clamp(min=0)
    power = signal / tally.transfer.clamp(min=1e-12)
    return Levels(torch.maximum(power, 1e-3 * floor), torch.maximum(noise, floor) + patches.flux)


def log_noise(patches: Patches, levels: Levels, object_weights: torch.Tensor) -> torch.Tensor:
    """Sum log N over all patches, frames and fitted frequencies, with N in units of the detector's
    noise.
    """
    logarithm = torch.log(spread(levels.noise / patches.noise[:, None], patches.bins))
    fitted = (logarithm * patches.used * ~patches.held_out).sum((1, 2))
    total = fitted * object_weights[: len(patches.used)] * _images(patches)
    return total.sum() * (patches.count * patches.independent)


def _images(patches: Patches) -> torch.Tensor:
    """The number of images of each object; of all where they are one."""
    images = patches.observation.images
    return images.sum(0, keepdim=True) if patches.one_object else images


def object_power(
    patches: Patches, object_: int, data: torch.Tensor, seen: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """Power (ky, kx) of an object, bin by bin, from the spectra (frame, ky, kx) of its images of a patch,
    their summed |transfer|^2, and the noise.
    """
    bins = patches.bins[object_]
    counts = torch.bincount(bins.flatten(), minlength=BINS + 1).clamp(min=1)

    def binned(values: torch.Tensor) -> torch.Tensor:
        sums = values.new_zeros(BINS + 1).index_add_(0, bins.flatten(), values.flatten())
        return (sums / counts)[bins]

    level = binned(noise)
    signal = torch.maximum(binned(_square(data).mean(0)) - level, 1e-3 * level)
    return signal / (binned(seen) / len(data)).clamp(min=1e-12)


def _tally(patches: Patches, total: torch.Tensor, seen: torch.Tensor, misfit: torch.Tensor) -> Tally:
    return Tally(*(_binned(patches, part.detach()) for part in (total, seen, misfit, torch.ones_like(total))))


def _binned(patches: Patches, values: torch.Tensor) -> torch.Tensor:
    """Sums (object, bin) over patches and frequencies of values (patch, object, ky, kx)."""
    weighted = (values * patches.used).sum(0)
    sums = weighted.new_zeros(len(weighted), BINS + 1)
    return sums.scatter_add(1, patches.bins.flatten(1), weighted.flatten(1))


def _square(values: torch.Tensor) -> torch.Tensor:
    return values.real**2 + values.imag**2


def spread(levels: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
    """Values (object, bin) at every frequency (object, ky, kx)."""
    return levels.gather(1, bins.flatten(1)).reshape(bins.shape)

"""How sharp each frame of a burst is, and the choice of the sharpest.

The measure is the rms gradient of the image over its mean, of detail alone: the power of every frame less the
noise measured where the telescope passes nothing, and weighted with (S / (S + N))^2, the mean signal S and
noise N of all frames at each spatial frequency. So noise does not pass for detail, and frames whose noise
differs are compared on the same frequencies.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst
from heliorestore.errors import BurstError, SettingsError
from heliorestore.optics.filters import cosines
from heliorestore.optics.pupil import cutoff
from heliorestore.prepare.spikes import without_spikes

Array = npt.NDArray[np.float64]

_SIDE = 1024  # pixels of the field's middle that are looked at
_LEAST = 16  # pixels along an axis for a spectrum
_RINGS = 64  # of spatial frequency, up to the corner of the spectrum
_COARSE = 0.03  # cycles per pixel below which are clouds and the borders of the field
_BEYOND = 1.08  # times the cut-off: there is only noise
_CORNER = 0.55  # cycles per pixel from which on there is hardly anything else, if the cut-off is unknown
_DARK = 0.5  # of the frames' median intensity: a frame without light has no sharpness
_VALID = 0.5  # of the pixels, likewise


def sharpness(burst: Burst, object_: int = 0, *, progress: Callable[[int, int], None] | None = None) -> Array:
    """The sharpness of each frame of an object: relative gradient per pixel; NaN for a frame without light.

    Reads every frame once. `progress` is told the number of frames done and in all.
    """
    part = burst.select(objects=[object_]).middle(_SIDE)
    _, frames, *shape = part.shape
    if min(shape) < _LEAST:
        raise BurstError(
            f"The frames have {shape[1]} x {shape[0]} pixels; their sharpness takes at least "
            f"{_LEAST} x {_LEAST}."
        )
    ring, counts, middle = _rings(shape[0], shape[1])
    powers, means = np.full((frames, _RINGS), np.nan), np.full(frames, np.nan)
    for frame in range(frames):
        image, _ = without_spikes(part.image(0, frame))
        means[frame], powers[frame] = _spectrum(torch.from_numpy(image), ring, counts)
        if progress is not None:
            progress(frame + 1, frames)
    lit = means > _DARK * np.nanmedian(means) if np.isfinite(means).any() else np.zeros(frames, bool)
    found = np.full(frames, np.nan)
    if lit.any():
        instrument = burst.instruments[object_]
        end = _CORNER / _BEYOND if instrument.unknown else cutoff(instrument)
        found[lit] = _gradients(powers[lit], middle, counts / counts.sum(), end)
    return found


def how_many(best: str, frames: int) -> int:
    """The number of frames that a text such as `30` or `30%` means, of so many."""
    text = best.strip()
    try:
        percent = float(text[:-1]) if text.endswith("%") else 100.0
        wanted = percent * frames / 100 if text.endswith("%") else int(text)
    except ValueError:
        percent, wanted = 0.0, 0
    if not (wanted > 0 and 0 < percent <= 100):
        raise SettingsError(f"best is {best!r}; it must be a number of frames, or a percentage such as 30%.")
    return min(frames, max(1, round(wanted)))


def sharpest(values: Array, count: int) -> tuple[int, ...]:
    """The numbers of that many of the sharpest frames, in the order of time."""
    # NaN comes last.
    return tuple(sorted(np.argsort(-values, kind="stable")[:count].tolist()))


def select_best(burst: Burst, best: str) -> Burst:
    """The burst with its sharpest frames alone, by its first object; a message says which."""
    count = how_many(best, burst.shape[1])
    chosen = sharpest(sharpness(burst), count)
    numbers = ", ".join(str(burst.frame_numbers[frame]) for frame in chosen)
    message = (
        f"The {count} sharpest of {burst.shape[1]} frames were used, by the detail of {burst.labels[0]}: "
        f"{numbers}."
    )
    selected = burst.select(frames=chosen)
    return dataclasses.replace(selected, messages=(*selected.messages, message))


# -- spectra -------------------------------------------------------------------------------------------------


def _rings(rows: int, columns: int) -> tuple[torch.Tensor, Array, Array]:
    """The ring of every coefficient (ky, kx) of a cosine transform, their numbers, and the rings' middles."""
    ky, kx = (torch.arange(n, dtype=torch.float64) / (2 * n) for n in (rows, columns))
    widest = math.sqrt(0.5)
    ring = (torch.hypot(ky[:, None], kx[None, :]) * (_RINGS / widest)).long().clamp(max=_RINGS - 1).flatten()
    middle = (np.arange(_RINGS) + 0.5) * widest / _RINGS
    return ring, torch.bincount(ring, minlength=_RINGS).double().numpy(), middle


def _spectrum(image: torch.Tensor, ring: torch.Tensor, counts: Array) -> tuple[float, Array]:
    """The mean of an image (y, x), and its relative power per pixel in rings; NaN if too little is valid."""
    good = torch.isfinite(image)
    mean = float(image[good].mean(dtype=torch.float64)) if good.any() else math.nan
    if not mean > 0 or float(good.float().mean()) < _VALID:
        return math.nan, np.full(_RINGS, np.nan)
    relative = torch.where(good, image / mean - 1, 0.0)
    # The cosine transform: mirrored at its borders, the image has none, and no window hides the field.
    power = cosines(cosines(relative).mT).mT.square().double() * (4 / relative.numel())
    total = torch.bincount(ring, weights=power.flatten(), minlength=_RINGS).numpy()
    return mean, total / np.maximum(counts, 1)


def _gradients(powers: Array, frequency: Array, share: Array, end: float) -> Array:
    """Rms gradients of frames with powers (frame, ring); rings have a `share` of all frequencies."""
    beyond = frequency > min(_BEYOND * end, _CORNER)
    noise = (powers * share)[:, beyond].sum(1) / share[beyond].sum()
    signal = powers - noise[:, None]
    mean = np.maximum(signal.mean(0), 0.0)
    weight = (mean / np.maximum(mean + noise.mean(), 1e-30)) ** 2
    seen = (frequency > _COARSE) & (frequency < min(end, _CORNER))
    # The mean over all frequencies is that over the pixels (Parseval).
    squares: Array = (signal * ((2 * np.pi * frequency) ** 2 * weight * share * seen)).sum(1)
    found: Array = np.sqrt(squares.clip(min=0.0))
    return found

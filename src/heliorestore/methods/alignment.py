"""How far whole frames have moved: displacements in whole pixels, found frame by frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Frames
from heliorestore.optics.filters import frequency

_FINEST = 0.25  # cycles per pixel: granules are smooth against the noise, finer structure says nothing on large motions
_MOST = 512  # frequencies along an axis: enough for whole pixels, and little to keep of a large field


def frame_shifts(frames: Frames) -> npt.NDArray[np.int64]:
    """Whole-pixel displacements (frame, [y, x]) of frames (object, frame, y, x) from their mean, by cross-correlation.

    The mean is made again of the aligned frames, for the first one is blurred by the motion itself.
    """
    objects, count, rows, columns = frames.shape
    shape = (rows, columns)
    window = torch.hann_window(rows, periodic=False)[:, None] * torch.hann_window(columns, periodic=False)
    high, wide = (min(math.ceil(_FINEST * n), n // 2, _MOST) for n in shape)
    kept = frequency(shape)[_low_rows(rows, high), : wide + 1] < _FINEST
    spectra = torch.empty((objects, count, *kept.shape), dtype=torch.complex64)
    for object_ in range(objects):
        for frame in range(count):
            image = torch.tensor(np.asarray(frames[object_, frame], dtype=np.float32))
            image[~torch.isfinite(image)] = math.nan
            image = torch.nan_to_num(image - torch.nanmean(image))
            spectra[object_, frame] = torch.fft.rfft2(image * window)[_low_rows(rows, high), : wide + 1] * kept
    reach = max(1, min(shape) // 4)
    shifts = torch.zeros((count, 2), dtype=torch.int64)
    for _ in range(3):
        reference = torch.zeros((objects, *kept.shape), dtype=torch.complex64)
        for frame in range(count):
            reference += spectra[:, frame] * _turned(shifts[frame], shape, high, wide).conj()
        shifts = torch.stack([_peak((spectra[:, frame] * reference.conj()).sum(0), shape, high, reach) for frame in range(count)])
        shifts = shifts - shifts.float().mean(0).round().long()
    found: npt.NDArray[np.int64] = shifts.numpy()
    return found


def _low_rows(rows: int, high: int) -> torch.Tensor:
    """Indices of the rows of a spectrum from frequency 0 to `high`, then from -`high` on."""
    return torch.cat([torch.arange(high + 1), torch.arange(rows - high, rows)]) if 2 * high < rows else torch.arange(rows)


def _turned(shift: torch.Tensor, shape: tuple[int, int], high: int, wide: int) -> torch.Tensor:
    """Transfer function (ky, kx) of a displacement [y, x] in pixels, at the low frequencies."""
    ky, kx = torch.fft.fftfreq(shape[0])[_low_rows(shape[0], high), None], torch.fft.rfftfreq(shape[1])[None, : wide + 1]
    phase = -2 * math.pi * (shift[0] * ky + shift[1] * kx)
    return torch.polar(torch.ones_like(phase), phase)


def _peak(product: torch.Tensor, shape: tuple[int, int], high: int, reach: int) -> torch.Tensor:
    """Where [y, x] a correlation with these low frequencies is highest, at most `reach` pixels from 0."""
    rows, columns = shape
    spectrum = torch.zeros((rows, columns // 2 + 1), dtype=product.dtype)
    spectrum[_low_rows(rows, high), : product.shape[1]] = product
    correlation = torch.fft.irfft2(spectrum, s=shape)
    near = torch.cat([correlation[-reach:], correlation[: reach + 1]], dim=-2)
    near = torch.cat([near[:, -reach:], near[:, : reach + 1]], dim=-1)
    peak = near.flatten().argmax()
    return torch.stack([peak // near.shape[-1] - reach, peak % near.shape[-1] - reach])

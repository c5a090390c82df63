"""The displacements of whole frames, and how similar the frames are: both from their low frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.optics.filters import frequency
from heliorestore.optics.noise import half_plane
from heliorestore.selection import Frames

# cycles per pixel: granules are smooth against the noise, finer structure carries no information on large
# motions
_FINEST = 0.25
_MOST = 512  # frequencies along an axis: enough for whole pixels, and little memory for a large field


@dataclass(frozen=True, eq=False)
class LowFrequencies:
    """Spectra (object, frame, ky, kx) of apodised frames of `shape` (y, x) in units of their `means` (object,
    frame).

    `good` (object, frame) is the fraction of the pixels that are neither NaN nor infinite. A frame without a
    mean above zero has no spectrum, nor has an image that is not `present` (object, frame).
    """

    spectra: torch.Tensor
    shape: tuple[int, int]
    means: npt.NDArray[np.float64]
    good: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_] | None = None

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """Where an image is missing (object, frame)."""
        return np.zeros(self.means.shape, bool) if self.present is None else ~self.present

    @classmethod
    def of(cls, frames: Frames, present: npt.NDArray[np.bool_] | None = None) -> LowFrequencies:
        """Read every frame (object, frame, y, x) once."""
        objects, count, rows, columns = frames.shape
        shape = (rows, columns)
        window = torch.hann_window(rows, periodic=False)[:, None] * torch.hann_window(columns, periodic=False)
        high, wide = _extent(shape)
        # A disc, not a square, so that the correlation's peak has no preferred direction.
        kept = frequency(shape)[_low_rows(rows, high), : wide + 1] < _FINEST
        spectra = torch.zeros((objects, count, *kept.shape), dtype=torch.complex64)
        means, good = np.full((objects, count), np.nan), np.zeros((objects, count))
        for object_ in range(objects):
            for frame in range(count) if present is None else np.flatnonzero(present[object_]).tolist():
                image = torch.tensor(np.asarray(frames[object_, frame], dtype=np.float32))
                seen = torch.isfinite(image)
                good[object_, frame] = float(seen.float().mean())
                if not seen.any():
                    continue
                mean = means[object_, frame] = float(image[seen].mean(dtype=torch.float64))
                if mean > 0:
                    # Without its mean, which the window would spread over the lowest frequencies.
                    relative = torch.where(seen, image / mean - 1, 0.0)
                    spectra[object_, frame] = (
                        torch.fft.rfft2(relative * window)[_low_rows(rows, high), : wide + 1] * kept
                    )
        return cls(spectra, shape, means, good, present)

    def only(self, frames: Sequence[int]) -> LowFrequencies:
        """Those of some of the frames."""
        numbers = list(frames)
        return replace(
            self,
            spectra=self.spectra[:, numbers],
            means=self.means[:, numbers],
            good=self.good[:, numbers],
            present=None if self.present is None else self.present[:, numbers],
        )

    def shifts(self) -> npt.NDArray[np.int64]:
        """Whole-pixel displacements (frame, [y, x]) from the frames' mean, by cross-correlation of all
        objects together, or of those with the most images.

        The mean is computed again from the aligned frames, because the motion itself blurs the first one.
        """
        if self.present is not None:
            # Images of the others would be compared with few, themselves among them.
            images = self.present.sum(1)
            whole = torch.from_numpy(images == images.max())
            return replace(self, spectra=self.spectra[whole], present=None).shifts()
        shifts = torch.zeros((self.spectra.shape[1], 2), dtype=torch.int64)
        for _ in range(3):
            against = self._total(shifts).conj()  # (object, ky, kx)
            # The telescope and the air move all objects alike: their correlations add up.
            shifts = torch.stack([self._peak((own * against).sum(0))[0] for own in self.spectra.unbind(1)])
            shifts = shifts - shifts.float().mean(0).round().long()  # or the mean itself would drift
        found: npt.NDArray[np.int64] = shifts.numpy()
        return found

    def contrasts(self) -> npt.NDArray[np.float64]:
        """The rms (object, frame) of each frame relative to its mean, under the window."""
        return self._power(self.spectra).sqrt().double().numpy()

    def likeness(self, shifts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The highest correlation (object, frame) of each frame with the mean of the others."""
        total, found = self._total(torch.from_numpy(shifts)), np.empty(self.means.shape)
        for frame, shift in enumerate(torch.from_numpy(shifts)):
            own = self._moved_back(self.spectra[:, frame], shift)
            others = total - own  # a frame would always resemble a mean that contains it
            peaks = torch.stack([self._peak(product)[1] for product in own * others.conj()])
            # Cauchy-Schwarz: two images that are alike but for a factor have a peak of 1.
            norm = (self._power(own) * self._power(others)).sqrt()
            found[:, frame] = (peaks / norm.clamp(min=1e-30)).double().numpy()
        return found

    def _total(self, shifts: torch.Tensor) -> torch.Tensor:
        """Sum (object, ky, kx) over the frames without their displacements."""
        total = torch.zeros_like(self.spectra[:, 0])
        for own, shift in zip(self.spectra.unbind(1), shifts, strict=True):
            # Turned back in the spectrum: no frame is read again.
            total += self._moved_back(own, shift)
        return total

    def _moved_back(self, spectra: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """Spectra (object, ky, kx) of a frame without its displacement."""
        return spectra * _turned(shift, self.shape, *_extent(self.shape)).conj()

    def _power(self, spectra: torch.Tensor) -> torch.Tensor:
        """Mean squares over the pixels of images with these spectra."""
        # Parseval.
        counts = torch.from_numpy(half_plane(self.shape[1])[: spectra.shape[-1]]).float()
        return (spectra.abs().square() * counts).sum((-2, -1)) / math.prod(self.shape) ** 2

    def _peak(self, product: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Position [y, x] of the maximum of a correlation with these low frequencies, at most a quarter of
        the field from 0, and its height.
        """
        (rows, columns), reach = self.shape, max(1, min(self.shape) // 4)
        spectrum = torch.zeros((rows, columns // 2 + 1), dtype=product.dtype)
        spectrum[_low_rows(rows, _extent(self.shape)[0]), : product.shape[1]] = product
        correlation = torch.fft.irfft2(spectrum, s=self.shape) / math.prod(self.shape)
        # Negative displacements are at the end of the axis.
        near = torch.cat([correlation[-reach:], correlation[: reach + 1]], dim=-2)
        near = torch.cat([near[:, -reach:], near[:, : reach + 1]], dim=-1)
        peak = near.flatten().argmax()
        return torch.stack([peak // near.shape[-1] - reach, peak % near.shape[-1] - reach]), near.flatten()[
            peak
        ]


def frame_shifts(frames: Frames) -> npt.NDArray[np.int64]:
    """Whole-pixel displacements (frame, [y, x]) of frames (object, frame, y, x) from their mean."""
    return LowFrequencies.of(frames).shifts()


def _extent(shape: tuple[int, int]) -> tuple[int, int]:
    """Numbers of frequencies along y and x that are kept."""
    high, wide = (min(math.ceil(_FINEST * n), n // 2, _MOST) for n in shape)
    return high, wide


def _low_rows(rows: int, high: int) -> torch.Tensor:
    """Indices of the rows of a spectrum from frequency 0 to `high`, then from -`high` on."""
    return (
        torch.cat([torch.arange(high + 1), torch.arange(rows - high, rows)])
        if 2 * high < rows
        else torch.arange(rows)
    )


def _turned(shift: torch.Tensor, shape: tuple[int, int], high: int, wide: int) -> torch.Tensor:
    """Transfer function (ky, kx) of a displacement [y, x] in pixels, at the low frequencies."""
    ky, kx = (
        torch.fft.fftfreq(shape[0])[_low_rows(shape[0], high), None],
        torch.fft.rfftfreq(shape[1])[None, : wide + 1],
    )
    # The minus moves an image by +shift.
    phase = -2 * math.pi * (shift[0] * ky + shift[1] * kx)
    return torch.polar(torch.ones_like(phase), phase)

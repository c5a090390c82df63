"""Estimates of the noise from the image itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_FEWEST = 64  # frequencies beyond the cut-off; with fewer the noise there is not estimated
_TAKEN = 0.02  # of the power below the cut-off: noise alone falls by less
_BINS = 8  # of the frequencies beyond the cut-off, with a straight line through their logarithms
_ALIKE = 1.5  # errors over those of independent frequencies: a Hann window makes neighbours alike
GAUSSIAN_MAD = 0.6744897501960817
"""Median |x| of a unit Gaussian: a median modulus over it is a standard deviation."""


def estimate_sigma(image: npt.NDArray[np.floating]) -> float:
    """Standard deviation of white noise in an image (y, x); NaN pixels are ignored, 0 if too few are left.

    From the median modulus of the second difference along both axes, which planes and gentle curves do not
    affect (Immerkaer 1996, doi:10.1006/cviu.1996.0060, made robust by the median).
    """
    rough = np.abs(second_differences(image))
    # The kernel (1, -2, 1) x (1, -2, 1) amplifies white noise by the root of its sum of squares, 6.
    return float(np.median(rough) / (6 * GAUSSIAN_MAD)) if rough.size else 0.0


def second_differences(image: npt.NDArray[np.floating]) -> FloatArray:
    """Along both axes, wherever 3 x 3 valid pixels of an image (y, x) are side by side: one row of values."""
    if min(image.shape) < 3:
        return np.zeros(0)
    values = np.asarray(image, dtype=np.float64)
    rows = values[:-2] - 2 * values[1:-1] + values[2:]
    rough = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return np.asarray(rough[np.isfinite(rough)])


@dataclass(frozen=True)
class Noise:
    """Noise of an image: standard deviation of a pixel, and the sigma in pixels of a Gaussian that would have
    smoothed it (0 is white).
    """

    sigma: float
    correlation_px: float = 0.0

    def power(self, frequency: FloatArray) -> FloatArray:
        """Variance per frequency at cycles per pixel; its mean over an image's frequencies is sigma^2."""
        shape = _smoothing_power(frequency, self.correlation_px)
        axis = (np.arange(256) - 127.5) / 256
        mean = float(np.mean(_smoothing_power(np.hypot(axis[:, None], axis[None, :]), self.correlation_px)))
        return self.sigma**2 * shape / mean


def estimate_noise(image: npt.NDArray[np.floating], cutoff: float | None = None) -> Noise:
    """Noise of an image (y, x) from its power beyond the telescope's cut-off (cycles per pixel), where there
    is no signal.

    Noise that was smoothed, by interpolation or by the detector, falls there as exp(-(2 pi s k)^2) and is
    extrapolated inwards. Without a cut-off, or where the pixels leave no room beyond it, the noise is assumed
    to be white: `estimate_sigma`.
    """
    frequency = frequencies(image.shape)
    # A little beyond the cut-off, because the window smears the signal over the next frequencies.
    beyond = frequency > (cutoff if cutoff is not None else 1.0) * 1.05 + 2 / min(image.shape)
    if beyond.sum() < _FEWEST or np.isfinite(image).mean() < 0.5:
        return Noise(estimate_sigma(image))
    power, _ = windowed_power(image)
    square, level, error = _levels(frequency[beyond] ** 2, power[beyond])
    # A bin without any power has no logarithm: the image was filtered, and only the mean can be given.
    if not level.all():
        return Noise(float(np.sqrt(level.mean())))
    slope, slope_error = _line(square, np.log(level), error)
    # A slope that is not clearly negative is no smoothing: the noise is white.
    if slope > -max(3 * slope_error, 0.5):
        return Noise(float(np.sqrt(np.exp(np.mean(np.log(level))))))
    # ln power = const - (2 pi s)^2 k^2: the slope gives s, and the constant the noise at k = 0.
    correlation = float(np.sqrt(-slope) / (2 * np.pi))
    at_zero = np.exp(np.mean(np.log(level)) - slope * square.mean())
    return Noise(float(np.sqrt(at_zero * np.mean(_smoothing_power(frequency, correlation)))), correlation)


def is_filtered(image: npt.NDArray[np.floating], cutoff: float | None) -> bool:
    """Whether a filter has taken the noise beyond the telescope's cut-off (cycles per pixel): there is then
    far less power there than just below, which an optical transfer function does not do to white noise.
    """
    if cutoff is None or np.isfinite(image).mean() < 0.5:
        return False
    frequency = frequencies(image.shape)
    below = (frequency > 0.85 * cutoff) & (frequency < 0.95 * cutoff)
    beyond = frequency > cutoff * 1.15 + 2 / min(image.shape)
    if below.sum() < _FEWEST or beyond.sum() < _FEWEST:
        return False
    power, _ = windowed_power(image)
    return bool(np.median(power[beyond]) < _TAKEN * np.median(power[below]))


def frequencies(shape: tuple[int, ...]) -> FloatArray:
    """Moduli (ky, kx // 2 + 1) of the frequencies of an image of `shape` in cycles per pixel."""
    return np.asarray(np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]))


def hann(shape: tuple[int, ...]) -> FloatArray:
    """A Hann window (y, x) without its outermost zeros."""
    return np.asarray(np.hanning(shape[0] + 2)[1:-1, None] * np.hanning(shape[1] + 2)[None, 1:-1])


def half_plane(columns: int) -> FloatArray:
    """How many frequencies a column of `rfft2` stands for: 2, with the conjugate, or itself alone."""
    twice = np.full(columns // 2 + 1, 2.0)
    twice[0] = 1.0
    if columns % 2 == 0:
        twice[-1] = 1.0
    return twice


def windowed_power(image: npt.NDArray[np.floating]) -> tuple[FloatArray, float]:
    """Power (ky, kx // 2 + 1) per pixel of an image (y, x) less its mean under a Hann window, and that mean.

    White noise of sigma has the power sigma^2 at every frequency; NaN pixels have no weight.
    """
    good = np.isfinite(image)
    values = np.where(good, image, 0.0).astype(np.float64)
    window = hann(image.shape) * good
    mean = float(np.average(values, weights=window))
    return np.abs(np.fft.rfft2((values - mean) * window)) ** 2 / np.sum(window**2), mean


def _smoothing_power(frequency: FloatArray, correlation_px: float) -> FloatArray:
    return np.exp(-((2 * np.pi * correlation_px * frequency) ** 2))


def _levels(square: FloatArray, power: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Mean squared frequency and mean power in bins of about equal number, and the error of a logarithm of
    such a mean; the median of an exponential distribution is ln 2 of its mean.
    """
    # Equal frequencies share a bin, so that no order among them matters.
    inner = np.quantile(square, np.arange(1, _BINS) / _BINS)
    bins = np.searchsorted(inner, square, side="right")
    places, medians = (
        np.array([each(values[bins == n]) for n in range(_BINS) if (bins == n).any()])
        for each, values in ((np.mean, square), (np.median, power))
    )
    return places, medians / np.log(2), _ALIKE / (np.log(2) * np.sqrt(len(square) / _BINS))


def _line(x: FloatArray, y: FloatArray, error: float) -> tuple[float, float]:
    """Slope of the straight line through y(x), and its standard error with such an error of each y, or with
    the larger one that their scatter shows.
    """
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy / (dx @ dx))
    scatter = np.sqrt(np.sum((dy - slope * dx) ** 2) / max(len(x) - 2, 1))
    return slope, float(max(scatter, error) / np.sqrt(dx @ dx))

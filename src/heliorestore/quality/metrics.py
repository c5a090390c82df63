"""Figures of the quality of an image (y, x), alone or against a reference; NaN is a bad pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.optics.noise import (
    GAUSSIAN_MAD,
    estimate_sigma,
    frequencies,
    half_plane,
    hann,
    windowed_power,
)

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.floating]

_BORDER = 16  # px at every edge that a comparison ignores: there a deconvolution is least certain
_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)  # of SSIM: 11 px, sigma 1.5 px
_STABLE = (0.01, 0.03)  # K1 and K2 of SSIM
_PASSES = 4  # of the search for a shift
_FACTOR = 2.0  # up to which two intensities are called similar
_AROUND_ZERO = 0.5  # of the standard deviation: a mean below that is none to divide by
_SEEN = 3.0  # sigmas of the noise, above which a signed value is compared


# -- one image -----------------------------------------------------------------------------------------------


def contrast(image: Image) -> float:
    """Standard deviation over the modulus of the mean of the valid pixels of an image (y, x)."""
    values = np.asarray(image, dtype=np.float64)
    return float(np.nanstd(values) / abs(np.nanmean(values)))


def is_signed(image: Image) -> bool:
    """Whether an image (y, x) is one around zero, as Stokes Q, U, V and magnetograms: it has no mean to which
    its structure could be related.
    """
    values = np.asarray(image, dtype=np.float64)
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() < 0 and abs(values.mean()) < _AROUND_ZERO * values.std())


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Azimuthal mean of the power of I / <I> - 1 over rings of spatial frequency; of an image around zero of
    the image itself, in its unit squared.

    With a pixel size `frequency` is in cycles per arcsec and `power` in arcsec^2, else in cycles per pixel
    and pixel^2; the integral of the power over the plane of frequencies is the square of the contrast, or the
    variance.
    """

    frequency: Array
    power: Array

    @property
    def amplitude(self) -> Array:
        """The square root of the power."""
        return np.sqrt(self.power)


def power_spectrum(image: Image, pixel: float = 1.0, *, signed: bool = False) -> Spectrum:
    """The azimuthally averaged power spectrum of an image (y, x) up to its Nyquist frequency, under a Hann
    window.

    `pixel` is the size of a pixel in arcsec; rings are as wide as the frequency step of the shorter side. Of
    a `signed` image it is not related to the mean.
    """
    rows, columns = image.shape
    valid = np.isfinite(image).mean()
    if min(rows, columns) < 8 or valid < 0.5:
        raise BurstError(
            f"The image has {columns} x {rows} pixels, {valid:.0%} of them valid: too "
            "little for a power spectrum."
        )
    power, mean = windowed_power(image)
    # Over the window's own power: then the integral over the plane is the variance, whatever the window.
    power = power / (1.0 if signed else mean**2) * pixel**2
    frequency = frequencies(image.shape)
    ring = np.rint(frequency * min(rows, columns)).astype(np.int64)
    twice = np.broadcast_to(half_plane(columns), frequency.shape)
    last = min(rows, columns) // 2
    keep = ring <= last
    count, total, where = (
        np.bincount(ring[keep], weights=part[keep], minlength=last + 1)
        for part in (twice, twice * power, twice * frequency)
    )
    return Spectrum(where[1:] / count[1:] / pixel, total[1:] / count[1:])


# -- two images ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Likeness:
    """How an image differs from a reference after one shift of all of it.

    `shift_px` (y, x) has been removed from the image. Of images around zero, `contrast_ratio` is that of the
    standard deviations. `gain` is the factor that fits its contrast to the
    reference's: 1 is right; above 1 the image has too little contrast. `nmse` is the remaining squared error
    in units of the reference's variance. `ssim` compares the intensities as they are (Wang et al. 2004,
    doi:10.1109/TIP.2003.819861).
    """

    shift_px: tuple[float, float]
    gain: float
    nmse: float
    ssim: float
    contrast_ratio: float


@dataclass(frozen=True)
class Photometry:
    """Intensities of an image over those of a reference, pixel by pixel.

    `ratio` is their median, `scatter` the robust standard deviation of the ratio about it, `within_factor`
    the part of the pixels within a factor of 2. Of a reference around zero only pixels above three times its
    noise are compared; another sign is outside of any factor.
    """

    ratio: float
    scatter: float
    within_factor: float


def likeness(image: Image, reference: Image, border: int = _BORDER) -> Likeness:
    """Compare an image with a reference of its shape after one sub-pixel shift, without the `border`."""
    (y, x), moved = registered(image, reference, border)
    inner = _inner(reference.shape, border)
    wanted = _filled(reference)[inner]
    valid = np.isfinite(reference[inner]) & np.isfinite(moved)
    if not valid.any():
        raise BurstError("Image and reference have no valid pixel in common: nothing can be compared.")
    a, b = (np.where(valid, part - part[valid].mean(), 0.0) for part in (moved, wanted))
    # The factor that minimises sum (gain a - b)^2.
    gain = float((a * b).sum() / (a * a).sum())
    nmse = float(((gain * a - b) ** 2).sum() / (b * b).sum())
    filled = np.where(valid, moved, wanted)
    return Likeness(
        (y, x),
        gain,
        nmse,
        ssim(filled, wanted),
        _structure(np.where(valid, moved, np.nan), reference) / _structure(reference[inner], reference),
    )


def registered(image: Image, reference: Image, border: int = _BORDER) -> tuple[tuple[float, float], Array]:
    """The shift (y, x) in pixels that aligns an image best with a reference, and the moved image without its
    borders.

    The shift maximises the correlation under a Hann window: to a pixel by FFT, then on ever finer grids of
    displacements. Pixels of the image that are bad, or that come in over the edge, are NaN.
    """
    _check_sizes(image, reference)
    if min(image.shape) < 2 * border + 16:
        raise BurstError(
            f"The images are {_size(image)}; a comparison without {border} pixels at each edge "
            "needs larger ones."
        )
    y = x = 0.0  # px
    # a fixed window draws every shift towards zero: the rest is found in the next pass
    for _ in range(_PASSES):
        dy, dx = _displacement(_moved(_filled(image), y, x, fill=True), _filled(reference))
        y, x = y + dy, x + dx
    return (round(y, 3), round(x, 3)), _moved(image, y, x)[_inner(image.shape, border)]


def ssim(image: Image, reference: Image) -> float:
    """Mean structural similarity of images without bad pixels in windows of 11 pixels; 1 if equal."""
    spread = float(reference.max() - reference.min())
    steady = [(k * spread) ** 2 for k in _STABLE]
    a, b = (np.asarray(part, np.float64) for part in (image, reference))
    mean_a, mean_b, aa, bb, ab = (_smoothed(part) for part in (a, b, a * a, b * b, a * b))
    # Eq. 13 of the paper; the small constants keep flat windows from dividing 0 by 0.
    light = (2 * mean_a * mean_b + steady[0]) / (mean_a**2 + mean_b**2 + steady[0])
    structure = (2 * (ab - mean_a * mean_b) + steady[1]) / (aa - mean_a**2 + bb - mean_b**2 + steady[1])
    return float((light * structure).mean())


def photometry(image: Image, reference: Image) -> Photometry:
    """Intensities of an image against a reference of the same shape, pixel by pixel, without a shift."""
    pairs = signed_pairs(image, reference) if is_signed(reference) else positive_pairs(image, reference)
    if is_signed(reference):
        pairs = pairs[np.abs(pairs[:, 0]) > _SEEN * estimate_sigma(reference)]
        if not len(pairs):
            raise BurstError("The reference has no value above three times its noise: there is no ratio.")
    if not len(pairs):
        raise BurstError(
            "Image and reference have no pixel where both are positive: their intensities cannot be compared."
        )
    ratios = pairs[:, 1] / pairs[:, 0]
    middle = float(np.median(ratios))
    within = (ratios <= _FACTOR) & (ratios >= 1 / _FACTOR)
    scatter = float(np.median(np.abs(ratios - middle)) / GAUSSIAN_MAD)
    return Photometry(middle, scatter, float(within.mean()))


def positive_pairs(image: Image, reference: Image) -> Array:
    """(reference, image) of every pixel (pixel, 2) where both are positive, for a scatter plot."""
    _check_sizes(image, reference)
    both = np.stack([np.asarray(reference, np.float64).ravel(), np.asarray(image, np.float64).ravel()], -1)
    return both[np.all(np.isfinite(both) & (both > 0), axis=1)]


def signed_pairs(image: Image, reference: Image) -> Array:
    """(reference, image) of every valid pixel (pixel, 2), of either sign."""
    _check_sizes(image, reference)
    both = np.stack([np.asarray(reference, np.float64).ravel(), np.asarray(image, np.float64).ravel()], -1)
    return both[np.isfinite(both).all(axis=1)]


def on_equal_pixels(image: Image, reference: Image) -> tuple[Array, Array]:
    """Both images on the pixels of the coarser one: the finer is averaged over whole blocks."""
    first, second = (np.asarray(part, np.float64) for part in (image, reference))
    if first.shape == second.shape:
        return first, second
    # Averaged, not sampled: so a detector with larger pixels would have seen it.
    finer, coarser = (first, second) if first.size > second.size else (second, first)
    factor, rest = divmod(finer.shape[0], coarser.shape[0])
    if rest or finer.shape != tuple(factor * n for n in coarser.shape):
        raise BurstError(
            f"The images are {_size(first)} and {_size(second)}: they can be compared if their sizes "
            "are equal or one is a whole multiple of the other."
        )
    averaged = finer.reshape(coarser.shape[0], factor, coarser.shape[1], factor).mean((1, 3))
    return (averaged, second) if finer is first else (first, averaged)


# -- details -------------------------------------------------------------------------------------------------


def _structure(image: Image, reference: Image) -> float:
    """The contrast of an image, or its standard deviation where the reference is one around zero."""
    return float(np.nanstd(image)) if is_signed(reference) else contrast(image)


def _check_sizes(image: Image, reference: Image) -> None:
    if image.shape != reference.shape:
        raise BurstError(
            f"The image is {_size(image)} and the reference {_size(reference)}: only images of "
            "one size can be compared."
        )


def _size(image: Image) -> str:
    return f"{image.shape[1]} x {image.shape[0]} pixels"


def _inner(shape: tuple[int, ...], border: int) -> tuple[slice, slice]:
    return slice(border, shape[0] - border), slice(border, shape[1] - border)


def _filled(image: Image) -> Array:
    """The image with its bad pixels at the mean of the good ones."""
    values = np.asarray(image, np.float64)
    good = np.isfinite(values)
    if not good.any():
        raise BurstError("The image has no valid pixel: every value is NaN.")
    return np.where(good, values, values[good].mean())


def _displacement(image: Array, reference: Array) -> tuple[float, float]:
    """The shift (y, x) that maximises the correlation of two whole images in a Hann window, to 0.01 px."""
    rows, columns = image.shape
    window = hann(image.shape)
    spectra = [np.fft.fft2((part - part.mean()) * window) for part in (reference, image)]
    # The reference first: its peak is the displacement that brings the image onto it.
    cross = spectra[0] * spectra[1].conj()
    ky, kx = np.fft.fftfreq(rows), np.fft.fftfreq(columns)
    peak = np.unravel_index(np.argmax(np.fft.ifft2(cross).real), cross.shape)
    y, x = (
        float(at - length if at > length // 2 else at) for at, length in zip(peak, cross.shape, strict=True)
    )
    # Between pixels the correlation is summed from its spectrum, as a product of matrices on a small grid: an
    # FFT as fine would be huge (Guizar-Sicairos et al. 2008, doi:10.1364/OL.33.000156).
    for step in (0.1, 0.01):
        near = np.arange(-10, 11) * step
        correlation = (
            np.exp(2j * np.pi * np.outer(y + near, ky)) @ cross @ np.exp(2j * np.pi * np.outer(kx, x + near))
        )
        row, column = np.unravel_index(np.argmax(correlation.real), correlation.shape)
        y, x = y + float(near[row]), x + float(near[column])
    return y, x


def _moved(image: Image, y: float, x: float, *, fill: bool = False) -> Array:
    """The image moved by (y, x) pixels; NaN, unless filled, where it is bad or came in over the edge."""
    ky, kx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None]
    values = _filled(image)
    level = values.mean()
    moved: Array = (
        np.fft.irfft2(np.fft.rfft2(values - level) * np.exp(-2j * np.pi * (ky * y + kx * x)), s=image.shape)
        + level
    )
    if fill:
        return moved
    bad = ~np.isfinite(image)
    for axis, shift in ((0, y), (1, x)):
        # Between two pixels a bad one spoils both.
        low, high = int(np.floor(shift)), int(np.ceil(shift))
        bad = np.roll(bad, low, axis) | np.roll(bad, high, axis)
        edge = [slice(None), slice(None)]
        edge[axis] = slice(0, max(0, high)) if shift > 0 else slice(image.shape[axis] + min(0, low), None)
        bad[tuple(edge)] = True
    return np.where(bad, np.nan, moved)


def _smoothed(image: Array) -> Array:
    """Weighted means over SSIM's window, wherever all of it lies in the image."""
    weights = _WINDOW / _WINDOW.sum()
    for axis in (0, 1):
        length = image.shape[axis] - len(weights) + 1
        image = np.sum([w * image.take(range(n, n + length), axis) for n, w in enumerate(weights)], axis=0)
    return np.asarray(image)

"""Maps of polarised light with known truth, and the noise of cameras and of image reconstruction."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.instrument import KNOWN
from heliorestore.optics.noise import frequencies, half_plane
from heliorestore.optics.psf import telescope_psf
from heliorestore.simulate.patch import Patch, SceneName
from heliorestore.simulate.stokes import LINES, stokes

Map = npt.NDArray[np.float32]

SIDE = 256  # pixels of a simulated map
_MARGIN = 24
_OFFSETS = 3  # wavelengths of a scene
_TELESCOPE = KNOWN["crisp-6302-paper"]
_PIXELS_ARCSEC = (0.045, 0.059, 0.08, 0.11)  # of a telescope of 1 m, whose resolution is 0.13 arcsec
_SCENES: tuple[SceneName, ...] = ("granulation", "sunspot")
_LIGHT_RMS = 4e-3  # of maps made from light, as in an MHD simulation of emerging flux


def simulated(number: int, seed: int) -> tuple[str, list[Map]]:
    """Name and maps (y, x) of Q, U, V at three wavelengths, continuum 1, by a telescope of 1 m."""
    random = np.random.default_rng((seed, number))
    line = str(random.choice(list(LINES)))
    pixel = _PIXELS_ARCSEC[number // len(_SCENES) % len(_PIXELS_ARCSEC)]
    patch = Patch(
        shape=(SIDE, SIDE),
        pixel_arcsec=pixel,
        scene=_SCENES[number % len(_SCENES)],
        seed=seed + number,
        margin=_MARGIN,
    )
    offsets = random.uniform(-2.5, 2.5, _OFFSETS) * LINES[line].sigma_pm
    cube = torch.from_numpy(stokes(patch, line, list(offsets))[1:])
    telescope = dataclasses.replace(_TELESCOPE, wavelength_nm=LINES[line].wavelength_nm, pixel_arcsec=pixel)
    psf = telescope_psf(telescope, (cube.shape[-2], cube.shape[-1]), dtype=torch.float64)
    seen = torch.fft.irfft2(torch.fft.rfft2(cube) * torch.fft.rfft2(psf), s=psf.shape)
    inner = seen[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN].flatten(0, 1).float().numpy()
    return f"{patch.scene} {patch.seed} in {line} at {pixel} arcsec", list(inner)


def of_light(image: npt.NDArray[np.float64]) -> list[Map]:
    """Maps (y, x) like V, Q and U made from a continuum image: not physics, but its shapes.

    V is the darkness between granules, its sign that of the surrounding brightness; Q and U are the square of
    the gradient.
    """
    light = image / image.mean()
    around = _smoothed(light, 12.0) - 1
    sign = np.tanh(around / np.std(around))
    down, across = np.gradient(_smoothed(light, 1.0))
    steepness = np.hypot(down, across) + 1e-12
    maps = [
        np.clip(1.0 - light, 0, None) * sign,
        (across**2 - down**2) / steepness,
        2 * across * down / steepness,
    ]
    return [np.asarray(each * (_LIGHT_RMS / np.std(each)), np.float32) for each in maps]


def noise(random: np.random.Generator, shape: tuple[int, int]) -> Map:
    """Noise (y, x) of sigma 1: white, smoothed, or cut off by a telescope as in a reconstruction."""
    kind = random.integers(4)
    if kind < 2:
        return random.standard_normal(shape, np.float32)
    if kind == 2:
        return correlated_noise(random, shape, smoothing_px=float(random.uniform(0.3, 1.2)))
    return correlated_noise(
        random, shape, cutoff=float(random.uniform(0.25, 0.5)), boost=float(random.uniform(0, 3))
    )


def correlated_noise(
    random: np.random.Generator,
    shape: tuple[int, int],
    *,
    smoothing_px: float = 0.0,
    cutoff: float = 1.0,
    boost: float = 0.0,
) -> Map:
    """Noise (y, x) of unit standard deviation, smoothed by a Gaussian, and cut off at a frequency in cycles
    per pixel.

    Towards half of the cut-off the amplitude rises to 1 + `boost`, as a deconvolution amplifies it.
    """
    frequency = frequencies(shape)
    # The cut-off has a soft edge: a sharp one would ring in the noise.
    response = np.exp(-2 * (np.pi * smoothing_px * frequency) ** 2) / (1 + np.exp(60 * (frequency - cutoff)))
    response = response * (1 + boost * np.exp(-(((frequency / cutoff - 0.5) / 0.25) ** 2)))
    made = np.fft.irfft2(np.fft.rfft2(random.standard_normal(shape)) * response, s=shape)
    # Scaled by the expected deviation, not by the one that this patch happens to have.
    expected = np.sqrt(np.sum(half_plane(shape[1]) * response**2) / (shape[0] * shape[1]))
    return np.asarray(made / expected, np.float32)


def weak_structure(random: np.random.Generator, shape: tuple[int, int]) -> Map:
    """Structure (y, x) of both signs in units of the noise: a texture of one scale, or single round spots.

    The texture has a sigma of 1 to 12 pixels and an rms of 0.15 to 1.5; the spots, one in 150 to 1500 pixels,
    a sigma of 1.2 to 4 and peaks of 0.5 to 4.
    """
    if random.random() < 0.5:
        scale = float(np.exp(random.uniform(0, np.log(12))))
        strength = np.exp(random.uniform(np.log(0.15), np.log(1.5)))
        return np.float32(strength) * correlated_noise(random, shape, smoothing_px=scale)
    count = max(1, round(shape[0] * shape[1] / np.exp(random.uniform(np.log(150), np.log(1500)))))
    width = random.uniform(1.2, 4.0)
    rows, columns = (random.uniform(0, n, count) for n in shape)
    peaks = np.exp(random.uniform(np.log(0.5), np.log(4), count)) * random.choice((-1, 1), count)
    down, across = (
        np.exp(-((np.arange(n)[:, None] - places[None]) ** 2) / (2 * width**2))
        for n, places in zip(shape, (rows, columns), strict=True)
    )
    return np.asarray(np.einsum("yk,xk,k->yx", down, across, peaks), np.float32)


def _smoothed(image: npt.NDArray[np.float64], sigma_px: float) -> npt.NDArray[np.float64]:
    """The image (y, x) under a Gaussian, continued by its mirror images."""
    mirrored = np.pad(image, [(0, n) for n in image.shape], mode="symmetric")
    spectrum = np.fft.rfft2(mirrored) * np.exp(-2 * (np.pi * sigma_px * frequencies(mirrored.shape)) ** 2)
    return np.asarray(np.fft.irfft2(spectrum, s=mirrored.shape)[: image.shape[0], : image.shape[1]])

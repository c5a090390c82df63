"""Make the sample files: `python sample_data/make_samples.py`. Fixed seeds; nothing in them was observed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from astropy.io import fits

from heliorestore.instrument import KNOWN, Instrument
from heliorestore.optics.psf import telescope_psf

HERE = Path(__file__).parent


def pattern(size: int, grain: float, seed: int) -> np.ndarray:
    """A cellular pattern: distance to the nearest of many seeds, periodic; bright cells with dark lanes, mean 1."""
    rng = np.random.default_rng(seed)
    count = int((size / grain) ** 2)
    seeds = rng.uniform(0, size, (count, 2))
    y, x = np.mgrid[:size, :size]
    nearest = np.full((2, size, size), np.inf)
    for sy, sx in seeds:
        dy, dx = (np.abs(a - b) for a, b in ((y, sy), (x, sx)))
        distance = np.hypot(np.minimum(dy, size - dy), np.minimum(dx, size - dx))
        nearest = np.sort(np.concatenate([nearest, distance[None]]), axis=0)[:2]
    lanes = np.clip((nearest[1] - nearest[0]) / (0.35 * grain), 0, 1)
    image = 0.75 + 0.35 * lanes + 0.05 * rng.standard_normal((size, size))
    return image / image.mean()


def spot(image: np.ndarray, radius: float) -> np.ndarray:
    """Put a dark umbra and a striped penumbra into the middle of the pattern."""
    size = len(image)
    y, x = np.mgrid[:size, :size] - size / 2
    r, angle = np.hypot(y, x), np.arctan2(y, x)
    stripes = 0.75 + 0.12 * np.sin(24 * angle + 3 * np.sin(5 * angle) + r / 6)
    inside = 1 / (1 + np.exp((r - 2.2 * radius) / (0.05 * radius)))
    umbra = 1 / (1 + np.exp((r - radius) / (0.05 * radius)))
    return (image * (1 - inside) + stripes * inside) * (1 - umbra) + (0.12 + 0.05 * image) * umbra


def blur(image: np.ndarray, psf: torch.Tensor) -> np.ndarray:
    return torch.fft.irfft2(torch.fft.rfft2(torch.from_numpy(image)) * torch.fft.rfft2(psf.double()), s=image.shape).numpy()


def header(instrument: Instrument, **cards: object) -> fits.Header:
    telescope, _, rest = instrument.name.partition("/")
    made = fits.Header()
    made["TELESCOP"], made["INSTRUME"] = telescope, rest.split()[0]
    made["WAVELNTH"], made["WAVEUNIT"] = instrument.wavelength_nm, -9
    for axis, kind in ((1, "HPLN-TAN"), (2, "HPLT-TAN")):
        made[f"CTYPE{axis}"], made[f"CUNIT{axis}"], made[f"CDELT{axis}"] = kind, "arcsec", instrument.pixel_arcsec
    made["BUNIT"], made["DATE-BEG"] = "I/Ic", "2026-01-01T09:00:00"
    made["ORIGIN"] = ("heliorestore", "synthetic: not an observation")
    made.update(cards)
    return made


def write(name: str, image: np.ndarray, cards: fits.Header) -> None:
    for axis, length in ((1, image.shape[-1]), (2, image.shape[-2])):
        cards[f"CRPIX{axis}"], cards[f"CRVAL{axis}"] = (length + 1) / 2, 0.0
    counts = np.round(image * 20000).astype(np.int16)
    hdu = fits.PrimaryHDU(counts, cards)
    hdu.header["BSCALE"], hdu.header["BZERO"] = 1 / 20000, 0.0
    hdu.writeto(HERE / name, overwrite=True, checksum=False)


def hmi_continuum() -> None:
    """200 x 200 pixels of a spot through Wachter's PSF, on HMI's pixels."""
    instrument = KNOWN["hmi-6173"]
    scene = spot(pattern(400, 6.0, 1), 40)
    seen = blur(scene, telescope_psf(instrument, scene.shape, oversampling=2))
    image = seen.reshape(200, 2, 200, 2).mean((1, 3)) + np.random.default_rng(2).normal(0, 1e-3, (200, 200))
    write("hmi_continuum.fits", image, header(instrument))


def small_burst() -> None:
    """2 objects x 6 frames of 128 x 128 pixels: each frame shaken and blurred by a random wavefront."""
    instrument = KNOWN["crisp-8542"]
    size, rng = 128, np.random.default_rng(3)
    wide = spot(pattern(size, 18.0, 4), 18)
    objects = [wide, 0.6 * wide**2 + 0.2 * spot(pattern(size, 11.0, 5), 22)]
    telescope = torch.fft.rfft2(telescope_psf(instrument, (size, size)).double())
    frames = np.empty((2, 6, size, size))
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    for frame in range(6):
        shift, width = rng.normal(0, 0.8, 2), rng.uniform(0.6, 1.6)
        seeing = np.exp(-2j * np.pi * (fy * shift[0] + fx * shift[1]) - 2 * (np.pi * width) ** 2 * (fy**2 + fx**2))
        for index, image in enumerate(objects):
            seen = torch.fft.irfft2(torch.fft.rfft2(torch.from_numpy(image)) * telescope * torch.from_numpy(seeing), s=(size, size))
            frames[index, frame] = seen.numpy() + rng.normal(0, 2e-3, (size, size))
    cards = header(instrument, CADENCE=(0.5, "[s] from frame to frame"))
    write("small_burst.fits", np.clip(frames, 0, 1.6), cards)


if __name__ == "__main__":
    hmi_continuum()
    small_burst()

"""Make the sample files: `python sample_data/make_samples.py [FOLDER]`. Fixed seeds; nothing in them was
observed.

On one machine the files come out byte for byte the same; elsewhere a count may differ by one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from astropy.io import fits

from heliorestore.instrument import KNOWN, Instrument
from heliorestore.optics.psf import telescope_psf
from heliorestore.simulate.burst import bin_pixels, simulate_burst, wide_band
from heliorestore.simulate.magnetic import magnetic_field
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.stokes import LINES, stokes
from heliorestore.simulate.view import SimulationSettings

HERE = Path(__file__).parent
HMI, CRISP, IRON = KNOWN["hmi-6173"], KNOWN["crisp-8542-paper"], KNOWN["crisp-6302-paper"]
HMI_SIZE, HMI_MARGIN, FINER = 200, 25, 4  # HMI pixels, and scene pixels per HMI pixel

Array = npt.NDArray[np.floating]


def write(path: Path, values: Array, cards: fits.Header, scale: float = 1e-4) -> None:
    """Write values as 16-bit counts of `scale`."""
    counts = np.clip(np.round(values / scale), -32767, 32767).astype(np.int16)
    hdu = fits.PrimaryHDU(counts, cards)
    hdu.header["BSCALE"], hdu.header["BZERO"] = scale, 0.0
    hdu.writeto(path, overwrite=True)


def header(instrument: Instrument, shape: tuple[int, ...], **cards: object) -> fits.Header:
    """The cards that say what took an image of that shape, and that nothing did."""
    telescope, _, rest = instrument.name.partition("/")
    made = fits.Header()
    made["TELESCOP"], made["INSTRUME"] = telescope, rest.split()[0]
    made["WAVELNTH"], made["WAVEUNIT"] = instrument.wavelength_nm, -9
    made["APTDIA"] = (1000 * (instrument.diameter_m or 0.0), "[mm] diameter of the aperture")
    for axis, kind in ((1, "HPLN-TAN"), (2, "HPLT-TAN")):
        made[f"CTYPE{axis}"], made[f"CUNIT{axis}"], made[f"CDELT{axis}"] = (
            kind,
            "arcsec",
            instrument.pixel_arcsec,
        )
        made[f"CRPIX{axis}"], made[f"CRVAL{axis}"] = (shape[-axis] + 1) / 2, 0.0
    made["DATE-OBS"] = made["DATE-BEG"] = "2026-01-01T09:00:00.000"
    made["ORIGIN"] = ("heliorestore", "synthetic: simulated, not an observation")
    made.update(cards)
    return made


def through(instrument: Instrument, images: Array, oversampling: int = 1) -> Array:
    """Images (..., y, x) through the telescope alone; what wraps around belongs to the margin."""
    psf = telescope_psf(
        instrument, (images.shape[-2], images.shape[-1]), oversampling=oversampling, dtype=torch.float64
    )
    spectra = torch.fft.rfft2(torch.from_numpy(images)) * torch.fft.rfft2(psf)
    return torch.fft.irfft2(spectra, s=psf.shape).numpy()


def hmi_images(folder: Path) -> None:
    """A sunspot's continuum and magnetogram through Wachter's PSF, averaged over HMI's pixels."""
    patch = Patch(
        shape=(HMI_SIZE * FINER, HMI_SIZE * FINER),
        pixel_arcsec=(HMI.pixel_arcsec or 1.0) / FINER,
        seed=11,
        margin=HMI_MARGIN * FINER,
    )
    inner = slice(HMI_MARGIN, HMI_MARGIN + HMI_SIZE)
    sun = np.stack([wide_band(patch, HMI), magnetic_field(patch)[2]])
    continuum, field = bin_pixels(through(HMI, sun, FINER), FINER)[:, inner, inner]
    noise = np.random.default_rng(2).standard_normal((2, HMI_SIZE, HMI_SIZE))
    shape = continuum.shape
    write(
        folder / "hmi_continuum.fits",
        continuum + 1e-3 * noise[0],
        header(HMI, shape, CONTENT="CONTINUUM INTENSITY", BUNIT="I/Ic"),
    )
    write(
        folder / "hmi_magnetogram.fits",
        field + 10 * noise[1],
        header(HMI, shape, CONTENT="MAGNETOGRAM", BUNIT="Gauss"),
        0.1,
    )


def burst(folder: Path, name: str, settings: SimulationSettings, seed: int, truth: str = "") -> None:
    """A burst of CRISP's wide and narrow band at 8542, and its truth."""
    made = simulate_burst(settings, CRISP, seed=seed)
    labels = {f"LABEL{n}": label for n, label in enumerate(made.burst.labels, 1)}
    cards = made.burst.headers[0].copy()
    cards.update(labels)
    write(folder / name, np.asarray(made.burst.frames), cards)
    if truth:
        cards = made.truth_burst().headers[0].copy()
        cards.update(labels)
        write(folder / truth, made.truth[:, None], cards)


def small_burst(folder: Path) -> None:
    """A burst small enough for a quick look."""
    burst(folder, "small_burst.fits", SimulationSettings(size=128, frames=6, psf_size=96, ao=True), 4)


def sunspot_burst(folder: Path) -> None:
    """A burst worth restoring, with its truth in a file beside it."""
    burst(folder, "sunspot_burst.fits", SimulationSettings(ao=True), 1, "sunspot_truth.fits")


def stokes_series(folder: Path) -> None:
    """Eight Stokes images of network fields at three wavelengths of Fe I 6302 (time, stokes, wavelength, y,
    x), with noise 3e-3.
    """
    size, margin, cadence_s, offsets_pm = 96, 24, 6.0, (-8.0, 0.0, 8.0)
    frames = []
    for number in range(8):
        patch = Patch(
            shape=(size, size),
            pixel_arcsec=IRON.pixel_arcsec or 1.0,
            scene="granulation",
            seed=33,
            margin=margin,
            time_s=number * cadence_s,
        )
        cube = through(IRON, stokes(patch, "fe-6302", offsets_pm))
        frames.append(cube[..., margin:-margin, margin:-margin])
    series = np.stack(frames)
    series += 3e-3 * np.random.default_rng(7).standard_normal(series.shape)
    cards = header(IRON, series.shape, BUNIT="I/Ic")
    axes = (
        ("WAVE", "nm", LINES["fe-6302"].wavelength_nm - 0.008, 0.008),
        ("STOKES", "", 1.0, 1.0),
        ("TIME", "s", 0.0, cadence_s),
    )
    for axis, (kind, unit, first, step) in enumerate(axes, 3):
        cards[f"CTYPE{axis}"], cards[f"CUNIT{axis}"], cards[f"CRPIX{axis}"] = kind, unit, 1.0
        cards[f"CRVAL{axis}"], cards[f"CDELT{axis}"] = first, step
    write(folder / "stokes_series.fits", series, cards)


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for make in (hmi_images, small_burst, sunspot_burst, stokes_series):
        make(target)

"""The simulated Sun beside a magnetohydrodynamic simulation and restored observations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from heliorestore.instrument import KNOWN, Instrument
from heliorestore.optics.psf import telescope_psf
from heliorestore.simulate.burst import narrow_band, wide_band
from heliorestore.simulate.granulation import granulation
from heliorestore.simulate.patch import Patch

EDGES = np.geomspace(0.02, 0.3, 10)  # cycles per pixel


def spectrum(image: np.ndarray) -> np.ndarray:
    """Azimuthal power of the relative intensity in rings between EDGES, apodised."""
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    relative = image / image.mean() - 1
    relative = (relative - (relative * window).sum() / window.sum()) * window
    power = np.abs(np.fft.fft2(relative)) ** 2 / (window**2).sum()
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1]))
    ring = np.digitize(frequency.ravel(), EDGES)
    return (np.bincount(ring, power.ravel()) / np.bincount(ring))[1 : len(EDGES)]


def through(instrument: Instrument, image: np.ndarray) -> np.ndarray:
    """The image through the telescope alone; its border, where it wraps around, is cut off."""
    transfer = torch.fft.rfft2(
        telescope_psf(instrument, (image.shape[0], image.shape[1]), dtype=torch.float64)
    )
    return torch.fft.irfft2(torch.fft.rfft2(torch.from_numpy(image)) * transfer, s=image.shape).numpy()[
        24:-24, 24:-24
    ]


def parts(folder: Path, name: str, size: int) -> list[np.ndarray]:
    image = fits.getdata(folder / "truth" / name).astype(np.float64)
    return [image[:size, :size], image[-size:, -size:]]


def test_granulation_has_the_contrast_histogram_and_spectrum_of_an_mhd_simulation(shared_data: Path) -> None:
    wanted = parts(shared_data, "mhd_granulation.fits", 500)
    patch = Patch(shape=(500, 500), pixel_arcsec=0.0662, scene="granulation")
    ours = [granulation(patch.x, patch.y, seed).intensity for seed in range(1, 5)]
    assert np.mean([i.std() / i.mean() for i in ours]) == pytest.approx(0.163, abs=0.012)
    for percent in (1, 5, 25, 50, 75, 95, 99):
        found, true = (
            np.mean([np.percentile(i / i.mean(), percent) for i in images]) for images in (ours, wanted)
        )
        assert found == pytest.approx(true, abs=0.06)
    ratio = np.mean([spectrum(i) for i in ours], 0) / np.mean([spectrum(i) for i in wanted], 0)
    np.testing.assert_allclose(ratio, 1, atol=0.2)


def test_the_wide_band_at_8542_has_the_spectrum_of_a_restored_observation(shared_data: Path) -> None:
    crisp = KNOWN["crisp-8542"]
    wanted = parts(shared_data, "crisp_8542_quiet_wb.fits", 512)
    patches = [Patch(shape=(560, 560), pixel_arcsec=0.059, scene="granulation", seed=seed) for seed in (1, 2)]
    ours = [through(crisp, wide_band(patch, crisp)) for patch in patches]
    assert np.mean([i.std() / i.mean() for i in ours]) == pytest.approx(0.052, abs=0.01)
    ratio = np.mean([spectrum(i) for i in ours], 0) / np.mean([spectrum(i) for i in wanted], 0)
    # The last ring lies where the observation's restoration filter and its noise decide.
    np.testing.assert_allclose(ratio[:-1], 1, atol=0.25)


def test_the_narrow_band_at_8542_is_like_an_observation_within_a_factor_of_two(shared_data: Path) -> None:
    crisp = KNOWN["crisp-8542"]
    wanted = parts(shared_data, "crisp_8542_quiet_nb.fits", 512)
    # Six periods of the lowest frequency; a field as large as the observation's takes three times as long.
    patches = [Patch(shape=(352, 352), pixel_arcsec=0.059, scene="granulation", seed=s) for s in range(1, 5)]
    ours = [through(crisp, narrow_band(patch, crisp)) for patch in patches]
    assert np.mean([i.std() / i.mean() for i in ours]) == pytest.approx(0.174, abs=0.05)
    ratio = np.mean([spectrum(i) for i in ours], 0) / np.mean([spectrum(i) for i in wanted], 0)
    assert (np.abs(np.log2(ratio[:-1])) < 1).all()

"""Principal components of spectra: the noise of those left out goes."""

import numpy as np
import pytest

from heliorestore.burst import Burst
from heliorestore.instrument import Instrument
from heliorestore.methods.base import restore
from heliorestore.methods.pca import PcaSettings


def cube(rank: int, sigma: float) -> tuple[Burst, np.ndarray]:
    """Q and V at eight wavelengths, of few components each."""
    rng = np.random.default_rng(2)
    waves = np.linspace(630.2, 630.3, 8)
    truth = np.concatenate(
        [
            np.einsum("wr,ryx->wyx", rng.standard_normal((8, rank)), rng.standard_normal((rank, 40, 40)))
            for _ in range(2)
        ]
    )[:, None]
    truth = np.repeat(truth, 2, axis=1)
    noisy = truth + sigma * rng.standard_normal(truth.shape)
    labels = tuple(f"{wave:.3f} nm, {stokes}" for stokes in "QV" for wave in waves)
    instruments = tuple(Instrument(wavelength_nm=float(wave)) for _ in "QV" for wave in waves)
    return Burst(frames=noisy.astype(np.float32), labels=labels, instruments=instruments), truth


def test_pca_takes_away_the_noise_of_the_components_it_leaves_out() -> None:
    burst, truth = cube(2, 0.3)
    last = restore(burst, PcaSettings(components=2, frame=1), device="cpu")
    error = np.sqrt(np.mean((last.maps["series"] - truth) ** 2))
    assert error == pytest.approx(0.3 * np.sqrt(2 / 8), rel=0.05)
    np.testing.assert_array_equal(last.images, last.maps["series"][:, 1])
    everything = restore(burst, PcaSettings(components=8), device="cpu")
    np.testing.assert_allclose(everything.maps["series"], burst.frames, atol=1e-4)

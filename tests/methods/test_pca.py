"""Principal components of spectra: the noise of those left out goes."""

import numpy as np
import pytest

from heliorestore.burst import Burst
from heliorestore.errors import SettingsError
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


def test_a_value_that_is_no_light_changes_no_other_spectrum() -> None:
    burst, _ = cube(2, 0.3)
    frames = np.array(burst.frames)
    frames[3, 0, 20, 30] = 1e30
    spoilt = Burst(frames=frames, labels=burst.labels, instruments=burst.instruments)
    sound, last = (restore(each, PcaSettings(), device="cpu") for each in (burst, spoilt))
    assert np.argwhere(~np.isfinite(last.images)).tolist() == [[k, 20, 30] for k in range(8)]
    assert np.nanstd(last.images - sound.images) < 0.01 * 0.3
    assert any("taken as bad pixels: 1 values" in message for message in last.messages)


def test_too_few_whole_spectra_are_a_sentence() -> None:
    burst, _ = cube(2, 0.3)
    frames = np.array(burst.frames)
    frames[np.random.default_rng(1).random(frames.shape) < 0.7] = np.nan
    holes = Burst(frames=frames, labels=burst.labels, instruments=burst.instruments)
    with pytest.raises(SettingsError, match="pixels have a value at all 8 wavelengths"):
        restore(holes, PcaSettings(), device="cpu")

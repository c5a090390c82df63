from dataclasses import replace

import numpy as np
import pytest

from heliorestore.burst import Burst
from heliorestore.coordinates import Coordinates
from heliorestore.instrument import Instrument
from heliorestore.methods.denoising.polarisation import block_means, light_of, spectra, statistics, stokes_of
from heliorestore.train.polarised import correlated_noise


@pytest.mark.parametrize(
    ("label", "stokes"),
    [("630.25 nm, Q", "Q"), ("Stokes V", "V"), ("I", "I"), ("630.25 nm", ""), ("narrow band", ""), ("", "")],
)
def test_stokes_parameters_are_read_from_labels(label: str, stokes: str) -> None:
    assert stokes_of(label) == stokes


@pytest.mark.parametrize("smoothing_px", [0.0, 1.0])
def test_the_noise_is_found_in_a_series_whatever_it_shows(smoothing_px: float) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:100, :100]
    scene = 0.1 * np.exp(-((y - 50) ** 2 + (x - 40) ** 2) / 300) - 0.05 * (x > 80)
    frames = np.stack(
        [scene + 2e-3 * correlated_noise(rng, (100, 100), smoothing_px=smoothing_px) for _ in range(3)]
    )
    light = light_of(Burst.from_array(frames), 0)
    assert light.noise == pytest.approx(2e-3, rel=0.06)
    assert light.strength == pytest.approx(np.std(scene - np.median(scene)) / 2e-3, rel=0.3)
    single = light_of(Burst.from_array(frames[0]), 0)
    assert single.noise == pytest.approx(2e-3, rel=0.2)


def test_intensities_are_told_from_polarisation() -> None:
    rng = np.random.default_rng(0)
    noise = 1e-3 * rng.standard_normal((2, 40, 40))
    assert light_of(Burst.from_array(1 + noise), 0).is_intensity
    assert not light_of(Burst.from_array(noise), 0).is_intensity
    assert not light_of(Burst.from_array(1 + noise, labels=("Q",)), 0).is_intensity


def test_local_means_of_noise_are_one_and_of_structure_more() -> None:
    rng = np.random.default_rng(1)
    noise = 0.5 * rng.standard_normal((160, 160)).astype(np.float32)
    facts = statistics(noise, 0.5)
    assert facts["residual_sigma"] == pytest.approx(1, abs=0.02)
    assert facts["residual_local_mean"] == pytest.approx(1, abs=0.15)
    assert statistics(noise + np.float32(0.2), 0.5)["residual_local_mean"] > 3
    np.testing.assert_allclose(
        block_means(np.arange(32.0 * 32).reshape(32, 32)), [[247.5, 263.5], [759.5, 775.5]]
    )


def test_spectra_are_ordered_by_wavelength() -> None:
    waves = np.linspace(630.2, 630.3, 8)
    burst = Burst(
        frames=np.zeros((16, 1, 4, 4), np.float32),
        labels=tuple(f"{wave:.3f} nm, {stokes}" for stokes in "QV" for wave in waves),
        instruments=tuple(Instrument(wavelength_nm=float(wave)) for _ in "QV" for wave in waves),
    )
    assert spectra(burst) == [tuple(range(8)), tuple(range(8, 16))]
    # Behind a filter all objects have the instrument's wavelength, and their own as coordinates.
    places = tuple(
        Coordinates(wavelength_nm=630.25, offset_pm=float(offset), stokes=stokes)
        for stokes in "QV"
        for offset in range(8)
    )
    located = replace(burst, instruments=(Instrument(wavelength_nm=630.25),) * 16, coordinates=places)
    assert spectra(located) == [tuple(range(8)), tuple(range(8, 16))]
    assert spectra(burst.select(objects=slice(None, None, -1))) == [
        tuple(range(7, -1, -1)),
        tuple(range(15, 7, -1)),
    ]

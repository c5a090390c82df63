import numpy as np
import pytest

from heliorestore.errors import BurstError
from heliorestore.quality.metrics import (
    contrast,
    likeness,
    on_equal_pixels,
    photometry,
    positive_pairs,
    power_spectrum,
    registered,
    ssim,
)


def scene(rows: int = 96, columns: int = 112, seed: int = 0) -> np.ndarray:
    """A smooth positive random image whose spectrum is empty beyond 0.2 cycles per pixel."""
    spectrum = np.fft.rfft2(np.random.default_rng(seed).normal(size=(rows, columns)))
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    image = np.fft.irfft2(spectrum * np.exp(-((frequency / 0.05) ** 2)), s=(rows, columns))
    return 1000 * (1 + 0.1 * image / image.std())


def turned(image: np.ndarray, y: float, x: float) -> np.ndarray:
    ky, kx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None]
    return np.fft.irfft2(np.fft.rfft2(image) * np.exp(-2j * np.pi * (ky * y + kx * x)), s=image.shape)


def test_contrast_is_the_relative_standard_deviation_of_valid_pixels() -> None:
    x = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    wave = 5 * (1 + 0.1 * np.sin(x)) * np.ones((3, 1))
    wave[0, 0] = np.nan
    assert contrast(wave) == pytest.approx(0.1 / np.sqrt(2), rel=1e-3)


@pytest.mark.parametrize("shape", [(128, 128), (96, 129)])
def test_the_power_of_white_noise_is_flat_and_integrates_to_its_variance(shape: tuple[int, int]) -> None:
    pixel, sigma = 0.05, 0.02
    images = [7.0 * (1 + sigma * np.random.default_rng(seed).normal(size=shape)) for seed in range(6)]
    spectra = [power_spectrum(image, pixel) for image in images]
    # White noise fills the square of frequencies 1 / pixel wide evenly.
    expected = sigma**2 * pixel**2
    assert np.mean([spectrum.power[10:] for spectrum in spectra]) == pytest.approx(expected, rel=0.05)
    assert spectra[0].frequency[-1] == pytest.approx(0.5 / pixel, rel=0.02)


def test_a_wave_shows_at_its_frequency_in_cycles_per_arcsec() -> None:
    period_px, pixel = 8, 0.1
    wave = 1 + 0.01 * np.sin(2 * np.pi * np.arange(128) / period_px) * np.ones((128, 1))
    for image in (wave, wave.T):
        spectrum = power_spectrum(image, pixel)
        assert spectrum.frequency[np.argmax(spectrum.power)] == pytest.approx(
            1 / (period_px * pixel), rel=0.02
        )


def test_the_power_of_an_even_and_an_odd_number_of_columns_agree() -> None:
    image = scene(128, 128)
    even, odd = power_spectrum(image), power_spectrum(image[:127, :127])
    inside = even.power[:126] > 1e-3
    ratio = np.interp(even.frequency, odd.frequency, odd.power)[:126][inside] / even.power[:126][inside]
    assert np.median(ratio) == pytest.approx(1, abs=0.05)


def test_too_small_or_bad_images_have_no_spectrum() -> None:
    with pytest.raises(BurstError, match="too little for a power spectrum"):
        power_spectrum(np.full((64, 64), np.nan))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.37, -1.72), (-7.5, 9.25)])
def test_the_shift_is_found_to_a_hundredth_of_a_pixel_and_taken_off(shift: tuple[float, float]) -> None:
    reference = scene()
    found, moved = registered(turned(reference, *shift), reference)
    assert found == pytest.approx((-shift[0], -shift[1]), abs=0.02)
    np.testing.assert_allclose(moved, reference[16:-16, 16:-16], atol=2.0)


def test_likeness_finds_gain_and_error_and_does_not_mind_a_shift() -> None:
    reference = scene()
    flat = 1000 + (turned(reference, 1.4, -0.6) - 1000) / 1.25
    found = likeness(flat, reference)
    assert found.gain == pytest.approx(1.25, rel=1e-3)
    assert found.nmse < 1e-4
    assert found.contrast_ratio == pytest.approx(0.8, rel=1e-2)
    noisy = reference + np.random.default_rng(2).normal(0, 50, reference.shape)
    variance = reference[16:-16, 16:-16].var()
    # The gain that fits best takes a part of the noise away: e / (1 + e).
    assert likeness(noisy, reference).nmse == pytest.approx(2500 / variance / (1 + 2500 / variance), rel=0.05)


def test_bad_pixels_do_not_count() -> None:
    reference = scene()
    image = turned(reference, 0.5, 0.5)
    image[40:44, 50:55] = np.nan
    reference[60, 60] = np.nan
    found = likeness(image, reference)
    assert found.nmse < 2e-3
    assert found.gain == pytest.approx(1, abs=0.01)
    with pytest.raises(BurstError, match="no valid pixel"):
        likeness(np.full((64, 64), np.nan), scene(64, 64))


def test_ssim_is_one_for_equal_images_and_falls_with_structure_lost() -> None:
    image = scene()
    assert ssim(image, image) == pytest.approx(1)
    noisy = image + np.random.default_rng(0).normal(0, 0.3 * image.std(), image.shape)
    assert ssim(np.full_like(image, image.mean()), image) < 0.5 < ssim(noisy, image) < 0.99


def test_photometry_is_the_ratio_of_intensities() -> None:
    reference = scene()
    assert photometry(1.1 * reference, reference).ratio == pytest.approx(1.1)
    half = reference.copy()
    half[: len(half) // 2] *= 3
    assert photometry(half, reference).within_factor == pytest.approx(0.5)
    reference[0, 0], reference[0, 1] = -5, np.nan
    assert len(positive_pairs(half, reference)) == reference.size - 2
    with pytest.raises(BurstError, match="no pixel where both are positive"):
        photometry(-half, reference)


def test_a_finer_image_is_averaged_onto_the_coarser_pixels() -> None:
    coarse = scene(16, 20)
    fine = coarse.repeat(2, 0).repeat(2, 1)
    for pair in ((fine, coarse), (coarse, fine)):
        first, second = on_equal_pixels(*pair)
        np.testing.assert_allclose(first, coarse)
        np.testing.assert_allclose(second, coarse)
    with pytest.raises(BurstError, match="20 x 16 pixels and 20 x 17 pixels"):
        on_equal_pixels(coarse, np.ones((17, 20)))
    with pytest.raises(BurstError, match="only images of one size"):
        registered(coarse, fine)

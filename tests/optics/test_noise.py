from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from heliorestore.optics.noise import Noise, estimate_noise, estimate_sigma

CUTOFF = 0.335  # CRISP at 854 nm
Image = npt.NDArray[np.float64]


def gaussian_smoothed(image: Image, sigma: float) -> Image:
    rows, columns = image.shape
    k2 = np.fft.fftfreq(rows)[:, None] ** 2 + np.fft.rfftfreq(columns)[None, :] ** 2
    return np.fft.irfft2(np.fft.rfft2(image) * np.exp(-2 * (np.pi * sigma) ** 2 * k2), s=image.shape)


@pytest.fixture
def scene() -> Image:
    """A band-limited scene of contrast 15 % with a gradient, so that its borders do not match."""
    generator = np.random.default_rng(0)
    rows, columns = 160, 200
    k = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None, :])
    spectrum = np.fft.rfft2(generator.normal(size=(rows, columns))) / (1 + (k / 0.03) ** 2) * (k < 0.3)
    image = np.fft.irfft2(spectrum, s=(rows, columns))
    return np.asarray(1 + 0.15 * image / image.std() + np.linspace(0, 0.3, columns))


@pytest.mark.parametrize("sigma", [1e-3, 1e-2, 0.1])
def test_white_noise_over_a_scene(scene: Image, sigma: float) -> None:
    noisy = scene + sigma * np.random.default_rng(1).normal(size=scene.shape)
    noise = estimate_noise(noisy, CUTOFF)
    assert noise.sigma == pytest.approx(sigma, rel=0.05)
    assert noise.correlation_px == 0


def test_power_beyond_the_cutoff_sees_less_than_second_differences(scene: Image) -> None:
    sigma = 1e-3
    noisy = scene + sigma * np.random.default_rng(1).normal(size=scene.shape)
    assert abs(estimate_noise(noisy, CUTOFF).sigma - sigma) < 0.2 * abs(estimate_sigma(noisy) - sigma)


@pytest.mark.parametrize("smoothing", [0.5, 0.7])
def test_smoothed_noise_keeps_its_own_sigma(scene: Image, smoothing: float) -> None:
    grain = gaussian_smoothed(np.random.default_rng(1).normal(size=scene.shape), smoothing)
    noise = estimate_noise(scene + 0.02 * grain / grain.std(), CUTOFF)
    assert noise.sigma == pytest.approx(0.02, rel=0.15)
    assert noise.correlation_px == pytest.approx(smoothing, rel=0.15)


def test_white_noise_is_not_taken_for_smoothed_by_chance() -> None:
    # beyond this cut-off only the corners of the frequencies are left to tell the two apart
    found = [estimate_noise(np.random.default_rng(seed).normal(size=(96, 96)), 0.454) for seed in range(300)]
    assert sum(abs(noise.sigma - 1) > 0.15 for noise in found) <= 2


def test_the_noise_of_a_mirrored_image_is_the_same(scene: Image) -> None:
    noisy = scene + gaussian_smoothed(0.1 * np.random.default_rng(1).normal(size=scene.shape), 0.5)
    noise, mirrored = estimate_noise(noisy, CUTOFF), estimate_noise(noisy[::-1], CUTOFF)
    assert noise.correlation_px > 0
    assert mirrored.sigma == pytest.approx(noise.sigma, rel=1e-9)


def test_bad_pixels_and_tiny_images(scene: Image) -> None:
    noisy = scene + 0.02 * np.random.default_rng(1).normal(size=scene.shape)
    holes = noisy.copy()
    holes[np.random.default_rng(2).random(scene.shape) < 0.001] = np.nan
    assert estimate_noise(holes, CUTOFF).sigma == pytest.approx(0.02, rel=0.35)
    assert estimate_noise(np.full((2, 2), np.nan), CUTOFF).sigma == 0
    assert estimate_noise(np.ones((64, 64)), CUTOFF).sigma == 0


@pytest.mark.parametrize("cutoff", [None, 0.68])
def test_without_room_beyond_the_cutoff_the_noise_is_taken_as_white(
    scene: Image, cutoff: float | None
) -> None:
    noisy = scene + 0.1 * np.random.default_rng(1).normal(size=scene.shape)
    assert estimate_noise(noisy, cutoff) == Noise(estimate_sigma(noisy))


def test_power_has_the_variance() -> None:
    frequency = np.hypot(np.fft.fftfreq(50)[:, None], np.fft.fftfreq(60)[None, :])
    for noise in (Noise(0.3), Noise(0.3, 0.8)):
        assert noise.power(frequency).mean() == pytest.approx(0.09, rel=1e-3)


def test_second_differences_find_white_noise() -> None:
    image = 5 + 0.2 * np.random.default_rng(0).normal(size=(100, 100)) + np.linspace(0, 3, 100)
    assert estimate_sigma(image) == pytest.approx(0.2, rel=0.05)

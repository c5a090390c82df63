"""Simulated bursts: truth, photometry, noise, headers, determinism."""

import dataclasses

import numpy as np
import pytest
import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN, Instrument
from heliorestore.settings import from_rows, to_rows
from heliorestore.simulate.burst import Simulation, bin_pixels, detect, simulate_burst
from heliorestore.simulate.view import SimulationSettings

CRISP = KNOWN["crisp-8542"]
SMALL = SimulationSettings(size=64, frames=3, psf_size=64, step=16, ao=True)


@pytest.fixture(scope="module")
def small() -> Simulation:
    return simulate_burst(SMALL, CRISP, seed=4)


def shift_of(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Displacement (y, x) in pixels by the correlation's peak, to a fraction of a pixel."""
    window = np.hanning(len(image))[:, None] * np.hanning(len(image))
    spectra = [np.fft.fft2((i - i.mean()) * window) for i in (image, reference)]
    correlation = np.fft.fftshift(np.fft.ifft2(spectra[0] * spectra[1].conj()).real)
    row, column = np.unravel_index(correlation.argmax(), correlation.shape)
    found = []
    for line, at in ((correlation[:, column], row), (correlation[row], column)):
        before, peak, after = line[at - 1 : at + 2]
        found.append(at - len(image) // 2 + 0.5 * (before - after) / (before - 2 * peak + after))
    return np.array(found)


def test_a_burst_has_two_bands_and_their_truth(small: Simulation) -> None:
    assert small.burst.shape == (2, 3, 64, 64)
    assert small.burst.frames.dtype == np.float32
    assert small.burst.labels == ("wide band", "narrow band")
    assert small.truth.shape == small.scene.shape == (2, 64, 64)
    # A telescope takes contrast away, and the air takes more.
    for object_ in range(2):
        contrasts = [
            image.std() / image.mean()
            for image in (small.scene[object_], small.truth[object_], small.burst.image(object_, 0))
        ]
        assert contrasts[0] > contrasts[1] > contrasts[2] > 0.02


def test_the_same_seed_gives_the_same_bytes(small: Simulation) -> None:
    again = simulate_burst(SMALL, CRISP, seed=4)
    assert np.asarray(again.burst.frames).tobytes() == np.asarray(small.burst.frames).tobytes()
    assert again.truth.tobytes() == small.truth.tobytes()
    assert not np.array_equal(simulate_burst(SMALL.replace(frames=1), CRISP, seed=5).truth, small.truth)


def test_the_header_says_what_it_is(small: Simulation) -> None:
    header = small.burst.headers[1]
    assert Instrument.from_header(header) == CRISP
    assert "synthetic" in header.comments["ORIGIN"]
    assert header["OBJECT"] == "narrow band"
    assert small.burst.times is not None
    assert str(small.burst.times[2]) == "2026-01-01T09:00:00.200"
    truth = small.truth_burst()
    assert truth.shape == (2, 1, 64, 64)
    assert "truth" in str(truth.headers[0]["HISTORY"])
    assert "truth" not in str(header["HISTORY"])


def test_the_truth_lies_where_the_corrected_frames_lie() -> None:
    settings = SimulationSettings(
        scene="granulation", size=96, frames=12, objects=1, psf_size=96, step=24, ao=True, ao_gain=1.0
    )
    simulation = simulate_burst(settings, CRISP, seed=1)
    mean = np.asarray(simulation.burst.frames)[0].mean(0)
    assert np.abs(shift_of(mean, simulation.truth[0])).max() < 0.5


def test_photometry_is_kept() -> None:
    settings = SimulationSettings(
        scene="granulation", size=128, frames=2, objects=1, psf_size=64, step=32, noise=0
    )
    simulation = simulate_burst(settings, CRISP, seed=1)
    means = np.asarray(simulation.burst.frames).mean((0, 2, 3))
    np.testing.assert_allclose(means, simulation.scene.mean(), rtol=0.01)
    assert simulation.truth.mean() == pytest.approx(simulation.scene.mean(), rel=0.005)


def test_the_noise_has_the_sigma_that_was_asked_for_and_grows_with_the_light() -> None:
    frames = torch.ones((1, 2, 200, 200))
    frames[..., 100:] = 3.0
    noisy = detect(frames, SimulationSettings(noise=0.01), 0) - frames.numpy()
    assert noisy.std() == pytest.approx(0.01 * 2.0, rel=0.03)
    dark, bright = noisy[..., :100].std(), noisy[..., 100:].std()
    assert bright / dark == pytest.approx(((0.8 * 1.5 + 0.2) / (0.8 * 0.5 + 0.2)) ** 0.5, rel=0.03)
    assert abs(noisy.mean()) < 3e-4
    assert np.corrcoef(noisy[0, 0].ravel(), noisy[0, 1].ravel())[0, 1] == pytest.approx(0, abs=0.03)


def test_the_detector_counts_and_its_flat_field_stays() -> None:
    frames = torch.ones((1, 2, 100, 100))
    counts = detect(frames, SimulationSettings(noise=0, gain=1000, offset=50, flat_rms=0.02), 0)
    np.testing.assert_array_equal(counts[0, 0], counts[0, 1])
    assert counts.mean() == pytest.approx(1050, rel=0.002)
    assert counts.std() == pytest.approx(20, rel=0.05)


def test_in_space_there_is_no_air() -> None:
    simulation = simulate_burst(SMALL.replace(r0_cm=0, noise=0, objects=1), CRISP, seed=4)
    for frame in range(3):
        np.testing.assert_array_equal(simulation.burst.image(0, frame), simulation.truth[0])
    assert simulation.view.telescope is None


def test_turbulence_at_the_ground_blurs_all_places_alike() -> None:
    settings = SMALL.replace(high_layer_km=0.0, noise=0, objects=1, frames=1, step=16)
    simulation = simulate_burst(settings, CRISP, seed=4)
    psfs = simulation.view.psf_grid(32)
    assert psfs.shape == (1, 2, 2, 64, 64)
    np.testing.assert_allclose(psfs[0, 0, 0], psfs[0, 1, 1], atol=1e-6)
    variant = simulate_burst(settings.replace(high_layer_km=8.0), CRISP, seed=4).view.psf_grid(32)
    assert np.abs(variant[0, 0, 0] - variant[0, 1, 1]).max() > 0.1 * variant.max()


def test_hmi_flies_and_its_pixels_average_what_is_smaller() -> None:
    simulation = simulate_burst(
        SimulationSettings(size=16, frames=1, objects=1, noise=0), KNOWN["hmi-6173"], seed=0
    )
    assert simulation.view.telescope is None
    np.testing.assert_array_equal(simulation.burst.image(0, 0), simulation.truth[0])
    assert simulation.burst.instruments[0].psf == "wachter"


def test_a_scene_of_ones_own_is_used_and_mirrored_around() -> None:
    image = np.random.default_rng(0).random((1, 70, 80)).astype(np.float32) + 1
    simulation = simulate_burst(SMALL.replace(frames=1, objects=1), CRISP, scene=image)
    np.testing.assert_array_equal(simulation.scene[0], image[0, 3:67, 8:72])
    tiny = simulate_burst(SMALL.replace(frames=1), CRISP, scene=image[:, :20, :20])
    assert tiny.scene.shape == (1, 64, 64)
    np.testing.assert_array_equal(tiny.scene[0, 22:42, 22:42], image[0, :20, :20])
    np.testing.assert_array_equal(tiny.scene[0, 21, 22:42], image[0, 0, :20])


def test_mistakes_are_told_in_a_sentence() -> None:
    with pytest.raises(
        SettingsError,
        match=r"The scene is 'sunspots'; possible are sunspot, granulation, or "
        r"a FITS file",
    ):
        simulate_burst(SMALL.replace(scene="sunspots"), CRISP)
    with pytest.raises(SettingsError, match="even number"):
        SimulationSettings(size=65)
    with pytest.raises(SettingsError, match="no bad pixels"):
        simulate_burst(SMALL, CRISP, scene=np.full((1, 64, 64), np.nan, np.float32))
    with pytest.raises(SettingsError, match="diameter_m"):
        simulate_burst(SMALL, Instrument())


def test_settings_go_through_text() -> None:
    settings = SMALL.replace(ao=False, r0_cm=7.5)
    assert from_rows(SimulationSettings, [row[:2] for row in to_rows(settings)]) == settings


def test_progress_is_told_and_a_photospheric_line_has_its_own_narrow_band() -> None:
    told: list[tuple[int, int]] = []
    settings = SMALL.replace(frames=2, scene="granulation", noise=0, r0_cm=0)
    simulation = simulate_burst(
        settings, KNOWN["crisp-6302"], progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 2), (2, 2)]
    wide, narrow = simulation.scene
    assert np.corrcoef(wide.ravel(), narrow.ravel())[0, 1] > 0.3
    assert narrow.mean() == pytest.approx(1.0, abs=0.1)
    assert dataclasses.is_dataclass(simulation.view)


def test_bin_pixels_averages() -> None:
    np.testing.assert_array_equal(bin_pixels(np.arange(16.0).reshape(4, 4), 2), [[2.5, 4.5], [10.5, 12.5]])

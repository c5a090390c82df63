"""What telescopes and cameras do besides blur and noise: each fault has the size asked for, and a record."""

import numpy as np
import pytest
import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN
from heliorestore.simulate.burst import Simulation, detect, simulate_burst
from heliorestore.simulate.faults import Faults, draw_faults, flux_fields
from heliorestore.simulate.view import SimulationSettings

CRISP = KNOWN["crisp-8542"]
CLEAN = SimulationSettings(size=64, frames=6, objects=2, psf_size=32, r0_cm=0, noise=0, scene="granulation")
SHAPE = (2, 6, 64, 64)


def drawn(seed: int = 1, **faults: float) -> Faults:
    return draw_faults(CLEAN.replace(**faults), SHAPE, 3.0, seed)


def burst(**faults: float) -> Simulation:
    return simulate_burst(CLEAN.replace(**faults), CRISP, seed=1)


def test_without_faults_the_light_is_not_touched() -> None:
    light, counts = torch.ones((1, 2, 4, 4)), np.ones((1, 2, 4, 4), np.float32)
    assert drawn().on_light(light) is light
    assert drawn().on_counts(counts) is counts
    assert drawn().images() == {}
    assert not [key for key in burst().burst.headers[0] if key.startswith(("SIMF", "SIMD", "SIMBLUR"))]


def test_flux_errors_have_their_rms_and_correlation_and_are_drawn_for_every_frame() -> None:
    fields = flux_fields((2, 60, 64, 64), 0.02, 8.0, 5)
    assert fields.std() == pytest.approx(0.02, rel=0.05)
    correlation = (fields[..., 8:] * fields[..., :-8]).mean() / fields.var()
    assert correlation == pytest.approx(np.exp(-0.5), abs=0.05)
    between = np.corrcoef(fields.reshape(120, -1))[np.triu_indices(120, 1)]
    assert abs(between.mean()) < 0.02
    half = flux_fields((2, 60, 64, 64), 0.01, 8.0, 5)
    np.testing.assert_allclose(2 * half, fields, rtol=1e-5, atol=1e-9)


def test_the_frames_are_the_light_times_the_recorded_factors() -> None:
    every = {"flux_rms": 0.02, "exposure_rms": 0.03, "gain_table_rms": 0.01, "fringe_amplitude": 0.005}
    faulty = burst(**every)
    known = faulty.faults.images()
    assert set(known) == {"SCALES", "FLUX", "GAINTABLE", "FRINGES"}
    factors = (1 + known["FLUX"]) * (1 + known["FRINGES"]) * known["SCALES"][:, None, None]
    expected = faulty.truth[:, None] * factors * (1 + known["GAINTABLE"][:, None])
    np.testing.assert_allclose(np.asarray(faulty.burst.frames), expected, rtol=1e-5)
    alone = burst(flux_rms=0.02).faults
    assert alone.flux is not None
    np.testing.assert_array_equal(alone.flux, known["FLUX"])


def test_the_exposure_jitters_by_frame_and_not_by_object() -> None:
    scales = draw_faults(CLEAN.replace(exposure_rms=0.03, frames=500), (1, 500, 8, 8), 0.0, 2).scales
    assert scales is not None
    assert scales.std() == pytest.approx(0.03, rel=0.1)
    means = np.asarray(burst(exposure_rms=0.03).burst.frames).mean((-2, -1))
    np.testing.assert_allclose(means[0] / means[0, 0], means[1] / means[1, 0], rtol=1e-5)


def test_the_gain_table_leaves_broad_and_fine_structure_of_its_rms() -> None:
    table = drawn(gain_table_rms=0.01).gain_table
    assert table is not None
    np.testing.assert_allclose(table.std((-2, -1)), 0.01, rtol=1e-4)
    neighbours = [float((table[:, n:] * table[:, :-n]).mean() / table.var()) for n in (1, 6)]
    assert 0.6 < neighbours[0] < 0.85  # single pixels have nothing in common
    assert 0.3 < neighbours[1] < neighbours[0] - 0.1
    assert abs(np.corrcoef(table[0].ravel(), table[1].ravel())[0, 1]) < 0.5


def test_fringes_have_their_period_and_drift_along() -> None:
    fringes = drawn(fringe_amplitude=0.01, fringe_period_px=8.0, fringe_drift_px=2.0).fringes
    assert fringes is not None
    assert fringes.std() == pytest.approx(0.01 / np.sqrt(2), rel=0.05)
    power = np.abs(np.fft.fft2(fringes[0, 0] * np.hanning(64)[:, None] * np.hanning(64))) ** 2
    y, x = np.unravel_index(power.argmax(), power.shape)
    frequency = np.hypot(*(np.fft.fftfreq(64)[n] for n in (y, x)))
    assert frequency == pytest.approx(1 / 8, abs=0.02)
    np.testing.assert_allclose(fringes[:, 4], fringes[:, 0], atol=1e-6)  # four frames are a period
    np.testing.assert_allclose(fringes[:, 2], -fringes[:, 0], atol=1e-6)
    still = drawn(fringe_amplitude=0.01).fringes
    assert still is not None
    np.testing.assert_array_equal(still[:, 3], still[:, 0])


def test_dead_and_outlier_frames_are_where_the_header_says() -> None:
    bad, good = burst(dead_frames=2, outlier_frames=2), np.asarray(burst().burst.frames)
    frames, header = np.asarray(bad.burst.frames), bad.burst.headers[0]
    dead, outliers = ([int(n) for n in header[key].split()] for key in ("SIMDEAD", "SIMOUTL"))
    assert len({*dead, *outliers}) == 4
    assert not frames[:, dead[0]].any()
    assert np.isnan(frames[:, dead[1]]).all()
    assert frames[:, outliers[0]].std() < 0.95 * good[:, outliers[0]].std()
    np.testing.assert_array_equal(frames[:, outliers[1]], good[:, outliers[1], ::-1, ::-1])
    rest = sorted({*range(6)} - {*dead, *outliers})
    np.testing.assert_array_equal(frames[:, rest], good[:, rest])
    with pytest.raises(SettingsError, match="4 dead and 2 outlier frames leave none of 6"):
        drawn(dead_frames=4, outlier_frames=2)


def test_photons_make_poisson_noise_and_a_full_well_saturates() -> None:
    light = torch.full((1, 4, 100, 100), 0.5)
    light[..., 50:] = 1.5
    settings = SimulationSettings(full_well=20_000, read_noise=30.0, noise=0.5)
    noisy = detect(light, settings, 3) - light.numpy()
    for part, level in ((noisy[..., :50], 0.5), (noisy[..., 50:], 1.5)):
        assert part.std() == pytest.approx(np.sqrt(level * 10_000 + 900) / 10_000, rel=0.03)
        assert abs(part.mean()) < 3e-4
    bright = detect(torch.full((1, 1, 50, 50), 3.0), settings.replace(read_noise=0.0), 3)
    np.testing.assert_array_equal(bright, 2.0)


def test_the_header_names_the_faults_that_are_on() -> None:
    header = burst(flux_rms=0.01, full_well=30_000).burst.headers[1]
    assert (header["SIMFLUX"], header["SIMFLUXL"], header["SIMWELL"]) == (0.01, 30.0, 30_000)
    assert "SIMFRPER" not in header
    assert "--flux-rms 0.01" in "".join(str(line) for line in header["HISTORY"])

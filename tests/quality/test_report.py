"""Measurements of images: JSON has them by name, and a scatter plot some thousand pixels."""

import json

import numpy as np
import pytest

from heliorestore.errors import BurstError
from heliorestore.instrument import KNOWN, Instrument
from heliorestore.quality.report import compare, intensities, measure, statistics

SUN = 1000 * (1 + 0.02 * np.random.default_rng(0).standard_normal((64, 80)).cumsum(-1))


def test_figures_have_their_units_and_are_json() -> None:
    facts = measure(SUN, "sun", KNOWN["crisp-8542"]).facts()
    assert facts["noise_of_mean"] == pytest.approx(facts["noise"] / SUN.mean())
    assert facts["resolution_arcsec"] == pytest.approx(0.1816, abs=1e-4)
    assert json.loads(json.dumps(facts)) == facts
    assert measure(SUN[:4, :4], "small", Instrument()).spectrum is None
    with pytest.raises(BurstError, match="nothing has no valid pixel"):
        measure(np.full((8, 8), np.nan), "nothing", Instrument())


def test_an_image_around_zero_has_an_rms_and_no_contrast() -> None:
    random = np.random.default_rng(0)
    field = random.standard_normal((64, 80)).cumsum(-1)
    field -= field.mean()
    found = measure(field, "V", KNOWN["crisp-8542"])
    facts = found.facts()
    assert found.signed
    assert facts["contrast"] is None
    assert facts["rms"] == pytest.approx(field.std())
    assert json.loads(json.dumps(facts)) == facts
    assert not measure(SUN, "I", KNOWN["crisp-8542"]).signed
    compared = compare(-0.8 * field, -field)
    assert compared["contrast_ratio"] == pytest.approx(0.8)
    assert compared["intensity_ratio"] == pytest.approx(0.8)
    assert compared["within_factor_2"] == 1
    # Of the wrong sign nothing is within a factor.
    assert compare(-field, field)["within_factor_2"] == 0
    assert statistics(field, field > 0)["mean"] > 0
    with pytest.raises(BurstError, match="no valid pixel"):
        statistics(field, field > np.inf)


def test_what_a_filter_left_is_no_noise() -> None:
    """Noise of the whole image is measured beyond the cut-off; a filter that ends there leaves nothing to
    measure."""
    image = 1 + 0.01 * np.random.default_rng(0).standard_normal((128, 128))
    crisp = KNOWN["crisp-6302-paper"]
    assert not measure(image, "noisy", crisp).filtered
    cutoff = crisp.pixel_arcsec / crisp.resolution_arcsec
    k = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128))
    smooth = np.fft.irfft2(np.fft.rfft2(image) * (k < cutoff))
    found = measure(smooth, "filtered", crisp)
    assert found.filtered
    assert found.noise < 0.003  # the 0.01 below the cut-off are still there


def test_an_image_is_compared_with_its_reference() -> None:
    found = compare(1.5 * SUN, SUN)
    assert found["gain"] == pytest.approx(1 / 1.5)
    assert found["intensity_ratio"] == pytest.approx(1.5)
    assert (found["shift_px"], found["within_factor_2"]) == ([0, 0], 1)


@pytest.mark.parametrize("repeats", [1, 20])
def test_some_thousand_pixels_are_plotted(repeats: int) -> None:
    pairs = intensities(np.tile(1.5 * SUN, (repeats, 1)), np.tile(SUN, (repeats, 1)))
    assert 1000 < len(pairs) <= 2 * 8000
    np.testing.assert_allclose(pairs[:, 1] / pairs[:, 0], 1.5)


def test_an_image_without_a_mean_is_refused() -> None:
    with pytest.raises(BurstError, match=r"dark has the mean 0"):
        measure(np.zeros((32, 32)), "dark", KNOWN["crisp-8542"])

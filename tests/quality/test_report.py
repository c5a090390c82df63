"""Measurements of images: JSON has them by name, and a scatter plot some thousand pixels."""

import json

import numpy as np
import pytest

from heliorestore.errors import BurstError
from heliorestore.instrument import KNOWN, Instrument
from heliorestore.quality.report import compare, intensities, measure

SUN = 1000 * (1 + 0.02 * np.random.default_rng(0).standard_normal((64, 80)).cumsum(-1))


def test_figures_have_their_units_and_are_json() -> None:
    facts = measure(SUN, "sun", KNOWN["crisp-8542"]).facts()
    assert facts["noise_of_mean"] == pytest.approx(facts["noise"] / SUN.mean())
    assert facts["resolution_arcsec"] == pytest.approx(0.1816, abs=1e-4)
    assert json.loads(json.dumps(facts)) == facts
    assert measure(SUN[:4, :4], "small", Instrument()).spectrum is None
    with pytest.raises(BurstError, match="nothing has no valid pixel"):
        measure(np.full((8, 8), np.nan), "nothing", Instrument())


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

import numpy as np
import pytest

from heliorestore.quality import contrast


def test_contrast_is_the_relative_standard_deviation_of_valid_pixels() -> None:
    x = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    wave = 5 * (1 + 0.1 * np.sin(x)) * np.ones((3, 1))
    wave[0, 0] = np.nan
    assert contrast(wave) == pytest.approx(0.1 / np.sqrt(2), rel=1e-3)

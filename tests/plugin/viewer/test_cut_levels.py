"""Cut levels are what their names say, and the preferences put the origin below."""

import numpy as np
import pytest

from heliorestore.plugin.viewer.cut_levels import cut_levels


def test_cut_levels_are_what_their_names_say():
    image = np.arange(10_000, dtype=np.float32).reshape(100, 100)
    image[0, 0] = np.nan
    assert cut_levels(image, "min-max") == (1, 9999)
    assert cut_levels(image, 98) == pytest.approx((100, 9899), abs=2)
    low, high = cut_levels(image, "zscale")
    assert low < high
    assert cut_levels(np.full((4, 4), np.nan), 99) == (0, 1)
    assert cut_levels(np.full((4, 4), 2.0), "min-max") == (1, 3)

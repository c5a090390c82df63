"""Profiles over wavelength: which object is where, their values, chart and CSV."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from heliorestore.burst import Burst
from heliorestore.coordinates import WIDE_BAND, Coordinates
from heliorestore.errors import BurstError
from heliorestore.instrument import Instrument
from heliorestore.polarimetry.profiles import draw_profiles, grid_of, noise_of, profiles, to_csv

WAVES = (630.26, 630.24, 630.25)  # not in order


@pytest.fixture
def burst() -> Burst:
    """Stokes x wavelength behind a wide band; an object's value is 10 times its parameter plus its place."""
    coordinates = [Coordinates(camera=WIDE_BAND)]
    frames = [np.full((2, 12, 12), 99.0)]
    for k, name in enumerate("IV"):
        for wave in WAVES:
            coordinates.append(Coordinates(wavelength_nm=wave, stokes=name))
            frames.append(np.full((2, 12, 12), 10.0 * k + round((wave - 630.24) * 100)))
    frames[1][1, 4, 5] = 7.0
    return Burst(frames=np.stack(frames), coordinates=tuple(coordinates), unit="count")


def test_objects_find_their_place_and_values_their_pixel(burst: Burst) -> None:
    grid = grid_of(burst)
    assert grid.parameters == ("I", "V")
    assert grid.waves_nm == pytest.approx(sorted(WAVES))
    assert grid.objects.tolist() == [[2, 3, 1], [5, 6, 4]]
    found = profiles(burst, 4, 5, frame=1, noise=np.arange(7.0, dtype=np.float32))
    assert found.values.tolist() == [[0, 1, 7], [10, 11, 12]]
    assert found.sigmas[0].tolist() == [2, 3, 1]
    around = profiles(burst, slice(3, 6), slice(4, 7), frame=1, noise=noise_of(burst))
    assert around.values[0, 2] == pytest.approx((8 * 2 + 7) / 9)
    assert "9 pixels" in around.name
    triangle = np.array([[True, False, False], [True, True, False], [True, True, True]])
    each = np.arange(1.0, 145.0, dtype=np.float32).reshape(12, 12)
    part = profiles(burst, slice(3, 6), slice(4, 7), 1, np.broadcast_to(each, (7, 12, 12)), triangle)
    assert part.values[0, 2] == pytest.approx((5 * 2 + 7) / 6)
    assert part.sigmas[0, 2] == pytest.approx(np.sqrt(np.sum(each[3:6, 4:7][triangle] ** 2)) / 6)
    rows = to_csv([found]).splitlines()
    assert rows[0] == "place,stokes,wavelength_nm,value,sigma"
    assert rows[3] == '"x 5, y 4",I,630.26,7.0,1.0'
    assert len(rows) == 1 + 6


def test_labels_and_instruments_do_where_coordinates_are_unknown() -> None:
    instruments = tuple(Instrument(wavelength_nm=wave) for wave in (1.0, 2.0, 1.0, 2.0))
    labelled = Burst(
        frames=np.ones((4, 1, 8, 8)), labels=("a, I", "b, I", "a, Q", "b, Q"), instruments=instruments
    )
    assert grid_of(labelled).objects.tolist() == [[0, 1], [2, 3]]
    with pytest.raises(BurstError, match="no grid of Stokes parameters"):
        grid_of(Burst(frames=np.ones((2, 1, 8, 8))))


def test_the_chart_has_bands_core_and_continuum(burst: Burst) -> None:
    found = profiles(burst, 0, 0, noise=np.ones(7, np.float32))
    axes = Figure().add_subplot()
    draw_profiles(axes, [found], "V")
    assert axes.lines[0].get_ydata().tolist() == [10, 11, 12]
    (band,) = axes.collections
    assert band.get_paths()[0].vertices[:, 1].min() == 8  # two standard errors
    marks = {str(line.get_label()): line.get_xdata()[0] for line in axes.lines}
    assert (marks["_core"], marks["_continuum"]) == (630.24, 630.26)
    assert axes.get_ylabel() == "V [count]"

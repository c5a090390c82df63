"""Noise that belongs to places."""

from collections.abc import Callable

import numpy as np
import pytest

from heliorestore.simulate import lattice
from heliorestore.simulate.chromosphere import chromosphere
from heliorestore.simulate.lattice import bilinear, normal, rise, smooth_noise, uniform
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.photosphere import photosphere


def grid(count: int, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:count, :count] * pitch
    return x, y


def test_the_hash_gives_these_numbers_everywhere() -> None:
    assert uniform(7, np.array([0, 1, -5]), np.array([3, 3, 2])).tolist() == [
        0.7984285408474404,
        0.6813558169316237,
        0.33601249356709795,
    ]


def test_uniform_and_normal_numbers_have_the_right_moments() -> None:
    i = np.arange(40_000)
    assert uniform(1, i).mean() == pytest.approx(0.5, abs=0.01)
    assert uniform(1, i).var() == pytest.approx(1 / 12, rel=0.03)
    assert normal(2, i).mean() == pytest.approx(0.0, abs=0.02)
    assert normal(2, i).std() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("octaves", [1, 4])
def test_noise_has_zero_mean_and_unit_variance(octaves: int) -> None:
    noise = smooth_noise(*grid(400, 0.3), 1.0, 5, octaves=octaves)
    assert noise.mean() == pytest.approx(0.0, abs=0.05)
    assert noise.std() == pytest.approx(1.0, rel=0.06)


def test_noise_is_the_same_on_every_grid() -> None:
    fine = smooth_noise(*grid(61, 0.1), 0.7, 3, octaves=3)
    coarse = smooth_noise(*grid(13, 0.5), 0.7, 3, octaves=3)
    np.testing.assert_allclose(fine[::5, ::5], coarse, atol=1e-9)


def test_noise_changes_smoothly_and_forgets_after_a_step_of_time() -> None:
    x, y = grid(150, 0.4)
    now, soon, later = (smooth_noise(x, y, 1.0, 9, time=t) for t in (0.3, 0.4, 2.3))
    assert np.corrcoef(now.ravel(), soon.ravel())[0, 1] > 0.95
    assert abs(np.corrcoef(now.ravel(), later.ravel())[0, 1]) < 0.15
    assert soon.std() == pytest.approx(1.0, rel=0.1)


def test_seeds_are_independent() -> None:
    x, y = grid(150, 0.4)
    fields = [smooth_noise(x, y, 1.0, seed).ravel() for seed in (1, 2, 3)]
    assert np.abs(np.corrcoef(fields) - np.eye(3)).max() < 0.15


def test_bilinear_is_exact_on_a_plane_and_stays_inside() -> None:
    plane = np.add.outer(2.0 * np.arange(8), 3.0 * np.arange(9))
    row, column = np.array([0.25, 6.9, -3.0]), np.array([7.5, 0.1, 20.0])
    np.testing.assert_allclose(bilinear(plane, row, column), [0.5 + 22.5, 13.8 + 0.3, 24.0])


def test_rise_goes_from_zero_to_one() -> None:
    np.testing.assert_allclose(rise(np.array([-1.0, 0.0, 0.5, 1.0, 2.0]), 0.0, 1.0), [0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("make", [chromosphere, photosphere])
def test_the_sun_does_not_depend_on_the_parts_that_are_computed_at_once(
    make: Callable[[Patch], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = Patch(shape=(21, 34), pixel_arcsec=0.1, scene="sunspot", seed=2, time_s=50.0)
    found = []
    for length in (10**6, 97):  # all, and parts that end within a row
        monkeypatch.setattr(lattice, "_BLOCK", length)
        found.append(make(patch))
    np.testing.assert_array_equal(*found)

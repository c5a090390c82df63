from __future__ import annotations

import math

import numpy as np
import pytest

from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN, Instrument
from heliorestore.optics.pupil import Aperture, check_sampling, pupil_coordinates, sampling, transmission

A_CAMERA_EACH = {name.partition("-")[0]: name for name in KNOWN}.values()


def test_open_area_is_the_annulus() -> None:
    aperture = Aperture(diameter_m=1.44, obscuration_m=0.40)
    area = transmission(aperture, 60.3).sum() * 4 / math.pi / 60.3**2
    assert area == pytest.approx(1 - (0.40 / 1.44) ** 2, abs=2e-4)


def test_edges_are_antialiased() -> None:
    values = transmission(Aperture(), 21.4)
    assert ((values > 0) & (values < 1)).any()
    assert values.max() == 1
    assert values[0, 0] == 0
    np.testing.assert_array_equal(values, values[::-1])
    np.testing.assert_array_equal(values, values.T)


def test_spider_covers_as_much_as_its_vanes() -> None:
    plain = Aperture(diameter_m=4.0, obscuration_m=1.0)
    spider = Aperture(diameter_m=4.0, obscuration_m=1.0, vanes=3, vane_width_m=0.1, vane_angle_deg=20)
    covered = (transmission(plain, 200.0) - transmission(spider, 200.0)).sum() / (200 / 4) ** 2
    assert covered == pytest.approx(3 * 0.1 * 1.5, rel=0.01)  # three vanes of 0.1 m x (2.0 - 0.5) m


def test_first_vane_points_to_its_angle_from_x_towards_y() -> None:
    spider = Aperture(vanes=1, vane_width_m=0.05, vane_angle_deg=90)
    up, down = (spider.covers(np.array(y), np.array(0.0)) for y in (0.5, -0.5))
    assert not up
    assert down


def test_coordinates_are_symmetric_and_hold_the_pupil() -> None:
    for diameter in (1.0, 20.0, 21.4, 64.0001):
        axis = pupil_coordinates(diameter)
        np.testing.assert_allclose(axis, -axis[::-1])
        assert axis[-1] + 1 / diameter >= 1 - 1e-9
        assert axis[-1] + 1 / diameter < 1 + 2 / diameter


@pytest.mark.parametrize("name", A_CAMERA_EACH)
def test_every_known_instrument_is_sampled_well_enough(name: str) -> None:
    assert 0.19 < check_sampling(KNOWN[name]) <= 0.625  # the finest is the BFI in the red


def test_sampling_of_crisp_8542() -> None:
    crisp = 0.97 * 0.059 / 3600 * math.pi / 180 / 854.2e-9
    assert sampling(KNOWN["crisp-8542"]) == pytest.approx(crisp, rel=1e-9)


def test_coarse_pixels_are_an_error_that_quotes_both() -> None:
    coarse = Instrument(name="binned", diameter_m=1.0, pixel_arcsec=0.2, wavelength_nm=854.2)
    with pytest.raises(SettingsError, match=r"0\.2 arcsec.*0\.0881"):
        check_sampling(coarse)


@pytest.mark.parametrize(
    "wrong", [{"diameter_m": 0.0}, {"obscuration_m": 1.0}, {"vanes": -1}, {"vanes": 2, "vane_width_m": 2.0}]
)
def test_impossible_apertures_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        Aperture(**wrong)

"""What is on the simulated Sun, checked against what is known of the real one."""

import dataclasses

import numpy as np
import pytest

from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN, Instrument
from heliorestore.simulate.burst import narrow_band, wide_band
from heliorestore.simulate.chromosphere import chromosphere
from heliorestore.simulate.granulation import granulation
from heliorestore.simulate.magnetic import canopy_direction, magnetic_field
from heliorestore.simulate.patch import Patch, network
from heliorestore.simulate.photosphere import at_wavelength, photosphere
from heliorestore.simulate.stokes import LINES, splitting_pm, stokes
from heliorestore.simulate.sunspot import place_in_spot

QUIET = Patch(shape=(200, 200), pixel_arcsec=0.08, scene="granulation", seed=2)
SPOT = Patch(shape=(220, 220), pixel_arcsec=0.1, seed=2)


@pytest.fixture(scope="module")
def spot() -> tuple[np.ndarray, np.ndarray]:
    """The sunspot's image, and every pixel's depth in the spot: below 0 in the umbra, 1 at the outer
    border."""
    assert SPOT.spot is not None
    return photosphere(SPOT), place_in_spot(SPOT.x, SPOT.y, SPOT.spot, SPOT.seed).depth


def test_granulation_has_the_suns_contrast_and_mean() -> None:
    images = [granulation(QUIET.x, QUIET.y, seed).intensity for seed in range(4)]
    for image in images:
        assert image.std() == pytest.approx(0.16, abs=0.015)
        assert image.mean() == pytest.approx(1.0, abs=0.02)
        assert image.min() > 0.4
        assert image.max() < 1.9


def test_granules_are_one_to_two_megametres_wide() -> None:
    image = granulation(QUIET.x, QUIET.y, 1).intensity - 1
    power = np.abs(np.fft.fft2(image)) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(200, QUIET.pixel_mm),) * 2))
    bins = np.digitize(frequency.ravel(), np.arange(0, 4, 0.1))
    radial = np.bincount(bins, power.ravel()) / np.maximum(np.bincount(bins), 1)
    # Power per frequency ring peaks at the size of a cell and its lane.
    peak = (np.arange(radial.size) * radial).argmax() * 0.1 - 0.05
    assert 1.0 < 1 / peak < 2.2


def test_lanes_are_dark_and_narrower_than_granules() -> None:
    granules = granulation(QUIET.x, QUIET.y, 1)
    lanes, cells = granules.lane_mm < 0.06, granules.lane_mm > 0.2
    assert granules.intensity[lanes].mean() < 0.86
    assert granules.intensity[cells].mean() > 1.04
    assert (granules.intensity < 0.85).mean() < 0.3


def test_the_same_sun_is_on_every_grid() -> None:
    coarse = Patch(shape=(50, 50), pixel_arcsec=0.24, scene="granulation", seed=3)
    fine = Patch(shape=(150, 150), pixel_arcsec=0.08, scene="granulation", seed=3)
    np.testing.assert_allclose(photosphere(fine)[1::3, 1::3], photosphere(coarse), atol=1e-9)


def test_the_chromosphere_is_nearly_the_same_on_every_grid() -> None:
    fine, coarse = (chromosphere(Patch(shape=(n, n), pixel_arcsec=12 / n, seed=3)) for n in (240, 80))
    assert np.corrcoef(fine[1::3, 1::3].ravel(), coarse.ravel())[0, 1] > 0.97


def test_a_margin_shows_more_of_the_same_sun() -> None:
    inner, outer = photosphere(SPOT), photosphere(dataclasses.replace(SPOT, margin=12))
    assert outer.shape == (244, 244)
    np.testing.assert_allclose(outer[12:-12, 12:-12], inner, atol=0.02)


def test_granules_live_for_minutes() -> None:
    now, half_a_minute, quarter_hour = (
        granulation(QUIET.x, QUIET.y, 1, time_s=t).intensity.ravel() for t in (0.0, 30.0, 900.0)
    )
    assert np.corrcoef(now, half_a_minute)[0, 1] > 0.8
    assert abs(np.corrcoef(now, quarter_hour)[0, 1]) < 0.25


def test_planck_gives_more_contrast_in_the_blue_and_less_in_the_infrared() -> None:
    image = np.array([0.15, 0.85, 1.0, 1.15])
    blue, red, infrared = (at_wavelength(image, wavelength) for wavelength in (400.0, 600.0, 854.2))
    np.testing.assert_array_equal(red, image)
    np.testing.assert_allclose([blue[2], infrared[2]], 1.0)
    assert blue.std() > red.std() > infrared.std()
    # d ln I / d ln T = h c / (lambda k T) but for a few per cent.
    assert (infrared[3] - infrared[1]) / 0.3 == pytest.approx(600 / 854.2, rel=0.08)


def test_a_sunspot_has_a_dark_umbra_a_penumbra_and_quiet_sun_around(
    spot: tuple[np.ndarray, np.ndarray],
) -> None:
    image, depth = spot
    umbra, penumbra, quiet = image[depth < -0.25], image[(depth > 0.2) & (depth < 0.85)], image[depth > 1.15]
    assert 0.08 < np.median(umbra) < 0.25
    assert umbra.max() > 1.8 * np.median(umbra)  # dots and a bridge
    assert 0.6 < penumbra.mean() < 0.85
    assert penumbra.std() > 0.08
    assert quiet.mean() == pytest.approx(1.0, abs=0.06)


def test_penumbral_filaments_point_outwards(spot: tuple[np.ndarray, np.ndarray]) -> None:
    image, depth = spot
    assert SPOT.spot is not None
    angle = np.arctan2(SPOT.y - SPOT.spot.y_mm, SPOT.x - SPOT.spot.x_mm)
    gy, gx = np.gradient(image)
    # The brightness changes across a filament: cos 2(gradient - radius) is -1 for straight radial ones, 0
    # without order.
    across = (gx**2 - gy**2) * np.cos(2 * angle) + 2 * gx * gy * np.sin(2 * angle)
    inside = (depth > 0.15) & (depth < 0.85)
    assert across[inside].sum() / (gx**2 + gy**2)[inside].sum() < -0.5
    outside = depth > 1.2
    assert abs(across[outside].sum() / (gx**2 + gy**2)[outside].sum()) < 0.2


def test_the_field_of_a_spot_is_strong_and_leans_outwards(spot: tuple[np.ndarray, np.ndarray]) -> None:
    field, depth = magnetic_field(SPOT), spot[1]
    strength = np.sqrt((field**2).sum(0))
    inclination = np.degrees(np.arctan2(np.hypot(field[0], field[1]), field[2]))
    assert 2500 < strength.max() < 3200
    assert 1700 < strength[depth < 0].mean() < 2700
    assert inclination[depth < -0.4].mean() < 30
    assert 60 < inclination[(depth > 0.6) & (depth < 0.9)].mean() < 90
    assert SPOT.spot is not None
    dx, dy = SPOT.x - SPOT.spot.x_mm, SPOT.y - SPOT.spot.y_mm
    ring = (depth > 0.2) & (depth < 0.8)
    assert (
        ((field[0] * dx + field[1] * dy) / np.hypot(dx, dy) / np.hypot(field[0], field[1]))[ring] > 0.9
    ).mean() > 0.95


def test_the_quiet_sun_has_weak_mixed_fields_and_strong_elements_in_the_lanes() -> None:
    patch = Patch(shape=(300, 300), pixel_arcsec=0.12, scene="granulation", seed=4)
    vertical = magnetic_field(patch)[2]
    strong = np.abs(vertical) > 600
    assert 0.0005 < strong.mean() < 0.1
    assert np.median(np.abs(vertical)) < 40
    lanes = granulation(patch.x, patch.y, patch.seed).lane_mm
    assert lanes[strong].mean() < 0.5 * lanes.mean()
    assert network(patch.x, patch.y, patch)[strong].mean() > 0.3
    image = photosphere(patch)
    assert image[strong].mean() > image[lanes < 0.1].mean() + 0.05  # bright points


def test_chromospheric_fibrils_follow_the_canopy_and_the_umbra_is_dim(
    spot: tuple[np.ndarray, np.ndarray],
) -> None:
    image, depth = chromosphere(SPOT), spot[1]
    angle = canopy_direction(SPOT)
    gy, gx = np.gradient(image)
    along = (gx**2 - gy**2) * np.cos(2 * angle) + 2 * gx * gy * np.sin(2 * angle)
    superpenumbra = (depth > 0.2) & (depth < 1.3)
    assert along[superpenumbra].sum() / (gx**2 + gy**2)[superpenumbra].sum() < -0.35
    assert image[depth < -0.3].mean() < 0.5 * image[depth > 1.2].mean()
    quiet = chromosphere(QUIET)
    assert 0.12 < quiet.std() / quiet.mean() < 0.32
    assert quiet.mean() == pytest.approx(1.0, abs=0.12)


def test_stokes_profiles_are_the_weak_field_ones_where_the_field_is_weak() -> None:
    patch = Patch(shape=(60, 60), pixel_arcsec=0.15, scene="granulation", seed=5)
    offsets = np.arange(-14.0, 14.5, 0.5)
    cube = stokes(patch, "fe-6302", list(offsets))
    field = magnetic_field(patch)
    weak = np.sqrt((field**2).sum(0)) < 150
    slope = np.gradient(cube[0], offsets, axis=0)
    expected = -splitting_pm(LINES["fe-6302"], field[2])[None] * slope
    misfit = (cube[3] - expected)[2:-2, weak]
    assert np.abs(misfit).max() < 0.03 * np.abs(expected[:, weak]).max()
    curvature = np.gradient(slope, offsets, axis=0)
    strength, azimuth = np.hypot(field[0], field[1]), np.arctan2(field[1], field[0])
    expected = -0.25 * splitting_pm(LINES["fe-6302"], strength) ** 2 * np.cos(2 * azimuth) * curvature
    assert np.abs((cube[1] - expected)[3:-3, weak]).max() < 0.05 * np.abs(expected[3:-3, weak]).max()


def test_stokes_in_a_spot_splits_and_polarises_and_never_more_than_the_light_there_is() -> None:
    patch = Patch(shape=(60, 60), pixel_arcsec=0.3, seed=5)
    offsets = list(np.arange(-30.0, 31.0, 2.0))
    i, q, u, v = stokes(patch, "fe-6302", offsets)
    assert (np.sqrt(q**2 + u**2 + v**2) <= i + 1e-12).all()
    depth = place_in_spot(patch.x, patch.y, patch.spot, patch.seed).depth if patch.spot else np.zeros(1)
    centre = np.unravel_index(depth.argmin(), depth.shape)
    lobe = offsets[int(v[:, centre[0], centre[1]].argmax())]
    assert lobe < -8  # the field points to us: the blue lobe is positive, shifted by about g B
    assert np.abs(q).max() > 0.02
    with pytest.raises(SettingsError, match="fe-6173, fe-6302, ca-8542"):
        stokes(patch, "fe-5250", [0.0])


def test_a_field_too_small_for_a_spot_lies_across_its_border() -> None:
    tiny = Patch(shape=(64, 64), pixel_arcsec=0.04, seed=1)
    image = photosphere(tiny)
    assert (image < 0.35).mean() > 0.05
    assert (image > 0.55).mean() > 0.2
    assert tiny.pores == ()
    large = Patch(shape=(64, 64), pixel_arcsec=0.8, seed=1)
    assert len(large.pores) >= 2
    assert large.spot is not None
    assert large.spot.outer_mm == 13.0


def test_bad_patches_are_refused() -> None:
    with pytest.raises(SettingsError, match="'sunspot' and 'granulation'"):
        Patch(shape=(8, 8), pixel_arcsec=0.1, scene="plage")
    with pytest.raises(SettingsError, match="is empty"):
        Patch(shape=(0, 8), pixel_arcsec=0.1)


def test_bands_are_those_of_the_instrument() -> None:
    wide = {key: wide_band(QUIET, KNOWN[key]).std() for key in ("chromis-3934", "crisp-6302", "crisp-8542")}
    assert wide["crisp-6302"] > wide["crisp-8542"]
    np.testing.assert_array_equal(narrow_band(QUIET, KNOWN["crisp-8542"]), chromosphere(QUIET))
    flank = narrow_band(QUIET, KNOWN["crisp-6302"])
    assert flank.std() < wide["crisp-6302"] * 1.6


@pytest.mark.parametrize("band", [wide_band, narrow_band])
def test_a_band_without_a_wavelength_is_refused(band) -> None:
    with pytest.raises(SettingsError, match="wavelength_nm"):
        band(QUIET, Instrument(diameter_m=1.0, pixel_arcsec=0.059))

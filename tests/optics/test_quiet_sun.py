import numpy as np
import pytest

from heliorestore.errors import BurstError
from heliorestore.optics.quiet_sun import limb_cosine, quiet_sun

DISC = {
    "CDELT1": 4.0,
    "CDELT2": 4.0,
    "CRPIX1": 128.5,
    "CRPIX2": 128.5,
    "CRVAL1": 0.0,
    "CRVAL2": 0.0,
    "RSUN_OBS": 480.0,
    "CTYPE1": "HPLN-TAN",
    "CTYPE2": "HPLT-TAN",
}


def grained(level: np.ndarray, seed: int = 0) -> np.ndarray:
    return level * (1 + 0.04 * np.random.default_rng(seed).standard_normal(level.shape))


def test_a_large_spot_does_not_pull_the_level() -> None:
    image = grained(np.full((200, 200), 3.0))
    image[30:150, 40:150] *= 0.3  # a third of the field
    quiet = quiet_sun(image)
    np.testing.assert_allclose(quiet.brightness, 3.0, rtol=5e-3)
    assert quiet.lowest == pytest.approx(1.0, abs=0.01)


def test_a_gradient_is_followed_and_noticed() -> None:
    slope = np.broadcast_to(np.linspace(1.3, 0.7, 200), (160, 200))
    image = grained(slope)
    image[60:120, 50:140] *= 0.3
    quiet = quiet_sun(image)
    np.testing.assert_allclose(quiet.brightness, slope, rtol=6e-3)
    assert quiet.lowest == pytest.approx(0.7 / 1.3, abs=0.01)


def test_limb_darkening_is_a_parabola_in_mu() -> None:
    mu = limb_cosine(DISC, (256, 256))
    assert mu is not None
    assert np.isfinite(mu).mean() == pytest.approx(np.pi * 120**2 / 256**2, rel=5e-3)
    assert np.nanmax(mu) == pytest.approx(1.0, abs=1e-4)
    darkened = 5e4 * (1 - 0.5 * (1 - mu) - 0.2 * (1 - mu) ** 2)
    image = grained(darkened)
    image[90:150, 100:140] *= 0.2
    quiet = quiet_sun(image, mu)
    on_disc = mu > 0.15
    np.testing.assert_allclose(quiet.brightness[on_disc], darkened[on_disc], rtol=0.01)
    assert quiet.lowest < 0.5


def test_a_turned_camera_sees_the_limb_on_the_other_side() -> None:
    east = DISC | {"CRVAL1": -400.0}
    mu, turned = limb_cosine(east, (256, 256)), limb_cosine(east | {"CROTA2": 180.0}, (256, 256))
    assert mu is not None
    assert turned is not None
    np.testing.assert_allclose(turned, mu[::-1, ::-1], atol=1e-9)


def test_a_turn_told_by_the_pc_matrix_is_the_same_turn() -> None:
    cards = DISC | {"CRVAL1": -300.0, "CRVAL2": 100.0, "CDELT2": 3.0}
    told = limb_cosine(cards | {"CROTA2": 30.0}, (200, 256))
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    pc = {"PC1_1": c, "PC1_2": -s * 3 / 4, "PC2_1": s * 4 / 3, "PC2_2": c}
    mu = limb_cosine(cards | pc, (200, 256))
    assert told is not None
    assert mu is not None
    np.testing.assert_allclose(mu, told, atol=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"CTYPE1": "HPLN-TAB", "CTYPE2": "HPLT-TAB"},
        {"RSUN_OBS": None},
        {"CDELT1": "x"},
        {"CTYPE1": "CRLN-CEA"},
        {"CUNIT1": "degree"},
        {"RSUN_OBS": -1.0},
        {"CDELT2": 0.0},
    ],
)
def test_without_geometry_there_is_no_mu(changes: dict[str, object]) -> None:
    cards = {name: value for name, value in (DISC | changes).items() if value is not None}
    assert limb_cosine(cards, (8, 8)) is None


def test_nothing_bright_is_no_continuum() -> None:
    with pytest.raises(BurstError, match="is it a continuum image"):
        quiet_sun(np.full((20, 20), -1.0))


def test_bad_pixels_do_not_count() -> None:
    image = grained(np.full((60, 60), 2.0))
    image[:25] = np.nan
    np.testing.assert_allclose(quiet_sun(image).brightness[25:], 2.0, rtol=0.01)

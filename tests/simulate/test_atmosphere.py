"""Layers, wind, anisoplanatism and adaptive optics."""

import dataclasses
import math

import pytest
import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN, RADIAN_ARCSEC
from heliorestore.optics.psf import make_optics, strehl
from heliorestore.simulate.atmosphere import (
    AdaptiveOptics,
    Atmosphere,
    Layer,
    Seeing,
    Telescope,
    daytime_layers,
    make_atmosphere,
    two_layers,
)

CRISP = KNOWN["crisp-8542-paper"]
SEEING = Seeing(r0_m=0.1, wavelength_nm=854.2)


def draw(seeing: Seeing, seed: int, pitch_m: float = 1 / 48) -> Atmosphere:
    return make_atmosphere(
        seeing, diameter_m=1.0, field_arcsec=14.0, duration_s=0.1, pitch_m=pitch_m, seed=seed
    )


def axis(count: int = 24) -> torch.Tensor:
    return (torch.arange(count) - (count - 1) / 2) / count


def test_the_layers_share_the_turbulence() -> None:
    layers = daytime_layers(8.0)
    assert [layer.height_m for layer in layers] == [0.0, 4000.0, 8000.0, 12000.0]
    assert sum(layer.r0_m(0.1) ** (-5 / 3) for layer in layers) == pytest.approx(0.1 ** (-5 / 3))
    assert math.isinf(Seeing(r0_m=0.1, wavelength_nm=500, layers=daytime_layers(0)).isoplanatic_arcsec)


def test_layers_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"0\.700 of the turbulence"):
        Seeing(r0_m=0.1, wavelength_nm=500, layers=(Layer(height_m=0, fraction=0.7),))
    with pytest.raises(SettingsError, match="must be positive"):
        Seeing(r0_m=0.0, wavelength_nm=500)


def test_wavefronts_differ_by_one_radian_over_the_isoplanatic_angle() -> None:
    angle = SEEING.isoplanatic_arcsec
    assert angle == pytest.approx(
        0.314
        * 0.1
        / (0.1 * 4000 ** (5 / 3) + 0.1 * 8000 ** (5 / 3) + 0.05 * 12000 ** (5 / 3)) ** 0.6
        * RADIAN_ARCSEC
    )
    around = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    fields = torch.cat([torch.zeros((1, 2)), angle * around, 2 * angle * around])
    squares = torch.zeros(8)
    for seed in range(50):
        phase = draw(SEEING, seed, 1 / 32).phase(axis(16), axis(16), fields, 0.0)
        squares += ((phase[1:] - phase[:1]) ** 2).mean((1, 2)) / 50
    assert float(squares[:4].mean()) == pytest.approx(1.0, rel=0.1)
    assert float(squares[4:].mean()) == pytest.approx(2 ** (5 / 3), rel=0.1)


@pytest.mark.parametrize("direction_deg", [0.0, 90.0, 200.0])
def test_the_wind_carries_the_pattern_in_its_direction(direction_deg: float) -> None:
    layer = Layer(height_m=0.0, fraction=1.0, wind_m_s=10.0, direction_deg=direction_deg)
    atmosphere = draw(dataclasses.replace(SEEING, layers=(layer,)), 3)
    angle = math.radians(direction_deg)
    moved = 10.0 * 0.013  # metres, no whole number of pixels
    field = torch.zeros((1, 2))
    before = atmosphere.phase(axis(), axis(), field, 0.02)
    after = atmosphere.phase(axis() + moved * math.sin(angle), axis() + moved * math.cos(angle), field, 0.033)
    assert float((after - before).abs().max()) < 0.01
    assert float((atmosphere.phase(axis(), axis(), field, 0.033) - before).std()) > 0.5


def test_interpolation_keeps_the_small_scales() -> None:
    atmosphere = draw(dataclasses.replace(SEEING, layers=daytime_layers(0)), 5)
    roughness = []
    for offset in (0.0, 0.25, 0.5):
        phase = atmosphere.phase(axis(), axis() + offset / 48, torch.zeros((1, 2)), 0.0)[0]
        roughness.append(float((phase[:, 2:] - phase[:, :-2]).square().mean()))
    assert min(roughness) > 0.85 * max(roughness)


def test_adaptive_optics_leave_what_the_modes_cannot_describe() -> None:
    optics = make_optics(CRISP, 96, 2)
    lit = (optics.amplitude / optics.amplitude.max()).reshape(optics.side, optics.side)
    variances = torch.zeros(2)
    field = torch.zeros((1, 2))
    ground = dataclasses.replace(SEEING, layers=daytime_layers(0))
    for seed in range(30):
        atmosphere = draw(ground, seed, 0.5 / optics.diameter)
        for n, correction in enumerate((None, AdaptiveOptics(modes=36, gain=1.0))):
            phase = Telescope(optics, atmosphere, correction).wavefronts(field, 0.0)[0]
            mean = (phase * lit).sum() / lit.sum()
            variances[n] += ((phase - mean) ** 2 * lit).sum() / lit.sum() / 30
    # Noll (1976): 1.03 (D/r0)^(5/3) without, about 0.2944 J^(-sqrt(3)/2) (D/r0)^(5/3) with J modes; KL a
    # little less.
    assert float(variances[0]) == pytest.approx(1.0299 * 10 ** (5 / 3), rel=0.25)
    assert float(variances[1]) == pytest.approx(0.2944 * 36 ** (-math.sqrt(3) / 2) * 10 ** (5 / 3), rel=0.2)


def test_the_correction_is_best_in_the_centre_and_sees_what_the_fitted_modes_do_not() -> None:
    optics = make_optics(CRISP, 96, 44)
    fields = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 7.0]])
    peaks = torch.zeros(3)
    for seed in range(6):
        telescope = Telescope(optics, draw(SEEING, seed, 0.5 / optics.diameter), AdaptiveOptics())
        peaks += strehl(telescope.psfs(fields, 0.05), optics) / 6
    assert float(peaks[0]) > 1.5 * float(peaks[1:].max())
    phase = telescope.wavefronts(fields[:1], 0.05).reshape(-1)
    lit = optics.amplitude > 0.5 * optics.amplitude.max()
    fitted = optics.modes[:, lit]
    coefficients = torch.linalg.lstsq(fitted.T, phase[lit][:, None]).solution
    assert float((phase[lit] - (fitted.T @ coefficients)[:, 0]).std()) > 0.4  # rad


def test_longer_waves_see_less_phase() -> None:
    infrared = dataclasses.replace(CRISP, wavelength_nm=1708.4, pixel_arcsec=0.118)
    atmosphere = draw(SEEING, 1)
    near, far = (
        Telescope(make_optics(i, 64, 2), atmosphere).wavefronts(torch.zeros((1, 2)), 0.0)
        for i in (CRISP, infrared)
    )
    torch.testing.assert_close(near, 2 * far, rtol=1e-4, atol=1e-4)


def test_psfs_have_unit_sum_and_are_centred_when_the_tilt_is_corrected() -> None:
    optics = make_optics(CRISP, 96, 36)
    telescope = Telescope(optics, draw(SEEING, 2, 0.5 / optics.diameter), AdaptiveOptics(gain=1.0))
    psfs = torch.cat([telescope.psfs(torch.zeros((1, 2)), 0.0125 * n) for n in range(8)])
    torch.testing.assert_close(psfs.sum((1, 2)), torch.ones(8))
    mean = psfs.mean(0)
    peak = int(mean.argmax())
    assert (peak // 96, peak % 96) == (48, 48)


def test_two_layers_share_the_turbulence_as_asked() -> None:
    layers = two_layers(6.0, 0.2)
    assert [(layer.height_m, layer.fraction) for layer in layers] == [(0.0, 0.8), (6000.0, 0.2)]
    assert [layer.height_m for layer in two_layers(6.0, 0.0)] == [0.0]


def test_the_screens_of_a_telescope_have_the_r0_that_was_asked_for() -> None:
    """6.88 (r/r0)^(5/3) between points of the pupil, both layers together; tilts left in."""
    seeing = Seeing(r0_m=0.12, wavelength_nm=854.2, layers=two_layers(6.0, 0.3))
    apart, found = 6, []
    for seed in range(60):
        phase = draw(seeing, seed).phase(axis(), axis(), torch.tensor([[3.0, -2.0]]), 0.05)[0]
        differences = [phase[apart:] - phase[:-apart], phase[:, apart:] - phase[:, :-apart]]
        found.append(float(sum(d.square().mean() for d in differences) / 2))
    r0_m = apart / 24 * (6.883877 / (sum(found) / len(found))) ** (3 / 5)
    assert r0_m == pytest.approx(0.12, rel=0.08)


def test_a_correction_that_decays_falls_to_one_in_e_at_its_scale() -> None:
    correction = AdaptiveOptics(modes=10, gain=1.0, isoplanatic_arcsec=4.0)
    optics = make_optics(CRISP, 64, 10)
    atmosphere = draw(dataclasses.replace(SEEING, layers=daytime_layers(0)), 3)
    places = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, -40.0]])
    free, whole, decayed = (
        Telescope(optics, atmosphere, mirror).wavefronts(places, 0.0)
        for mirror in (None, AdaptiveOptics(modes=10, gain=1.0), correction)
    )
    taken, usual = free - decayed, free - whole
    torch.testing.assert_close(taken[0], usual.expand_as(taken)[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(taken[1], usual.expand_as(taken)[1] / math.e, rtol=1e-4, atol=1e-4)
    assert float(taken[2].abs().max()) < 1e-4
    assert Telescope(optics, atmosphere, AdaptiveOptics()).isoplanatic
    assert not Telescope(optics, atmosphere, correction).isoplanatic

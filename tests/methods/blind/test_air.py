"""The strength of the turbulence from fitted modes that are half known, against draws from the model."""

import dataclasses

import pytest
import torch

from heliorestore.instrument import find
from heliorestore.methods.blind.air import (
    Air,
    Expected,
    Fitted,
    Nodes,
    expected_air,
    first_air,
    orders,
    response,
    strengthened,
)
from heliorestore.methods.blind.wavefronts import make_wavefronts

CPU = torch.device("cpu")
GRID = (7, 6)


def waves(nodes: Nodes) -> torch.Tensor:
    """Cosines (wave, node) of unit square over the grid."""
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in GRID)
    y, x = (
        torch.cos(torch.pi * torch.arange(n, dtype=torch.float64)[:, None] * (at + 0.5) / n)
        for n, at in zip(GRID, (rows, columns), strict=True)
    )
    both = torch.einsum("iy,jx->ijyx", y, x).reshape(len(nodes.laplacian), -1)
    return both / both.norm(dim=1, keepdim=True)


def drawn(nodes: Nodes, precision: torch.Tensor, count: int, seed: int = 0) -> torch.Tensor:
    """Maps (draw, gy, gx) of waves with these precisions (wave)."""
    generator = torch.Generator().manual_seed(seed)
    amplitudes = torch.randn((count, len(precision)), generator=generator, dtype=torch.float64)
    return ((amplitudes / precision.sqrt()) @ waves(nodes)).reshape(count, *GRID)


def prior(nodes: Nodes, coupling: torch.Tensor) -> torch.Tensor:
    return (nodes.weights(coupling)[:, None] * (1 + coupling[:, None] * nodes.laplacian))[0]


@pytest.mark.parametrize("difference", [0.06, 0.3, 0.9])
def test_the_prior_gives_nodes_the_variance_1_and_neighbours_the_wanted_difference(difference):
    nodes = Nodes.of(GRID)
    coupling = nodes.couplings(torch.tensor([difference], dtype=torch.float64))
    maps = drawn(nodes, prior(nodes, coupling), 4000)
    assert float(maps.square().mean()) == pytest.approx(1, rel=0.06)
    # sums over both directions, as the laplacian does; borders have a neighbour less
    across = [maps.diff(dim=axis).square().sum() / maps.numel() for axis in (-2, -1)]
    assert float(sum(across)) == pytest.approx(2 * difference, rel=0.06)


def test_without_coupling_a_node_is_known_as_its_curvature_says():
    nodes = Nodes.of(GRID)
    lone = dataclasses.replace(nodes, hats=torch.ones_like(nodes.hats))
    h = torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64)
    known, through, noise = lone.left(h, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(known, 1 / (1 + h))
    torch.testing.assert_close(through, (h / (1 + h)) ** 2)
    torch.testing.assert_close(noise, h / (1 + h) ** 2)


@pytest.mark.parametrize("h", [0.3, 2.0, 20.0])
@pytest.mark.parametrize("strength", [0.4, 3.0])
def test_the_fitted_modes_of_a_linear_model_have_the_square_that_is_expected(h, strength):
    nodes, coupling = Nodes.of(GRID), torch.tensor([30.0], dtype=torch.float64)
    believed, seen = prior(nodes, coupling), h * nodes.hats
    truth = drawn(nodes, believed / strength, 6000)
    noise = drawn(nodes, torch.ones_like(believed), 6000, seed=1)
    basis = waves(nodes)
    in_waves = truth.flatten(1) @ basis.T * seen + noise.flatten(1) @ basis.T * seen.sqrt()
    fitted = (in_waves / (seen + believed)) @ basis
    known, through, scattered = nodes.left(torch.tensor([h]), coupling)
    assert float(fitted.square().mean()) == pytest.approx(float(strength * through + scattered), rel=0.06)
    if strength == 1.0:
        assert float((fitted - truth.flatten(1)).square().mean()) == pytest.approx(float(known), rel=0.06)


def air_of(r0_cm: float, modes: int = 44) -> Air:
    wavefronts = make_wavefronts([find("crisp-6302")], modes, r0_cm, (0.0,), CPU)
    return first_air(wavefronts, Nodes.of(GRID), 1.9, modes)


def fitted(air: Air, h: float, strengths: torch.Tensor, frames: int = 12) -> Fitted:
    """What modes of these true strengths (mode), in units of what is believed, come to."""
    left = Nodes.of(GRID).left(torch.full((len(strengths),), h), air.couplings)
    return Fitted(strengths.double() * left[1] + left[2], left, frames, len(strengths))


def test_r0_and_what_adaptive_optics_left_are_found_from_modes_that_are_well_known():
    air = air_of(20.0)
    true = torch.full((44,), 2.0 ** (5 / 3))  # r0 is 10 cm
    true[:36] *= 0.3
    for _ in range(4):
        found = strengthened(air, fitted(air, 30.0, true), Expected(12.0, 0.75), most=4.0)
        true, air = true * (air.sigmas / found.sigmas).square(), found
    assert 100 / air.d_over_r0 == pytest.approx(10.0, rel=0.05)
    corrected = (air.sigmas / air_of(10.0).sigmas).square()
    assert corrected[5:36].mean() == pytest.approx(0.3, rel=0.1)


def test_modes_follow_their_prior_as_a_fit_would_bring_them():
    h, wider = torch.tensor([0.1, 1.0, 9.0]), 1.3**2
    before, after = 1 / (1 + h), 1 / (1 + h * wider)
    torch.testing.assert_close(response(before, after), (h * wider / (1 + h * wider)) / (h / (1 + h)))
    unknown = torch.tensor([1.0, 0.999999, 0.5])
    torch.testing.assert_close(response(unknown, unknown), torch.ones(3))


def test_r0_converges_though_no_fit_follows_between_the_looks():
    first = dataclasses.replace(air_of(20.0), couplings=torch.zeros(44))  # as `response` assumes
    nodes, true = Nodes.of(GRID), torch.full((44,), 2.0 ** (5 / 3))  # r0 is 10 cm
    curvature = torch.full((44,), 1.5)
    found = fitted(first, 1.5, true)
    air = dataclasses.replace(first, unknown=found.left[0])
    for _ in range(8):
        then = air
        air = strengthened(then, found, Expected(12.0, 0.75), most=1.5)
        left = nodes.left(curvature * (air.sigmas / first.sigmas).square(), air.couplings)
        moved = response(then.unknown, air.unknown) * then.sigmas / air.sigmas
        found = Fitted(found.squares * moved.double().square(), left, 12, 44)
        air = dataclasses.replace(air, unknown=left[0])
    assert 100 / air.d_over_r0 == pytest.approx(10.0, rel=0.1)


def test_without_adaptive_optics_all_modes_have_the_strength_of_the_strong_ones():
    air = air_of(20.0)
    true = torch.full((44,), 2.0 ** (5 / 3))  # r0 is 10 cm
    true[36:] *= 3  # as what the model leaves out makes it
    expected = Expected(10.0, 0.75, corrected=False)
    found = strengthened(air, fitted(air, 30.0, true), expected, most=4.0)
    assert 100 / found.d_over_r0 == pytest.approx(10.0, rel=0.05)
    ratio = found.sigmas / air.sigmas
    torch.testing.assert_close(ratio[2:], ratio[2].expand(42))
    told = strengthened(air, fitted(air, 30.0, true), Expected(5.0, 0.0, False), most=4.0)
    assert told.d_over_r0 == pytest.approx(5.0)


def test_modes_that_still_grow_can_only_say_that_the_air_is_worse():
    air = air_of(20.0)

    def strength_of(q: float, expected: Expected) -> float:
        grown = dataclasses.replace(fitted(air, 30.0, torch.full((44,), q)), growing=True)
        return strengthened(air, grown, expected, most=4.0).d_over_r0 / air.d_over_r0

    assert strength_of(0.3, Expected(2.0, 0.75)) == pytest.approx(1)
    assert strength_of(4.0, Expected(2.0, 0.75)) > 1.3
    assert strength_of(0.3, Expected(2.0, 0.0)) == pytest.approx(2.0 / air.d_over_r0)  # a known r0 is taken


def test_what_noise_gives_a_mode_is_not_trusted_beyond_a_fifth():
    air, q = air_of(20.0), torch.full((44,), 2.0)
    expected = Expected(air.d_over_r0, 0.75)
    many, more = (
        strengthened(air, fitted(air, 0.05, q, frames), expected, most=4.0).d_over_r0
        for frames in (1000, 100000)
    )
    assert more == pytest.approx(many, rel=0.05)  # hardly known modes, however often they are seen
    assert more < strengthened(air, fitted(air, 30.0, q), expected, most=4.0).d_over_r0


def test_without_information_r0_is_the_usual_one_and_a_measured_one_is_taken_at_once():
    air = air_of(30.0)
    nothing = fitted(air, 1e-4, torch.full((44,), 9.0))
    found = strengthened(air, nothing, Expected(8.0, 0.75), most=10.0)
    assert found.d_over_r0 == pytest.approx(8.0, rel=0.05)
    much = fitted(air, 30.0, torch.full((44,), 9.0))
    told = strengthened(air, much, Expected(5.0, 0.0), most=10.0)
    assert told.d_over_r0 == pytest.approx(5.0)
    torch.testing.assert_close(
        told.sigmas[36:] / air.sigmas[36:], torch.full((8,), 5.0 / air.d_over_r0) ** (5 / 6)
    )
    assert (told.sigmas[2:36] > air.sigmas[2:36]).all()  # what adaptive optics left is the data's to say


def test_what_the_data_leave_is_the_same_variance_where_they_know_all_and_the_prior_s_where_nothing():
    air, expected = dataclasses.replace(air_of(20.0), unknown=torch.full((44,), 1e-3)), Expected(5.0, 0.75)
    found = strengthened(air, fitted(air, 30.0, torch.full((44,), 4.0)), expected, most=4.0)
    before, after = (a.unknown * a.sigmas.square() for a in (air, found))
    torch.testing.assert_close(after[3:], before[3:], rtol=0.01, atol=0)
    unknown = dataclasses.replace(air, unknown=torch.ones(44))
    found = strengthened(unknown, fitted(air, 30.0, torch.full((44,), 4.0)), expected, most=4.0)
    assert found.unknown[3:].min() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("count", [2, 3, 20, 44, 100])
def test_every_mode_belongs_to_one_order_and_any_number_of_modes_does(count):
    assert [n for order in orders(count) for n in range(count)[order]] == list(range(count))
    air = air_of(15.0, count)
    strengthened(air, fitted(air, 3.0, torch.ones(count)), Expected(6.0, 0.75), most=1.5)


def test_the_usual_r0_grows_with_the_wavelength_and_a_measured_one_is_exact():
    short, long = (
        make_wavefronts([find(name)], 4, 10.0, (0.0,), CPU) for name in ("chromis-3934", "crisp-8542")
    )
    ratio = expected_air(short).d_over_r0 / expected_air(long).d_over_r0
    assert ratio == pytest.approx((854.2 / 393.4) ** 1.2, rel=1e-6)
    told = expected_air(short, 12.5)
    assert (told.d_over_r0, told.spread) == (pytest.approx(100 * find("chromis-3934").diameter_m / 12.5), 0.0)

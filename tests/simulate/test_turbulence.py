"""Phase screens against Kolmogorov's law."""

import math

import pytest
import torch

from heliorestore.simulate.turbulence import phase_screen, structure_function

PITCH, R0 = 0.05, 0.1


def measured(screens: list[torch.Tensor], pixels: int) -> float:
    """Mean squared difference across so many pixels, along both axes."""
    along = [
        ((s[pixels:] - s[:-pixels]) ** 2).mean() + ((s[:, pixels:] - s[:, :-pixels]) ** 2).mean()
        for s in screens
    ]
    return float(torch.stack(along).mean() / 2)


@pytest.fixture(scope="module")
def screens() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    return [phase_screen((64, 64), PITCH, R0, generator) for _ in range(1000)]


@pytest.mark.parametrize("pixels", [3, 6, 12, 20])
def test_the_structure_function_is_kolmogorovs_up_to_a_metre(
    screens: list[torch.Tensor], pixels: int
) -> None:
    assert measured(screens, pixels) == pytest.approx(structure_function(pixels * PITCH, R0), rel=0.05)


def test_the_strength_goes_with_fried() -> None:
    strong, weak = (phase_screen((32, 32), PITCH, r0, torch.Generator().manual_seed(1)) for r0 in (0.1, 0.2))
    torch.testing.assert_close(strong, weak * 2 ** (5 / 6))


def test_an_outer_scale_lets_the_structure_function_saturate() -> None:
    generator = torch.Generator().manual_seed(3)
    screens = [phase_screen((96, 96), 0.25, R0, generator, outer_scale_m=5.0) for _ in range(60)]
    # von Karman: the variance is 0.0859 (L0/r0)^(5/3), the structure function twice that far beyond L0.
    assert measured(screens, 40) == pytest.approx(2 * 0.0859 * (5.0 / R0) ** (5 / 3), rel=0.1)


def test_a_screen_may_be_long_and_narrow() -> None:
    generator = torch.Generator().manual_seed(4)
    screens = [phase_screen((300, 40), PITCH, R0, generator) for _ in range(150)]
    assert screens[0].shape == (300, 40)
    assert measured(screens, 5) == pytest.approx(structure_function(5 * PITCH, R0), rel=0.07)


def test_generators_of_one_seed_draw_one_screen() -> None:
    first, second = (phase_screen((16, 24), PITCH, R0, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert float(first.mean()) == pytest.approx(0.0, abs=1e-9)
    assert math.isfinite(float(first.abs().max()))

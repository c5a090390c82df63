from __future__ import annotations

import math

import pytest
import torch

from heliorestore.errors import SettingsError
from heliorestore.optics.filters import (
    filter_grid,
    filtered,
    flat_top,
    frequency,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_frequencies_are_in_cycles_per_pixel() -> None:
    values = frequency((8, 6), dtype=torch.float64)
    assert values.shape == (8, 4)
    assert float(values[0, 0]) == 0
    assert float(values[4, 3]) == pytest.approx(math.hypot(0.5, 0.5))


def test_flat_top_is_equation_16() -> None:
    values = flat_top(torch.tensor([0.0, 0.17, 0.27, 0.30, 0.33], dtype=torch.float64), 1 / 3)
    expected = [
        0.5 * (math.erf(20 * (v + 0.9)) - math.erf(20 * (v - 0.9))) for v in (0.0, 0.51, 0.81, 0.90, 0.99)
    ]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64))
    assert expected[0] == pytest.approx(1)
    assert expected[3] == pytest.approx(0.5)


def test_smoother_filters_have_wider_edges() -> None:
    nu = torch.tensor([0.8])
    assert float(flat_top(nu, 1.0, smoothness=5)) < float(flat_top(nu, 1.0, smoothness=50))


@pytest.mark.parametrize("wrong", [{"width": 0.0}, {"smoothness": -1.0}])
def test_impossible_filters(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        flat_top(torch.zeros(1), 0.3, **wrong)


@pytest.mark.parametrize("borders", ["periodic", "reflect"])
def test_filtering_is_its_own_adjoint_and_keeps_the_mean(borders: str) -> None:
    a, b = random(2, 15, 18), random(2, 15, 18, seed=1)
    transfer = flat_top(frequency(filter_grid((15, 18), borders), dtype=torch.float64), 0.3)
    fa, fb = (filtered(x, transfer, borders) for x in (a, b))
    assert abs(float((fa * b).sum() - (a * fb).sum())) < 1e-10
    torch.testing.assert_close(fa.mean((-2, -1)), a.mean((-2, -1)))
    assert float(fa.var()) < 0.5 * float(a.var())


def test_mirrored_borders_do_not_ring_across() -> None:
    ramp = torch.linspace(0, 1, 64, dtype=torch.float64).expand(64, 64)
    mirrored = filtered(ramp, flat_top(frequency((128, 128), dtype=torch.float64), 0.2))
    wrapped = filtered(ramp, flat_top(frequency((64, 64), dtype=torch.float64), 0.2), "periodic")
    assert float((mirrored - ramp).abs().max()) < 0.02 < float((wrapped - ramp).abs().max())


def test_filter_must_fit_the_images() -> None:
    with pytest.raises(SettingsError, match=r"\(20, 20\)"):
        filtered(torch.zeros(10, 10), torch.ones(10, 6))


@pytest.mark.parametrize("shape", [(7, 8), (9, 5), (2, 3), (1, 1), (1, 6)])
def test_a_mirrored_image_is_filtered_as_if_its_mirror_images_stood_beside_it(shape):
    image, grid = random(2, *shape), filter_grid(shape)
    transfer = torch.stack(
        [flat_top(frequency(grid, dtype=torch.float64), cutoff, smoothness=3.0) for cutoff in (0.2, 0.4)]
    )
    whole = torch.cat([image, image.flip(-2)], dim=-2)
    whole = torch.cat([whole, whole.flip(-1)], dim=-1)
    wanted = torch.fft.irfft2(torch.fft.rfft2(whole) * transfer, s=grid)[..., : shape[0], : shape[1]]
    torch.testing.assert_close(filtered(image, transfer), wanted)


def test_gradients_pass() -> None:
    transfer = flat_top(frequency((8, 10), dtype=torch.float64), 0.3)
    assert torch.autograd.gradcheck(lambda x: filtered(x, transfer), random(4, 5).requires_grad_())

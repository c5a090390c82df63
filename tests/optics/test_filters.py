from __future__ import annotations

import math

import pytest
import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN
from heliorestore.optics.filters import (
    filter_grid,
    filtered,
    flat_top,
    frequency,
    loefdahl_scharmer,
    noise_filter,
)
from heliorestore.optics.psf import make_optics, otf, psf


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


@pytest.mark.parametrize("columns", [64, 63])
def test_noise_filter_passes_signal_and_stops_noise(columns: int) -> None:
    # Known powers, without fluctuation: the filter is 1 - N / P where it is above 0.2.
    k = frequency((64, columns), dtype=torch.float64)
    signal = 1e4 * torch.exp(-((k / 0.08) ** 2))
    transfer = noise_filter(signal + 1, 1.0, columns, smoothing=0.01)
    expected = 1 - 1 / (signal + 1)
    torch.testing.assert_close(
        transfer, torch.where(expected > 0.2, expected, torch.zeros_like(expected)), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("columns", [48, 47])
def test_islands_of_noise_are_removed(columns: int) -> None:
    k = frequency((48, columns), dtype=torch.float64)
    power = 1 + 1e3 * (k < 0.1)
    power[20, 15] = 50.0  # one strong peak of noise, far out, and its neighbour across kx = 0
    power[30, 0] = power[18, 0] = 80.0
    transfer = noise_filter(power, 1.0, columns, smoothing=0.01)
    assert float(transfer[20, 15]) == float(transfer[30, 0]) == float(transfer[18, 0]) == 0
    assert float(transfer[k < 0.09].min()) > 0.9


def test_a_region_across_the_axis_hangs_together() -> None:
    k = frequency((48, 48), dtype=torch.float64)
    transfer = noise_filter(1 + 1e3 * (k < 0.2), 1.0, 48, smoothing=0.01)
    assert float(transfer[k < 0.18].min()) > 0.9
    assert float(transfer[k > 0.25].max()) == 0


def test_loefdahl_scharmer_filter_of_a_burst() -> None:
    size, sigma = 96, 0.02
    optics = make_optics(KNOWN["crisp-8542"], size, 20, dtype=torch.float64)
    scale = torch.as_tensor(optics.basis.variances**0.5)
    otfs = otf(psf(optics, random(6, 20) * scale * 4))
    k = frequency((size, size), dtype=torch.float64)
    object_ = torch.fft.rfft2(random(size, size, seed=1)) / (1 + (k / 0.02) ** 2)
    spectra = object_ * otfs + torch.fft.rfft2(sigma * random(6, size, size, seed=2))
    transfer = loefdahl_scharmer(spectra, otfs, sigma, size)
    assert float(transfer[k < 0.05].mean()) > 0.95
    assert float(transfer[k > 0.36].max()) == 0  # beyond the cut-off of 0.335
    truth = object_.abs().square()
    total = otfs.abs().square().sum(0).clamp(min=1e-9)
    raw = (spectra * otfs.conj()).sum(0) / total
    inside = k < 0.3
    error = (transfer * raw - object_)[inside].abs().square().sum() / truth[inside].sum()
    assert float(error) < float((raw - object_)[inside].abs().square().sum() / truth[inside].sum())

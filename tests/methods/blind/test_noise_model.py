"""The noise that the fit weighs its residuals by, on fields whose statistics are known."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from heliorestore.methods.blind.noise_model import BINS, Noise, measured_level, radial_power

LIMITS = torch.tensor([0.45])  # cycles per pixel
LEVEL = 2e-3**2


def white(seed: int = 0, frames: int = 20) -> torch.Tensor:
    return torch.randn((1, frames, 96, 80), generator=torch.Generator().manual_seed(seed)) * LEVEL**0.5


def smooth(rms: float, sigma: float = 12.0, frames: int = 20) -> torch.Tensor:
    """Smooth errors of a whole field, of which the frames see a part."""
    fields = np.random.default_rng(1).normal(size=(frames, 192, 160))
    wide = np.stack([gaussian_filter(field, sigma, mode="wrap") for field in fields])
    return torch.from_numpy(rms * (wide / wide.std())[:, 48:144, 40:120]).float()[None]


def test_white_noise_has_its_variance_in_every_ring():
    power = radial_power(white(frames=100))[0]
    assert power.shape == (BINS,)
    np.testing.assert_allclose(power[4:] / LEVEL, 1, rtol=0.08)


def test_the_level_of_the_noise_is_measured_beside_a_flux_error_of_two_per_cent():
    seen = white() + smooth(0.02)
    assert float(seen.square().mean()) > 50 * LEVEL
    assert measured_level(radial_power(seen), LIMITS).item() == pytest.approx(LEVEL, rel=0.1)


@pytest.mark.parametrize("rms", [0.005, 0.02])
def test_a_flux_error_is_found_frame_by_frame(rms):
    field = smooth(rms)
    field = field - field.mean((-2, -1), keepdim=True)
    found = Noise(torch.tensor([LEVEL]), LIMITS).flux_error(white() + field)
    assert (found - field).square().mean().sqrt() < 0.1 * rms + LEVEL**0.5 / 3


def test_fine_structure_is_no_flux_error_and_what_is_taken_for_one_is_symmetric():
    noise, fine = Noise(torch.tensor([LEVEL]), LIMITS), white()
    high = fine - torch.from_numpy(gaussian_filter(fine.numpy(), (0, 0, 1.5, 1.5)))
    assert noise.flux_error(high).square().mean() < 0.05 * high.square().mean()
    one, other = white(3), white(4)
    assert float((one * noise.flux_error(other)).sum()) == pytest.approx(
        float((noise.flux_error(one) * other).sum()), rel=1e-3, abs=1e-9
    )

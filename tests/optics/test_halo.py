"""The halo of turbulence that fitted modes do not hold."""

import pytest
import torch

from heliorestore.instrument import KNOWN
from heliorestore.optics.halo import halo_transfer, mode_blur
from heliorestore.optics.modes import make_basis
from heliorestore.optics.pupil import Aperture


@pytest.mark.parametrize("phase_scale", [1.0, 1.6])
def test_modes_of_which_nothing_is_known_blur_as_if_they_were_not_fitted(phase_scale):
    aperture = Aperture.of(KNOWN["crisp-6302"])
    few, many = (make_basis(count, aperture, kind="kl-tilt") for count in (20, 60))
    v = torch.linspace(0, 1, 21)
    variances = many.variances * 10 ** (5 / 3)
    variances[:20] = 0
    known = halo_transfer(few, 10.0, phase_scale, v)
    both = halo_transfer(many, 10.0, phase_scale, v) * mode_blur(many, variances, phase_scale, v)
    torch.testing.assert_close(both, known, atol=2e-3, rtol=0)
    assert known[0] == 1
    assert known[10] < 0.7

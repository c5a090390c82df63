import numpy as np
import pytest
import torch

from heliorestore.instrument import KNOWN
from heliorestore.optics.psf import telescope_psf
from heliorestore.optics.reobserve import radial_otf, reobserved, twice_the_aperture
from heliorestore.train.views import observe

HMI = KNOWN["hmi-6173"]


def test_the_transfer_function_is_that_of_the_psf() -> None:
    psf = telescope_psf(HMI, (256, 256), oversampling=4, dtype=torch.float64)
    exact = torch.fft.rfft2(psf)[0].real.numpy()
    frequency = np.fft.rfftfreq(256, HMI.pixel_arcsec / 4)
    np.testing.assert_allclose(radial_otf(HMI, frequency), exact, atol=0.02)
    assert radial_otf(HMI, np.array([0.0]))[0] == pytest.approx(1.0)


def test_a_perfect_restoration_gives_the_observation_back() -> None:
    scene = 1 + 0.2 * np.random.default_rng(0).standard_normal((300, 260))
    low, high = observe("noise", scene, 0.126).whole()
    seen = reobserved(high.numpy(), HMI)
    inner = np.s_[6:-6, 6:-6]  # the scene's surroundings differ
    misfit = (seen - low.numpy())[inner]
    assert misfit.std() < 0.06 * low.numpy()[inner].std()
    assert abs(misfit.mean()) < 1e-3


def test_holes_stay_and_constants_are_kept() -> None:
    image = np.full((40, 60), 5.0)
    image[10:12, 20:22] = np.nan
    seen = reobserved(image, HMI)
    assert seen.shape == (20, 30)
    assert np.isnan(seen).sum() == 1
    assert np.isnan(seen[5, 10])
    np.testing.assert_allclose(seen[~np.isnan(seen)], 5.0, rtol=1e-5)


def test_twice_the_aperture_resolves_twice_as_much() -> None:
    fine = twice_the_aperture(HMI)
    assert (fine.diameter_m, fine.pixel_arcsec) == (0.28, 0.252)
    assert fine.resolution_arcsec == pytest.approx((HMI.resolution_arcsec or 0) / 2)


def test_the_smallest_images_are_seen_too() -> None:
    np.testing.assert_allclose(reobserved(np.full((4, 6), 2.0), HMI), np.full((2, 3), 2.0), rtol=1e-5)

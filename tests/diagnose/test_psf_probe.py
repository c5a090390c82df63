"""The probed PSF lies where its tilt puts it, is taken at the right place, and its figures are right where
they are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from heliorestore.burst import Burst
from heliorestore.diagnose.fitted_air import air_in_words
from heliorestore.diagnose.psf_probe import probe
from heliorestore.errors import RestorationError
from heliorestore.instrument import find
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.snapshot import NODE_AXES, Map, Run, Snapshot

SETTINGS = SvMomfbdSettings(modes=6, grid_step=16, psf=64, left_out=0.0)


def result(modes: np.ndarray) -> Snapshot:
    """A result with these mode maps (frame, mode, gy, gx)."""
    burst = Burst.from_array(np.ones((2, len(modes), 48, 64), np.float32), find("crisp-8542"))
    return Snapshot(
        step=1,
        total=1,
        images=np.ones((2, 48, 64)),
        maps={"modes": modes},
        run=Run.of(burst, SETTINGS, "cpu", 0),
    )


def centroid(image: np.ndarray) -> np.ndarray:
    axes = np.indices(image.shape) - np.array([n // 2 for n in image.shape])[:, None, None]
    bright = np.where(image > 0.3 * image.max(), image, 0)
    return (axes * bright).sum((1, 2)) / bright.sum()


def test_without_aberrations_it_is_the_diffraction_pattern():
    seen = probe(result(np.zeros((2, 6, 4, 5))), SETTINGS, (20.0, 30.0), 0)
    assert seen.strehl == pytest.approx(1.0, abs=1e-5)
    assert seen.image.sum() == pytest.approx(1.0, abs=1e-3)
    assert seen.fwhm_arcsec == pytest.approx(1.029 * find("crisp-8542").resolution_arcsec, rel=0.05)
    assert seen.pixel_arcsec == pytest.approx(0.059 / 4)
    assert np.unravel_index(seen.image.argmax(), seen.image.shape) == (128, 128)


def test_the_psf_of_momfbd_is_as_wide_as_its_patch():
    settings = MomfbdSettings(modes=6, patch=64, patch_step=16, left_out=0.0)
    seen, as_field = (
        probe(result(np.full((2, 6, 4, 5), 0.2)), each, (20.0, 30.0), 0) for each in (settings, SETTINGS)
    )
    np.testing.assert_array_equal(seen.image, as_field.image)


def test_a_tilt_in_y_moves_it_in_y_and_small_aberrations_cost_what_marechal_says():
    modes = np.zeros((2, 6, 4, 5))
    modes[1, 1] = 3.0  # frame 1 only
    still, moved = (probe(result(modes), SETTINGS, (20.0, 30.0), frame) for frame in range(2))
    np.testing.assert_allclose(centroid(still.image), 0, atol=0.05)
    y, x = centroid(moved.image)
    assert abs(x) < 0.1
    # Noll's tilt of 3 rad rms over the aperture: 12 rad from edge to edge, 12 / 2 pi lambda / D on the sky.
    assert y * moved.pixel_arcsec == pytest.approx(
        12 / (2 * np.pi) * find("crisp-8542").resolution_arcsec, rel=0.05
    )
    bent = np.zeros((1, 6, 4, 5))
    bent[0, 4] = 0.4
    seen = probe(result(bent), SETTINGS, (0.0, 0.0), 0)
    assert seen.strehl == pytest.approx(np.exp(-(0.4**2)), abs=0.02)
    assert seen.wavefront_rms == pytest.approx(0.4, rel=0.02)
    assert seen.wavelength_nm == pytest.approx(854.2, abs=1)
    assert np.isnan(seen.wavefront[0, 0])
    assert moved.wavefront_rms < 1e-3  # a tilt only moves the image


def test_the_place_is_y_then_x_and_between_nodes_the_modes_are_interpolated():
    modes = np.zeros((1, 6, 4, 5))
    modes[0, 1] = np.arange(4)[:, None]  # a y-tilt that grows along y alone
    shifts = [
        centroid(probe(result(modes), SETTINGS, place, 0).image)[0]
        for place in ((0.0, 40.0), (16.0, 0.0), (24.0, 10.0), (32.0, 5.0))
    ]
    np.testing.assert_allclose(np.array(shifts) / shifts[1], [0, 1, 1.5, 2], atol=0.03)


def test_the_place_is_found_on_nodes_that_do_not_begin_at_the_first_pixel():
    modes = np.zeros((1, 6, 4, 5))
    modes[0, 1] = np.arange(4)[:, None]
    shown = Map(modes, NODE_AXES, "rad", (10.0, 12.0), (6.0, 0.0), signed=True)
    shifts = [
        centroid(probe(result(shown), SETTINGS, place, 0).image)[0]
        for place in ((6.0, 40.0), (16.0, 0.0), (21.0, 10.0), (26.0, 5.0))
    ]
    np.testing.assert_allclose(np.array(shifts) / shifts[1], [0, 1, 1.5, 2], atol=0.03)


def test_the_halo_lowers_the_strehl_ratio():
    flat = result(np.zeros((1, 6, 4, 5)))
    alone, with_halo = (probe(flat, SETTINGS.replace(left_out=part), (0.0, 0.0), 0) for part in (0.0, 1.0))
    assert with_halo.strehl < 0.8 * alone.strehl
    assert with_halo.image.sum() == pytest.approx(1.0, abs=1e-3)


def test_a_result_without_modes_is_refused():
    with pytest.raises(RestorationError, match="no mode maps"):
        probe(Snapshot(step=1, total=1, images=np.ones((1, 8, 8))), SETTINGS, (0.0, 0.0), 0)


def test_the_air_of_a_result_is_said_in_words():
    plain = result(np.zeros((1, 6, 4, 5)))
    assert air_in_words(plain, SETTINGS) == ""
    sigmas = SETTINGS.replace(r0_cm=8.0).wavefronts(plain.run.instruments, torch.device("cpu")).sigmas
    maps = {"mode_sigmas": sigmas.numpy(), "mode_variances": np.zeros(6)}
    known = {name: Map(values, ("mode",), "rad") for name, values in maps.items()}
    found = replace(plain, maps={**plain.maps, **known}, losses={"noise": 0.002})
    # 0.98 x 854.2 nm / 8 cm
    assert air_in_words(found, SETTINGS) == "r0 8.0 cm, seeing 2.2″ (854 nm), noise 0.2 %"

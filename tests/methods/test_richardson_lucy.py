import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from heliorestore import Burst, Instrument, RichardsonLucySettings, StopReason, restore, stream
from heliorestore.errors import BurstError, SettingsError
from heliorestore.instrument import KNOWN
from heliorestore.methods import richardson_lucy as rl
from heliorestore.optics.psf import telescope_psf

CRISP = KNOWN["crisp-8542"]
HMI = KNOWN["hmi-6173"]


def scene(size: int = 64, seed: int = 0, smooth: float = 1.5) -> np.ndarray:
    """A periodic random field of mean 1 and contrast 0.2."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    field = np.fft.ifft2(
        np.fft.fft2(rng.standard_normal((size, size))) * np.exp(-2 * (np.pi * smooth * frequency) ** 2)
    ).real
    return 1 + 0.2 * field / field.std()


def seen(image: np.ndarray, instrument: Instrument) -> np.ndarray:
    """The image through the telescope, periodic."""
    otf = torch.fft.rfft2(telescope_psf(instrument, image.shape, dtype=torch.float64))
    return torch.fft.irfft2(torch.fft.rfft2(torch.from_numpy(image)) * otf, s=image.shape).numpy()


def run(image: np.ndarray, instrument: Instrument = CRISP, **changes: object) -> np.ndarray:
    return restore(
        Burst.from_array(image, instrument), RichardsonLucySettings(**changes), device="cpu"
    ).images[0]


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize("shape", [(32, 32), (31, 45)])
def test_blur_and_adjoint_are_a_pair(zoom: int, shape: tuple[int, int]) -> None:
    problem = rl.prepare(
        Burst.from_array(np.ones(shape), CRISP),
        np.ones((1, *shape), np.float32),
        False,
        RichardsonLucySettings(upsampling=zoom),
        torch.device("cpu"),
    )
    double = dataclasses.replace(problem, otf=problem.otf.to(torch.complex128))
    torch.manual_seed(0)
    u, v = torch.rand(1, *problem.grid, dtype=torch.float64), torch.rand(1, *shape, dtype=torch.float64)
    forward, backward = (double.blur(u) * v).sum(), (u * double.adjoint(v)).sum()
    assert float(forward) == pytest.approx(float(backward), rel=1e-12)


def test_it_comes_closer_to_the_truth_and_keeps_the_light() -> None:
    truth = scene()
    blurred = seen(truth, CRISP)
    restored = run(blurred, iterations=30)
    inner = np.s_[8:-8, 8:-8]  # the scene is periodic, the restoration does not know it
    before, after = (np.mean((image[inner] - truth[inner]) ** 2) for image in (blurred, restored))
    assert after < 0.3 * before
    assert restored.mean() == pytest.approx(blurred.mean(), rel=2e-3)
    assert blurred.std() < restored.std() < 1.02 * truth.std()


def test_the_residual_falls_at_every_iteration() -> None:
    burst = Burst.from_array(seen(scene(), CRISP), CRISP)
    residuals = [
        s.losses["residual"] for s in stream(burst, RichardsonLucySettings(iterations=15), device="cpu")
    ]
    assert all(b < a for a, b in itertools.pairwise(residuals))


def test_the_unit_does_not_matter() -> None:
    image = seen(scene(), CRISP).astype(np.float32)
    np.testing.assert_allclose(run(image * 1000), run(image) * 1000, rtol=1e-4)


def test_a_magnetogram_keeps_its_sign() -> None:
    field = (scene(smooth=3.0) - 1) * 2000
    observed = seen(field, HMI)
    restored = run(observed, HMI)
    np.testing.assert_allclose(run(-observed, HMI), -restored, atol=1e-2)
    assert np.sign(restored[np.abs(restored) > 100]).sum() == np.sign(observed[np.abs(restored) > 100]).sum()
    assert restored.std() > observed.std()


@pytest.mark.parametrize("zoom", [1, 2])
def test_a_star_stays_where_it_is(zoom: int) -> None:
    fine = np.zeros((96, 96))
    fine[40, 58] = 100.0
    instrument = dataclasses.replace(CRISP, pixel_arcsec=CRISP.pixel_arcsec / 2)
    image = seen(fine, instrument).reshape(48, 2, 48, 2).mean((1, 3)) + 1
    restored = run(image, upsampling=zoom, iterations=40) - 1
    centre = []
    for profile, expected in ((restored.sum(1), (40 - 0.5) / 2), (restored.sum(0), (58 - 0.5) / 2)):
        offset = (np.arange(48 * zoom) + 0.5) / zoom - 0.5 - expected  # in pixels of the image
        near = np.abs(offset) < 8
        centre.append((profile * offset)[near].sum() / profile[near].sum())
    # On the image's own pixels a star between two of them cannot be drawn exactly.
    assert centre == pytest.approx([0, 0], abs=0.02 if zoom == 1 else 0.002)
    assert restored.sum() / zoom**2 == pytest.approx((image - 1).sum(), rel=0.01)


def test_bad_pixels_weigh_nothing() -> None:
    image = seen(scene(), CRISP)
    spoilt = image.copy()
    spoilt[20:23, 30:32] = np.nan
    spoilt[40, 10] = np.inf
    good, holed = run(image), run(spoilt)
    np.testing.assert_array_equal(np.isfinite(holed), np.isfinite(spoilt))
    far = np.s_[45:, 35:]
    np.testing.assert_allclose(holed[far], good[far], rtol=1e-3)
    assert np.nanmax(np.abs(holed - good)) < 0.3


def test_borders_do_not_ring() -> None:
    flat = run(np.full((48, 40), 7.0))
    np.testing.assert_allclose(flat, 7.0, rtol=1e-4)
    slope = np.linspace(1, 3, 64) * np.ones((64, 1))
    assert np.abs(run(slope) - slope).max() < 0.08


def test_damping_leaves_noise_alone() -> None:
    rng = np.random.default_rng(1)
    noisy = 1 + 0.02 * rng.standard_normal((64, 64))
    undamped, damped = run(noisy, iterations=50), run(noisy, iterations=50, damping=3.0)
    assert undamped.std() > 1.5 * noisy.std()
    assert damped.std() < 0.7 * undamped.std()
    strong = seen(scene(), CRISP) + 0.001 * rng.standard_normal((64, 64))
    np.testing.assert_allclose(run(strong, damping=2.0).std(), run(strong).std(), rtol=0.05)


def test_it_can_stop_at_the_noise() -> None:
    noisy = seen(scene(), CRISP) + 0.02 * np.random.default_rng(1).standard_normal((64, 64))
    burst = Burst.from_array(noisy, CRISP)
    last = restore(burst, RichardsonLucySettings(iterations=500, stop_at_noise=True), device="cpu")
    assert last.stop is StopReason.NOISE
    assert 1 < last.step < 100


def test_frames_are_averaged_without_their_bad_pixels() -> None:
    frames = np.stack([np.full((32, 32), 1.0), np.full((32, 32), 3.0)])
    frames[1, 5, 6] = np.nan
    average = rl.average_frames(Burst.from_array(frames, CRISP))
    mean, sigma = average.images, average.sigmas
    assert (mean[0, 0, 0], mean[0, 5, 6], sigma[0]) == (2.0, 1.0, 0.0)


@pytest.mark.parametrize("dead", [0.0, 65535.0])
def test_a_frame_without_an_image_is_left_out_and_named(dead: float) -> None:
    image = seen(scene(), CRISP)
    frames = np.stack([image, np.full_like(image, dead), image])
    last = restore(Burst.from_array(frames, CRISP), RichardsonLucySettings(), device="cpu")
    np.testing.assert_allclose(last.images[0], run(image), rtol=1e-5)
    assert any("frame 1 left out" in message for message in last.messages)


def test_objects_keep_their_own_instrument() -> None:
    image = seen(scene(), CRISP)
    red = dataclasses.replace(CRISP, wavelength_nm=1600.0)
    burst = Burst(frames=np.stack([image, image])[:, None], instruments=(CRISP, red))
    first, second = restore(burst, RichardsonLucySettings(), device="cpu").images
    assert second.std() > 1.05 * first.std()
    alone = run(image)
    np.testing.assert_allclose(first[16:-16, 16:-16], alone[16:-16, 16:-16], rtol=5e-3)


def test_a_warm_start_goes_on_where_it_was() -> None:
    burst = Burst.from_array(seen(scene(), CRISP), CRISP)
    half = restore(burst, RichardsonLucySettings(iterations=10), device="cpu")
    whole = restore(burst, RichardsonLucySettings(iterations=20), device="cpu", start=half)
    straight = restore(burst, RichardsonLucySettings(iterations=20), device="cpu")
    assert whole.step == 20
    np.testing.assert_allclose(whole.images[:, 16:-16, 16:-16], straight.images[:, 16:-16, 16:-16], rtol=0.02)


def test_iterations_are_live() -> None:
    running = stream(Burst.from_array(scene(), CRISP), RichardsonLucySettings(iterations=100), device="cpu")
    next(running)
    second = running.send(RichardsonLucySettings(iterations=3))
    assert second.total == 3
    assert [s.stop for s in running] == [StopReason.DONE]


def test_snapshots_carry_the_residual_in_the_units_of_the_data() -> None:
    image = seen(scene(), CRISP)
    image[3, 4] = np.nan
    snapshot = next(
        stream(Burst.from_array(image, CRISP), RichardsonLucySettings(upsampling=2), device="cpu")
    )
    assert snapshot.maps["residual"].shape == (1, 64, 64)
    assert snapshot.images.shape == (1, 128, 128)
    assert snapshot.zoom == 2
    assert np.isnan(snapshot.maps["residual"]).sum() == 1


def test_it_is_deterministic() -> None:
    image = seen(scene(), CRISP)
    np.testing.assert_array_equal(run(image), run(image))


def test_the_input_stays_as_it_is() -> None:
    image = np.ascontiguousarray(seen(scene(), CRISP), np.float32)
    image.flags.writeable = False
    before = image.copy()
    run(image)
    np.testing.assert_array_equal(image, before)


def test_what_is_unknown_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="diameter_m, pixel_arcsec, wavelength_nm"):
        run(scene(), Instrument())


def test_an_image_without_a_valid_pixel_is_refused() -> None:
    with pytest.raises(BurstError, match="no valid pixel"):
        run(np.full((8, 8), np.nan))


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (3, 3)])
def test_tiny_images_work(shape: tuple[int, int]) -> None:
    assert np.isfinite(run(np.ones(shape), iterations=2)).all()


def test_another_psf_is_a_setting_and_a_file_is_one_too(tmp_path: Path) -> None:
    image = seen(scene(), HMI)
    short = run(image, HMI, iterations=3, psf="wachter-short")
    np.testing.assert_array_equal(
        short, run(image, dataclasses.replace(HMI, psf="wachter-short"), iterations=3)
    )
    assert np.abs(short - run(image, HMI, iterations=3)).max() > 0.01
    # The same PSF measured: twice finer pixels than the image's, its peak in the middle of an even field.
    fine = dataclasses.replace(HMI, pixel_arcsec=0.252, psf="wachter-short")
    measured = torch.fft.fftshift(telescope_psf(fine, (80, 80), dtype=torch.float64))
    header = fits.Header({"CDELT1": 0.252, "CUNIT1": "arcsec"})
    fits.writeto(tmp_path / "psf.fits", 7 * measured.numpy(), header)
    settings = RichardsonLucySettings(iterations=3, psf_file=str(tmp_path / "psf.fits"))
    restored = restore(Burst.from_array(image, HMI), settings, device="cpu")
    np.testing.assert_allclose(restored.images[0], short, atol=1e-3)
    assert restored.run is not None
    assert restored.run.files["psf_file"].path == tmp_path / "psf.fits"
    fits.writeto(tmp_path / "cube.fits", np.ones((2, 3, 3)))
    with pytest.raises(SettingsError, match=r"cube.fits has the shape \(2, 3, 3\): it must be one image"):
        run(image, HMI, psf_file=str(tmp_path / "cube.fits"))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("factor", [1e-30, 0.0, 1e30])
def test_the_loss_is_relative_whatever_the_unit(factor: float) -> None:
    image = np.random.default_rng(0).uniform(0.5, 1.5, (24, 24))
    settings = RichardsonLucySettings(iterations=2, stop_at_noise=False)
    one, other = (
        restore(Burst.from_array((image * scale).astype("f4"), CRISP), settings, device="cpu")
        for scale in (1.0, factor)
    )
    assert other.losses["residual"] == pytest.approx(one.losses["residual"] * bool(factor), rel=1e-3)

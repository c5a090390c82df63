"""Destretching: a known distortion is found and taken off, and intensities stay what they were."""

import numpy as np
import pytest
import torch
from astropy.io import fits

from blind_bursts import CPU, INSTRUMENT
from heliorestore.burst import Burst
from heliorestore.fits.reader import read_burst
from heliorestore.fits.writer import write
from heliorestore.methods.base import restore
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.optics.convolve import interpolate
from heliorestore.prepare.destretch import sample
from heliorestore.prepare.observe import observe

SIZE = 160


def granules(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A scene in closed form, so that it can be looked at anywhere: waves of 8 to 40 pixels, contrast 15 %,
    mean near 1000."""
    generator = torch.Generator().manual_seed(0)
    angle, wave = (
        2 * np.pi * torch.rand(80, generator=generator),
        0.025 + 0.1 * torch.rand(80, generator=generator),
    )
    phase = 2 * np.pi * torch.rand(80, generator=generator)
    total = torch.zeros_like(y)
    for a, w, p in zip(angle, wave, phase, strict=True):
        total += torch.cos(2 * np.pi * w * (torch.sin(a) * y + torch.cos(a) * x) + p)
    return 1000 * (1 + 0.15 * total / 80**0.5 * 2**0.5)


def distortion(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Displacements ([y, x], y, x) of 2 pixels at most, over some hundred pixels."""
    return torch.stack(
        [
            2 * torch.sin(2 * np.pi * x / 150 + 1) * torch.cos(2 * np.pi * y / 190),
            1.5 * torch.cos(2 * np.pi * (x + y) / 170),
        ]
    )


STRENGTHS = torch.tensor([1.0, -0.6, 0.3, -0.7])


@pytest.fixture(scope="module")
def pixels():
    return torch.meshgrid(*(torch.arange(SIZE, dtype=torch.float32),) * 2, indexing="ij")


@pytest.fixture(scope="module")
def burst(pixels):
    """What is in pixel p of a frame was at p - strength distortion(p)."""
    y, x = pixels
    d = distortion(y, x)
    frames = torch.stack([granules(y - s * d[0], x - s * d[1]) for s in STRENGTHS])
    frames += 2 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(1))
    return Burst(frames=frames[None].numpy(), instruments=(INSTRUMENT,))


@pytest.fixture(scope="module")
def straight(burst):
    return observe(burst, CPU, align=False, destretch=True)


def test_a_known_distortion_is_found_to_a_tenth_of_a_pixel(straight, pixels):
    found = straight.distortion
    assert found is not None
    inner = (slice(None), slice(32, -32), slice(32, -32))
    everywhere = []
    for frame, strength in enumerate(STRENGTHS):
        y, x = pixels
        wanted = torch.zeros(2, SIZE, SIZE)
        for _ in range(20):  # what belongs in p is seen at p + D(p) = p + strength distortion(p + D(p))
            wanted = strength * distortion(y + wanted[0], x + wanted[1])
        everywhere.append(interpolate(found.displacements[frame], (SIZE, SIZE), found.step) - wanted)
    errors = torch.stack(everywhere)
    # What all frames have in common is the object's.
    errors = errors - errors.mean(0)
    assert float(torch.stack([e[inner] for e in errors]).square().mean().sqrt()) < 0.1
    assert found.rms == pytest.approx(0.75, abs=0.3)


def test_straight_frames_agree_and_the_light_is_kept(straight, burst):
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    frames = straight.read().images[inner] * straight.scales[:, None, None, None]
    before = torch.from_numpy(np.asarray(burst.frames))[inner]
    spread = float((frames - frames.mean(1, keepdim=True)).square().mean().sqrt())
    assert spread < 0.25 * float((before - before.mean(1, keepdim=True)).square().mean().sqrt())
    assert float(frames.mean()) == pytest.approx(float(before.mean()), rel=2e-3)
    assert float(straight.scales) == pytest.approx(float(np.mean(burst.frames)), rel=2e-3)


def test_interpolation_keeps_constants_and_waves_and_lets_bad_pixels_stay_bad(pixels):
    y, x = pixels
    image = granules(y, x)
    at = (y[20:-20, 20:-20] + 0.37, x[20:-20, 20:-20] - 1.61)
    torch.testing.assert_close(
        sample(torch.full_like(image, 7.0), *at), torch.full_like(at[0], 7.0), rtol=1e-5, atol=0
    )
    assert float((sample(image, *at) - granules(*at)).square().mean().sqrt()) < 0.01 * float(image.std())
    torch.testing.assert_close(sample(image, y, x), image)
    image[50, 60] = torch.nan
    same = sample(image, y, x)
    assert torch.argwhere(torch.isnan(same)).tolist() == [[50, 60]]
    beside = sample(image, y + 0.5, x)
    assert float((beside - granules(y + 0.5, x))[8:-8, 8:-8].abs().nan_to_num().max()) < 0.05 * float(
        granules(y, x).mean()
    )


def test_the_wide_band_tells_how_a_narrow_band_without_structure_moved(burst):
    wide = np.asarray(burst.frames)
    # other pixels of other frames, with nothing but noise: alone it would say that nothing moved
    narrow = np.random.default_rng(3).normal(300, 15, wide.shape).astype(np.float32)
    both = Burst.from_array(np.concatenate([wide, narrow]), INSTRUMENT)
    one, two, alone = (observe(b, CPU, destretch=True) for b in (burst, both, both.select(objects="1")))
    np.testing.assert_array_equal(two.shifts, one.shifts)
    difference = two.distortion.displacements - one.distortion.displacements
    assert float(difference.square().mean().sqrt()) < 0.05
    assert alone.distortion.rms < 0.5 * one.distortion.rms


def test_frames_that_are_read_part_by_part_are_straightened_alike(straight, burst):
    read = observe(burst, CPU, align=False, destretch=True, hold_bytes=0.0)
    piece = (slice(1, 3), slice(40, 90), slice(100, 160))
    torch.testing.assert_close(read.read(*piece).images, straight.read(*piece).images)


def test_a_restoration_says_what_it_did_and_leaves_the_image_where_it_was(burst, tmp_path):
    header = fits.Header(
        {
            "CRPIX1": 80.5,
            "CRPIX2": 80.5,
            "CDELT1": 0.059,
            "CDELT2": 0.059,
            "CTYPE1": "HPLN-TAN",
            "CTYPE2": "HPLT-TAN",
        }
    )
    header.update({"CRVAL1": 12.0, "CRVAL2": -7.0, "CUNIT1": "arcsec", "CUNIT2": "arcsec"})
    fits.PrimaryHDU(np.asarray(burst.frames)[0], header).writeto(tmp_path / "burst.fits")
    found = read_burst([tmp_path / "burst.fits"]).with_instrument("crisp-8542")
    last = restore(found, MomfbdSettings(destretch=True, iterations=1, modes=6, left_out=0.0), device="cpu")
    assert "destretched every 16 pixels" in last.messages[-1]
    written = fits.getheader(write(last, tmp_path / "restored.fits"))
    assert {key: written[key] for key in header if key in written} == dict(header)
    assert "destretched" in written["PRLOG1"]
    window = np.hanning(SIZE)[:, None] * np.hanning(SIZE)
    spectra = [
        np.fft.rfft2((image - image.mean()) * window)
        for image in (last.images[0], np.asarray(burst.frames)[0].mean(0))
    ]
    correlation = np.fft.irfft2(spectra[0] * spectra[1].conj())
    assert correlation.argmax() == 0

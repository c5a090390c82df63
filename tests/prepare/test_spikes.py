from dataclasses import replace

import numpy as np
import pytest
import torch

from heliorestore import Burst, MomfbdSettings, RichardsonLucySettings, read, restore
from heliorestore.instrument import find
from heliorestore.optics.psf import telescope_psf
from heliorestore.prepare.average import average_frames
from heliorestore.prepare.spikes import WithoutSpikes, spikes
from heliorestore.samples import sample_path
from heliorestore.settings import Settings

RANDOM = np.random.default_rng(0)


def granules() -> np.ndarray:
    """An image of mean 1000 with smooth structure and noise."""
    y, x = np.mgrid[:90, :110]
    return (1000 + 150 * np.sin(x / 3) * np.cos(y / 4) + RANDOM.normal(0, 10, (90, 110))).astype(np.float32)


def places(image: np.ndarray) -> set[tuple[int, int]]:
    return set(zip(*(each.tolist() for each in spikes(image)), strict=True))


@pytest.mark.parametrize("value", [3500.0, 6e4, 1e20, -2500.0, -1e30, 3e38])
@pytest.mark.parametrize(
    "where",
    [[(40, 50)], [(0, 0)], [(0, 70)], [(89, 109)], [(40, 50), (40, 51), (41, 52)], [(10, 10), (60, 90)]],
)
def test_values_that_stand_alone_are_found(value: float, where: list[tuple[int, int]]) -> None:
    image = granules()
    assert places(image) == set()
    for place in where:
        image[place] = value
    assert places(image) == set(where)


@pytest.mark.parametrize("name", ["crisp-8542-paper", "crisp-6302-paper", "chromis-3934-paper", "hmi-6173"])
@pytest.mark.parametrize("height", [1.0, 3.0, 10.0, 30.0])
def test_a_point_of_light_on_the_sun_is_none(name: str, height: float) -> None:
    psf = telescope_psf(find(name), (64, 64), dtype=torch.float64)
    turn = torch.fft.fftfreq(64, dtype=torch.float64)[:, None], torch.fft.rfftfreq(64, dtype=torch.float64)
    for dy, dx in ((0.0, 0.0), (0.5, 0.0), (0.3, 0.45)):
        phase = -2 * torch.pi * ((20 + dy) * turn[0] + (31 + dx) * turn[1])
        moved = torch.polar(torch.ones_like(phase), phase)
        point = torch.fft.irfft2(torch.fft.rfft2(psf) * moved, s=(64, 64)).numpy()
        image = 1 + height * point / point.max()
        assert places(image.astype(np.float32)) == set(), (dy, dx)


def test_where_the_light_is_around_zero_nothing_stands_alone() -> None:
    signed = RANDOM.normal(0, 10, (80, 80)).astype(np.float32)
    signed[30, 30] = 1e4
    assert places(signed) == set()
    limb = granules()
    limb[:, 60:] = RANDOM.normal(0, 5, limb[:, 60:].shape)  # sky
    assert places(limb) == set()
    few_photons = RANDOM.poisson(2.0, (200, 200)).astype(np.float32)
    assert places(few_photons + 1) == set()


def test_a_part_of_a_frame_is_that_of_the_whole() -> None:
    frames = np.stack([granules(), granules()])[None]
    frames[0, 1, 20, 30] = 1e5
    frames[0, 1, 70, 100] = 1e5
    cleaned = WithoutSpikes(frames)
    part = cleaned[0, 1, slice(15, 40), slice(25, 90)]  # read before the whole
    assert np.argwhere(np.isnan(part)).tolist() == [[5, 5]]
    assert cleaned.count == 2
    assert np.argwhere(np.isnan(cleaned[0, 1])).tolist() == [[20, 30], [70, 100]]
    assert np.array_equal(cleaned[0, 0], frames[0, 0])
    assert np.isfinite(frames).all()  # which stay as they were


@pytest.mark.parametrize(
    ("sample", "settings"),
    [
        ("small_burst.fits", MomfbdSettings(iterations=3, stop_early=False)),
        ("small_burst.fits", MomfbdSettings(iterations=3, stop_early=False, memory_gb=0.1)),
        ("hmi_continuum.fits", RichardsonLucySettings(iterations=3)),
    ],
)
def test_one_of_them_does_not_change_the_image_elsewhere(sample: str, settings: Settings) -> None:
    burst = read(sample_path(sample))
    assert isinstance(burst, Burst)
    burst = burst.select(objects=slice(1))
    frames = np.stack([image for _, _, image in burst.images()])[None]
    hit = frames.copy()
    hit[0, 0, 60, 50] = 100 * frames.mean()
    clean, found = (restore(replace(burst, frames=each), settings, device="cpu") for each in (frames, hit))
    away = np.abs(found.images - clean.images)[0]
    away[52:68, 42:58] = 0
    assert np.nanmax(away) < 1e-3 * np.nanstd(clean.images)
    assert any("stand alone as cosmic rays" in each and "1 values" in each for each in found.messages)


def test_the_light_of_pinholes_is_no_spike() -> None:
    image = np.full((1, 1, 40, 40), 0.01, np.float32)
    image[0, 0, 20, 20] = 900.0  # narrower than a telescope makes it
    burst = Burst(frames=image, instruments=(find("crisp-8542"),))
    assert np.isnan(average_frames(burst).images[0, 20, 20])
    assert average_frames(burst, points=True).images[0, 20, 20] == 900.0

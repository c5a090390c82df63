"""Bursts in which a frame shows the wide band and one of several states: each is restored from its own
images, through wavefronts that all share."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from blind_bursts import CPU, simulate
from heliorestore.burst import Burst
from heliorestore.coordinates import WIDE_BAND, Coordinates
from heliorestore.errors import BurstError, SettingsError
from heliorestore.methods.base import restore
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.noise2noise import DenoiseSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.prepare.observe import in_words, observe
from heliorestore.settings import Settings

FAST = {"modes": 8, "r0_cm": 20.0, "left_out": 0.0, "patch": 32}
MOMFBD = MomfbdSettings(**FAST, patch_step=16, iterations=6, stop_early=False)
SV = SvMomfbdSettings(**FAST, psf=32, grid_step=16, iterations=8, patch_iterations=4)


@pytest.fixture(scope="module")
def burst() -> Burst:
    """A wide band; the same images by turns as a state three times as bright, and as one with noise."""
    frames = np.asarray(simulate(varying=0.2).burst.frames[0])
    present = np.ones((3, len(frames)), bool)
    present[1, 1::2] = present[2, ::2] = False
    noise = 50 * np.random.default_rng(0).standard_normal(frames.shape, np.float32)
    images = np.where(present[..., None, None], np.stack([frames, 3 * frames, frames + noise]), np.nan)
    return Burst(
        frames=images,
        present=present,
        instruments=simulate(varying=0.2).burst.instruments * 3,
        coordinates=(Coordinates(camera=WIDE_BAND), Coordinates(state=0), Coordinates(state=1)),
    )


def test_level_and_noise_are_those_of_an_objects_own_images(burst: Burst) -> None:
    observation = observe(burst, CPU, align=False)
    assert observation.selection.used == tuple(range(burst.shape[1]))
    assert observation.images.tolist() == [burst.shape[1], burst.shape[1] / 2, burst.shape[1] / 2]
    alone = observe(burst.select("1", "::2"), CPU, align=False)
    assert float(observation.scales[1]) == pytest.approx(float(alone.scales[0]), rel=1e-4)
    assert float(observation.scales[1] / observation.scales[0]) == pytest.approx(3, rel=0.02)
    assert float(observation.sigmas[2] / observation.sigmas[1]) > 3
    observation = observe(burst, CPU, destretch=True)
    assert observation.distortion is not None
    assert observation.distortion.rms > 0.1
    assert not any("left out" in message for message in in_words(burst, observation))


@pytest.mark.parametrize("settings", [MOMFBD, SV], ids=lambda each: each.method)
def test_states_are_restored_from_their_images_and_the_wide_band_beside_them(
    burst: Burst, settings: Settings
) -> None:
    restored = restore(burst, settings, device="cpu")
    images, anchor = (each[:, 8:-8, 8:-8] for each in (restored.images, restored.maps["anchor"].array))
    # The first state has the wide band's images in its frames: so has the anchor, in the wide band's units.
    contrast = images[0].std()
    assert (images[1] / 3 - anchor[1]).std() < 0.06 * contrast
    assert (anchor[0] - images[0]).std() < 0.06 * contrast
    assert (anchor[1] - images[0]).std() > 0.1 * contrast
    # All frames have one wavefront, and every object its share of it.
    assert np.isfinite(restored.maps["modes"].array).all()
    assert restored.run is not None
    assert np.array_equal(restored.run.present, burst.present)


def test_what_is_missing_changes_nothing(burst: Burst) -> None:
    """An object whose images are all there is restored as if the others had no weight."""
    settings = MOMFBD.replace(object_weights="1,0,0")
    beside = restore(burst, settings, device="cpu").images[0]
    alone = restore(burst.select("0"), MOMFBD, device="cpu").images[0]
    assert np.allclose(beside, alone, atol=2e-3 * alone.std())


def test_who_cannot_says_so(burst: Burst) -> None:
    with pytest.raises(SettingsError, match="only 12 of 18: use momfbd, sv-momfbd"):
        restore(burst, DenoiseSettings(), device="cpu")
    with pytest.raises(SettingsError, match="Phase diversity needs every image"):
        restore(burst, MOMFBD.replace(diversity="0,1,1"), device="cpu")
    dark = np.where(np.arange(burst.shape[1])[:, None, None] % 2 == 0, np.nan, np.asarray(burst.frames))
    with pytest.raises(BurstError, match="object 1 has no valid pixel"):
        observe(replace(burst, frames=dark), torch.device("cpu"))

"""The sharpness of frames: blurs are put in order, whatever the noise, and the sharpest are chosen."""

import numpy as np
import pytest
import torch

from heliorestore.burst import Burst
from heliorestore.errors import BurstError, SettingsError
from heliorestore.instrument import KNOWN
from heliorestore.optics.filters import filter_grid, filtered, frequency
from heliorestore.optics.pupil import cutoff
from heliorestore.prepare.sharpness import how_many, select_best, sharpness
from heliorestore.quality.metrics import contrast

# In pixels, in no order; the noise of a frame has nothing to do with its blur.
BLURS = np.array([2.4, 1.0, 3.1, 1.6, 2.0, 1.3, 2.8])
NOISES = np.array([3e-2, 1e-3, 2e-2, 3e-3, 1e-3, 1e-2, 3e-2])


def blurred(noises, camera="crisp-8542"):
    """Frames of a random scene as the telescope shows it, with blurs of these widths."""
    rng = np.random.default_rng(4)
    scene = torch.from_numpy(rng.normal(0, 1, (96, 100)).astype(np.float32))
    k = frequency(filter_grid((96, 100)))
    sun = (k / 0.02).clamp(min=1) ** -1.5 * (k < cutoff(KNOWN[camera]))
    images = [filtered(scene, sun * torch.exp(-2 * (np.pi * blur * k) ** 2)) for blur in BLURS]
    frames = 1 + 0.5 * torch.stack(images).numpy()
    return frames + noises[:, None, None] * rng.standard_normal(frames.shape)


def burst_of(frames):
    return Burst.from_array(frames.astype(np.float32), KNOWN["crisp-8542"])


def test_noise_does_not_pass_for_detail():
    by_blur = np.argsort(BLURS)
    for noises in (np.zeros(7), np.full(7, 1e-2), NOISES):
        burst = burst_of(blurred(noises))
        assert list(np.argsort(-sharpness(burst))) == list(by_blur)
        unknown = Burst.from_array(burst.frames)
        assert list(np.argsort(-sharpness(unknown))) == list(by_blur)
    assert list(np.argsort([-contrast(image) for image in burst.frames[0]])) != list(by_blur)


def test_the_level_does_not_matter_and_frames_without_light_are_last():
    frames = blurred(np.full(7, 3e-3))
    values = sharpness(burst_of(frames))
    np.testing.assert_allclose(sharpness(burst_of(900 * frames)), values, rtol=1e-3)
    frames[1] *= 0.01
    frames[3] = np.nan
    frames[5, 10:12, 20] = np.nan
    frames[0] = 0.0
    seen = []
    without = sharpness(burst_of(frames), progress=lambda done, total: seen.append((done, total)))
    assert list(np.flatnonzero(np.isnan(without))) == [0, 1, 3]
    assert seen[-1] == (7, 7)
    chosen = select_best(burst_of(frames).select(frames="1:"), "50%")
    assert tuple(chosen.frame_numbers) == (4, 5, 6)
    (message,) = chosen.messages
    assert message == "The 3 sharpest of 6 frames were used, by the detail of object 0: 4, 5, 6."


def test_what_cannot_be_chosen_is_said():
    assert [how_many(text, 40) for text in ("1", " 30 ", "30%", "0.1 %", "100%", "99")] == [
        1,
        30,
        12,
        1,
        40,
        40,
    ]
    for text in ("", "none", "0", "-3", "1.5", "nan%", "inf%", "200%"):
        with pytest.raises(SettingsError, match=r"a number of frames, or a percentage such as 30%"):
            how_many(text, 40)
    with pytest.raises(BurstError, match="at least 16 x 16"):
        sharpness(Burst.from_array(np.ones((3, 8, 20))))

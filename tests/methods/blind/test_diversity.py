"""Phase diversity: one Sun behind known defocus, on patches and on the space-variant model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import heliorestore
from blind_bursts import CPU, INSTRUMENT, PSF, nmse, scene
from heliorestore.burst import Burst
from heliorestore.diagnose.psf_probe import probe
from heliorestore.errors import SettingsError
from heliorestore.instrument import find
from heliorestore.methods.base import stream
from heliorestore.methods.blind.forward import Flow
from heliorestore.methods.blind.object_solver import solve_objects
from heliorestore.methods.blind.wavefronts import centre_tilts, make_wavefronts
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.prepare.observe import observe

WAVES, SIZE, STEP = (0.0, 0.7), 64, 16
COMMON = {"modes": 8, "r0_cm": 20.0, "left_out": 0.0, "align": False}
SETTINGS = SvMomfbdSettings(
    **COMMON,
    diversity="0, 0.7",
    patch=32,
    psf=PSF,
    grid_step=STEP,
    patch_iterations=12,
    iterations=36,
    stop_early=False,
)


@pytest.fixture(scope="module")
def pair() -> tuple[Burst, torch.Tensor, torch.Tensor]:
    """Two cameras behind one telescope with strong aberrations that hardly vary, the truth (y, x), and the
    modes in radian."""
    generator = torch.Generator().manual_seed(5)
    made = [make_wavefronts((INSTRUMENT,) * 2, 8, 20.0, w, CPU, left_out=0.0) for w in (WAVES, (0.0, 0.0))]
    models = [FilterFlow(optics=w.optics(PSF), shape=(SIZE, SIZE), step=STEP, borders="given") for w in made]
    static = torch.tensor([0.0, 0.0, 0.48, -0.64, 0.4, 0.56, -0.32, 0.24])[None, :, None, None]
    local = torch.randn((2, 8, *models[0].grid), generator=generator) * made[0].sigmas[:, None, None]
    modes = centre_tilts(static + 0.1 * local)
    rows, columns = models[0].object_shape
    sun = scene(SIZE + 2 * PSF)[:, :rows, :columns].expand(2, -1, -1)
    with torch.no_grad():
        images = models[0](sun, modes)
        truth = models[1](sun, torch.zeros_like(modes[:1]))[0, 0]
    images = images + 2e-3 * torch.randn(images.shape, generator=generator)
    return Burst(frames=1000 * images.numpy(), instruments=(INSTRUMENT,) * 2, unit="count"), truth, modes


def test_the_space_variant_fit_with_diversity_is_better_than_that_on_patches(pair) -> None:
    burst, truth, _ = pair
    patches = MomfbdSettings(**COMMON, diversity="0, 0.7", patch=32, patch_step=16)
    *_, classic = stream(burst, patches, device="cpu")
    *_, last = stream(burst, SETTINGS, device="cpu")
    *_, alone = stream(burst, SETTINGS.replace(diversity=""), device="cpu")
    error, gain = nmse(last.images[0] / 1000, truth)
    assert error < 0.5 * min(nmse(image / 1000, truth)[0] for image in classic.images)
    assert error < 0.2 * nmse(alone.images[0] / 1000, truth)[0]
    assert gain == pytest.approx(1, abs=0.1)
    # One image, but for the intensities of the cameras.
    np.testing.assert_allclose(*(image / image.mean() for image in last.images), atol=1e-4)


def test_one_object_is_solved_for_from_all_cameras_at_once(pair) -> None:
    burst, truth, modes = pair
    wavefronts = SETTINGS.wavefronts(burst.instruments, CPU)
    assert wavefronts.defocus_waves == WAVES
    flow = Flow(observe(burst, CPU, align=False), wavefronts, PSF, STEP, 1e9, one_object=True)
    start = flow.surround(flow.observation.mean[:1].expand(2, -1, -1))
    knobs = SETTINGS.replace(lambda_object=0.02).knobs(torch.ones(2))
    found = solve_objects(flow.transfers(modes), start, knobs, 12)
    assert torch.equal(found[0], found[1])
    errors = []
    for flow_ in (flow, replace(flow, one_object=False)):
        objects = flow.sharp(solve_objects(flow_.transfers(modes), start, knobs, 12), knobs)
        errors.append(nmse(objects[0][flow.inner].numpy(), truth)[0])
    assert errors[0] < 0.9 * errors[1]


def test_the_paper_s_optimiser_keeps_the_object_one(pair) -> None:
    burst, _, _ = pair
    settings = SETTINGS.replace(start="average", optimiser="adamw", iterations=3)
    *_, last = stream(burst, settings, device="cpu")
    np.testing.assert_allclose(*(image / image.mean() for image in last.images), atol=1e-4)


def test_the_probe_shows_the_defocused_camera_s_psf(pair) -> None:
    burst, _, _ = pair
    *_, last = stream(burst, SETTINGS.replace(iterations=2, patch_iterations=1), device="cpu")
    focused, defocused = (probe(last, SETTINGS, (32.0, 32.0), 0, camera) for camera in (0, 1))
    assert defocused.strehl < 0.7 * focused.strehl


def test_what_diversity_cannot_do_is_said(pair) -> None:
    burst, _, _ = pair
    with pytest.raises(SettingsError, match="emulator knows no phase diversity"):
        next(stream(burst, SETTINGS.replace(forward="emulator"), device="cpu"))
    with pytest.raises(SettingsError, match="diversity has 3 numbers"):
        next(stream(burst, SETTINGS.replace(diversity="0, 1, 2"), device="cpu"))


def test_a_real_pair_from_space_gains_a_plausible_contrast(shared_data: Path) -> None:
    cameras = [
        heliorestore.read(shared_data / "bursts" / f"imax_{name}.fits") for name in ("focus", "defocus")
    ]
    frames = np.concatenate([np.asarray(one.frames)[:, :, 200:328, 200:328] for one in cameras])
    burst = Burst(frames=frames.astype(np.float32), instruments=(find("imax-5250"),) * 2)
    *_, last = stream(burst, SvMomfbdSettings(diversity="0, 1", modes=20, iterations=20), device="cpu")
    before, after = (image.std() / image.mean() for image in (frames[0, 0], last.images[0]))
    assert 1.1 < after / before < 1.7

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from heliorestore.instrument import KNOWN
from heliorestore.simulate.burst import Simulation, simulate_burst
from heliorestore.simulate.view import SimulationSettings
from heliorestore.train import bursts
from heliorestore.train.bursts import BORDER, Days, aligned, cached, distorted, distortions
from heliorestore.train.scenes import SceneFile

CRISP = KNOWN["crisp-8542"]
DAYS = Days(
    instruments=("crisp-8542", "crisp-6302"), scenes=2, seed=3, days=2, frames=3, size=80, psf_size=32
)


@pytest.fixture(scope="module")
def moved() -> Simulation:
    """A burst without adaptive optics, all turbulence at the ground: every frame is moved as a whole."""
    air = SimulationSettings(
        size=96, frames=4, objects=1, scene="granulation", r0_cm=30.0, high_layer_km=0.0, noise=0.0, step=32
    )
    return simulate_burst(air, CRISP, seed=2)


def shift_between(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Whole pixels [y, x] by which the image is moved against the reference."""
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    spectra = [np.fft.fft2((part - part.mean()) * window) for part in (image, reference)]
    peak = np.unravel_index(np.argmax(np.fft.ifft2(spectra[0] * spectra[1].conj()).real), image.shape)
    return (np.array(peak) + np.array(image.shape) // 2) % np.array(image.shape) - np.array(image.shape) // 2


def test_the_distortion_of_a_frame_is_where_its_image_has_gone(moved: Simulation) -> None:
    field = distortions(moved).numpy()
    assert field.shape == (4, 3, 3, 2)
    np.testing.assert_allclose(field, field[:, :1, :1].repeat(3, 1).repeat(3, 2), atol=1e-4)
    found = np.array([shift_between(moved.burst.image(0, f), moved.truth[0]) for f in range(4)])
    assert np.abs(found).max() >= 2  # or there were nothing to see
    np.testing.assert_allclose(field[:, 0, 0], found, atol=1.0)


def test_a_distortion_moves_an_image_forwards() -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((2, 64, 64), np.float32))
    field = torch.tensor([3.0, -2.0]).expand(2, 2, 2)
    np.testing.assert_allclose(
        distorted(image, field)[:, 8:-8, 8:-8], image.roll((3, -2), (1, 2))[:, 8:-8, 8:-8], atol=1e-4
    )
    # In the middle of the cells the displacement is the one that was given, left and right of them less and
    # more.
    sloped = torch.zeros(2, 2, 2)
    sloped[..., 1] = torch.tensor([0.0, 4.0])
    ramp = torch.arange(64.0).expand(1, 64, 64)
    displacement = (ramp - distorted(ramp, sloped))[0, 32]
    assert float(displacement[15:17].mean()) == pytest.approx(0.0, abs=0.05)
    assert float(displacement[47:49].mean()) == pytest.approx(4.0, abs=0.05)


def test_the_target_lies_where_the_frames_lie_on_the_average(moved: Simulation) -> None:
    stack = aligned(moved)
    assert stack.shape == (1, 5, 96 - 2 * BORDER, 96 - 2 * BORDER)
    assert float(stack[:, :-1].mean()) == pytest.approx(1.0, abs=1e-5)
    contrasts = stack[0, :-1].std((1, 2))
    assert contrasts[0] == contrasts.max()
    assert (np.diff(contrasts) <= 0).all()
    mean, target = stack[0, :-1].mean(0), stack[0, -1]
    for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        away = np.roll(target, (dy, dx), (0, 1))
        assert (
            np.corrcoef(mean[2:-2, 2:-2].ravel(), target[2:-2, 2:-2].ravel())[0, 1]
            > np.corrcoef(mean[2:-2, 2:-2].ravel(), away[2:-2, 2:-2].ravel())[0, 1]
        )


def test_bursts_are_simulated_once_and_others_do_not_change_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    said: list[str] = []
    made = cached(DAYS, tmp_path, said.append)
    assert [part.shape for part in made] == [(2, 2, 4, 48, 48)] * 2
    assert len(said) == 2
    assert not np.allclose(made[0][0], made[0][1])  # other air
    monkeypatch.setattr(bursts, "seen", lambda *_: pytest.fail("simulated twice"))
    again = cached(dataclasses.replace(DAYS, scenes=1), tmp_path)
    np.testing.assert_array_equal(again[0], made[0])
    assert DAYS.key(0) != dataclasses.replace(DAYS, ao=0.5).key(0)
    assert not list(tmp_path.rglob("*.part"))


def test_processes_simulate_the_same_bursts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    days = dataclasses.replace(DAYS, scenes=4, days=1, frames=2)
    made = cached(days, tmp_path)
    for number in (0, 3):
        np.testing.assert_allclose(made[number], bursts.seen(days, number, tmp_path), rtol=1e-5)
    assert not np.allclose(made[0], made[3])


def test_the_air_is_drawn_within_the_range_at_the_instruments_wavelength() -> None:
    airs = list(bursts._airs(dataclasses.replace(DAYS, days=200), CRISP, 1))
    carried = (854.2 / 500) ** 1.2
    r0s = np.array([air.r0_cm for air in airs]) / carried
    assert 5 <= r0s.min() < 6
    assert 14 < r0s.max() <= 15
    ao = np.array([air.ao for air in airs])
    assert 0.65 < ao.mean() < 0.85
    assert r0s[~ao].min() > 8.6  # without adaptive optics the worse days are left out
    assert {(air.flux_rms, air.outlier_frames) for air in airs} == {(0.0, 0)}
    worse = dataclasses.replace(DAYS, days=100, r0_without_ao_cm=(3.0, 6.0), flux_rms=0.02, outliers=0.5)
    airs = list(bursts._airs(worse, CRISP, 1))
    assert all(air.ao or 3 <= air.r0_cm / carried <= 6 for air in airs)
    assert 0 < min(air.flux_rms for air in airs) < max(air.flux_rms for air in airs) <= 0.02
    assert 0.3 < np.mean([air.outlier_frames for air in airs]) < 0.7


def test_frames_of_unlike_brightness_are_brought_to_one_mean() -> None:
    air = SimulationSettings(size=80, frames=4, objects=1, noise=0.0, psf_size=32, step=32, flux_rms=0.05)
    stack = bursts.aligned(simulate_burst(air, CRISP, seed=3))
    np.testing.assert_allclose(stack[0, :-1].mean((1, 2)), 1, rtol=1e-5)


def test_the_cut_out_of_a_file_does_not_depend_on_how_many_scenes_are_simulated(tmp_path: Path) -> None:
    fits.writeto(
        tmp_path / "sun.fits",
        1 + 0.1 * np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32),
    )
    file = SceneFile("sun.fits", 0.059)
    one, two = (dataclasses.replace(DAYS, scenes=scenes, days=1, files=(file, file)) for scenes in (1, 2))
    np.testing.assert_array_equal(bursts.seen(one, 1, tmp_path), bursts.seen(two, 2, tmp_path))
    assert one.key(1) == two.key(2)
    assert len({two.key(number) for number in range(4)}) == 4
    # cut out elsewhere
    assert not np.allclose(bursts.seen(one, 1, tmp_path)[0, 0, -1], bursts.seen(one, 2, tmp_path)[0, 0, -1])

"""Denoising: what comes out is the input without noise, in its units, on its places, of its signs."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import heliorestore
from heliorestore.burst import Burst
from heliorestore.errors import SettingsError, WeightsError
from heliorestore.methods.base import restore, stream
from heliorestore.methods.denoising.pairs import Aim, Pairs
from heliorestore.methods.denoising.polarisation import light_of
from heliorestore.methods.denoising.series import wide_part
from heliorestore.methods.noise2noise import DenoiseSettings
from heliorestore.nets import weights
from heliorestore.nets.denoiser import Denoiser
from heliorestore.snapshot import StopReason

SIGMA = 3e-3


def blobs(size: int = 72, count: int = 12, seed: int = 0) -> np.ndarray:
    """A map of both polarities, several times stronger than the noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    image = np.zeros((size, size))
    for _ in range(count):
        cy, cx, width = *rng.uniform(0, size, 2), rng.uniform(2, 4)
        image += (
            rng.choice((-1, 1))
            * rng.uniform(0.01, 0.05)
            * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
        )
    return image


def series(frames: int = 4, seed: int = 1, **known: object) -> tuple[Burst, np.ndarray]:
    """A noisy series of Q and V that do not change, and their truth (object, y, x)."""
    truth = np.stack([blobs(seed=seed), blobs(seed=seed + 1)])
    noise = np.random.default_rng(seed).standard_normal((2, frames, *truth.shape[1:])) * SIGMA
    return Burst.from_array(
        (truth[:, None] + noise).astype(np.float32), labels=("630.25 nm, Q", "630.25 nm, V"), **known
    ), truth


@pytest.fixture
def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Weights that smooth a little: a network that finds what a 3 x 3 mean takes away."""
    torch.manual_seed(0)
    net = Denoiser(residual=True, log_variance=4.0, dropout=0.01)
    record = weights.WeightsRecord(name="test", architecture="denoiser-uncertain", normalisation="noise")
    return str(weights.save(net, record, tmp_path))


def identity(tmp_path: Path, architecture: str = "denoiser-uncertain", normalisation: str = "noise") -> str:
    """Weights that find no noise at all, with a sigma of e^-1 noises."""
    net = weights.build(architecture)
    torch.nn.init.zeros_(net.out.weight)
    torch.nn.init.zeros_(net.out.bias)
    if len(net.variance):
        torch.nn.init.zeros_(net.variance[-1].weight)
        torch.nn.init.constant_(net.variance[-1].bias, 6.0)
    record = weights.WeightsRecord(name="identity", architecture=architecture, normalisation=normalisation)
    return str(weights.save(net, record, tmp_path))


def test_a_fit_on_the_series_denoises_it_and_leaves_the_noise(tmp_path: Path) -> None:
    burst, truth = series(4)
    settings = DenoiseSettings(weights="none", fit=6, patches=60, learning_rate=2e-3)
    snapshots = list(stream(burst, settings, device="cpu"))
    last = snapshots[-1]
    error = np.sqrt(np.mean((last.images - truth) ** 2))
    assert error < 0.55 * SIGMA
    assert snapshots[5].losses["hold_out"] < snapshots[0].losses["hold_out"]
    assert last.losses["residual_sigma"] == pytest.approx(1, abs=0.15)
    # Nothing but noise was taken away: the local means of the residual are those of noise, at every strength
    # of the signal.
    strong = np.abs(truth) > 3 * SIGMA
    assert abs((last.maps["residual"])[strong & (truth > 0)].mean()) < 0.35 * SIGMA
    assert np.sign(last.images[strong]).mean() == pytest.approx(np.sign(truth[strong]).mean(), abs=0.02)
    assert np.abs(last.images[strong]).sum() == pytest.approx(np.abs(truth[strong]).sum(), rel=0.04)
    assert last.maps["series"].shape == (2, 4, 72, 72)
    np.testing.assert_array_equal(last.maps["series"][:, 0], last.images)
    errors = np.sqrt(np.mean((last.maps["series"] - truth[:, None]) ** 2, axis=(0, 2, 3)))
    assert (errors < 0.6 * SIGMA).all()


def test_unit_and_sign_of_the_input_are_kept(tmp_path: Path, fitted: str) -> None:
    burst, _ = series(2)
    settings = DenoiseSettings(weights=fitted)
    plain = restore(burst, settings, device="cpu").images
    counts = Burst.from_array(np.asarray(burst.frames) * 1e4, labels=burst.labels)
    np.testing.assert_allclose(
        restore(counts, settings, device="cpu").images, 1e4 * plain, rtol=1e-3, atol=1e-2
    )


def test_where_nothing_is_found_nothing_is_changed(tmp_path: Path) -> None:
    burst, _ = series(3)
    last = restore(
        burst, DenoiseSettings(weights=identity(tmp_path), uncertainty=True, frame=1, passes=2), device="cpu"
    )
    np.testing.assert_allclose(last.images, np.asarray(burst.frames)[:, 1], atol=1e-8)
    np.testing.assert_allclose(last.maps["series"], np.asarray(burst.frames), atol=1e-8)
    np.testing.assert_allclose(last.maps["uncertainty"], SIGMA / np.e, rtol=0.05)
    assert last.maps["series_uncertainty"].shape == (2, 3, 72, 72)
    np.testing.assert_allclose(last.maps["residual"], 0, atol=1e-8)
    assert last.stop is StopReason.DONE


def test_tiles_leave_no_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitted: str) -> None:
    frames = np.random.default_rng(0).standard_normal((1, 1, 90, 150)).astype(np.float32)
    whole = restore(Burst.from_array(frames), DenoiseSettings(weights=fitted), device="cpu")
    monkeypatch.setattr("heliorestore.methods.denoising.series.TILE", 32)
    tiled = restore(Burst.from_array(frames), DenoiseSettings(weights=fitted), device="cpu")
    np.testing.assert_allclose(tiled.images, whole.images, atol=1e-5)


def test_bad_pixels_stay_bad_and_spoil_no_others(tmp_path: Path, fitted: str) -> None:
    burst, _ = series(2)
    frames = np.array(burst.frames)
    frames[0, 0, 30:33, 40] = np.nan
    last = restore(
        Burst.from_array(frames, labels=burst.labels), DenoiseSettings(weights=fitted), device="cpu"
    )
    assert np.isnan(last.images[0, 30:33, 40]).all()
    assert np.isnan(last.images).sum() == 3
    fit = DenoiseSettings(weights="none", fit=1, patches=20)
    assert np.isfinite(
        next(iter(stream(Burst.from_array(frames, labels=burst.labels), fit, device="cpu"))).losses[
            "training"
        ]
    )


def test_intensities_are_left_alone_beside_polarised_light(fitted: str) -> None:
    burst, _ = series(2)
    bright = 1 + 0.1 * np.random.default_rng(3).standard_normal((1, 2, 72, 72)).astype(np.float32)
    frames = np.concatenate([bright, np.asarray(burst.frames)])
    both = Burst.from_array(frames, labels=("630.25 nm, I", *burst.labels))
    last = restore(both, DenoiseSettings(weights=fitted), device="cpu")
    np.testing.assert_array_equal(last.images[0], bright[0, 0])
    np.testing.assert_allclose(last.maps["series"][0], bright[0])
    assert any("630.25 nm, I" in text for text in last.messages)
    alone = restore(Burst.from_array(bright), DenoiseSettings(weights=fitted), device="cpu")
    assert alone.images.mean() == pytest.approx(1, abs=0.05)


def test_weights_in_units_of_the_continuum_get_them(tmp_path: Path) -> None:
    name = identity(tmp_path, "denoiser-bayes", "continuum")
    rng = np.random.default_rng(0)
    counts = np.concatenate(
        [2000 + rng.standard_normal((1, 1, 16, 16)), rng.standard_normal((1, 1, 16, 16))]
    ).astype(np.float32)
    burst = Burst.from_array(counts, labels=("I", "Q"))
    last = restore(burst, DenoiseSettings(weights=name, uncertainty=True, passes=2), device="cpu")
    assert not last.images[1].any()  # this network is not residual: it gives zero
    np.testing.assert_allclose(last.maps["uncertainty"][1], 2000 * np.exp((-12 - 6) / 2), rtol=0.01)


def test_a_run_that_was_cut_off_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    burst, _ = series(3)
    settings = DenoiseSettings(
        weights="none", fit=3, patches=20, checkpoint=str(tmp_path / "c"), series=False
    )
    running = stream(burst, settings, device="cpu")
    first = next(running)
    running.close()
    going_on = list(stream(burst, settings, device="cpu"))
    assert [snapshot.step for snapshot in going_on] == [2, 3, 4, 5]
    assert going_on[-1].history["step"].tolist() == [1, 2, 3, 4, 5]
    assert (np.diff(going_on[-1].history["seconds"]) > 0).all()
    whole = list(stream(burst, settings.replace(checkpoint=""), device="cpu"))
    assert whole[0].losses == first.losses
    np.testing.assert_allclose(going_on[-1].images, whole[-1].images, atol=1e-6)
    assert not (tmp_path / "c").exists()


def test_live_settings_act_and_the_hold_out_stops(tmp_path: Path) -> None:
    burst, _ = series(3)
    settings = DenoiseSettings(weights="none", fit=50, patches=10, series=False)
    running = stream(burst, settings, device="cpu")
    next(running)
    snapshot = running.send(settings.replace(learning_rate=0.1, patience=2, frame=2))
    rest = list(running)
    assert rest[-1].stop is StopReason.CONVERGED
    assert rest[-1].step < 20
    observed = np.asarray(burst.frames)[:, 2]
    np.testing.assert_allclose(rest[-1].images + rest[-1].maps["residual"], observed, atol=1e-6)
    assert snapshot.maps["coverage"].any()


def test_fitted_weights_are_kept_under_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path, tmp_path))
    burst, _ = series(2)
    fit = DenoiseSettings(weights="none", fit=1, patches=20, keep="mine", uncertainty=True, passes=2)
    last = restore(burst, fit, device="cpu")
    again = restore(burst, DenoiseSettings(weights="mine"), device="cpu")
    np.testing.assert_allclose(again.images, last.images, atol=1e-6)
    assert weights.load("mine")[1].architecture == "denoiser-uncertain"
    restore(burst, fit.replace(uncertainty=False), device="cpu")
    with pytest.raises(WeightsError, match="does not estimate its uncertainty"):
        restore(burst, DenoiseSettings(weights="mine", uncertainty=True), device="cpu")


def test_spectra_enter_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path, tmp_path))
    burst, _ = series(3)
    frames = np.repeat(np.asarray(burst.frames), 2, axis=0)
    instruments = [
        heliorestore.Instrument.parse(f"crisp-6302,wavelength_nm={wave}")
        for wave in (630.3, 630.2, 630.3, 630.2)
    ]
    cube = Burst(
        frames=frames,
        instruments=tuple(instruments),
        labels=("630.3 nm, Q", "630.2 nm, Q", "630.3 nm, V", "630.2 nm, V"),
    )
    settings = DenoiseSettings(weights="none", fit=1, patches=20, spectral=True, series=False, keep="line")
    last = restore(cube, settings, device="cpu")
    assert last.images.shape == (4, 72, 72)
    assert last.step == 3  # one epoch, two spectra
    kept = DenoiseSettings(weights="line", spectral=True, series=False)
    np.testing.assert_allclose(restore(cube, kept, device="cpu").images, last.images, atol=1e-6)
    with pytest.raises(SettingsError, match="takes 2 wavelengths at once"):
        restore(cube, kept.replace(spectral=False), device="cpu")
    with pytest.raises(SettingsError, match="same wavelengths"):
        restore(burst, settings, device="cpu")


@pytest.mark.parametrize(
    ("changes", "frames", "message"),
    [
        ({"weights": "none"}, 2, "fit a network on the series"),
        ({"weights": "none", "fit": 2}, 1, "needs at least two frames"),
        ({"frame": 5}, 2, "the burst has 2 frames"),
        ({"spectral": True}, 2, "Spectra need the same wavelengths"),
        ({"keep": "mine"}, 2, "--keep needs --fit"),
        ({"keep": "a/b", "fit": 1}, 2, "cannot name weights"),
        ({"weights": "no-such"}, 2, "There are no weights"),
        ({"weights": "enhance-continuum"}, 2, "needs weights of its own"),
    ],
)
def test_mistakes_are_sentences(changes: dict, frames: int, message: str) -> None:
    with pytest.raises((SettingsError, WeightsError), match=message):
        restore(series(frames)[0], DenoiseSettings(**changes), device="cpu")


def test_images_too_small_and_without_noise_are_refused(fitted: str) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(SettingsError, match="too small; the smallest possible are 8 x 8"):
        restore(Burst.from_array(rng.standard_normal((5, 9))), DenoiseSettings(weights=fitted), device="cpu")
    with pytest.raises(SettingsError, match="too small to train on"):
        restore(
            Burst.from_array(rng.standard_normal((2, 30, 30))),
            DenoiseSettings(weights="none", fit=1),
            device="cpu",
        )
    with pytest.raises(SettingsError, match="one all over: leave it out"):
        restore(Burst.from_array(np.ones((2, 30, 30))), DenoiseSettings(weights=fitted), device="cpu")
    with pytest.raises(SettingsError, match="shows no noise, because neighbouring frames"):
        restore(
            Burst.from_array(np.tile(rng.standard_normal((30, 30)), (2, 1, 1))),
            DenoiseSettings(weights=fitted),
            device="cpu",
        )


@pytest.mark.parametrize("value", [np.nan, 0.7])
@pytest.mark.parametrize("frame", [0, 1, 2])
def test_a_frame_that_shows_nothing_leaves_the_noise_as_it_is(value: float, frame: int) -> None:
    burst, _ = series(3)
    sound = light_of(burst, 0)
    frames = np.array(burst.frames)
    frames[:, frame] = value
    dead = Burst.from_array(frames, labels=burst.labels)
    assert light_of(dead, 0).noise == pytest.approx(sound.noise, rel=0.03)
    last = restore(dead, DenoiseSettings(), device="cpu")
    assert np.isfinite(last.array("series")[:, [f for f in range(3) if f != frame]]).all()


def test_a_value_that_is_no_light_stays_where_it_is() -> None:
    burst, _ = series(2)
    frames = np.array(burst.frames)
    frames[0, 0, 20, 30] = 1e30
    spoilt = restore(Burst.from_array(frames, labels=burst.labels), DenoiseSettings(), device="cpu")
    sound = restore(burst, DenoiseSettings(), device="cpu")
    bad = ~np.isfinite(spoilt.images[0])
    assert np.argwhere(bad).tolist() == [[20, 30]]
    assert np.abs(spoilt.images[0] - sound.images[0])[~bad].max() < SIGMA
    assert any("taken as bad pixels: 1 values" in message for message in spoilt.messages)


def test_pairs_are_the_same_place_at_neighbouring_times() -> None:
    frames = np.zeros((3, 60, 90), np.float32)
    y, x = np.mgrid[:60, :90]
    for frame in range(3):
        frames[frame] = 1000 * y + x + 0.1 * frame
    seen: list[tuple[float, float]] = []
    pairs = Pairs(lambda group, frame: frames[frame][None], [(0,)], [1.0], 3, (60, 90))
    for noisy, other in pairs.batches(np.random.default_rng(0), 40, spectral=False):
        assert noisy.shape[2:] == (pairs.patch, pairs.patch)
        difference = (noisy - other).abs()
        torch.testing.assert_close(difference, torch.full_like(difference, 0.1), atol=0.02, rtol=0)
        seen += [
            (float(n.abs().max()) % 1000, float((n - o).sign().mean() * n.sign().mean()))
            for n, o in zip(noisy, other, strict=True)
        ]
    assert max(column for column, _ in seen) < pairs.split  # the hold-out is never shown
    assert {order for _, order in seen} == {-1.0, 1.0}  # of both orders in time
    for one, two in pairs.held_out():
        assert one.shape == two.shape == (1, 60, 90 - pairs.split)


def test_bad_pixels_of_the_target_do_not_count() -> None:
    torch.manual_seed(0)
    net = Denoiser(kernels=2, residual=True).eval()
    noisy = torch.zeros(1, 1, 8, 8)
    other = torch.ones(1, 1, 8, 8)
    other[..., :4] = torch.nan
    assert float(Aim("L2", False, 1.0).of(net, noisy, other).detach()) == pytest.approx(1, abs=0.05)
    assert float(Aim("L1", False, 0.25).of(net, noisy, other).detach()) == pytest.approx(2, abs=0.1)


def test_what_is_wider_than_noise_is_not_removed(tmp_path: Path) -> None:
    net = weights.build("denoiser")  # finds nothing but zero, and so removes everything
    torch.nn.init.zeros_(net.out.weight)
    torch.nn.init.zeros_(net.out.bias)
    record = weights.WeightsRecord(
        name="none", architecture="denoiser", normalisation="noise", recipe={"name": "none"}
    )
    name = str(weights.save(net, record, tmp_path))
    y, x = np.mgrid[:160, :200]
    wide = 0.2 * np.cos(2 * np.pi * x / 200) * np.cos(2 * np.pi * y / 160)
    noise = np.random.default_rng(0).standard_normal(wide.shape)
    burst = Burst.from_array((SIGMA * (wide + noise)).astype(np.float32), labels=("Q",))
    settings = DenoiseSettings(weights=name, keep_wide=12)
    kept = restore(burst, settings, device="cpu").images[0] / SIGMA
    assert np.std(kept - wide) < 0.06
    assert np.std(kept) > 0.08
    gone = restore(burst, settings.replace(keep_wide=0), device="cpu").images[0]
    assert np.abs(gone).max() == 0
    # Weights fitted to a series, or published, have no recipe and are applied as they are.
    fitted = str(weights.save(net, dataclasses.replace(record, name="fitted", recipe={}), tmp_path))
    gone = restore(burst, settings.replace(weights=fitted), device="cpu").images[0]
    assert np.abs(gone).max() == 0
    # A series tells how fine its structure is: the next frame shares it, but not the noise.
    for period, width in ((9, 1.0), (2000, 4.0)):
        waves = 2 * np.cos(2 * np.pi * x / period)
        noise = np.random.default_rng(1).standard_normal((1, 2, *waves.shape))
        two = Burst.from_array((SIGMA * (waves + noise)).astype(np.float32), labels=("Q",))
        said = restore(two, DenoiseSettings(weights=name, series=False), device="cpu").messages
        assert f"wider than {width:g} px was not removed" in " ".join(said)
    # A hole has no weight, and the mean of what is left stays.
    holed = np.full((1, 60, 60), 2.0, np.float32)
    holed[0, 20:30, 20:30] = np.nan
    np.testing.assert_allclose(wide_part(holed, 5.0), 2.0, rtol=1e-3)

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from heliorestore import Burst, restore, stream
from heliorestore.errors import BurstError, WeightsError
from heliorestore.instrument import KNOWN
from heliorestore.methods.mfbd import MfbdSettings
from heliorestore.nets import weights
from heliorestore.nets.mfbd import EncoderDecoder, Recurrent, start_open
from heliorestore.prepare.observe import observe
from heliorestore.snapshot import StopReason

CRISP = KNOWN["crisp-8542"]
ONE = MfbdSettings(committee=1)
COUNTS = 4000.0


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Quarter networks under the names of the package's, which were not trained but whose every layer
    matters."""
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path, tmp_path))
    torch.manual_seed(0)
    for name, architecture in (("crisp", "mfbd-quarter"), ("recurrent-crisp", "mfbd-recurrent-quarter")):
        net = weights.build(architecture)
        last = net.C64 if isinstance(net, EncoderDecoder) else net.block.C73
        torch.nn.init.normal_(last.weight, std=0.05)
        keep(net, name, tmp_path, architecture)
    return tmp_path


def keep(
    net: torch.nn.Module, name: str, folder: Path, architecture: str, normalisation: str = "mean 1"
) -> None:
    record = weights.WeightsRecord(
        name=f"mfbd-{name}-quarter",
        architecture=architecture,
        normalisation=normalisation,
        pixel_arcsec=(0.053, 0.065),
        instrument="SST",
    )
    weights.save(net, record, folder)


def burst(objects: int = 1, frames: int = 7, shape: tuple[int, int] = (40, 52), seed: int = 0) -> Burst:
    """Smooth noise in counts, each frame of another contrast."""
    rng = np.random.default_rng(seed)
    scene = rng.standard_normal((objects, 1, *shape))
    scene = scene + np.roll(scene, 1, -1) + np.roll(scene, 1, -2)
    contrasts = 0.02 + 0.01 * rng.permutation(frames)[:, None, None]
    images = COUNTS * (1 + contrasts * scene + 0.002 * rng.standard_normal((objects, frames, *shape)))
    return Burst.from_array(images.astype(np.float32), CRISP, unit="count")


@pytest.mark.usefixtures("nets")
def test_tiles_leave_no_seam_and_coverage_grows() -> None:
    wide = burst(shape=(24, 230))
    whole = restore(wide, ONE, device="cpu")
    across = restore(wide, ONE.replace(tile=64), device="cpu")
    np.testing.assert_allclose(across.images, whole.images, rtol=1e-5)
    high = burst(shape=(230, 24))
    snapshots = list(stream(high, ONE.replace(tile=64), device="cpu"))
    assert [float(s.maps["coverage"].mean()) for s in snapshots] == pytest.approx(
        [64 / 230, 128 / 230, 192 / 230, 1.0]
    )
    np.testing.assert_allclose(snapshots[-1].images, restore(high, ONE, device="cpu").images, rtol=1e-5)
    best = max(range(7), key=lambda f: float(high.image(0, f).std()))
    in_burst_mean = high.image(0, best) / observe(high, torch.device("cpu")).relative[0, best]
    np.testing.assert_allclose(snapshots[0].images[0, 64:], in_burst_mean[64:], rtol=1e-5)
    assert [s.stop for s in snapshots] == [None, None, None, StopReason.DONE]


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize("network", ["encoder-decoder", "recurrent"])
@pytest.mark.parametrize("shape", [(40, 52), (41, 33), (16, 17)])
def test_any_size_keeps_its_size_unit_and_mean(network: str, shape: tuple[int, int]) -> None:
    observed = burst(shape=shape)
    result = restore(observed, ONE.replace(network=network), device="cpu")
    assert result.images.shape == (1, *shape)
    assert float(result.images.mean()) == pytest.approx(float(np.mean(observed.frames)), rel=1e-5)
    fainter = Burst.from_array(np.asarray(observed.frames) / COUNTS, CRISP)
    np.testing.assert_allclose(
        restore(fainter, ONE.replace(network=network), device="cpu").images * COUNTS,
        result.images,
        rtol=1e-4,
        atol=0.1,
    )


@pytest.mark.usefixtures("nets")
def test_objects_do_not_disturb_one_another() -> None:
    both = burst(objects=2)
    together = restore(both, ONE, device="cpu").images
    order = np.asarray(both.frames)[:1].repeat(2, 0)  # the same sharpness, and so the same order
    alone = restore(Burst.from_array(order, CRISP), ONE, device="cpu").images
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-5)


def test_an_opened_network_gives_the_sharpest_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path, tmp_path))
    observed = burst(frames=9)
    best = max(range(9), key=lambda f: float(observed.image(0, f).std()))
    for architecture, name in (("mfbd-quarter", "crisp"), ("mfbd-recurrent-quarter", "recurrent-crisp")):
        for normalisation in ("mean 0.4", "times 0.001", "contrast 1"):
            net = weights.build(architecture)
            start_open(net)
            keep(net, name, tmp_path, architecture, normalisation)
            network = "recurrent" if "recurrent" in name else "encoder-decoder"
            result = restore(observed, ONE.replace(network=network, best=5), device="cpu")
            wanted = observed.image(0, best) / observed.image(0, best).mean()
            np.testing.assert_allclose(result.images[0] / result.images.mean(), wanted, rtol=1e-5)
            assert "The 5 sharpest frames of 9 were used" in " ".join(result.messages)


def test_the_network_sees_the_unit_of_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path, tmp_path))
    seen: list[float] = []
    monkeypatch.setattr(
        EncoderDecoder, "forward", lambda self, frames: (seen.append(float(frames.mean())), frames[:, :1])[1]
    )
    for normalisation in ("mean 0.4", "times 0.001"):
        keep(weights.build("mfbd-quarter"), "crisp", tmp_path, "mfbd-quarter", normalisation)
        restore(burst(), ONE, device="cpu")
    assert seen == pytest.approx([0.4, 4.0], rel=0.01)
    keep(weights.build("mfbd-quarter"), "crisp", tmp_path, "mfbd-quarter", "quiet Sun")
    with pytest.raises(WeightsError, match=r"MFBD knows 'mean 0\.4', 'times 0\.001' and 'contrast 1'"):
        restore(burst(), ONE, device="cpu")


@pytest.mark.usefixtures("nets")
def test_the_committees_mean_and_spread_are_those_of_its_members() -> None:
    observed = burst()
    members = list(stream(observed, ONE.replace(committee=4, members=True), device="cpu", seed=3))
    assert [s.step for s in members] == [1, 2, 3, 4]
    assert "spread" not in members[0].maps
    means = [s.images.astype(np.float64) for s in members]
    outputs = np.stack([means[0]] + [(n + 1) * means[n] - n * means[n - 1] for n in range(1, 4)])
    assert float(np.abs(outputs[1] - outputs[0]).max()) > 1e-3 * COUNTS * 0.01
    np.testing.assert_allclose(members[-1].maps["spread"], outputs.std(0, ddof=1), rtol=0.02, atol=0.02)
    kept = members[-1].maps["members"]
    assert kept.axes == ("object", "member", "y", "x")
    np.testing.assert_allclose(np.asarray(kept)[0], outputs[:, 0], rtol=1e-4)
    assert "members" not in members[-2].maps
    again = restore(observed, ONE.replace(committee=4), device="cpu", seed=3)
    np.testing.assert_array_equal(again.images, members[-1].images)
    assert not np.array_equal(
        restore(observed, ONE.replace(committee=4), device="cpu", seed=4).images, members[-1].images
    )


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize("network", ["encoder-decoder", "recurrent"])
def test_the_committee_sees_the_burst_in_all_orientations(network: str) -> None:
    # two frames: whatever their order, nothing but the orientation changes
    observed = burst(frames=2, shape=(32, 48))
    settings = MfbdSettings(network=network, committee=8)
    frames = np.asarray(observed.frames)
    mirrored = Burst.from_array(np.ascontiguousarray(frames[..., ::-1]), CRISP)
    np.testing.assert_allclose(
        restore(mirrored, settings, device="cpu").images[..., ::-1],
        restore(observed, settings, device="cpu").images,
        rtol=3e-6,
    )
    one = restore(observed, settings.replace(committee=1), device="cpu").images
    other = restore(mirrored, settings.replace(committee=1), device="cpu").images[..., ::-1]
    assert float(np.abs(one / other - 1).max()) > 2e-5  # the network alone knows left from right


@pytest.mark.usefixtures("nets")
def test_the_recurrent_network_streams_an_image_per_frame_and_then_one_per_member(nets: Path) -> None:
    observed = burst(frames=5)
    settings = MfbdSettings(network="recurrent", committee=3, members=True)
    snapshots = list(stream(observed, settings, device="cpu"))
    assert [s.step for s in snapshots] == [1, 2, 3, 4, 5, 6]
    assert all(s.total == 6 for s in snapshots)
    net, _ = weights.load("mfbd-recurrent-crisp-quarter")
    assert isinstance(net, Recurrent)
    frames = np.asarray(observed.frames)[0]
    frames = frames / observe(observed, torch.device("cpu")).relative[0][:, None, None].astype(np.float32)
    order = np.argsort(-frames.std((1, 2)))
    padded = np.pad(frames[order] / frames.mean(), [(0, 0), (0, 0), (0, 4)], mode="reflect")
    with torch.inference_mode():
        wanted = net(torch.from_numpy(padded)[None])[0, :, :, :52].numpy()
    for snapshot, image in zip(snapshots[:4], wanted, strict=True):
        np.testing.assert_allclose(
            snapshot.images[0] / COUNTS, image / image.mean() * frames.mean() / COUNTS, rtol=1e-4
        )
    assert "spread" in snapshots[-1].maps
    estimates = np.asarray(snapshots[-1].maps["estimates"])
    assert estimates.shape == (1, 4, 40, 52)
    np.testing.assert_allclose(estimates[0], [snapshot.images[0] for snapshot in snapshots[:4]], rtol=1e-6)
    assert snapshots[-1].maps["members"].shape == (1, 3, 40, 52)


@pytest.mark.usefixtures("nets")
def test_bad_pixels_stay_bad_only_where_no_frame_knows_better() -> None:
    images = np.array(burst().frames)
    images[0, :, 3:5, 6] = np.nan
    images[0, 2, 20:30, 20:30] = np.nan
    result = restore(Burst.from_array(images, CRISP), MfbdSettings(committee=2, align=False), device="cpu")
    assert np.argwhere(np.isnan(result.images[0])).tolist() == [[3, 6], [4, 6]]


def test_what_a_user_should_know_is_said(nets: Path) -> None:
    finer = burst(frames=3).with_instrument("crisp-8542,pixel_arcsec=0.05")
    messages = " ".join(restore(finer, ONE, device="cpu").messages)
    assert "Weights mfbd-crisp-quarter, sha256" in messages
    assert "pixels have 0.05 arcsec" in messages
    assert "takes 7 frames and there are 3" in messages
    unknown = restore(Burst.from_array(np.asarray(burst().frames)), ONE, device="cpu")
    assert "size of the pixels is unknown" in " ".join(unknown.messages)
    with pytest.raises(BurstError, match="16 x 16 at least"):
        restore(burst(shape=(40, 12)), ONE, device="cpu")
    assert "the weights mfbd-crisp-quarter were trained on" in " ".join(
        restore(burst().with_instrument("chromis-3934"), ONE, device="cpu").messages
    )
    for file in nets.glob("*recurrent*"):
        file.unlink()
    with pytest.raises(WeightsError, match="No recurrent network is available: train one"):
        restore(burst(), ONE.replace(network="recurrent"), device="cpu")


def test_the_spread_is_not_taken_for_the_error(nets: Path) -> None:
    record = weights.read_record(nets / "mfbd-crisp-quarter.safetensors")
    unknown = restore(burst(), ONE.replace(committee=2), device="cpu")
    assert "was not measured for these weights" in " ".join(unknown.messages)
    net, _ = weights.load(record.name)
    weights.save(net, dataclasses.replace(record, quality={"error_over_spread": 7.4}), nets)
    known = restore(burst(), ONE.replace(committee=2), device="cpu")
    assert "the error is 7 times the spread" in " ".join(known.messages)
    assert "spread" not in known.maps
    np.testing.assert_allclose(
        known.maps["uncertainty"], 7.4 * np.asarray(unknown.maps["spread"]), rtol=1e-5, atol=1e-3
    )
    assert known.losses["spread"] == pytest.approx(unknown.losses["spread"], rel=1e-5)
    assert "spread" not in " ".join(restore(burst(), ONE, device="cpu").messages)


def test_weights_trained_on_frames_as_they_arrive_see_them_so(nets: Path) -> None:
    net = weights.build("mfbd-quarter")
    start_open(net)  # gives the first frame that it sees
    keep(net, "crisp", nets, "mfbd-quarter", "contrast 1")
    record = weights.read_record(nets / "mfbd-crisp-quarter.safetensors")
    observed = burst(seed=1)
    best = max(range(7), key=lambda f: float(observed.image(0, f).std()))
    assert best > 0
    for order, wanted in (("sharpest", best), ("arrival", 0)):
        weights.save(net, dataclasses.replace(record, recipe={"order": order}), nets)
        result = restore(observed, ONE, device="cpu").images[0]
        frame = observed.image(0, wanted)
        np.testing.assert_allclose(result / result.mean(), frame / frame.mean(), rtol=1e-5)

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from heliorestore.errors import WeightsError
from heliorestore.nets import weights
from heliorestore.nets.enhance import small

RECORD = weights.WeightsRecord(
    name="mine",
    architecture="enhance-small",
    kind="continuum",
    seed=3,
    recipe={"steps": 5},
    quality={"validation_mse": 1e-3},
    training="5 steps",
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of weights, and an empty one for those of the package."""
    folder, package = tmp_path / "own", tmp_path / "package"
    monkeypatch.setattr(weights, "folders", lambda: (folder, package))
    return folder


def test_what_is_saved_is_loaded(own: Path) -> None:
    torch.manual_seed(0)
    net = small()
    path = weights.save(net, RECORD, own)
    loaded, record = weights.load("mine")
    assert not loaded.training
    assert record == dataclasses.replace(RECORD, sha256=record.sha256)
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert sorted(p.name for p in own.iterdir()) == ["mine.json", "mine.safetensors"]
    assert weights.load(str(path))[1] == record


@pytest.mark.parametrize("architecture", weights.ARCHITECTURES)
def test_an_outline_has_the_layers_of_the_network_and_takes_no_memory(architecture: str) -> None:
    outline = weights.outline(architecture)
    assert {tensor.device.type for tensor in outline.state_dict().values()} == {"meta"}
    # the others would take their time
    if sum(tensor.numel() for tensor in outline.state_dict().values()) < 1e6:
        found, expected = (
            {name: v.shape for name, v in net.state_dict().items()}
            for net in (outline, weights.build(architecture))
        )
        assert found == expected


def test_half_precision_takes_half_the_room_and_is_loaded_as_single(own: Path) -> None:
    net = small()
    path = weights.save(net, RECORD, own)
    large = path.stat().st_size
    weights.save(net, RECORD, own, half=True)
    assert path.stat().st_size < 0.6 * large
    loaded = weights.load("mine")[0].state_dict()
    for name, value in net.state_dict().items():
        assert loaded[name].dtype == value.dtype
        torch.testing.assert_close(loaded[name], value, rtol=1e-3, atol=1e-7)


def test_a_users_weights_hide_the_packages(own: Path) -> None:
    weights.save(small(), RECORD, weights.folders()[1])
    assert weights.find("mine").parent == weights.folders()[1]
    weights.save(small(), RECORD, own)
    assert weights.find("mine").parent == own
    assert weights.names() == ["mine"]


def test_a_changed_file_is_refused(own: Path) -> None:
    path = weights.save(small(), RECORD, own)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="are not those of their record"):
        weights.load("mine")


def test_a_truncated_file_is_refused(own: Path) -> None:
    path = weights.save(small(), RECORD, own)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="damaged"):
        weights.load("mine")


def test_weights_of_another_network_are_refused(own: Path) -> None:
    path = weights.save(small(), RECORD, own)
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"architecture": "enhance"}))
    with pytest.raises(WeightsError, match="do not fit the network enhance"):
        weights.load("mine")


def test_weights_that_are_not_finite_are_refused(own: Path) -> None:
    net = small()
    next(net.parameters()).data.view(-1)[0] = float("nan")
    weights.save(net, RECORD, own)
    with pytest.raises(WeightsError, match="hold NaN or infinite values"):
        weights.load("mine")


def test_a_record_must_be_there_and_be_json(own: Path) -> None:
    path = weights.save(small(), RECORD, own)
    for damaged in ("{", "[]", "[" * 100_000, json.dumps({"name": "mine", "unknown": 1})):
        path.with_suffix(".json").write_text(damaged)
        with pytest.raises(WeightsError, match="cannot be read"):
            weights.load("mine")
    for absurd in ("mfbd:" + "9" * 5000, "mfbd:0", "mfbd:99999", "os:system"):
        with pytest.raises(WeightsError, match="No network is called"):
            weights.build(absurd)
    path.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match=r"no record mine\.json"):
        weights.load("mine")


def test_an_unknown_name_says_which_there_are(own: Path) -> None:
    weights.save(small(), RECORD, own)
    with pytest.raises(WeightsError, match=r"no weights 'mime'; available: mine; did you mean mine"):
        weights.load("mime")


def test_an_unknown_network_says_which_there_are() -> None:
    with pytest.raises(WeightsError, match="there are enhance, enhance-small"):
        weights.build("unet")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("architecture", 5),
        ("recipe", []),
        ("quality", {"x": "good"}),
        ("pixel_arcsec", [1, 2, 3]),
        ("seed", "1"),
    ],
)
def test_a_record_with_another_kind_of_value_is_refused(own: Path, name: str, value: object) -> None:
    path = weights.save(small(), RECORD, own).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(WeightsError, match=rf"mine\.json cannot be read: {name} is no such thing"):
        weights.load("mine")


def test_a_kill_between_record_and_weights_leaves_the_old_ones(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights.save(small(), RECORD, own)
    before = weights.load("mine")[1]
    replacing = weights.replacing

    def killed(path: Path) -> object:
        if path.suffix == ".safetensors":
            raise KeyboardInterrupt
        return replacing(path)

    monkeypatch.setattr(weights, "replacing", killed)
    other = dataclasses.replace(RECORD, training="7 steps")
    with pytest.raises(KeyboardInterrupt):
        weights.save(small(), other, own)
    assert weights.load("mine")[1] == before
    monkeypatch.undo()
    monkeypatch.setattr(weights, "folders", lambda: (own, own))
    weights.save(small(), other, own)
    assert weights.load("mine")[1].training == "7 steps"
    assert "replaces" not in json.loads((own / "mine.json").read_text())

import collections
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from heliorestore.cli import main
from heliorestore.errors import WeightsError
from heliorestore.nets import mfbd, torch_files, weights
from heliorestore.nets.importing import import_file


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path / "own", tmp_path / "package"))
    monkeypatch.setattr("heliorestore.nets.importing.folders", weights.folders)
    return tmp_path


def checkpoint(path: Path, net: nn.Module, *, old: bool = True) -> Path:
    """A file as the published training wrote it: weights, the optimiser's state and numpy numbers beside
    them."""
    optimiser = torch.optim.Adam(net.parameters())
    sum(p.sum() for p in net.parameters()).backward()
    optimiser.step()
    # torch 0.3 had none
    state = {
        name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    content = {
        "epoch": 180,
        "state_dict": collections.OrderedDict(state),
        "best_loss": np.float64(1.5e-4),
        "losses": [np.float32(2.0)],
        "optimizer": optimiser.state_dict(),
    }
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


@pytest.mark.parametrize(
    ("maker", "name", "unit"),
    [
        (mfbd.encoder_decoder, "mfbd", "times 0.001"),
        (mfbd.encoder_decoder_quarter, "mfbd-quarter", "mean 0.4"),
        (lambda: mfbd.encoder_decoder_quarter(10), "mfbd-quarter:10", "mean 0.4"),
        (mfbd.recurrent, "mfbd-recurrent", "times 0.001"),
    ],
)
def test_a_published_checkpoint_becomes_safetensors_with_its_normalisation(
    own: Path, maker: object, name: str, unit: str
) -> None:
    torch.manual_seed(1)
    net = maker()
    path = checkpoint(own / "2018-01-22.pth.tar", net)
    import_file(path, "published")
    loaded, record = weights.load("published")
    assert (record.architecture, record.normalisation) == (name, unit)
    assert "2018-01-22.pth.tar" in record.origin
    assert all(
        torch.equal(value, net.state_dict()[key])
        for key, value in loaded.state_dict().items()
        if "num_batches" not in key
    )


def test_the_command_takes_another_normalisation(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoint(own / "w.pth", mfbd.encoder_decoder_quarter(), old=False)
    assert main(["weights", "import", str(path), "--as", "mine", "--input-mean", "0.7"]) == 0
    assert main(["weights", "show", "mine"]) == 0
    assert "mean 0.7" in capsys.readouterr().out


def test_weights_of_several_processors_and_a_bare_state_dict_are_read(own: Path) -> None:
    net = mfbd.encoder_decoder_quarter()
    torch.save({f"module.{name}": value for name, value in net.state_dict().items()}, own / "w.pt")
    assert set(torch_files.read_state(own / "w.pt")) == set(net.state_dict())


class Evil:
    """What a malicious file would make the reader do."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(Path(os.environ["EVIL_FOLDER"])),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_checkpoint_is_refused_and_not_run(
    own: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    monkeypatch.setenv("EVIL_FOLDER", str(own / "harm"))
    torch.save({"state_dict": {}, "extra": Evil()}, own / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"evil\.pth is refused: it holds more than tensors") as refusal:
        import_file(own / "evil.pth", "evil")
    assert "posix.mkdir" in str(refusal.value)
    assert "weights_only" not in str(refusal.value)
    assert not (own / "harm").exists()
    assert not (own / "own").exists()


def test_what_is_no_checkpoint_of_ours_is_said(own: Path) -> None:
    (own / "damaged.pth").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(WeightsError, match="cannot be read"):
        import_file(own / "damaged.pth", "x")
    torch.save({"numbers": [1, 2]}, own / "none.pth")
    with pytest.raises(WeightsError, match="holds no weights"):
        import_file(own / "none.pth", "x")
    torch.save(nn.Linear(2, 2).state_dict(), own / "other.pth")
    with pytest.raises(WeightsError, match="fits none of the networks"):
        import_file(own / "other.pth", "x")


def test_an_architecture_with_another_number_of_inputs_is_built() -> None:
    assert weights.build("mfbd-quarter:12").frames == 12
    with pytest.raises(WeightsError, match="No network is called"):
        weights.build("mfbd:many")


def test_a_strange_pickle_is_refused_without_advice_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "strange.pth"
    torch.save({"a": {1, 2}}, path, pickle_protocol=4)  # of which torch warns
    with pytest.raises(WeightsError, match="is refused") as refused:
        torch_files.read_state(path)
    assert "weights_only" not in str(refused.value)

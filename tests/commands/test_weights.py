"""heliorestore weights: list, show and check, and mistakes in one line."""

from pathlib import Path

import pytest
import torch

from heliorestore.cli import main
from heliorestore.commands.weights import lines
from heliorestore.errors import WeightsError
from heliorestore.nets import weights
from heliorestore.nets.enhance import small


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of weights, the only one."""
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path / "own", tmp_path / "package"))
    return tmp_path / "own"


RECORD = weights.WeightsRecord(
    name="mine",
    architecture="enhance-small",
    kind="continuum",
    recipe={"steps": 5},
    quality={"validation_mse": 1e-3},
    training="5 steps",
)


def test_check_finds_values_that_are_no_numbers(own: Path) -> None:
    net = small()
    weights.save(net, RECORD, own)
    assert list(lines("check", "")) == [
        f"mine: intact, sha256 {weights.load('mine')[1].sha256[:12]}..., network enhance-small"
    ]
    with torch.no_grad():
        net.first.weight[0] = torch.nan
    weights.save(net, RECORD, own)
    with pytest.raises(WeightsError, match=r"infinite values, in first\.weight"):
        list(lines("check", "mine"))


def test_the_command_lists_and_shows(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights.save(small(), RECORD, own)
    assert main(["weights", "list"]) == 0
    assert "enhance-small    continuum    5 steps" in capsys.readouterr().out
    assert main(["weights", "show", "mine"]) == 0
    shown = capsys.readouterr().out
    assert "validation mse 0.001" in shown
    assert "steps = 5" in shown
    assert main(["weights", "show"]) == 2
    assert main(["weights", "import", "x.h5"]) == 2
    assert "--as NAME" in capsys.readouterr().err

"""Every file but the results, which fits/test_writer.py has: on a failing disk the old one stays whole."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from heliorestore.errors import HeliorestoreError
from heliorestore.fits.reader import read
from heliorestore.methods.checkpoint import Saver, resume
from heliorestore.methods.richardson_lucy import RichardsonLucySettings
from heliorestore.nets import weights
from heliorestore.optics.mode_cache import cache_file, sampled_modes
from heliorestore.optics.modes import make_basis
from heliorestore.presets import save_preset
from heliorestore.quality import charts
from heliorestore.samples import sample_path
from heliorestore.train import bursts, loop

SETTINGS = RichardsonLucySettings()
FULL = os.strerror(errno.ENOSPC)


@dataclass(frozen=True)
class Image:
    """A state."""

    values: torch.Tensor


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the user's own folders."""
    for kind in ("cache", "config", "data"):
        monkeypatch.setattr(f"platformdirs.user_{kind}_path", lambda *_, **__: tmp_path)


def a_preset(folder: Path) -> Path:
    return save_preset("mine", SETTINGS)


def a_chart(folder: Path) -> Path:
    path = folder / "chart.svg"
    charts.save([lambda axes: charts.draw_curve(axes, np.arange(3.0), np.arange(3.0), "x")], path)
    return path


def a_table(folder: Path) -> Path:
    quality = pytest.importorskip("heliorestore.plugin.panels.quality", exc_type=ImportError)
    path = folder / "chart.csv"
    quality._write_csv([lambda axes: charts.draw_curve(axes, np.arange(3.0), np.arange(3.0), "x")], path)
    return path


def saver(path: Path) -> Saver:
    return Saver(str(path), read(sample_path("hmi_continuum.fits")), SETTINGS)


def a_checkpoint(folder: Path) -> Path:
    saver(folder / "state").write(Image(torch.ones(3)))
    return folder / "state"


def some_weights(folder: Path) -> Path:
    record = weights.WeightsRecord(name="mine", architecture="enhance-small")
    return weights.save(torch.nn.Linear(2, 2), record, folder / "weights")


def a_training(folder: Path) -> Path:
    net = torch.nn.Linear(2, 2)
    loop._save(folder / "checkpoint.pt", net, torch.optim.Adam(net.parameters()), loop.Progress(), {})
    return folder / "checkpoint.pt"


WRITERS = [a_preset, a_chart, a_table, a_checkpoint, some_weights, a_training]


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full, as is often known only when a file is forced onto it."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, FULL)

    monkeypatch.setattr(os, "fsync", full)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_one_sentence_and_the_old_file_stays(
    write: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)
    path.write_bytes(b"old")
    before = files(tmp_path)
    fill(monkeypatch)
    with pytest.raises(HeliorestoreError, match=FULL):
        write(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("write", WRITERS)
def test_a_link_stays_a_link(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    path.rename(tmp_path / "elsewhere" / path.name)
    path.symlink_to(tmp_path / "elsewhere" / path.name)
    (tmp_path / "elsewhere" / path.name).write_bytes(b"old")
    assert write(tmp_path).is_symlink()
    assert path.read_bytes() != b"old"


def test_a_checkpoint_of_any_name_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "state.gz"
    saver(path).write(Image(torch.arange(3.0)))
    found = resume(saver(path), Image(torch.zeros(3)))
    assert found.values.tolist() == [0, 1, 2]


def test_modes_are_given_though_they_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch)
    basis = make_basis(4)
    assert sampled_modes(basis, 9.0).shape == (4, 9, 9)
    assert cache_file(basis, 9.0, np.float64).parent == tmp_path / "modes"
    assert files(tmp_path) == {}


def test_simulated_bursts_that_cannot_be_kept_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bursts, "seen", lambda *_, **__: np.ones(3))
    days = bursts.Days(instruments=("crisp-8542",), scenes=1, seed=1)
    fill(monkeypatch)
    with pytest.raises(HeliorestoreError, match=FULL):
        bursts.cached(days, tmp_path)
    assert files(tmp_path) == {}


def test_a_run_goes_on_though_it_cannot_be_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    autosave = pytest.importorskip("heliorestore.plugin.runs.autosave", exc_type=ImportError)
    burst = read(sample_path("hmi_continuum.fits"))
    saved, said = autosave.begin(burst, SETTINGS)
    assert said == ""
    before = files(tmp_path / "unfinished")
    assert list(before) == [str(tmp_path / "unfinished" / f"{saved.name}.json")]
    fill(monkeypatch)
    saved.keep(None, SETTINGS)
    saved.set_ended(True)
    assert files(tmp_path / "unfinished") == before
    nothing, said = autosave.begin(burst, SETTINGS)
    assert nothing is None
    assert FULL in said
    assert "cannot be resumed" in said

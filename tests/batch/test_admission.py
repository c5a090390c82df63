"""Bursts run together only as far as their needs fit into the memory."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from heliorestore.batch import admission
from heliorestore.batch.admission import Gpu, admitted, room_bytes
from heliorestore.errors import BurstError
from heliorestore.process import began


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The need, 5 GB, of another process of this machine, which has 10 GB free."""
    monkeypatch.setattr(admission.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(admission, "free_bytes", lambda: 10e9)
    monkeypatch.setattr(admission, "_LOOK_S", 0.0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        file = admission._folder() / f"{process.pid}.need"
        file.write_text(json.dumps([5e9, began(process.pid)]))
        yield file
        process.kill()


def test_a_burst_waits_until_there_is_room_beside_the_others(other: Path) -> None:
    with admitted(2e9, lambda: False) as fits:
        assert fits
        assert len(list(other.parent.glob("*.need"))) == 2
    assert list(other.parent.glob("*.need")) == [other]
    looked: list[int] = []
    with admitted(4e9, lambda: len(looked) >= 3 or looked.append(0) is not None) as fits:
        assert not fits  # 5 + 4 are more than 80 % of 10 GB, and a stop was asked for
    assert len(looked) == 3

    def ends() -> bool:
        other.unlink(missing_ok=True)
        return False

    with admitted(4e9, ends) as fits:
        assert fits


def test_a_gpu_has_room_of_its_own(other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    free = [10e9, 40e9]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (free[number], (20e9, 40e9)[number]))
    third, fifth = Gpu.of(None), Gpu.of(1)
    assert (third, fifth) == (Gpu("3", 20e9, 0), Gpu("5", 40e9, 1))
    other.write_text(json.dumps([10e9, *json.loads(other.read_text())[1:], "3"]))
    asked = iter([False, True])
    with admitted(7e9, lambda: next(asked), third) as fits:
        assert not fits  # 10 + 7 are more than 80 % of 20 GB
    with admitted(7e9, lambda: False, fifth) as fits:
        assert fits
    with admitted(7e9, lambda: False) as fits:  # main memory is not that of a GPU
        assert fits
    with pytest.raises(BurstError, match=r"the GPU 3 has 16\.0 GB"), admitted(17e9, lambda: False, third):
        pass
    # other programs hold 30 GB of it, and torch keeps 3 of the rest for us
    free[1] = 7e9
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda number: (0.0, 3e9)[number])
    assert room_bytes(fifth) == pytest.approx(8e9)
    free[0] = 2e9  # ours hold 10 GB, others 8
    assert room_bytes(third) == pytest.approx(9.6e9)


def test_what_a_dead_process_needed_is_free_again(other: Path) -> None:
    other.write_text(json.dumps([5e9, 0.0]))  # another process had this number
    with admitted(7e9, lambda: False) as fits:
        assert fits
    assert not other.exists()
    (other.parent / "1.need").write_text("half a li")
    assert room_bytes() == pytest.approx(8e9)


def test_a_burst_that_does_not_fit_alone_is_refused_with_its_need(other: Path) -> None:
    with pytest.raises(BurstError, match=r"It needs 12.0 GB.*has 8.0 GB"), admitted(12e9, lambda: False):
        pass

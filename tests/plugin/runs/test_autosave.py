"""Records of unfinished runs that somebody has edited are passed over."""

import json
from pathlib import Path

import pytest

from heliorestore.fits.reader import read_burst
from heliorestore.methods.blind.field_settings import SvMomfbdSettings
from heliorestore.plugin.runs import autosave
from heliorestore.samples import sample_path

DEAD = {"process": [2**22 + 1, 0.0]}


def begun(folder: Path, monkeypatch: pytest.MonkeyPatch) -> autosave.Autosave:
    """What a run that has begun saves itself in."""
    monkeypatch.setattr(autosave, "folder", lambda: folder)
    saved, _ = autosave.begin(read_burst(sample_path("small_burst.fits")), SvMomfbdSettings())
    assert saved is not None
    saved.state.touch()
    return saved


def test_a_record_that_nobody_has_written_like_this_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = begun(tmp_path, monkeypatch)
    path = saved.state.with_suffix(".json")
    whole = json.loads(path.read_text()) | DEAD
    path.write_text(json.dumps(whole))
    assert len(autosave.unfinished("sv-momfbd")) == 1
    path.write_text(json.dumps(whole | {"process": [2**22 + 1, 10**400]}))
    assert len(autosave.unfinished("sv-momfbd")) == 1  # a time that no process began at
    for edited in (
        None,
        5,
        [],
        whole | {"process": [1]},
        whole | {"sources": [["x"]]},
        whole | {"sources": [["x", "1", 2]]},
        whole | {"rows": [["iterations", 5]]},
        whole | {"step": "3"},
        whole | {"began": None},
    ):
        path.write_text(json.dumps(edited))
        assert autosave.unfinished("sv-momfbd") == [], edited
        assert saved.state.exists()  # it is not ours to delete


def test_of_two_windows_that_offer_a_run_only_one_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = begun(tmp_path, monkeypatch)
    path = saved.state.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | DEAD))
    (one,), (other,) = (autosave.unfinished("sv-momfbd") for _ in range(2))
    assert one.take()
    assert not other.take()
    assert autosave.unfinished("sv-momfbd") == []  # nobody offers it any more
    one.drop()
    assert not other.take()

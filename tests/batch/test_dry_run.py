"""What a dry run says: bursts, memory, the workers' places, and the time if bursts of the night are done."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from heliorestore.batch import here
from heliorestore.batch.here import Place, places
from heliorestore.batch.ledger import Ledger
from heliorestore.cli import main
from heliorestore.errors import SettingsError


def test_a_dry_run_says_what_a_night_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = fits.Header({"TELESCOP": "SST", "INSTRUME": "CRISP", "WAVELNTH": 630.2, "WAVEUNIT": -9})
    header.update({"CDELT1": 0.059, "CUNIT1": "arcsec"})
    for name in ("a.fits", "b.fits"):
        fits.writeto(tmp_path / name, np.ones((3, 64, 64), np.float32), header)
    (tmp_path / "c.fits").write_bytes(b"nothing")
    words = ["batch", "momfbd", f"{tmp_path}/[abc].fits", "-o", f"{tmp_path}/night", "--device", "cpu"]
    words += ["--workers", "2", "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert "a.fits: 1 x 3 x 64 x 64, 0." in said[0]
    assert said[0].endswith("GB -> a_restored.fits")
    assert "c.fits: cannot be used: " in said[2]
    assert said[3].startswith("worker 0: ")
    assert said[5] == "Time: not known before bursts of this night (-o NIGHT) are done."
    assert said[6].startswith("3 bursts, 0 of them done; at most 0.")
    assert not (tmp_path / "night").exists()
    # One burst is done, in 60 s: another of the same size takes two workers 30 s.
    words.remove(f"{tmp_path}/[abc].fits")
    begun = [*words[:2], str(tmp_path / "a.fits"), *words[2:-1]]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("heliorestore.commands.batch._run", lambda *given: 0)
        assert main([*begun, "--quiet"]) == 0
    ledger = Ledger(tmp_path / "night")
    ledger.refresh()
    (entry,) = ledger.entries.values()
    ledger.say("done", entry.id, attempt=1, name=entry.name, seconds=60.0)
    capsys.readouterr()
    assert main([*words[:2], str(tmp_path / "a.fits"), str(tmp_path / "b.fits"), *words[2:]]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[4].startswith("Time: about 30 s for the rest, by 1 bursts that are done")
    assert said[5].startswith("2 bursts, 1 of them done")
    assert main([*words[:2], str(tmp_path / "a.fits"), *words[2:], "--seed", "1"]) == 2
    assert "seed 0 and not 1" in capsys.readouterr().err


def test_workers_share_cores_and_the_gpus_that_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here.os, "sched_getaffinity", lambda process: range(8))
    there = ["cpu"]
    monkeypatch.setattr(here, "_devices", lambda: tuple(there))
    assert places(None, "auto") == [Place("", 1)] * 8
    assert places(3, "cpu") == [Place("", 2)] * 3
    there[:] = ["cuda", "cuda:0", "cuda:1", "cpu"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert places(None, "auto") == [Place("0", 4), Place("1", 4)]
    assert places(None, "cuda:1") == [Place("", 8)]  # one, not eight on that GPU
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-a7")
    assert [place.gpu for place in places(3, "cuda")] == ["5", "GPU-a7", "5"]
    with pytest.raises(SettingsError, match="one at least"):
        places(0, "auto")

"""A burst of a night whose worker was stopped or killed: another one goes on with it, to the same image."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from heliorestore.batch.ledger import Ledger
from heliorestore.batch.night import Night, add
from heliorestore.batch.work import Worker
from heliorestore.errors import RestorationError
from heliorestore.fits import writer
from heliorestore.fits.reader import read, read_burst
from heliorestore.methods import base, checkpoint
from heliorestore.methods.base import load, restore
from heliorestore.preparation import Preparation
from heliorestore.settings import from_rows, to_rows
from heliorestore.snapshot import Snapshot

SAMPLE = Path(__file__).parents[2] / "sample_data" / "small_burst.fits"
PREPARATION = {name: text for name, text, *_ in to_rows(Preparation())}
FEW = {"iterations": "6", "modes": "5", "patch": "32"}
SETTINGS = {
    "momfbd": FEW | {"patch_step": "16"},
    "sv-momfbd": FEW | {"psf": "16", "grid_step": "16", "patch_iterations": "3"},
}
# Workers, one after the other, which note their iterations and send themselves a signal at one of them.
DYING = """
import os, sys
from contextlib import closing
from pathlib import Path
from heliorestore.batch.work import Worker
from heliorestore.methods import base, checkpoint

night, *signals = sys.argv[1:]
checkpoint.INTERVAL_S = 0.0
whole = base.stream

def noted(*given, **known):
    at, number = (int(word) for word in signals.pop(0).split(":"))
    with closing(whole(*given, **known)) as snapshots:
      for snapshot in snapshots:
        with (Path(night) / "steps").open("a") as file:
            print(snapshot.step, file=file)
        if snapshot.step == at:
            os.kill(os.getpid(), number)
        yield snapshot

base.stream = noted
while signals:
    Worker(Path(night), device="cpu").run()
"""


def begin(folder: Path, method: str) -> Path:
    """A night with one burst of 3 frames of 64 x 64 pixels."""
    with fits.open(SAMPLE) as hdus:
        fits.writeto(folder / "burst.fits", hdus[0].data[:1, :3, :64, :64], hdus[0].header)
    night = Night(method=method, settings=SETTINGS[method], preparation=PREPARATION)
    night.begin(folder / "night")
    add(Ledger(folder / "night"), night, [(folder / "burst.fits",)])
    return folder / "night"


def ends(night: Path) -> list[str]:
    ledger = Ledger(night)
    ledger.refresh()
    (entry,) = ledger.entries.values()
    return [entry.ends[n]["event"] if n in entry.ends else "died" for n in range(1, entry.last + 1)]


def unbroken(night: Path, method: str) -> Snapshot:
    settings = from_rows(load(method).settings, SETTINGS[method].items())
    return restore(read_burst(night.parent / "burst.fits"), settings, device="cpu")


def test_a_burst_goes_on_after_sigterm_and_a_kill_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    night = begin(tmp_path, "sv-momfbd")
    words = [str(night), f"2:{signal.SIGTERM:d}", f"4:{signal.SIGKILL:d}"]
    assert subprocess.run([sys.executable, "-c", DYING, *words], check=False).returncode == -signal.SIGKILL
    assert ends(night) == ["interrupted", "died"]
    # SIGTERM has saved the second iteration.
    assert (night / "steps").read_text().split() == ["1", "2", "3", "4"]
    taken: list[int] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(base, "stream", noted(taken))
        assert Worker(night, device="cpu").run() == 1
    # Of the kill only the iteration is repeated that was not saved yet.
    assert taken == [4, 5, 6]
    found, whole = read(night / "burst_restored.fits"), unbroken(night, "sv-momfbd")
    np.testing.assert_array_equal(found.images, whole.images)
    np.testing.assert_array_equal(found.history["step"], whole.history["step"])
    np.testing.assert_array_equal(found.history["loss"], whole.history["loss"])
    assert not list((night / "states").iterdir())


def test_a_state_is_kept_until_the_result_is_written_and_a_damaged_one_costs_an_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night, taken = begin(tmp_path, "momfbd"), []
    monkeypatch.setattr(checkpoint, "INTERVAL_S", 0.0)
    monkeypatch.setattr(base, "stream", noted(taken))
    with monkeypatch.context() as patched:
        patched.setattr(writer, "write", full)
        Worker(night, device="cpu", retries=0).run()
    assert ends(night) == ["failed"]
    (state,) = (night / "states").iterdir()
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    Worker(night, device="cpu", retries=1).run()
    assert not state.exists()
    state.write_bytes(whole)
    Worker(night, device="cpu", retries=2).run()
    assert ends(night) == ["failed", "failed", "done"]
    assert taken == [*range(7), 6]
    monkeypatch.undo()
    np.testing.assert_array_equal(
        read(night / "burst_restored.fits").images, unbroken(night, "momfbd").images
    )


def noted(taken: list[int]) -> Callable[..., Iterator[Snapshot]]:
    whole = base.stream

    def stream(*given: Any, **known: Any) -> Iterator[Snapshot]:
        with closing(whole(*given, **known)) as snapshots:
            for snapshot in snapshots:
                taken.append(snapshot.step)
                yield snapshot

    return stream


def full(*given: Any, **known: Any) -> None:
    raise RestorationError("No space left on device.")

"""A run that was cut off and went on is recorded, and repeated, from its very start."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import heliorestore
from blind_bursts import simulate
from heliorestore import Snapshot, cli
from heliorestore.burst import Burst
from heliorestore.errors import RestorationError
from heliorestore.fits.burst_writer import write_burst
from heliorestore.methods import checkpoint
from heliorestore.methods.base import replay, restore, settings_of, stream
from heliorestore.methods.blind.field_fit import FieldFit
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.settings import Settings
from heliorestore.snapshot import StopReason

SV = SvMomfbdSettings(
    modes=6,
    r0_cm=20.0,
    left_out=0.0,
    patch=32,
    psf=32,
    grid_step=16,
    iterations=9,
    patch_iterations=3,
    stop_early=False,
)
MOMFBD = MomfbdSettings(
    modes=6, r0_cm=20.0, left_out=0.0, patch=32, patch_step=16, iterations=8, stop_early=False
)
FURTHER = 12  # iterations as turned while it runs
CUT = 5  # snapshots before the run is cut off


@pytest.fixture(scope="module")
def burst(tmp_path_factory: pytest.TempPathFactory) -> Burst:
    path = write_burst(
        simulate(frames=3, size=48, varying=0.2).burst, tmp_path_factory.mktemp("burst") / "burst.fits"
    )
    return heliorestore.read(path).with_instrument("crisp-8542")


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliorestore.methods.checkpoint.INTERVAL_S", 0.0)


def turned(settings: Settings, number: int) -> Settings:
    """The settings with which the snapshot of that number is made: everything is turned once, and back where
    the run goes on."""
    if number < 2:
        return settings
    if number < CUT:
        return settings.replace(
            prior=0.3, rate_modes=0.2, filter_width=1.5, object_weights="2", iterations=FURTHER
        )
    return settings.replace(prior=0.5) if number > CUT + 1 else settings


def drive(burst: Burst, settings: Settings, first: int, last: int) -> list[Snapshot]:
    """The snapshots of these numbers; then the run is closed."""
    running = stream(burst, turned(settings, first), device="cpu")
    found = [next(running), *(running.send(turned(settings, number)) for number in range(first + 1, last))]
    running.close()
    return found


def closed(burst: Burst, settings: Settings, path: Path) -> int:
    return len(drive(burst, settings, 0, CUT))


def killed(burst: Burst, settings: Settings, path: Path) -> int:
    """The state in the file is that of two iterations before the end."""
    running = stream(burst, settings, device="cpu")
    next(running)
    for number in range(1, CUT):
        running.send(turned(settings, number))
    kept = path.read_bytes()
    running.close()
    path.write_bytes(kept)
    return CUT - 1


@pytest.mark.parametrize("cut", [closed, killed])
@pytest.mark.parametrize("settings", [SV, MOMFBD], ids=["sv-momfbd", "momfbd"])
def test_a_resumed_run_is_recorded_and_repeated_from_its_start(
    burst: Burst, settings: Settings, cut: Callable[[Burst, Settings, Path], int], tmp_path: Path
) -> None:
    path = tmp_path / "state"
    kept = settings.replace(checkpoint=str(path))
    before = cut(burst, kept, path)
    resumed = drive(burst, kept, CUT, CUT + 4)
    last = resumed[-1]
    assert len(last.history["step"]) == before + 4
    assert (np.diff(last.history["step"]) == 1).all()
    assert (np.diff(last.history["seconds"]) > 0).all()
    assert last.history["prior"].tolist() == [1.0, 1.0, *[0.3] * (before - 2), 1.0, 1.0, 0.5, 0.5]
    first = resumed[0].messages  # the end adds what was found of air and noise
    assert last.messages[: len(first)] == first
    assert not any("repeated" in message for message in last.messages)

    numbers = [*range(before), *range(CUT, CUT + 4)]
    running = stream(burst, turned(settings, 0), device="cpu")
    whole = [next(running)] + [running.send(turned(settings, number)) for number in numbers[1:]]
    np.testing.assert_array_equal(last.images, whole[-1].images)
    assert last.losses == whole[-1].losses

    path.write_bytes(b"of another run")  # that is left alone
    restored = heliorestore.write(last, tmp_path / "restored.fits")
    assert cli.main(["rerun", str(restored), "-o", str(tmp_path / "again.fits"), "--quiet"]) == 0
    again = heliorestore.read(tmp_path / "again.fits")
    np.testing.assert_array_equal(again.images, last.images)
    for name, column in last.history.items():
        if name != "seconds":
            np.testing.assert_array_equal(again.history[name], column)
    assert path.read_bytes() == b"of another run"


def test_iterations_that_are_turned_down_before_the_run_goes_on_leave_the_patches_as_they_are(
    burst: Burst, tmp_path: Path
) -> None:
    settings = SV.replace(iterations=7, patch_iterations=5)
    kept = settings.replace(checkpoint=str(tmp_path / "state"))
    running = stream(burst, kept, device="cpu")
    for _ in range(3):
        next(running)
    running.close()
    down = {"iterations": 4}
    resumed = list(stream(burst, kept.replace(**down), device="cpu"))
    running = stream(burst, settings, device="cpu")
    for _ in range(3):
        next(running)
    whole = [running.send(settings.replace(**down)), *running]
    assert resumed[-1].step == whole[-1].step
    np.testing.assert_array_equal(resumed[-1].images, whole[-1].images)


@pytest.mark.parametrize("settings", [SV, MOMFBD], ids=["sv-momfbd", "momfbd"])
def test_a_run_that_began_from_a_result_is_repeated_with_that_result(
    burst: Burst, settings: Settings, tmp_path: Path
) -> None:
    first = restore(burst, settings.replace(iterations=3), device="cpu")
    last = restore(burst, settings.replace(iterations=6, prior=0.4), device="cpu", start=first)
    assert np.flatnonzero(last.history["restart"] == 1).tolist() == [len(first.history["step"])]
    assert last.elapsed_s > first.elapsed_s
    restored = heliorestore.write(last, tmp_path / "restored.fits")
    assert cli.main(["rerun", str(restored), "-o", str(tmp_path / "again.fits"), "--quiet"]) == 0
    np.testing.assert_array_equal(heliorestore.read(tmp_path / "again.fits").images, last.images)


def test_a_run_whose_memory_was_full_counts_on_and_is_repeated(
    burst: Burst, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterate, calls = FieldFit.iterate, itertools.count(1)

    def full_once(self: FieldFit, *given: Any) -> Any:
        if next(calls) == 3:
            raise MemoryError
        return iterate(self, *given)

    monkeypatch.setattr(FieldFit, "iterate", full_once)
    shown = list(stream(burst, SV.replace(iterations=4, memory_gb=2.0), device="cpu"))
    assert [each.step for each in shown] == [1, 2, 3, 4]
    assert {each.total for each in shown} == {4}
    assert shown[-1].run is not None
    again = list(replay(burst, settings_of(shown[-1].run), shown[-1].history, device="cpu"))
    assert again[-1].stop is shown[-1].stop is StopReason.DONE
    np.testing.assert_array_equal(again[-1].images, shown[-1].images)


def other_settings(burst: Burst) -> Snapshot:
    return restore(burst, SV.replace(iterations=2, grid_step=24), device="cpu")


def other_frames(burst: Burst) -> Snapshot:
    return restore(burst.select(frames=slice(0, 2)), SV.replace(iterations=2), device="cpu")


def other_method(burst: Burst) -> Snapshot:
    return restore(burst, MOMFBD.replace(iterations=2), device="cpu")


def from_nowhere(burst: Burst) -> Snapshot:
    return Snapshot(step=0, total=1, images=np.ones((1, *burst.shape[2:]), np.float32))


@pytest.mark.parametrize("begin", [other_settings, other_frames, other_method, from_nowhere])
def test_a_result_that_the_record_does_not_lead_to_is_said_and_not_repeated(
    burst: Burst, begin: Callable[[Burst], Snapshot]
) -> None:
    last = restore(burst, SV.replace(iterations=2), device="cpu", start=begin(burst))
    assert any("cannot be repeated exactly: iteration" in message for message in last.messages)
    assert last.run is not None
    with pytest.raises(RestorationError, match="cannot be repeated exactly: iteration"):
        next(replay(burst, settings_of(last.run), last.history, device="cpu"))


@pytest.mark.parametrize("settings", [SV, MOMFBD], ids=["sv-momfbd", "momfbd"])
def test_a_checkpoint_of_an_earlier_version_goes_on_and_says_what_is_lost(
    burst: Burst, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "state"
    kept = settings.replace(checkpoint=str(path))
    drive(burst, kept, 0, 2)
    found = torch.load(path, weights_only=True)
    old = {name: value for name, value in found["state"].items() if name not in ("began", "on_patches")}
    torch.save({"key": found["key"], "state": old}, path)
    last = list(itertools.islice(stream(burst, kept, device="cpu"), 3))[-1]
    running = stream(burst, settings, device="cpu")
    whole = [next(running) for _ in range(5)][-1]
    np.testing.assert_array_equal(last.images, whole.images)
    assert len(last.history["step"]) == 3
    assert any("cannot be repeated exactly: iteration" in message for message in last.messages)
    with pytest.raises(RestorationError, match="cannot be repeated exactly: iteration"):
        next(replay(burst, kept, last.history, device="cpu"))


def test_a_file_of_a_resumed_run_of_an_earlier_version_is_not_repeated(burst: Burst) -> None:
    whole = restore(burst, SV.replace(iterations=5), device="cpu")
    later = {name: column[3:] for name, column in whole.history.items()}
    with pytest.raises(RestorationError, match="iteration 4 continued an earlier state"):
        next(replay(burst, SV, later, device="cpu"))


def test_a_run_whose_checkpoint_vanishes_goes_on_and_says_so(
    burst: Burst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL_S", 0.0)
    folder = tmp_path / "states"
    folder.mkdir()
    running = stream(burst, MOMFBD.replace(checkpoint=str(folder / "state")), device="cpu")
    next(running)
    (folder / "state").unlink(missing_ok=True)
    folder.rmdir()
    said = [next(running).messages for _ in range(3)]
    assert any("The checkpoint" in text and "cannot be written" in text for text in said[-1])
    running.close()  # nor does the end raise, which would take the result with it

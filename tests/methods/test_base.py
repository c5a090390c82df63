from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from heliorestore import Burst, Snapshot, StopReason, restore, stream
from heliorestore.errors import RestorationError, SettingsError
from heliorestore.methods import METHODS, Entry
from heliorestore.methods.base import load, pick_device
from heliorestore.settings import Settings, option


@dataclass(frozen=True, kw_only=True)
class CountSettings(Settings):
    method: ClassVar[str] = "count"

    steps: int = option(4, minimum=0, help="Steps.")
    gain: float = option(1.0, minimum=0, live=True, help="Gain.")
    out_of_memory_at: int = option(0, minimum=0, help="Step at which the device is full.")


class Count:
    """Adds `gain` to the image at every step; remembers that it was closed."""

    name, settings = "count", CountSettings
    closed = 0

    def stream(
        self, burst: Burst, settings: CountSettings, *, device: torch.device, seed: int, start: Snapshot | None = None
    ) -> Generator[Snapshot, CountSettings | None, None]:
        image = burst.image(0, 0)[None] if start is None else start.images
        try:
            for step in range(1 if start is None else start.step + 1, settings.steps + 1):
                if step == settings.out_of_memory_at and device.type != "cpu":
                    raise torch.OutOfMemoryError("full")
                image = image + settings.gain
                stop = StopReason.DONE if step == settings.steps else None
                sent = yield Snapshot(step=step, total=settings.steps, images=image, losses={"gain used": settings.gain}, stop=stop)
                settings = sent or settings
        finally:
            Count.closed += 1


METHOD = Count()


@pytest.fixture(autouse=True)
def _count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "count", Entry("count_method:METHOD", "Count."))
    monkeypatch.setitem(__import__("sys").modules, "count_method", __import__("types").SimpleNamespace(METHOD=METHOD))
    Count.closed = 0


@pytest.fixture
def burst() -> Burst:
    return Burst.from_array(np.zeros((3, 3)), unit="counts", labels=("zero",))


def test_restore_is_the_last_snapshot_of_stream(burst: Burst) -> None:
    snapshots = list(stream(burst, CountSettings(), device="cpu"))
    assert [s.step for s in snapshots] == [1, 2, 3, 4]
    np.testing.assert_array_equal(restore(burst, CountSettings(), device="cpu").images, snapshots[-1].images)
    assert snapshots[-1].stop is StopReason.DONE


def test_every_snapshot_tells_its_run(burst: Burst) -> None:
    for snapshot in stream(burst, CountSettings(gain=2.0), device="cpu", seed=7):
        run = snapshot.run
        assert run is not None
        assert (run.settings, run.seed, run.device, run.labels, run.unit) == (CountSettings(gain=2.0), 7, "cpu", ("zero",), "counts")
        assert len(snapshot.history["step"]) == snapshot.step


def test_a_sent_live_setting_acts_at_the_next_step_and_is_written_down(burst: Burst) -> None:
    running = stream(burst, CountSettings(), device="cpu")
    next(running)
    running.send(CountSettings(gain=10.0))
    next(running)
    last = next(running)
    assert last.images.max() == 1 + 3 * 10
    np.testing.assert_array_equal(last.history["gain"], [1, 10, 10, 10])
    np.testing.assert_array_equal(last.history["gain used"], [1, 10, 10, 10])


def test_what_is_not_live_is_refused_and_the_method_is_closed(burst: Burst) -> None:
    running = stream(burst, CountSettings(), device="cpu")
    next(running)
    with pytest.raises(SettingsError, match="steps cannot change"):
        running.send(CountSettings(steps=9))
    assert Count.closed == 1


def test_closing_the_stream_closes_the_method(burst: Burst) -> None:
    running = stream(burst, CountSettings(), device="cpu")
    next(running)
    running.close()
    assert Count.closed == 1


def test_a_warm_start_continues_steps_and_history(burst: Burst) -> None:
    half = restore(burst, CountSettings(steps=2), device="cpu")
    whole = restore(burst, CountSettings(steps=4), device="cpu", start=half)
    assert whole.images.max() == 4
    np.testing.assert_array_equal(whole.history["step"], [1, 2, 3, 4])


def test_a_full_gpu_falls_back_to_the_cpu_and_says_so(burst: Burst, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliorestore.methods.base.pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    snapshots = list(stream(burst, CountSettings(out_of_memory_at=3), device="cuda"))
    assert [s.step for s in snapshots] == [1, 2, 3, 4]
    assert snapshots[1].messages == ()
    assert snapshots[-1].messages == ("cuda has no memory left: the run goes on on the CPU.",)
    assert snapshots[-1].images.max() == 4
    assert snapshots[-1].run is not None
    assert snapshots[-1].run.device == "cuda, cpu"
    assert Count.closed == 2


def test_a_full_main_memory_is_an_error_that_names_the_burst(burst: Burst, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> Generator[Snapshot, None, None]:
        raise torch.OutOfMemoryError("cannot allocate")
        yield

    monkeypatch.setattr(METHOD, "stream", full, raising=True)
    with pytest.raises(RestorationError, match=r"\(1, 1, 3, 3\)"):
        restore(burst, CountSettings(), device="cpu")


def test_no_result_is_an_error(burst: Burst) -> None:
    with pytest.raises(RestorationError, match="count gave no result"):
        restore(burst, CountSettings(steps=0), device="cpu")


def test_unknown_names_say_what_exists() -> None:
    with pytest.raises(SettingsError, match="richardson-lucy"):
        load("richardson")
    with pytest.raises(SettingsError, match=r"available: auto, .*cpu"):
        pick_device("tpu")
    assert pick_device("cpu").type == "cpu"

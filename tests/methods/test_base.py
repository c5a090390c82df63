import dataclasses
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from heliorestore import Burst, Snapshot, StopReason, restore, stream
from heliorestore.errors import BurstError, RestorationError, SettingsError
from heliorestore.instrument import KNOWN
from heliorestore.methods import METHODS, Entry
from heliorestore.methods.base import load, pick_device, replay
from heliorestore.settings import Settings, option


@dataclass(frozen=True, kw_only=True)
class CountSettings(Settings):
    method: ClassVar[str] = "count"

    steps: int = option(4, minimum=0, help="Steps.")
    gain: float = option(1.0, minimum=0, live=True, help="Gain.")
    shares: str = option("", live=True, help="Numbers.")
    start: str = option("", help="A file.")
    out_of_memory_at: int = option(0, minimum=0, help="Step at which the device is full.")
    lacking: str = option("", help="What the device says of an operation that it does not have.")


@dataclass(frozen=True, kw_only=True)
class BoundedSettings(CountSettings):
    memory_gb: float | None = option(None, minimum=0.1, help="Memory.")
    needed_gb: float = option(0.0, minimum=0.0, help="Memory that a GPU must grant, or it is full.")

    def files(self) -> dict[str, Path]:
        return {"start": Path(self.start)} if self.start else {}


class Count:
    """Adds `gain` to the image at every step; remembers that it was closed."""

    name, settings = "count", CountSettings
    closed = 0
    granted: ClassVar[list[tuple[str, float | None]]] = []

    def stream(
        self,
        burst: Burst,
        settings: CountSettings,
        *,
        device: torch.device,
        seed: int,
        start: Snapshot | None = None,
    ) -> Generator[Snapshot, CountSettings | None, None]:
        image = burst.image(0, 0)[None] if start is None else start.images
        Count.granted.append((device.type, getattr(settings, "memory_gb", None)))
        full = (
            isinstance(settings, BoundedSettings)
            and device.type != "cpu"
            and (settings.memory_gb or 99) > settings.needed_gb
        )
        if full and settings.out_of_memory_at == 0:
            raise torch.OutOfMemoryError("full")
        try:
            if settings.lacking and device.type != "cpu":
                raise NotImplementedError(settings.lacking)
            for step in range(1 if start is None else start.step + 1, settings.steps + 1):
                if (
                    step == settings.out_of_memory_at
                    and device.type != "cpu"
                    and (full or type(settings) is CountSettings)
                ):
                    raise torch.OutOfMemoryError("full")
                image = image + settings.gain
                stop = StopReason.DONE if step == settings.steps else None
                sent = yield Snapshot(
                    step=step,
                    total=settings.steps,
                    images=image,
                    losses={"gain used": settings.gain},
                    stop=stop,
                )
                settings = sent or settings
        finally:
            Count.closed += 1


METHOD = Count()


@pytest.fixture(autouse=True)
def _count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "count", Entry("count_method:METHOD", "Count."))
    monkeypatch.setitem(
        __import__("sys").modules, "count_method", __import__("types").SimpleNamespace(METHOD=METHOD)
    )
    Count.closed = 0
    Count.granted = []


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
        assert (run.settings, run.seed, run.device, run.labels, run.unit) == (
            CountSettings(gain=2.0),
            7,
            "cpu",
            ("zero",),
            "counts",
        )
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
    assert snapshots[-1].messages == ("cuda is out of memory: the run continues on the CPU.",)
    assert snapshots[-1].images.max() == 4
    assert snapshots[-1].run is not None
    assert snapshots[-1].run.device == "cuda, cpu"
    assert Count.closed == 2


def test_what_mps_does_not_have_is_done_on_the_cpu_and_said(
    burst: Burst, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliorestore.methods.base.pick_device", torch.device)
    said = "The operator 'aten::x' is not currently implemented for the MPS device. Open an issue."
    last = restore(burst, CountSettings(lacking=said), device="mps")
    assert last.images.max() == 4
    assert last.run is not None
    assert last.run.device == "mps, cpu"
    assert last.messages == (
        "mps cannot do all of this (The operator 'aten::x' is not currently implemented for the MPS device): "
        "the run continues on the CPU.",
    )
    with pytest.raises(NotImplementedError, match="not ours"):
        restore(burst, CountSettings(lacking="not ours"), device="mps")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliorestore.methods.base.pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (16e9, 24e9))
    monkeypatch.setattr(Count, "settings", BoundedSettings)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("stage", [0, 1, 3], ids=["when made", "first iteration", "later"])
def test_a_full_gpu_is_tried_with_half_and_a_quarter_of_the_memory(burst: Burst, stage: int) -> None:
    snapshots = list(stream(burst, BoundedSettings(out_of_memory_at=stage, needed_gb=2.5), device="cuda"))
    assert [s.step for s in snapshots] == [1, 2, 3, 4]
    assert Count.granted == [("cuda", None), ("cuda", 4.0), ("cuda", 2.0)]
    assert snapshots[-1].images.max() == 4
    assert snapshots[-1].run is not None
    assert snapshots[-1].run.device == "cuda"
    assert [message.rpartition("within ")[2] for message in snapshots[-1].messages] == ["4 GB.", "2 GB."]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("stage", [0, 1, 3], ids=["when made", "first iteration", "later"])
def test_a_gpu_that_is_full_whatever_is_asked_gives_way_to_the_cpu_with_all_its_memory(
    burst: Burst, stage: int
) -> None:
    running = stream(burst, BoundedSettings(out_of_memory_at=stage, memory_gb=8.0), device="cuda")
    snapshots = [
        next(running),
        running.send(BoundedSettings(out_of_memory_at=stage, memory_gb=8.0, gain=2.0)),
        *running,
    ]
    assert [s.step for s in snapshots] == [1, 2, 3, 4]
    assert Count.granted == [("cuda", 8.0), ("cuda", 4.0), ("cuda", 2.0), ("cpu", 8.0)]
    assert snapshots[-1].messages[-1] == "cuda is out of memory: the run continues on the CPU."
    assert snapshots[-1].run is not None
    assert snapshots[-1].run.device == "cuda, cpu"
    assert snapshots[-1].run.settings.memory_gb == 8.0


def test_numbers_in_a_live_text_have_a_column_each_and_are_repeated(burst: Burst) -> None:
    running = stream(burst, CountSettings(), device="cpu")
    snapshots = [
        next(running),
        running.send(CountSettings(shares="1, 0.5")),
        running.send(CountSettings(shares="2,3")),
        next(running),
    ]
    history = snapshots[-1].history
    np.testing.assert_array_equal(history["shares 1"], [np.nan, 1, 2, 2])
    np.testing.assert_array_equal(history["shares 2"], [np.nan, 0.5, 3, 3])
    again = list(replay(burst, CountSettings(), history, device="cpu"))
    np.testing.assert_array_equal(again[-1].history["shares 2"], history["shares 2"])
    assert len(again) == 4


def test_files_that_settings_name_are_part_of_the_record(burst: Burst, tmp_path: Path) -> None:
    path = tmp_path / "earlier.fits"
    path.write_bytes(b"pixels")
    run = next(stream(burst, BoundedSettings(start=str(path)), device="cpu")).run
    assert run is not None
    assert {name: source.size for name, source in run.files.items()} == {"start": 6}


FULL = [
    torch.OutOfMemoryError("full"),
    RuntimeError(
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes. Error code 12"
    ),
    MemoryError("Unable to allocate 3.7 GiB for an array"),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_a_full_main_memory_is_tried_with_less_and_named(
    error: Exception, burst: Burst, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted: list[float | None] = []

    def full(burst: Burst, settings: CountSettings, **_: object) -> Generator[Snapshot, None, None]:
        granted.append(getattr(settings, "memory_gb", None))
        raise error
        yield

    monkeypatch.setattr(METHOD, "stream", full, raising=True)
    with pytest.raises(RestorationError, match=r"\(1, 1, 3, 3\) .*fewer frames") as refusal:
        restore(burst, CountSettings(), device="cpu")
    assert ("allocate" not in str(error)) == ("MB at once" not in str(refusal.value))
    assert "3.7 GiB" not in str(error) or "(3,973 MB at once" in str(refusal.value)
    assert granted == [None]
    with pytest.raises(RestorationError):
        restore(burst, BoundedSettings(memory_gb=8.0), device="cpu")
    assert granted[1:] == [8.0, 4.0, 2.0]


def test_another_error_of_torch_is_passed_on(burst: Burst, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: object, **kwargs: object) -> Generator[Snapshot, None, None]:
        raise RuntimeError("shapes do not fit")
        yield

    monkeypatch.setattr(METHOD, "stream", wrong, raising=True)
    with pytest.raises(RuntimeError, match="shapes"):
        restore(burst, BoundedSettings(), device="cpu")


def test_a_negative_seed_is_refused(burst: Burst) -> None:
    with pytest.raises(SettingsError, match="seed is -1"):
        restore(burst, CountSettings(), device="cpu", seed=-1)


@pytest.mark.parametrize("value", [1e37, 1e-39])
def test_values_beyond_single_precision_are_refused(value: float) -> None:
    burst = Burst.from_array(np.full((3, 3), value), labels=("bright",))
    with pytest.raises(BurstError, match=r"values of bright reach .* another unit"):
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


@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if entry.needs_instrument])
def test_an_unknown_wavelength_is_a_sentence_and_never_a_number(name: str) -> None:
    frames = np.random.default_rng(1).normal(1, 0.1, (2, 3, 64, 64)).astype(np.float32)
    unknown = dataclasses.replace(KNOWN["hmi-6173"], wavelength_nm=None)
    burst = Burst(frames=frames, instruments=(KNOWN["hmi-6173"], unknown))
    with pytest.raises(SettingsError, match="does not give the instrument's wavelength_nm: choose"):
        restore(burst, load(name).settings(), device="cpu")

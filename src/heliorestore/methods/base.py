"""The protocol of a method, and the one loop for all callers: `stream`, and `restore`, which drains it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any, Protocol

import torch

from heliorestore.budget import budget_bytes
from heliorestore.burst import Burst, Source
from heliorestore.errors import BurstError, RestorationError, SettingsError, memory_asked, memory_is_full
from heliorestore.methods import METHODS
from heliorestore.methods.coverage import covered
from heliorestore.methods.history import Columns, History, gap, restarts, with_row
from heliorestore.methods.watch import News
from heliorestore.optics.precision import single
from heliorestore.settings import Settings, from_rows, options
from heliorestore.snapshot import Run, Snapshot
from heliorestore.storage import at_home, check_output

_HALVINGS = 2  # of the memory, before the CPU takes over from a GPU, or the run fails

Stream = Generator[Snapshot, Settings | None, None]


class Method(Protocol):
    """A restoration: yields a Snapshot per iteration, takes live settings by `send`, ends in `finally`."""

    name: str
    settings: type[Settings]

    def stream(
        self, burst: Burst, settings: Any, *, device: torch.device, seed: int, start: Snapshot | None = None
    ) -> Generator[Snapshot, Any, None]: ...


def load(name: str) -> Method:
    """Return the method of that name, loading its module."""
    if name not in METHODS:
        raise SettingsError(f"No method is called {name!r}; there are {', '.join(METHODS)}.")
    method: Method = _attribute(METHODS[name].target)
    return method


def _attribute(target: str) -> Any:
    """The object named by `module:name`; loads the module."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def devices() -> tuple[str, ...]:
    """The devices of this machine by name; `auto` takes the first."""
    if torch.cuda.is_available():
        return ("cuda", *(f"cuda:{n}" for n in range(torch.cuda.device_count())), "cpu")
    return ("mps", "cpu") if torch.backends.mps.is_available() else ("cpu",)


def least_bytes(burst: Burst, settings: Settings) -> int:
    """How large the file of a result is at least: its images, and every frame where a method keeps them."""
    objects, frames, rows, columns = burst.shape
    of_series = getattr(settings, "frame", None) is not None and getattr(settings, "series", True)
    return 4 * objects * rows * columns * (1 + frames if of_series and frames > 1 else 1)


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` takes a GPU where there is one."""
    available = devices()
    if name == "auto":
        return torch.device(available[0])
    if name not in available:
        raise SettingsError(
            f"The device {name!r} is not available here; available: auto, {', '.join(available)}."
        )
    return torch.device(name)


def stream(
    burst: Burst,
    settings: Settings,
    *,
    device: str = "auto",
    seed: int = 0,
    start: Snapshot | None = None,
    checkpoint: str = "",
    news: News | None = None,
) -> Stream:
    """Restore the burst, one Snapshot per iteration; `send` a copy of the settings to change live ones.

    Every snapshot carries the record of the run, all messages so far and the history of losses and live
    settings, so that any of them can be written to a file. If memory runs out, the run continues from its
    last snapshot with half of it, then with a quarter, if the method has a setting for it, on a GPU finally
    on the CPU, and says so. A `checkpoint` given here replaces that of the settings. Methods that can
    end an iteration in its middle ask `news` there for settings to continue with.
    """
    method, place = load(settings.method), pick_device(device)
    _check(burst, settings, checkpoint, place, seed)
    asked, entry = settings, METHODS[settings.method]
    start = _named_start(settings) if start is None else start
    settings, found = _attribute(entry.prepare)(burst, settings, place) if entry.prepare else (settings, ())
    messages: tuple[str, ...] = (*burst.messages, *found)
    files = _files(settings, burst.preparation)
    run = dataclasses.replace(Run.of(burst, settings, str(place), seed), files=files)
    live = _Live(asked, settings.replace(checkpoint=checkpoint) if checkpoint else settings)
    history, more = History(burst, live.settings, start), _heard(method, news, live)
    source = method.stream(burst, live.settings, device=place, seed=seed, start=start, **more)
    sent, last, halved = None, start, 0
    while True:
        # An error in the caller ends the method too, so that its checkpoint and its tensors are let go.
        with closing(source):
            try:
                while True:
                    snapshot = covered(_sent(source, sent, place))
                    history.add(snapshot, live.settings)
                    found = (*messages, *snapshot.messages, gap(history.columns, live.settings))
                    messages = tuple(dict.fromkeys(filter(None, found)))
                    last = dataclasses.replace(snapshot, run=run, history=history.columns, messages=messages)
                    # Closed here, it leaves by GeneratorExit, and `closing` ends the method.
                    sent = yield last
                    sent = None if sent is None else live.use(sent)
            except StopIteration:
                return
            except (MemoryError, RuntimeError, TypeError) as error:
                lacking = _lacking(error, place)
                if not lacking and not memory_is_full(error):
                    raise
                if place.type == "cpu" and not _can_halve(live.settings, halved):
                    raise RestorationError(_too_large(burst, error)) from error
                tried = _HALVINGS if lacking else halved
        # Closing the generator has freed its tensors. Continue in smaller pieces, or elsewhere.
        live.settings, place, message = _with_less(live.settings, asked, place, tried)
        halved, messages = halved + (not lacking), (*messages, lacking or message)
        if place.type == "cpu" and not run.device.endswith("cpu"):
            run = dataclasses.replace(run, device=f"{run.device}, cpu")
        history = History(burst, live.settings, last)  # records a restart, which `replay` repeats
        source = method.stream(burst, live.settings, device=place, seed=seed, start=last, **more)
        sent = None


def _sent(source: Generator[Snapshot, Any, None], sent: Any, place: torch.device) -> Snapshot:
    """The next snapshot, in single precision whatever the caller has on."""
    with single(place):
        return source.send(sent)


@dataclass
class _Live:
    """The settings of a run as it was asked for, and as they are now."""

    asked: Settings
    settings: Settings

    def use(self, sent: Settings) -> Settings:
        """Take over the live ones of those that were sent."""
        self.settings = self.settings.with_live(_as_running(sent, self.asked, self.settings))
        return self.settings


def _heard(method: Method, news: News | None, live: _Live) -> dict[str, Any]:
    """The argument of a method that hears news."""
    if news is None or "news" not in inspect.signature(method.stream).parameters:
        return {}
    return {"news": lambda: None if (arrived := news()) is None else live.use(arrived)}


def _named_start(settings: Settings) -> Snapshot | None:
    """The earlier result that settings name to begin with."""
    read, named = METHODS[settings.method].start, settings.files().get("start")
    found: Snapshot | None = _attribute(read)(named) if read and named else None
    return found


def _check(burst: Burst, settings: Settings, state: str, place: torch.device, seed: int) -> None:
    """Refuse data and a seed that no run is right with, a state that would replace an input, and a limit that
    the method cannot keep.
    """
    if not isinstance(burst, Burst):
        raise BurstError(
            f"A method restores a Burst, not {type(burst).__name__}: Burst.from_array and read give one."
        )
    burst.check_scale()
    burst.check_values()
    if burst.present is not None and not METHODS[settings.method].missing:
        able = ", ".join(name for name, entry in METHODS.items() if entry.missing)
        raise SettingsError(
            f"{settings.method} needs an image of every object in every frame, and this burst has only "
            f"{int(burst.present.sum())} of {burst.present.size}: use {able}, or choose one object and its "
            "frames (--objects, --frames)."
        )
    if not isinstance(seed, Integral) or seed < 0:
        raise SettingsError(f"The seed is {seed}; it must be a whole number from 0.")
    if state := state or getattr(settings, "checkpoint", ""):
        inputs = Run.of(burst, settings, str(place), seed).inputs()
        check_output(at_home(state), overwrite=True, inputs=inputs)
    if check := METHODS[settings.method].check:
        _attribute(check)(burst, settings, place)


def _lacking(error: BaseException, place: torch.device) -> str:
    """What is said of an error by which a device refuses what it has not: double precision, or an operation
    that torch does not have for it yet. Empty for others.
    """
    if place.type != "mps" or not isinstance(error, (NotImplementedError, TypeError)):
        return ""
    first = str(error).partition(". ")[0].rstrip(".")
    return f"{place} cannot do all of this ({first}): the run continues on the CPU." if "MPS" in first else ""


def _with_less(
    settings: Settings, asked: Settings, place: torch.device, halved: int
) -> tuple[Settings, torch.device, str]:
    """Settings and device with which a run continues when memory is full, and the message about it."""
    if place.type == "cuda":
        torch.cuda.empty_cache()
    if _can_halve(settings, halved):
        smaller = max(0.1, budget_bytes(getattr(settings, "memory_gb", None), place) / 2e9)
        message = f"{place} is out of memory: the run continues in smaller pieces, within {smaller:.3g} GB."
        return settings.replace(memory_gb=smaller), place, message
    if hasattr(asked, "memory_gb"):
        settings = settings.replace(memory_gb=asked.memory_gb)
    return settings, torch.device("cpu"), f"{place} is out of memory: the run continues on the CPU."


def _too_large(burst: Burst, error: BaseException) -> str:
    return (
        f"There is not enough memory for a burst of {burst.shape} (object, frame, y, x)"
        f"{memory_asked(error)}: choose fewer frames or objects, or a part of the field."
    )


def _can_halve(settings: Settings, halved: int) -> bool:
    return halved < _HALVINGS and hasattr(settings, "memory_gb")


def _as_running(sent: Settings, asked: Settings, running: Settings) -> Settings:
    """What was sent, with the values that the run has changed by itself (r0, memory) as they are."""
    if type(sent) is not type(running):
        return sent
    names = [
        o.name
        for o in options(type(running))
        if not o.live and getattr(sent, o.name) == getattr(asked, o.name)
    ]
    return sent.replace(**{name: getattr(running, name) for name in names})


def _files(*named: Settings) -> dict[str, Source]:
    """The files that settings name, by setting, as they are now; who reads them reports a missing one."""
    files = [item for settings in named for item in settings.files().items()]
    return {name: Source.of(path) for name, path in files if path.is_file()}


def settings_of(run: Run) -> Settings:
    """Return the settings of a run, also when it was read back from a file."""
    if isinstance(run.settings, Settings):
        return run.settings
    return from_rows(
        load(run.settings.method).settings, [(name, value) for name, value, *_ in run.settings.rows]
    )


def settings_at(snapshot: Snapshot) -> Settings:
    """The settings of a snapshot's run, the live ones with their values at its last iteration."""
    if snapshot.run is None:
        raise RestorationError("This result has no record of its run: its settings are unknown.")
    settings, rows = settings_of(snapshot.run), len(snapshot.history.get("step", ()))
    return with_row(settings, snapshot.history, rows - 1) if rows else settings


def replay(
    burst: Burst, settings: Settings, history: Columns, *, device: str = "auto", seed: int = 0
) -> Stream:
    """Repeat the run recorded in `history`: its live settings at every iteration, and as many iterations as
    it has rows.

    Where the run restarted from its result so far, so does this. The checkpoint of the run is left alone.
    """
    if hasattr(settings, "checkpoint"):
        settings = settings.replace(checkpoint="")
    rows = [with_row(settings, history, number) for number in range(len(history.get("step", ())))]
    if not rows:
        raise RestorationError("The restored file records no iteration: there is nothing to repeat.")
    if reason := gap(history, settings):
        raise RestorationError(reason)
    last: Snapshot | None = None
    # A restart begins a stream of its own, from the result before it.
    for first, end in pairwise([0, *restarts(history), len(rows)]):
        with closing(stream(burst, rows[first], device=device, seed=seed, start=last)) as source:
            sent: Settings | None = None
            for following in [*rows[first + 1 : end], None]:
                try:
                    last = source.send(sent)
                except StopIteration:
                    break
                # what ended there went on
                yield last if end == len(rows) else dataclasses.replace(last, stop=None)
                sent = following


def restore(
    burst: Burst, settings: Settings, *, device: str = "auto", seed: int = 0, start: Snapshot | None = None
) -> Snapshot:
    """Return the last snapshot of `stream`."""
    last = deque(stream(burst, settings, device=device, seed=seed, start=start), maxlen=1)
    if not last:
        raise RestorationError(f"{settings.method} gave no result.")
    return last[0]

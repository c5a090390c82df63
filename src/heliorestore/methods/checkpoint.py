"""The state of a run in a file, so that an interrupted run continues as if nothing had happened."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
import warnings
from contextlib import suppress
from typing import Any, TypeVar

import torch

from heliorestore.burst import Burst
from heliorestore.errors import CheckpointError, RestorationError, pickle_trouble
from heliorestore.methods.history import OF_THE_MACHINE, Columns, History
from heliorestore.nets.weights import on_cpu
from heliorestore.settings import Settings, options
from heliorestore.snapshot import Snapshot
from heliorestore.storage import at_home, atomic_write

State = TypeVar("State")

INTERVAL_S = 60.0


class Saver:
    """Writes the run's state with its history and clock after its first iteration, then at intervals;
    without a path it does nothing.
    """

    def __init__(self, path: str, burst: Burst, settings: Settings, start: Snapshot | None = None) -> None:
        self.path = at_home(path) if path else None
        self.key = _fingerprint(burst, settings) if path else ""
        self.history = History(burst, settings, start)
        self._saved = -math.inf  # a run that is lost in its first minute is lost too
        self._trouble = ""  # why it could not be saved last
        self._began = time.perf_counter() - (start.elapsed_s if start is not None else 0.0)

    def noted(self, snapshot: Snapshot, settings: Settings) -> Snapshot:
        """The snapshot with its time and the history up to it, which gains a row with these settings."""
        seconds = time.perf_counter() - self._began
        self.history.add(snapshot, settings, seconds)
        said = (*snapshot.messages, *filter(None, [self._trouble]))
        return dataclasses.replace(snapshot, elapsed_s=seconds, history=self.history.columns, messages=said)

    def timed(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with its time until now."""
        return dataclasses.replace(snapshot, elapsed_s=time.perf_counter() - self._began)

    def save(self, state: Any) -> None:
        """Save at intervals; a run that cannot be saved goes on, and its next snapshot says so."""
        if self.path is not None and time.monotonic() - self._saved >= INTERVAL_S:
            self.leave(state)

    def leave(self, state: Any) -> None:
        """Save now, if that can be done: the result is worth more than its state."""
        try:
            self.write(state)
        except RestorationError as error:
            self._saved, self._trouble = time.monotonic(), str(error)
        else:
            self._trouble = ""

    def write(self, state: Any) -> None:
        """Save now."""
        if self.path is None:
            return
        try:
            with atomic_write(self.path) as file:
                # As tensors: loading with weights_only refuses numpy arrays.
                history = {title: torch.tensor(column) for title, column in self.history.columns.items()}
                torch.save({"key": self.key, "state": _flat(state), "history": history}, file)
        except OSError as error:
            raise RestorationError(
                f"The checkpoint {self.path} cannot be written ({error}); choose another with --checkpoint."
            ) from error
        self._saved = time.monotonic()

    def go_on(self, history: Columns | None) -> None:
        """Continue the run that ended with these rows, None if they were not kept."""
        self.history.resume(history)
        if history:
            self._began = time.perf_counter() - float(history["seconds"][-1])

    def done(self) -> None:
        """The run has finished: delete the checkpoint."""
        if self.path is None:
            return
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def resume(saver: Saver, state: State) -> State:
    """The state in the saver's file, or the given one without a file; another run's is a CheckpointError."""
    if saver.path is None or not saver.path.exists():
        return state
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of strange pickles, which are refused below if they are too strange
            found = torch.load(saver.path, weights_only=True, map_location="cpu")
        key, values = found["key"], found["state"]
    except Exception as error:  # a damaged pickle raises almost anything
        raise CheckpointError(
            f"The checkpoint {saver.path} cannot be read ({pickle_trouble(error)}): delete it, or choose "
            "another file."
        ) from error
    if key != saver.key:
        raise CheckpointError(
            f"The checkpoint {saver.path} belongs to another burst or other settings: delete "
            "it, or choose another file."
        )
    history = found.get("history")  # None: of an earlier version
    saver.go_on(None if history is None else {title: column.numpy() for title, column in history.items()})
    return _filled(state, values, "")


def _flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """The fields of nested records of tensors and numbers, by dotted name; None is left out."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if dataclasses.is_dataclass(value):
            flat |= _flat(value, f"{prefix}{field.name}.")
        elif value is not None:
            flat[prefix + field.name] = on_cpu(value)
    return flat


def _filled(state: State, values: dict[str, Any], prefix: str) -> State:
    """The record with the values of `_flat`."""
    assert dataclasses.is_dataclass(state)
    assert not isinstance(state, type)
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(state):
        before = getattr(state, field.name)
        if dataclasses.is_dataclass(before) and not any(
            name.startswith(f"{prefix}{field.name}.") for name in values
        ):
            changes[field.name] = None  # this part of the run had already finished
        elif dataclasses.is_dataclass(before):
            changes[field.name] = _filled(before, values, f"{prefix}{field.name}.")
        else:
            # A value that an earlier version did not save keeps its initial value.
            value = values.get(prefix + field.name, None if isinstance(before, torch.Tensor) else before)
            changes[field.name] = (
                value.to(before.device) if isinstance(value, torch.Tensor) and before is not None else value
            )
    return dataclasses.replace(state, **changes)


def _fingerprint(burst: Burst, settings: Settings) -> str:
    """What identifies a run: shape and first frame of the burst, and the settings that cannot change."""
    # As if memory had not been limited: a run whose GPU was full continues with less.
    frozen = [
        (o.name, None if o.name in OF_THE_MACHINE else getattr(settings, o.name))
        for o in options(type(settings))
        if not o.live and o.name != "checkpoint"
    ]
    digest = hashlib.sha256(repr((settings.method, burst.shape, frozen, burst.instruments)).encode())
    # One frame stands for the pixels: to hash them all would read a large burst once more.
    digest.update(burst.image(0, 0).tobytes())
    return digest.hexdigest()

"""Which objects, frames, rows and columns are meant: numbers as text, and the part that they choose."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from heliorestore.errors import SettingsError

Numbers = Sequence[int]
"""Numbers of objects or frames: a range where they are evenly spaced, else a tuple."""
Chosen = slice | str | Iterable[int]
"""A choice of numbers: a slice, a text such as `0:12,15,17`, or the numbers themselves."""


class Frames(Protocol):
    """Any array that slices: numpy, a memory map, dask, or the lazy frames of a FITS file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, key: Any, /) -> Any: ...


def choose(chosen: Chosen, total: int, what: str) -> Numbers:
    """The chosen ones of the numbers 0 to total - 1, each once and in the order given; `what` are they."""
    if isinstance(chosen, slice):
        found: Numbers = range(total)[chosen]
    elif isinstance(chosen, str):
        found = _parse(chosen, total, what)
    else:
        try:
            found = evenly(tuple(dict.fromkeys(map(operator.index, chosen))))
        except TypeError:
            raise SettingsError(
                f"The {what} are {chosen!r}; give whole numbers in a list, such as [0], a slice, or a text "
                "such as 0:12,15."
            ) from None
    wrong = [n for n in (found[:1], found[-1:]) if n and not 0 <= n[0] < total]
    if isinstance(found, tuple):
        wrong = [[n] for n in found if not 0 <= n < total]
    if wrong:
        raise SettingsError(f"There is no number {wrong[0][0]} of the {what}: {_there_are(total, what)}.")
    if not found:
        raise SettingsError(f"No {what} are left: {_there_are(total, what)}.")
    return found


def _there_are(total: int, what: str) -> str:
    return f"the burst has {total} {what}, numbered 0 to {total - 1}"


def _parse(text: str, total: int, what: str) -> Numbers:
    """The numbers that a text such as `0:12,15,17` or `::2` chooses; negative ones count from the end."""
    parts: list[Numbers] = []
    for part in text.split(","):
        try:
            ends = [int(word) if word.strip() else None for word in part.split(":")]
            if "_" in part:  # Python takes 1_0 for ten
                raise ValueError(part)
            if len(ends) > 3 or (len(ends) == 1 and ends[0] is None and "," in text) or 0 in ends[2:]:
                raise ValueError(part)
        except ValueError:
            raise SettingsError(
                f"The {what} are {text!r}; write numbers and Python slices, such as 0:6, ::2 or 0:12,15,17."
            ) from None
        first = ends[0]
        if len(ends) == 1 and first is not None:
            parts.append([first + total if -total <= first < 0 else first])
        else:
            parts.append(range(total)[slice(*ends)])
    if len(parts) == 1 and isinstance(parts[0], range):
        return parts[0]
    return evenly(tuple(dict.fromkeys(n for numbers in parts for n in numbers)))


def evenly(numbers: Sequence[int]) -> Numbers:
    """The same numbers as a range if they are evenly spaced."""
    if isinstance(numbers, range) or not numbers:
        return numbers or range(0)
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    regular = range(numbers[0], numbers[0] + step * len(numbers), step) if step else ()
    return regular if len(regular) == len(numbers) and all(map(int.__eq__, regular, numbers)) else numbers


def numbers_text(numbers: Numbers) -> str:
    """The text that chooses these numbers again."""
    if isinstance(numbers, range):
        return _range_text(numbers)
    runs: list[range] = []
    for n in numbers:
        if runs and n == runs[-1].stop:
            runs[-1] = range(runs[-1].start, n + 1)
        else:
            runs.append(range(n, n + 1))
    return ",".join(_range_text(run) if len(run) > 1 else str(run.start) for run in runs)


def _range_text(numbers: range) -> str:
    # range(3, -1, -1) includes 0; as the end of a slice, -1 would mean the last element.
    ends = f"{numbers.start}:{numbers.stop if numbers.stop >= 0 else ''}"
    return ends if numbers.step == 1 else f"{ends}:{numbers.step}"


def as_slice(part: range) -> slice:
    """The slice that picks the numbers of a range, also when it runs backwards to the first element."""
    return slice(part.start, part.stop if part.stop >= 0 else None, part.step)


def pick(values: Sequence[Any] | npt.NDArray[Any], chosen: Numbers) -> Any:
    """The chosen ones of a sequence or an array, along its first axis."""
    if isinstance(chosen, range):
        return values[as_slice(chosen)]
    return values[list(chosen)] if isinstance(values, np.ndarray) else tuple(values[n] for n in chosen)


def pick_images(
    values: npt.NDArray[Any] | None, objects: Numbers, frames: Numbers
) -> npt.NDArray[Any] | None:
    """The chosen objects and frames of an array (object, frame, ...), if there is one."""
    if values is None:
        return None
    return np.asarray(pick(np.moveaxis(pick(values, objects), 1, 0), frames)).swapaxes(0, 1)


class Part:
    """The objects, frames, rows and columns of a `Frames` that a selection keeps, read only when needed."""

    def __init__(self, frames: Frames, *chosen: Numbers) -> None:
        self._frames = frames
        self._chosen = (*chosen, *(range(n) for n in frames.shape[len(chosen) :]))
        self.shape = tuple(len(part) for part in self._chosen)
        self.dtype = frames.dtype
        self.ndim = 4

    def __getitem__(self, key: Any) -> Any:
        keys = zip(self._chosen, every_axis(key, self.ndim), strict=True)
        picked = [part[k] for part, k in keys]
        return _read(self._frames, [evenly(p) if isinstance(p, tuple) else p for p in picked])


def _read(frames: Frames, picked: Sequence[int | Numbers]) -> Any:
    """The picked numbers of every axis, read one by one along an axis where they are not evenly spaced."""
    for axis, numbers in enumerate(picked):
        if isinstance(numbers, tuple):
            parts = [_read(frames, [*picked[:axis], n, *picked[axis + 1 :]]) for n in numbers]
            return np.stack(parts, sum(not isinstance(p, int) for p in picked[:axis]))
    return frames[tuple(as_slice(p) if isinstance(p, range) else p for p in picked)]


def every_axis(key: Any, ndim: int) -> tuple[Any, ...]:
    """The index with an entry per axis: Ellipsis and what is missing at the end are whole axes."""
    keys = key if isinstance(key, tuple) else (key,)
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    given = len(keys) - len(dots)
    plain = all(isinstance(k, (slice, int, np.integer)) for k in keys if k is not Ellipsis)
    if len(dots) > 1 or given > ndim or not plain:
        raise IndexError(
            f"Frames take up to {ndim} whole numbers, slices and one Ellipsis as index; got {key!r}."
        )
    at = dots[0] if dots else len(keys)
    return (*keys[:at], *(slice(None),) * (ndim - given), *keys[at + 1 :])

"""The observation: a burst of short exposures, ordered object, frame, y, x."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError, SettingsError
from heliorestore.instrument import Instrument

if TYPE_CHECKING:
    from astropy.io.fits import Header

FloatArray = npt.NDArray[np.float32]


class Frames(Protocol):
    """Any array that slices: numpy, a memory map, dask, or the lazy frames of a FITS file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file from which pixels came, as it was when opened; its checksum is known after the export."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str = ""

    @classmethod
    def of(cls, path: Path) -> Source:
        stat = path.stat()
        return cls(path=path.absolute(), size=stat.st_size, mtime_ns=stat.st_mtime_ns)


@dataclass(frozen=True, kw_only=True, eq=False)
class Burst:
    """Frames (object, frame, y, x) with what is known about them; NaN marks a bad pixel.

    `instruments`, `labels` and `headers` have one entry per object, `times` one per frame (UTC, NaT where
    unknown). `pointing` (object, frame, 2, 3) is the place of every image, if the file gives it for each:
    longitude and latitude in arcsec at the field's centre, their change per pixel along x, and along y; NaN
    where unknown. `object_range` and `frame_range` are the part of the file that this is. `layout` is a key
    of `fits.layouts.LAYOUTS`.
    """

    frames: Frames
    instruments: tuple[Instrument, ...] = ()
    labels: tuple[str, ...] = ()
    headers: tuple[Header, ...] = ()
    times: npt.NDArray[np.datetime64] | None = None
    pointing: npt.NDArray[np.float64] | None = None
    unit: str = ""
    sources: tuple[Source, ...] = ()
    layout: str = "array"
    object_range: range = field(default=range(0))
    frame_range: range = field(default=range(0))

    def __post_init__(self) -> None:
        shape = tuple(self.frames.shape)
        if len(shape) != 4 or 0 in shape:
            raise BurstError(
                "A burst has four axes (object, frame, y, x), none of them empty; this array "
                f"has the shape {shape}."
            )
        objects, frames = shape[:2]
        fill: dict[str, Any] = {
            "instruments": self.instruments or (Instrument(),) * objects,
            "labels": self.labels or tuple(f"object {i}" for i in range(objects)),
            "object_range": self.object_range or range(objects),
            "frame_range": self.frame_range or range(frames),
        }
        # The record is frozen: this is the way to fill in defaults that depend on the shape.
        for name, value in fill.items():
            object.__setattr__(self, name, value)
        for name, wanted in (
            ("instruments", objects), ("labels", objects), ("object_range", objects), ("frame_range", frames),
            ("headers", objects if self.headers else 0), ("times", frames),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and len(value) != wanted:
                raise BurstError(
                    f"The burst has shape {shape} but {len(value)} {name}; there must be {wanted}."
                )
        if self.pointing is not None and self.pointing.shape != (objects, frames, 2, 3):
            raise BurstError(
                f"The burst has shape {shape} but its pointing {self.pointing.shape}; it must "
                f"be {(objects, frames, 2, 3)}."
            )

    @classmethod
    def from_array(cls, images: npt.ArrayLike, instrument: Instrument | None = None, **known: Any) -> Burst:
        """Make a burst of an array (y, x), (frame, y, x) or (object, frame, y, x)."""
        array = np.asarray(images)
        if not 2 <= array.ndim <= 4:
            raise BurstError(
                f"An image has 2 to 4 axes, (object, frame, y, x) at most; this array has {array.ndim}."
            )
        array = array.reshape((1,) * (4 - array.ndim) + array.shape)
        instruments = (instrument or Instrument(),) * array.shape[0]
        return cls(**{"frames": array, "instruments": instruments} | known)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of objects, frames, rows and columns."""
        objects, frames, rows, columns = self.frames.shape
        return objects, frames, rows, columns

    def image(self, object_: int, frame: int) -> FloatArray:
        """One frame as native float32, NaN where the pixel is bad."""
        image = np.asarray(self.frames[object_, frame])
        return np.ascontiguousarray(image, dtype=np.float32)

    def images(self) -> Iterator[tuple[int, int, FloatArray]]:
        """Every frame with its object and frame number, one at a time."""
        for object_ in range(self.shape[0]):
            for frame in range(self.shape[1]):
                yield object_, frame, self.image(object_, frame)

    def count_bad_pixels(self) -> int:
        """Pixels that are NaN, infinite or BLANK in the file; reads every frame, one at a time."""
        return sum(int(np.count_nonzero(~np.isfinite(image))) for _, _, image in self.images())

    def select(self, objects: slice = slice(None), frames: slice = slice(None)) -> Burst:
        """Return the part of the burst that Python slices of objects and frames choose; nothing is read."""
        shape = self.shape
        chosen = range(shape[0])[objects], range(shape[1])[frames]
        for name, part, total in zip(("objects", "frames"), chosen, shape[:2], strict=True):
            if not part:
                raise SettingsError(f"No {name} are left: the burst has {total}, numbered 0 to {total - 1}.")
        # The whole needs no wrapper.
        if chosen == (range(shape[0]), range(shape[1])):
            return self
        return dataclasses.replace(
            self,
            frames=_Part(self.frames, *chosen),
            instruments=self.instruments[objects],
            labels=self.labels[objects],
            headers=self.headers[objects],
            times=None if self.times is None else self.times[frames],
            pointing=None if self.pointing is None else self.pointing[objects, frames],
            object_range=self.object_range[objects],
            frame_range=self.frame_range[frames],
        )

    def window(self, rows: slice, columns: slice) -> Burst:
        """Return a rectangle of the field; nothing is read, and the headers stay those of the whole field."""
        chosen = range(self.shape[2])[rows], range(self.shape[3])[columns]
        if not (chosen[0] and chosen[1]):
            raise SettingsError(
                f"The rectangle lies outside the field of {self.shape[3]} x {self.shape[2]} pixels."
            )
        return dataclasses.replace(
            self, frames=_Part(self.frames, range(self.shape[0]), range(self.shape[1]), *chosen)
        )

    def middle(self, size: int) -> Burst:
        """Return the middle of the field, at most `size` pixels each way; nothing is read."""
        first = [max(0, (n - size) // 2) for n in self.shape[2:]]
        return self.window(slice(first[0], first[0] + size), slice(first[1], first[1] + size))

    def with_instrument(self, text: str) -> Burst:
        """The burst with every object's instrument changed as `Instrument.parse` reads `text`."""
        return dataclasses.replace(
            self, instruments=tuple(Instrument.parse(text, known) for known in self.instruments)
        )


class _Part:
    """The objects, frames, rows and columns of a `Frames` that a selection keeps, read only when needed."""

    def __init__(self, frames: Frames, *chosen: range) -> None:
        self._frames = frames
        self._chosen = (*chosen, *(range(n) for n in frames.shape[len(chosen) :]))
        self.shape = tuple(len(part) for part in self._chosen)
        self.dtype = frames.dtype
        self.ndim = 4

    def __getitem__(self, key: Any) -> Any:
        picked = [part[k] for part, k in zip(self._chosen, every_axis(key, self.ndim), strict=True)]
        return self._frames[tuple(as_slice(p) if isinstance(p, range) else p for p in picked)]


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


def parse_slice(text: str) -> slice:
    """Read `A:B`, `A:B:C` or a single number; empty is everything, and other text a ValueError."""
    numbers = [int(part) if part.strip() else None for part in text.split(":")]
    if len(numbers) > 3:
        raise ValueError(f"{text!r} has more than three parts")
    if len(numbers) == 1 and (n := numbers[0]) is not None:
        return slice(n, n + 1 or None)
    return slice(*numbers)


def as_slice(part: range) -> slice:
    """The slice that picks the numbers of a range, also when it runs backwards to the first element."""
    # range(3, -1, -1) includes 0; as the end of a slice, -1 would mean the last element.
    return slice(part.start, part.stop if part.stop >= 0 else None, part.step)

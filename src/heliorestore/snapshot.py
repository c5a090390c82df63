"""What a method says at one moment: images, maps and losses, with the record of the run they belong to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import FloatArray, Source
from heliorestore.errors import RestorationError
from heliorestore.instrument import Instrument
from heliorestore.settings import SavedSettings, Settings

if TYPE_CHECKING:
    from astropy.io.fits import Header

    from heliorestore.burst import Burst


SERIES = "series"
"""The map with every frame (object, frame, y, x) of a method that restores each; what belongs to it is called
`series_...`."""


class StopReason(Enum):
    """Why a restoration ended; the value is the sentence a user reads."""

    DONE = "All iterations are done."
    NOISE = "The residual has reached the noise: more iterations would fit the noise."
    CONVERGED = "The result no longer changes."
    USER = "Stopped by the user."


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What was run on what: all that is needed to document a restoration, and to repeat it.

    A run read back from a file holds SavedSettings, and sources with the checksums that the file keeps.
    `files` are those that settings name, by the name of the setting. `pointing` is the burst's; of a run read
    back only the headers tell the place.
    """

    settings: Settings | SavedSettings
    device: str
    seed: int
    instruments: tuple[Instrument, ...]
    labels: tuple[str, ...]
    unit: str = ""
    headers: tuple[Header, ...] = ()
    sources: tuple[Source, ...] = ()
    files: Mapping[str, Source] = field(default_factory=dict)
    times: npt.NDArray[np.datetime64] | None = None
    pointing: npt.NDArray[np.float64] | None = None
    object_range: range = range(0)
    frame_range: range = range(0)

    @classmethod
    def of(cls, burst: Burst, settings: Settings | SavedSettings, device: str, seed: int) -> Run:
        shared = {f.name: getattr(burst, f.name) for f in dataclasses.fields(cls) if hasattr(burst, f.name)}
        return cls(settings=settings, device=device, seed=seed, **shared)

    def inputs(self) -> tuple[Path, ...]:
        """Every file that it was made from."""
        return tuple(source.path for source in (*self.sources, *self.files.values()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A detached, read-only CPU copy of a method's state: it may cross threads because nobody can write it.

    images (object, y, x) in the units of the burst; `zoom` of its pixels make one pixel of the burst. maps by
    name: `modes` (frame, mode, gy, gx) in radian, `residual`, `uncertainty`, `coverage` (object, y, x), and
    `series` (object, frame, y, x) where every frame was restored, of which images show one. losses of this
    step by name; `history` has one value per iteration from the very start, filled in by `stream`, or by a
    method that goes on with a run that was cut off.
    """

    step: int
    total: int
    images: FloatArray
    maps: Mapping[str, FloatArray] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    elapsed_s: float = 0.0
    zoom: int = 1
    stop: StopReason | None = None
    messages: tuple[str, ...] = ()
    run: Run | None = None

    def __post_init__(self) -> None:
        freeze = object.__setattr__
        if self.images.ndim != 3:
            raise RestorationError(
                f"A snapshot's images have the axes (object, y, x); these have the shape {self.images.shape}."
            )
        freeze(self, "images", _read_only(self.images, np.float32))
        freeze(
            self,
            "maps",
            MappingProxyType({name: _read_only(array, np.float32) for name, array in self.maps.items()}),
        )
        freeze(self, "losses", MappingProxyType({name: float(value) for name, value in self.losses.items()}))
        freeze(
            self,
            "history",
            MappingProxyType({name: _read_only(array, np.float64) for name, array in self.history.items()}),
        )


def _read_only(array: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the array unwritable: itself if it already is, else a copy that nobody else holds."""
    values = np.asarray(array, dtype=dtype)
    base: Any = values
    while base is not None and isinstance(base, np.ndarray) and not base.flags.writeable:
        base = base.base
    if base is not None:
        values = values.copy()
        values.flags.writeable = False
    return values

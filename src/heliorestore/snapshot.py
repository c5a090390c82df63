"""The state of a method at one moment: images, maps and losses, with the record of the run."""

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
from numpy.lib.mixins import NDArrayOperatorsMixin

from heliorestore.burst import FloatArray, Source
from heliorestore.coordinates import Coordinates
from heliorestore.errors import RestorationError
from heliorestore.instrument import Instrument
from heliorestore.preparation import Preparation
from heliorestore.selection import Numbers
from heliorestore.settings import SavedSettings, Settings

if TYPE_CHECKING:
    from astropy.io.fits import Header

    from heliorestore.burst import Burst


SERIES = "series"
"""The map with every frame (object, frame, y, x) of a method that restores each; related maps are called
`series_...`.
"""

IMAGE_AXES = ("object", "y", "x")
SERIES_AXES = ("object", "frame", "y", "x")
NODE_AXES = ("frame", "mode", "gy", "gx")
DATA_UNIT = "DATAUNIT"
"""The unit of a map that has the unit of the images."""


class StopReason(Enum):
    """Why a restoration ended; the value is the sentence a user reads."""

    DONE = "All iterations are done."
    NOISE = "The residual has reached the noise: more iterations would fit the noise."
    CONVERGED = "The result no longer changes."
    USER = "Stopped by the user."


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """The record of a run: everything that is needed to document a restoration, and to repeat it.

    A run read back from a file holds SavedSettings, and sources with the checksums that the file keeps.
    `files` are those that settings and preparation name, by the name of the setting. `pointing` is the
    burst's; for a run read back only the headers give the place.
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
    image_times: npt.NDArray[np.datetime64] | None = None
    pointing: npt.NDArray[np.float64] | None = None
    coordinates: tuple[Coordinates, ...] = ()
    present: npt.NDArray[np.bool_] | None = None
    object_numbers: Numbers = range(0)
    frame_numbers: Numbers = range(0)
    preparation: Preparation = field(default_factory=Preparation)

    @classmethod
    def of(cls, burst: Burst, settings: Settings | SavedSettings, device: str, seed: int) -> Run:
        shared = {f.name: getattr(burst, f.name) for f in dataclasses.fields(cls) if hasattr(burst, f.name)}
        return cls(settings=settings, device=device, seed=seed, **shared)

    def inputs(self) -> tuple[Path, ...]:
        """Every file from which it was made."""
        return tuple(source.path for source in (*self.sources, *self.files.values()))


@dataclass(frozen=True, eq=False)
class Map(NDArrayOperatorsMixin):
    """An array (read-only float32) beside the images with the meaning of its axes and values; behaves like
    the array.

    `axes` are names such as `IMAGE_AXES`; `unit` is a text, or `DATA_UNIT`; a `signed` map is shown around
    zero. A map on a grid of nodes has their distances `step` and the place `first` of the first one, both (y,
    x) in pixels of the observed image; (0, 0) is the centre of its first pixel.
    """

    array: FloatArray
    axes: tuple[str, ...] = IMAGE_AXES
    unit: str = ""
    step: tuple[float, float] | None = None
    first: tuple[float, float] = (0.0, 0.0)
    signed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", _read_only(self.array, np.float32))
        if len(self.axes) != self.array.ndim:
            raise RestorationError(
                f"A map with the axes ({', '.join(self.axes)}) cannot have the shape {self.array.shape}: "
                "name as many axes as the array has."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.array, dtype) if copy else np.asarray(self.array, dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **named: Any) -> Any:
        # So that numpy's functions of a map give plain arrays.
        arrays = (each.array if isinstance(each, Map) else each for each in inputs)
        return getattr(ufunc, method)(*arrays, **named)

    def __getitem__(self, key: Any) -> Any:
        return self.array[key]

    def __len__(self) -> int:
        return len(self.array)

    def __getattr__(self, name: str) -> Any:  # mean, std, dtype and whatever else an array has
        # copy and pickle look for private names before there is an array: without this they recurse for ever.
        if name.startswith("_") or name == "array":
            raise AttributeError(name)
        return getattr(self.array, name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A detached, read-only CPU copy of a method's state: nobody can write it, so it may cross threads.

    images (object, y, x) in the units of the burst; `zoom` of its pixels make one pixel of the burst. maps by
    name, each a `Map`, or an array that becomes one by its name and number of axes: `modes` (frame, mode, gy,
    gx) in radian, `residual`, `uncertainty`, `coverage` (object, y, x), and `series` (object, frame, y, x)
    where every frame was restored, of which images show one. losses of this step by name; `history` has one
    value per iteration from the very start, filled in by `stream`, or by a method that continues an
    interrupted run. `stages` names the parts of a run in order, with the step at which each ends; without
    them it has one.
    """

    step: int
    total: int
    images: FloatArray
    maps: Mapping[str, Map] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    elapsed_s: float = 0.0
    zoom: int = 1
    stop: StopReason | None = None
    stages: tuple[tuple[str, int], ...] = ()
    messages: tuple[str, ...] = ()
    run: Run | None = None

    def __post_init__(self) -> None:
        freeze = object.__setattr__
        if self.images.ndim != 3:
            raise RestorationError(
                f"A snapshot's images have the axes (object, y, x); these have the shape {self.images.shape}."
            )
        freeze(self, "images", _read_only(self.images, np.float32))
        maps = {name: as_map(name, found, self.run) for name, found in self.maps.items()}
        freeze(self, "maps", MappingProxyType(maps))
        freeze(self, "losses", MappingProxyType({name: float(value) for name, value in self.losses.items()}))
        freeze(
            self,
            "history",
            MappingProxyType({name: _read_only(array, np.float64) for name, array in self.history.items()}),
        )

    def array(self, name: str) -> FloatArray | None:
        """The array of a map, None if there is no such map."""
        return self.maps[name].array if name in self.maps else None

    def unit_of(self, name: str) -> str:
        """The unit of a map; empty where none is known."""
        unit = self.maps[name].unit
        return unit if unit != DATA_UNIT else "" if self.run is None else self.run.unit


def as_map(name: str, found: Map | npt.ArrayLike, run: Run | None) -> Map:
    """The map itself, or one made from an array by its name and number of axes."""
    if isinstance(found, Map):
        return found
    array = np.asarray(found, np.float32)
    four = SERIES_AXES if name.startswith(SERIES) else NODE_AXES
    known = {2: IMAGE_AXES[1:], 3: IMAGE_AXES, 4: four}
    axes = known.get(array.ndim, tuple(f"axis {n}" for n in range(array.ndim)))
    if axes == NODE_AXES and name == "modes":
        return Map(array, axes, "rad", _node_step(run), signed=True)
    # Such maps are differences or spreads of images.
    of_data = name.startswith(("residual", "uncertainty", "spread", SERIES))
    return Map(array, axes, DATA_UNIT if of_data else "", signed=name == "residual")


def _node_step(run: Run | None) -> tuple[float, float] | None:
    """The distance of the nodes by the setting grid_step, if a method has it."""
    settings = None if run is None else run.settings
    if isinstance(settings, SavedSettings):
        step = next((int(text) for name, text, *_ in settings.rows if name == "grid_step"), None)
    else:
        step = getattr(settings, "grid_step", None)
    return None if step is None else (float(step), float(step))


def _read_only(array: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the array unwritable: itself if it already is, else a copy that nobody else holds."""
    values = np.asarray(array, dtype=dtype)
    # A view of a writable array is not safe: every array down to the owner of the memory must be read-only.
    base: Any = values
    while base is not None and isinstance(base, np.ndarray) and not base.flags.writeable:
        base = base.base
    if base is not None:
        values = values.copy()
        values.flags.writeable = False
    return values

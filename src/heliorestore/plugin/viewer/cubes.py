"""Spectral and polarimetric cubes: which objects of a burst or result are one layer, and its axes.

A cube has the axes (λ, Stokes, t, y, x), or (λ, state, t, y, x). napari aligns axes from the last one: t is
where every burst has it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst
from heliorestore.coordinates import Coordinates
from heliorestore.instrument import Instrument
from heliorestore.snapshot import Snapshot

CUBE = "cube"  # metadata key of the layers that show one
PARAMETER_AXIS, TIME_AXIS, AXES = -4, -3, 5

LASTING = 1e4
"""The world's frames that one image lasts, which was made of all of them: it is shown at each."""

SIGNED = frozenset("QUV")
_STOKES = re.compile(r"(?:\A|.*[\s,_-])([IQUV])\Z")
_WAVE = re.compile(r"\d\.\d+ nm\b")  # as the labels of an axis WAVE begin
_ONE_LINE = 0.02  # relative difference of wavelengths: beyond it they are bands, not a spectrum


@dataclass(frozen=True, eq=False)
class Cube:
    """The numbers of the objects (wavelength, parameter) of a layer; `axis` is Stokes or state, and
    `parameters` and `waves` name the places along the axes.
    """

    objects: npt.NDArray[np.int64]
    axis: str
    parameters: tuple[str, ...]
    waves: tuple[str, ...]

    @property
    def first(self) -> int:
        """The object by whose number the layer is known."""
        return int(self.objects.min())

    @property
    def name(self) -> str:
        """What distinguishes the layer from others of its file."""
        return "states" if self.axis == "state" else "Stokes" if len(self.parameters) > 1 else "spectrum"

    @property
    def axis_labels(self) -> tuple[str, ...]:
        return "λ", self.axis, "t", "y", "x"

    def arranged(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values (object, ...) as (wavelength, parameter, ...), a view where the order allows it."""
        waves, parameters = self.objects.shape
        part = values[self.first : self.first + self.objects.size]
        numbers = np.arange(self.first, self.first + self.objects.size)
        if np.array_equal(self.objects, numbers.reshape(waves, parameters)):
            return part.reshape(waves, parameters, *values.shape[1:])
        if np.array_equal(self.objects.T, numbers.reshape(parameters, waves)):
            return part.reshape(parameters, waves, *values.shape[1:]).swapaxes(0, 1)
        return np.asarray(values[self.objects])

    def placed(self, arguments: Mapping[str, Any], frames: int) -> dict[str, Any]:
        """The place of an image (y, x) as that of the cube."""
        turn = np.eye(AXES)
        turn[-2:, -2:] = arguments["rotate"]
        return {
            "scale": (1.0, 1.0, 1.0 if frames > 1 else LASTING, *arguments["scale"]),
            "translate": (0.0, 0.0, 0.0, *arguments["translate"]),
            "units": ("pixel", "pixel", "pixel", *arguments["units"]),
            "rotate": turn,
        }

    def describe(self, wave: int, parameter: int) -> str:
        """The place along both axes for people, as `V  630.2422 nm (-8 pm)`."""
        word = self.parameters[parameter]
        return f"{f'state {word}' if self.axis == 'state' else word}  {self.waves[wave]}".strip()


def groups_of(record: Burst | Snapshot) -> list[Cube | int]:
    """What becomes a layer: cubes, and the numbers of objects that are in none, in the order of objects."""
    known = record if isinstance(record, Burst) else record.run
    count = record.shape[0] if isinstance(record, Burst) else len(record.images)
    if known is None or len(known.labels) != count:
        return list(range(count))
    cubes = _cubes(tuple(known.labels), tuple(known.instruments), tuple(known.coordinates))
    inside = {int(number) for cube in cubes for number in cube.objects.flat}
    found: list[Cube | int] = [number for number in range(count) if number not in inside]
    return sorted([*found, *cubes], key=number_of)


def number_of(group: Cube | int) -> int:
    """The object by whose number a layer is known."""
    return group.first if isinstance(group, Cube) else group


def part_of(values: npt.NDArray[Any], group: Cube | int) -> npt.NDArray[Any]:
    """The values (object, y, x) or (object, frame, y, x) of an object, or of a cube with its t."""
    if not isinstance(group, Cube):
        return np.asarray(values[group])
    return group.arranged(values if values.ndim == 4 else values[:, None])


def cube_at(record: Burst | Snapshot, object_: int) -> Cube | None:
    """The cube that this object belongs to."""
    cubes = (each for each in groups_of(record) if isinstance(each, Cube))
    return next((cube for cube in cubes if object_ in cube.objects), None)


def cube_of(layer: Any) -> Cube | None:
    """The cube that a layer shows, unless its axes have been changed since."""
    cube = layer.metadata.get(CUBE)
    fits = isinstance(cube, Cube) and tuple(layer.data.shape[:2]) == cube.objects.shape and layer.ndim == AXES
    return cube if fits else None


def objects_in(layer: Any) -> list[int]:
    """The numbers of the objects that a layer shows, along λ and then along its other axis."""
    cube = cube_of(layer)
    return [layer.metadata.get("object", 0)] if cube is None else [int(n) for n in cube.objects.flat]


def label_in(layer: Any, object_: int) -> str:
    """The name of a layer, or of an object of a cube, which says its wavelength and its parameter."""
    cube = cube_of(layer)
    if cube is None:
        return str(layer.name)
    wave, parameter = np.argwhere(cube.objects == object_)[0]
    return f"{cube.waves[wave]}, {cube.parameters[parameter]}".strip(" ,")


def coordinates_in(record: Any, object_: int) -> Coordinates | None:
    """The coordinates of an object of a burst or of a result, None where they are unknown."""
    of = record if isinstance(record, Burst) else getattr(record, "run", None)
    return of.coordinates[object_] if of is not None and of.coordinates else None


def place_in(layer: Any, point: Sequence[float]) -> tuple[int, int] | None:
    """The numbers along λ and along the other axis at a place in the world, None in other layers."""
    cube = cube_of(layer)
    if cube is None or len(point) < AXES:
        return None
    at = layer.world_to_data(tuple(point)[-AXES:])
    wave, parameter = (
        int(np.clip(round(float(where)), 0, length - 1))
        for where, length in zip(at[:2], cube.objects.shape, strict=True)
    )
    return wave, parameter


@functools.lru_cache(maxsize=16)
def _cubes(
    labels: tuple[str, ...], instruments: tuple[Instrument, ...], coordinates: tuple[Coordinates, ...]
) -> tuple[Cube, ...]:
    kinds: dict[str, list[tuple[str, float, int]]] = {"Stokes": [], "state": []}
    texts: dict[float, str] = {}
    for number, (label, instrument) in enumerate(zip(labels, instruments, strict=True)):
        known = coordinates[number] if coordinates else Coordinates()
        if known.is_wide_band:
            continue
        wave, text = _wave(known, instrument)
        texts.setdefault(wave, text)
        named = _STOKES.match(label)
        stokes = known.stokes or (named[1] if named else "I")
        if known.state is None:
            kinds["Stokes"].append((stokes, wave, number))
        else:
            kinds["state"].append((str(known.state), wave, number))
    made = (_cube(axis, found, labels, bool(coordinates), texts) for axis, found in kinds.items())
    return tuple(cube for cube in made if cube is not None)


def _wave(known: Coordinates, instrument: Instrument) -> tuple[float, str]:
    """The wavelength in nm, 0 where unknown, and what is said of it."""
    nm = known.wavelength_nm if known.wavelength_nm is not None else instrument.wavelength_nm
    offset = known.offset_pm
    place = "" if offset is None else f"{offset:+g} pm" if offset else "0 pm"
    if nm is None:
        return offset or 0.0, place
    wave = round(nm + (offset or 0.0) / 1000, 6)
    return wave, f"{wave:.4f} nm" + (f" ({place})" if place else "")


def _cube(
    axis: str,
    found: Sequence[tuple[str, float, int]],
    labels: Sequence[str],
    located: bool,
    texts: Mapping[float, str],
) -> Cube | None:
    """The cube of these objects (parameter, wavelength, number), None if they are no full grid."""
    places = {(parameter, wave): number for parameter, wave, number in found}
    order = "IQUV" if axis == "Stokes" else ""
    parameters = sorted({p for p, _ in places}, key=lambda p: (order.find(p), len(p), p))
    waves = sorted({wave for _, wave in places})
    full = len(found) == len(places) == len(parameters) * len(waves) >= 2
    spectrum = (
        bool(waves)
        and waves[-1] - waves[0] <= _ONE_LINE * abs(waves[0])
        and (located or all(_WAVE.search(labels[number]) for *_, number in found))
    )
    if not full or not (len(parameters) > 1 or spectrum):
        return None
    return Cube(
        np.array([[places[p, wave] for p in parameters] for wave in waves]),
        axis,
        tuple(parameters),
        tuple(texts[wave] for wave in waves),
    )

"""The table OBJECTS: where each object stands in the observation, and in which frames it has an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.coordinates import Coordinates

COLUMNS = ("CAMERA", "WAVELNTH", "OFFSETPM", "STATE", "STOKES", "PRESENT")
"""Text, nm, pm, a number from 0 (-1: none), one of I Q U V, and 1 or 0 for every frame."""


def object_columns(
    coordinates: tuple[Coordinates, ...], present: npt.NDArray[np.bool_] | None
) -> dict[str, Any]:
    """The columns of what is known of the objects."""
    columns: dict[str, Any] = {}
    if coordinates:
        columns = {
            "CAMERA": [each.camera for each in coordinates],
            "WAVELNTH": _numbers([each.wavelength_nm for each in coordinates]),
            "OFFSETPM": _numbers([each.offset_pm for each in coordinates]),
            "STATE": np.array([-1 if each.state is None else each.state for each in coordinates]),
            "STOKES": [each.stokes for each in coordinates],
        }
    if present is not None:
        columns["PRESENT"] = present.astype(np.int64)
    return columns


def read_objects(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The fields `coordinates` and `present` of a burst from those columns that a table has."""
    found: dict[str, Any] = {}
    if all(name in columns for name in COLUMNS[:-1]):
        rows = zip(*(np.asarray(columns[name]).tolist() for name in COLUMNS[:-1]), strict=True)
        found["coordinates"] = tuple(
            Coordinates(
                camera=str(camera).strip(),
                wavelength_nm=_known(wavelength),
                offset_pm=_known(offset),
                state=int(state) if state >= 0 else None,
                stokes=str(stokes).strip(),
            )
            for camera, wavelength, offset, state, stokes in rows
        )
    if "PRESENT" in columns:
        seen = np.asarray(columns["PRESENT"]) != 0
        found["present"] = seen.reshape(len(seen), -1)
    return found


def _numbers(values: list[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

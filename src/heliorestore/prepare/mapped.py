"""Frames of one camera on the pixels of another: read through the map between the two, when they are read.

Surface brightness is kept: a flat image has the same value before and after, whatever the scale. Where a
pixel of the result is larger than one of the camera, it is the mean over its area, which it would have seen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits.wcs import mapped as mapped_header
from heliorestore.instrument import Instrument
from heliorestore.prepare.camera_map import CameraMap, Floats
from heliorestore.prepare.interpolation import MARGIN, values_at
from heliorestore.selection import Frames, every_axis

_COARSER = 1.2  # scale beyond which the result is averaged over its pixels
_CAMERA_CARDS = ("CAMERA", "DETECTOR", "CAM", "CHANNEL", "BAND", "ARM", "INSTRUME", "FILTER1", "WAVELNTH")


def warped(read: Frames, key: tuple[int, ...], found: CameraMap, rows: range, columns: range) -> FloatArray:
    """Rows and columns of the wide camera, from the image `read[key]` (y, x) of the narrow one.

    Only the part that is needed is read; NaN beyond the image and where it is bad.
    """
    shape = read.shape[-2:]
    middle = [(part[0] + part[-1]) / 2 for part in (columns, rows)]
    scale = math.sqrt(abs(np.linalg.det(found.slope(middle))))
    # 1, or the number of places along an axis that are averaged in every pixel
    fine = math.ceil(scale) if scale > _COARSER else 1
    inside = (np.arange(fine) + 0.5) / fine - 0.5
    y, x = ((np.array(part)[:, None] + inside).ravel() for part in (rows, columns))
    places = found(np.stack(np.meshgrid(x, y), -1))[..., ::-1]  # (y, x, [y, x])
    known = np.isfinite(places).all(-1)
    low = np.floor(places[known].min(0, initial=math.inf)) - MARGIN
    high = np.ceil(places[known].max(0, initial=-math.inf)) + MARGIN
    ends = [(max(0.0, a), min(float(n), b + 1)) for a, b, n in zip(low, high, shape, strict=True)]
    if not all(b > a for a, b in ends):
        return np.full((len(rows), len(columns)), np.nan, np.float32)
    part = tuple(slice(int(a), int(b)) for a, b in ends)
    image = torch.tensor(np.asarray(read[(*key, *part)], np.float32))
    at = torch.from_numpy(np.nan_to_num(places - [a for a, _ in ends], nan=-1e6))
    values = values_at(image, at[..., 0], at[..., 1])
    found_values: FloatArray = values.reshape(len(rows), fine, len(columns), fine).mean((1, 3)).numpy()
    return found_values


@dataclass(frozen=True, eq=False)
class _Origin:
    """Where the frames of an object are, and the map to that camera, None if it is the wide one."""

    frames: Frames
    number: int
    through: CameraMap | None


class MappedFrames:
    """Array (object, frame, y, x) on the wide camera's pixels; every object has its own frames."""

    dtype = np.dtype(np.float32)
    ndim = 4

    def __init__(self, origins: Sequence[_Origin], frames: int, shape: tuple[int, int]) -> None:
        self._origins = origins
        self.shape = (len(origins), frames, *shape)

    def __getitem__(self, key: Any) -> FloatArray:
        keys = every_axis(key, self.ndim)
        parts = [
            range(n)[k] if isinstance(k, slice) else [range(n)[k]]
            for n, k in zip(self.shape, keys, strict=True)
        ]
        images = [[self._image(k, f, parts[2], parts[3]) for f in parts[1]] for k in parts[0]]
        out = np.array(images, np.float32).reshape([len(part) for part in parts])
        return out[tuple(slice(None) if isinstance(k, slice) else 0 for k in keys)]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def _image(self, object_: int, frame: int, rows: Sequence[int], columns: Sequence[int]) -> FloatArray:
        origin = self._origins[object_]
        taken = [part if isinstance(part, range) else range(part[0], part[0] + 1) for part in (rows, columns)]
        if not all(taken):
            return np.empty((len(rows), len(columns)), np.float32)
        if origin.through is not None:
            return warped(origin.frames, (origin.number, frame), origin.through, *taken)
        part = tuple(slice(p.start, p.stop if p.stop >= 0 else None, p.step) for p in taken)
        return np.asarray(origin.frames[(origin.number, frame, *part)], np.float32)


def onto_wide(bursts: Sequence[Burst], found: CameraMap) -> Burst:
    """One burst on the pixels of the wide camera, of bursts that differ in the shape of their images.

    Its objects are those of the wide camera, then the others, which are read through the map.
    """
    ordered = sorted(bursts, key=lambda burst: burst.shape[2:] != (found.wide_shape or burst.shape[2:]))
    moved = [_moved(burst, found, several=len(bursts) > 1) for burst in ordered]
    wide = _wide_shape(ordered, moved, found)
    counts = {burst.shape[1] for burst in ordered}
    if len(counts) > 1:
        raise BurstError(
            f"The cameras have different numbers of frames ({', '.join(map(str, sorted(counts)))}): a burst "
            "needs the same frames of each, so choose files that belong together."
        )
    each = [
        (burst, number, found if through else None)
        for burst, which in zip(ordered, moved, strict=True)
        for number, through in enumerate(which)
    ]
    first = next((b.instruments[n].pixel_arcsec for b, n, through in each if through is None), None)
    known = any(burst.pointing is not None for burst in ordered)
    return dataclasses.replace(
        ordered[0],
        frames=MappedFrames([_Origin(b.frames, n, through) for b, n, through in each], counts.pop(), wide),
        instruments=tuple(
            _scaled(b.instruments[n], through, wide, first) if through else b.instruments[n]
            for b, n, through in each
        ),
        labels=_labels(each),
        headers=tuple(
            mapped_header(b.headers[n], through.matrix, wide) if through else b.headers[n]
            for b, n, through in each
            if b.headers
        ),
        times=next((b.times for b in ordered if b.times is not None), None),
        pointing=np.stack([_pointing(b, n, through, wide) for b, n, through in each]) if known else None,
        sources=tuple(dict.fromkeys(source for burst in ordered for source in burst.sources)),
        layout="files" if len(ordered) > 1 else ordered[0].layout,
        object_numbers=range(len(each)),
    )


def _moved(burst: Burst, found: CameraMap, *, several: bool) -> list[bool]:
    """Which objects the map applies to."""
    objects, _, *shape = burst.shape
    if found.applies_to:
        wanted = {name.casefold() for name in found.applies_to}
        return [bool(wanted & _names(burst, number)) for number in range(objects)]
    if found.wide_shape != found.narrow_shape or several:
        return [found.wide_shape is not None and tuple(shape) != found.wide_shape] * objects
    return [number > 0 for number in range(objects)]


def _names(burst: Burst, number: int) -> set[str]:
    """What an object may be called in `applies_to`."""
    header = burst.headers[number] if burst.headers else {}
    words = (burst.labels[number], burst.instruments[number].name, *(header.get(k) for k in _CAMERA_CARDS))
    return {str(word).strip().casefold() for word in words if word is not None}


def _wide_shape(
    bursts: Sequence[Burst], moved: Sequence[Sequence[bool]], found: CameraMap
) -> tuple[int, int]:
    """The shape of the result (y, x), after a check that the map belongs to these cameras."""
    labels = ", ".join(label for burst in bursts for label in burst.labels)
    if not any(map(any, moved)):
        names = ", ".join(found.applies_to)
        raise SettingsError(
            f"The map applies to {names or 'all objects but the first'}, and the burst has only {labels}: "
            "give the files of both cameras, or name the camera in the map's applies_to."
        )
    still = {b.shape[2:] for b, which in zip(bursts, moved, strict=True) if not all(which)}
    wide = next(iter(still), found.wide_shape or bursts[0].shape[2:])
    for burst, which in zip(bursts, moved, strict=True):
        for through, known in ((True, found.narrow_shape), (False, found.wide_shape or wide)):
            if through in which and known not in (None, burst.shape[2:]):
                which_camera = "narrow" if through else "wide"
                raise SettingsError(
                    f"The map is for a {which_camera} camera of {known} pixels (y, x), and the"
                    f" images of {', '.join(burst.labels)} have {burst.shape[2:]}: use the map that was "
                    "found for these cameras."
                )
    return wide


def _labels(each: Sequence[tuple[Burst, int, CameraMap | None]]) -> tuple[str, ...]:
    """The objects' labels; where two are equal, the names of their files."""
    labels = [burst.labels[number] for burst, number, _ in each]
    return tuple(
        burst.sources[0].path.name.partition(".")[0] if labels.count(label) > 1 and burst.sources else label
        for label, (burst, _, _) in zip(labels, each, strict=True)
    )


def _scaled(
    instrument: Instrument, found: CameraMap, shape: tuple[int, int], wide_arcsec: float | None
) -> Instrument:
    """The narrow camera's instrument with the pixels of the wide one."""
    pixel = wide_arcsec
    if pixel is None and instrument.pixel_arcsec is not None:
        pixel = instrument.pixel_arcsec * math.sqrt(abs(np.linalg.det(found.slope(_middle(shape)))))
    return dataclasses.replace(instrument, pixel_arcsec=pixel)


def _pointing(burst: Burst, number: int, found: CameraMap | None, shape: tuple[int, int]) -> Floats:
    """The places (frame, 2, 3) of an object's images on the pixels of the wide camera."""
    if burst.pointing is None:
        return np.full((burst.shape[1], 2, 3), np.nan)
    planes: Floats = burst.pointing[number]
    if found is None:
        return planes
    middle = _middle(shape)
    away = found(middle) - _middle(burst.shape[2:])
    # From the middle of the narrow field to the place that is in the middle of the wide one.
    centre = planes[..., :1] + (planes[..., 1:] @ away)[..., None]
    return np.concatenate([centre, planes[..., 1:] @ found.slope(middle)], -1)


def _middle(shape: tuple[int, ...]) -> Floats:
    """The middle [x, y] of a field of `shape` (y, x)."""
    return np.array([shape[1] - 1, shape[0] - 1]) / 2

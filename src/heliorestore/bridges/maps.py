"""Bursts and results as SunPy maps, and maps as a burst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heliorestore.bridges.cards import burst_header, result_header, unit_of
from heliorestore.bridges.needed import needed
from heliorestore.bridges.places import grid, in_arcsec, planes
from heliorestore.burst import Burst
from heliorestore.errors import BurstError
from heliorestore.fits.files import silent_astropy
from heliorestore.fits.wcs import pointed
from heliorestore.fits.writer import cleaned
from heliorestore.instrument import Instrument
from heliorestore.snapshot import SERIES, Snapshot

if TYPE_CHECKING:
    from astropy.io.fits import Header


def to_map(source: Burst | Snapshot, object: int = 0, frame: int | None = None) -> Any:  # noqa: A002 what it is called everywhere else
    """An image as a `sunpy.map.Map`, with the header that `write` would give it.

    Of a burst it is one frame, the first by default; of a result the restored image or, with `frame`, that of
    the series of a method that restores every frame. Bad pixels are masked; the uncertainty is there if it is
    known.
    """
    map_ = needed("sunpy.map", "sunpy")
    image, header, uncertainty = _picture(source, object, frame)
    known: dict[str, Any] = {}
    if uncertainty is not None:
        from astropy.nddata import StdDevUncertainty

        known["uncertainty"] = StdDevUncertainty(uncertainty)
    if (bad := ~np.isfinite(image)).any():
        known["mask"] = bad
    return map_.Map(image, header, **known)


def from_map(maps: Any | Iterable[Any]) -> Burst:
    """A burst of one map, or of a sequence: maps of one camera and wavelength are the frames of an object, in
    the order of their times.
    """
    needed("sunpy.map", "sunpy")
    given = list(maps) if isinstance(maps, Iterable) else [maps]
    if not given:
        raise BurstError("There is no map: give a sunpy.map.Map, or a sequence of them.")
    for each in given:
        if not (hasattr(each, "meta") and hasattr(each, "pixel_to_world")):
            raise BurstError(
                f"A {type(each).__name__} is no map: give a sunpy.map.Map, or a sequence of them."
            )
    shapes = {each.data.shape for each in given}
    if len(shapes) > 1:
        sizes = ", ".join(" x ".join(map(str, shape[::-1])) for shape in sorted(shapes))
        raise BurstError(f"The maps differ in size ({sizes} pixels): the images of a burst have one.")
    objects: dict[tuple[str, ...], list[Any]] = {}
    for each in given:
        objects.setdefault(_camera(each), []).append(each)
    counts = {len(frames) for frames in objects.values()}
    if len(counts) > 1:
        found = ", ".join(f"{len(frames)} of {' '.join(camera)}" for camera, frames in objects.items())
        raise BurstError(f"There must be as many maps of every camera and wavelength; there are {found}.")
    return _burst([sorted(frames, key=lambda each: each.date) for frames in objects.values()])


def _burst(objects: Sequence[Sequence[Any]]) -> Burst:
    """The burst of maps by object and frame."""
    headers = [_header_of(frames[0]) for frames in objects]
    shape = objects[0][0].data.shape
    pointing = None
    if len(objects[0]) > 1:  # a single map has the place of its header
        pointing = planes(np.array([[_places(each) for each in frames] for frames in objects]), shape)
    if pointing is not None:
        headers = [pointed(*each, shape) for each in zip(headers, pointing, strict=True)]
    return Burst(
        frames=np.stack([[_pixels(each) for each in frames] for frames in objects]),
        instruments=tuple(Instrument.from_header(header) for header in headers),
        labels=tuple(
            str(header.get("LABEL1") or " ".join(_camera(frames[0])))
            for header, frames in zip(headers, objects, strict=True)
        ),
        headers=tuple(headers),
        times=np.array([each.date.utc.isot for each in objects[0]], "datetime64[ms]"),
        pointing=pointing,
        unit=unit_of(headers[0]),
        scale_from_file=True,  # checked like that of a file before a method runs
    )


def _pixels(each: Any) -> Any:
    """A map's image as float32, NaN where it is masked."""
    image = np.asarray(each.data, np.float32)
    return image if each.mask is None else np.where(each.mask, np.float32(np.nan), image)


def _camera(each: Any) -> tuple[str, ...]:
    """What distinguishes objects: camera, wavelength, and the label that a map of ours has."""
    known = [each.observatory, each.instrument, each.detector, each.wavelength, each.measurement]
    known.append(each.meta.get("label1"))
    return tuple(dict.fromkeys(text for word in known if (text := "" if word is None else str(word))))


def _header_of(each: Any) -> Header:
    """The cards of a map; axes that are not called as today get the coordinates that SunPy understands."""
    with silent_astropy():
        header = cleaned(each.fits_header)
        if str(header.get("CTYPE1", "")).strip().upper().startswith("SOLAR"):
            header.update(each.wcs.to_header())
    return header


def _places(each: Any) -> Any:
    """Longitude and latitude (2, y, x) in arcsec of nine pixels of a map."""
    import astropy.units as u

    return in_arcsec(each.pixel_to_world(*(np.meshgrid(*grid(each.data.shape)) * u.pix)))


def _picture(source: Burst | Snapshot, object_: int, frame: int | None) -> tuple[Any, Header, Any]:
    """Image, header and uncertainty (None where unknown) of an object."""
    _check(object_, source.shape[0] if isinstance(source, Burst) else len(source.images), "object")
    if isinstance(source, Burst):
        frame = frame or 0
        _check(frame, source.shape[1], "frame")
        return source.image(object_, frame), burst_header(source, object_, frame), None
    name = "uncertainty" if frame is None else f"{SERIES}_uncertainty"
    images, spread = source.images[:, None], source.array(name)
    if frame is not None:
        series = source.array(SERIES)
        _check(frame, 0 if series is None else series.shape[1], "frame")
        images = images if series is None else series
    picked = images[object_, frame or 0]
    if spread is not None:
        spread = spread[object_] if frame is None else spread[object_, frame]
    return picked, result_header(source, object_, frame), spread


def _check(number: int, count: int, name: str) -> None:
    if not 0 <= number < count:
        known = f"there are {count}, numbered from 0" if count else "this result has one image of all frames"
        raise BurstError(f"There is no {name} {number}: {known}.")

"""Which axes of an array are objects, frames, y and x, and where its images lie: asked of its coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.bridges.places import Floats, grid, in_arcsec
from heliorestore.errors import BurstError

_SKY = ("pos.", "custom:pos.")
_OBJECT = ("em.", "phys.polarization", "object")


@dataclass(frozen=True)
class Axes:
    """The axes of an array in numpy's order: those of objects, those of frames, and y and x."""

    objects: tuple[int, ...]
    frames: tuple[int, ...]
    y: int
    x: int

    @property
    def order(self) -> tuple[int, ...]:
        """The axes in the order of a burst."""
        return (*self.objects, *self.frames, self.y, self.x)


@dataclass(frozen=True, eq=False)
class World:
    """What the coordinates say of images (object, frame).

    places (object, frame, 2, 3, 3) are longitude and latitude in arcsec at the pixels of `places.grid`; times
    per frame, wavelengths and Stokes parameters per object, None where there are none. `observer` are the
    cards of whoever looks.
    """

    places: Floats
    times: npt.NDArray[np.datetime64] | None
    wavelengths_nm: Floats | None
    stokes: tuple[str, ...] | None
    observer: Mapping[str, float]


def axes_of(wcs: Any, name: str) -> Axes:
    """The axes by the coordinates that depend on them; a BurstError says why there are no images."""
    # an axis that is neither place, wavelength nor time may have a name, as in our own cubes
    low = wcs.low_level_wcs
    named = zip(low.world_axis_physical_types, low.world_axis_names, strict=True)
    kinds = [str(kind or name) for kind, name in named]
    count = low.pixel_n_dim
    # coordinates that depend on each axis of the array, whose order is that of pixel axes reversed
    along = [
        {kind for kind, depends in zip(kinds, column, strict=True) if depends}
        for column in reversed(np.asarray(low.axis_correlation_matrix).T)
    ]
    plane = [
        axis
        for axis in range(count)
        if any(kind.startswith(_SKY) for kind in along[axis])
        and not any(kind.startswith(("time", *_OBJECT)) for kind in along[axis])
    ]
    if len(plane) != 2:
        raise BurstError(
            f"{name} has {len(plane)} axes along which only the place on the Sun changes; an image has two, "
            "and a spectrograph's raster is no series of images, and only images are restored."
        )
    rest = [axis for axis in range(count) if axis not in plane]
    objects = tuple(axis for axis in rest if any(kind.startswith(_OBJECT) for kind in along[axis]))
    return Axes(objects, tuple(axis for axis in rest if axis not in objects), *plane)


def world_of(wcs: Any, axes: Axes, shape: tuple[int, ...]) -> World:
    """Ask for the coordinates of nine pixels of every image."""
    x, y = grid((shape[axes.y], shape[axes.x]))
    along = {axes.y: y, axes.x: x}
    index = np.meshgrid(*(along.get(axis, np.arange(shape[axis])) for axis in axes.order), indexing="ij")
    pixels = dict(zip(axes.order, index, strict=True))
    found = wcs.pixel_to_world(*(pixels[axis] for axis in reversed(range(len(shape)))))
    found = found if isinstance(found, (list, tuple)) else [found]
    objects, frames = (int(np.prod([shape[axis] for axis in some])) for some in (axes.objects, axes.frames))

    def middle(values: Any) -> Any:
        return np.asarray(values).reshape(objects, frames, 3, 3)[:, :, 1, 1]

    named = {type(each).__name__: each for each in found}
    places = in_arcsec(named["SkyCoord"]).reshape(2, objects, frames, 3, 3)
    time, wave, stokes = named.get("Time"), named.get("SpectralCoord"), named.get("StokesCoord")
    return World(
        places=np.moveaxis(places, 0, 2),
        times=None if time is None else middle(time.utc.isot)[0].astype("datetime64[ms]"),
        wavelengths_nm=None if wave is None else middle(wave.to_value("nm"))[:, 0],
        stokes=None if stokes is None else tuple(str(each) for each in middle(stokes.symbol)[:, 0]),
        observer=_observer(named["SkyCoord"].frame),
    )


def _observer(frame: Any) -> dict[str, float]:
    """The cards of the observer of a frame of coordinates, none if it has none."""
    place = getattr(frame, "observer", None)
    if place is None or isinstance(place, str):
        return {}
    from sunpy.coordinates import HeliographicStonyhurst

    place = place.transform_to(HeliographicStonyhurst(obstime=frame.obstime))
    return {
        "HGLN_OBS": float(place.lon.wrap_at("180d").to_value("deg")),
        "HGLT_OBS": float(place.lat.to_value("deg")),
        "DSUN_OBS": float(place.radius.to_value("m")),
        "RSUN_REF": float(frame.rsun.to_value("m")),
    }


def labels_of(world: World, objects: int) -> tuple[str, ...]:
    """The names of objects by wavelength and Stokes parameter."""
    waves = [] if world.wavelengths_nm is None else [f"{each:.3f} nm" for each in world.wavelengths_nm]
    parts = [list(each) for each in (waves, world.stokes or ()) if each]
    names = [", ".join(each) for each in zip(*parts, strict=True)] if parts else []
    return tuple(names or [f"object {number}" for number in range(objects)])


def as_frames(data: Any, axes: Axes) -> Any:
    """The array as (object, frame, y, x); one of dask stays lazy."""
    shape = data.shape
    sizes = [int(np.prod([shape[axis] for axis in some])) for some in (axes.objects, axes.frames)]
    moved = data.transpose(axes.order)
    return moved.reshape(*sizes, shape[axes.y], shape[axes.x])


def scalar_cards(cards: Any) -> Any:
    """A header of those cards that FITS can hold, coordinates and structure left out."""
    from astropy.io.fits import Header

    header = Header()
    for key, value in cards.items():
        plain = value.item() if isinstance(value, np.generic) else value
        usual = (
            isinstance(key, str) and len(key) <= 8 and key.upper().replace("-", "").replace("_", "").isalnum()
        )
        if usual and isinstance(plain, (str, bool, int, float)) and not _is_unfit(plain):
            header[key.upper()] = plain
    return header


def _is_unfit(value: str | bool | int | float) -> bool:
    """Whether a card cannot hold the value."""
    if isinstance(value, str):
        return not value.isascii() or not value.isprintable() or len(value) > 60
    return isinstance(value, float) and not np.isfinite(value)

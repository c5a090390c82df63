"""Bursts and results as NDCubes, and cubes as a burst."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from heliorestore.bridges.axes import World, as_frames, axes_of, labels_of, scalar_cards, world_of
from heliorestore.bridges.cards import unit_of
from heliorestore.bridges.maps import to_map
from heliorestore.bridges.needed import needed
from heliorestore.bridges.places import grid, planes
from heliorestore.burst import Burst
from heliorestore.errors import BurstError
from heliorestore.fits.files import silent_astropy
from heliorestore.fits.sky import fit_planes
from heliorestore.fits.wcs import planar, pointed
from heliorestore.fits.writer import cleaned
from heliorestore.instrument import Instrument
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from astropy.io.fits import Header

_STEADY = 1e-6  # relative spread of the steps between wavelengths that still count as equal


def to_ndcube(source: Burst | Snapshot, frame: int | None = None) -> Any:
    """The images (object, y, x) of a result, or of a frame of a burst (else its first), as `ndcube.NDCube`.

    The first axis is the wavelength if the objects' are known and evenly spaced; else it is their number, and
    the wavelengths, where known, are an extra coordinate. Uncertainty and mask are there if they are known;
    all objects have the coordinates of the first.
    """
    ndcube = needed("ndcube", "sunpy")
    from astropy.nddata import StdDevUncertainty
    from astropy.wcs import WCS

    objects = source.shape[0] if isinstance(source, Burst) else len(source.images)
    maps = [to_map(source, number, frame) for number in range(objects)]
    waves = [Instrument.from_header(each.fits_header).wavelength_nm for each in maps]
    header = maps[0].wcs.to_header()
    header.update(_third_axis(waves))
    images = np.stack([each.data for each in maps])
    spreads = [each.uncertainty.array for each in maps if each.uncertainty is not None]
    bad = ~np.isfinite(images)
    cube = ndcube.NDCube(
        images,
        wcs=WCS(header),
        uncertainty=StdDevUncertainty(np.stack(spreads)) if len(spreads) == objects else None,
        mask=bad if bad.any() else None,
        unit=maps[0].unit if "bunit" in maps[0].meta else None,
        meta=dict(maps[0].meta)
        | {"labels": [each.meta.get("label1", "") for each in maps], "wavelengths_nm": waves},
    )
    if header["CTYPE3"] != "WAVE" and objects > 1 and None not in waves:
        import astropy.units as u

        cube.extra_coords.add("wavelength", (0,), waves * u.nm)
    return cube


def from_ndcube(cube: Any) -> Burst:
    """A burst of a cube: wavelengths and polarisations are its objects, times and other axes its frames."""
    needed("ndcube", "sunpy")
    if not (hasattr(cube, "wcs") and hasattr(cube, "data")):
        raise BurstError(f"A {type(cube).__name__} is no cube: give an ndcube.NDCube.")
    meta = cube.meta if isinstance(cube.meta, Mapping) else {}
    return burst_of(cube, scalar_cards(meta), meta.get("labels", ()), meta.get("wavelengths_nm", ()))


def burst_of(cube: Any, cards: Header, labels: Any = (), waves_nm: Any = ()) -> Burst:
    """The burst of any array with `data`, `wcs`, `mask` and `unit`, whose header has these cards.

    `labels` and `waves_nm` are those of the objects, where the coordinates do not give them.
    """
    axes = axes_of(cube.wcs, f"This {type(cube).__name__}")
    world = world_of(cube.wcs, axes, cube.data.shape)
    frames = as_frames(_masked(cube), axes)
    objects, _, *shape = frames.shape
    # those of a part of a cube are not known: its meta is the whole's
    if world.wavelengths_nm is None and len(waves_nm) == objects and None not in waves_nm:
        world = dataclasses.replace(world, wavelengths_nm=np.asarray(waves_nm, float))
    headers = _headers(cube.wcs, world, cards, (shape[0], shape[1]))
    return Burst(
        frames=frames,
        instruments=tuple(Instrument.from_header(header) for header in headers),
        labels=tuple(labels) if len(labels) == objects else labels_of(world, objects),
        headers=headers,
        times=world.times,
        pointing=planes(world.places, (shape[0], shape[1])),
        unit=unit_of(cards, cube.unit),
        scale_from_file=True,  # checked like that of a file before a method runs
    )


def _headers(wcs: Any, world: World, cards: Header, shape: tuple[int, int]) -> tuple[Header, ...]:
    """The header of each object: the cards with the coordinates of its images."""
    from astropy.wcs import WCS

    headers = []
    for number, places in enumerate(world.places):
        with silent_astropy():
            header = planar(cleaned(cards))
            if isinstance(wcs, WCS):  # exactly, also where the field is large
                header = _without_axes(header)
                header.update(wcs.celestial.to_header())
            else:
                flat = fit_planes(places[None, :, 0], places[None, :, 1], *grid(shape))[0]
                header = pointed(header, flat, shape)
            for key, value in world.observer.items():
                header[key] = value
            if world.times is not None:
                header["DATE-OBS"] = str(world.times[0])
        if world.wavelengths_nm is not None:
            header["WAVELNTH"], header["WAVEUNIT"] = float(world.wavelengths_nm[number]), "nm"
        headers.append(header)
    return tuple(headers)


def _without_axes(header: Header) -> Header:
    """The cards without those of the two axes."""
    kept = header.copy()
    for key in list(kept):
        if key.startswith(
            ("CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT", "CROTA", "PC1_", "PC2_", "CD1_", "CD2_")
        ):
            kept.remove(key, ignore_missing=True)
    return kept


def _masked(cube: Any) -> Any:
    """The pixels, NaN where they are masked; lazy if they are."""
    if cube.mask is None or cube.mask is False:
        return cube.data
    if isinstance(cube.data, np.ndarray):
        return np.where(cube.mask, np.float32(np.nan), cube.data)
    import dask.array as da

    return da.where(cube.mask, np.float32(np.nan), cube.data)


def _third_axis(waves: list[float | None]) -> dict[str, Any]:
    """The cards of the axis of the objects."""
    known = [each for each in waves if each is not None]
    steps = np.diff(known)
    steady = len(known) == len(waves) and (
        not len(steps) or (steps[0] != 0 and np.ptp(steps) <= _STEADY * abs(steps[0]))
    )
    if steady:
        step = float(steps.mean()) if len(steps) else 1.0
        axis = {"CTYPE3": "WAVE", "CUNIT3": "m", "CRVAL3": 1e-9 * known[0], "CDELT3": 1e-9 * step}
    else:
        axis = {"CTYPE3": "OBJECT", "CNAME3": "object", "CUNIT3": "", "CRVAL3": 0.0, "CDELT3": 1.0}
    return {"WCSAXES": 3, "CRPIX3": 1.0, **axis}

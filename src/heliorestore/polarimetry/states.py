"""The modulation states of an observation, gathered from its files: which image is which, and what is known
beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heliorestore.burst import Burst, FloatArray, Source
from heliorestore.coordinates import Coordinates, anchor_of
from heliorestore.errors import SettingsError
from heliorestore.fits.reader import read
from heliorestore.fits.writer import primary_header
from heliorestore.instrument import Instrument
from heliorestore.optics.noise import estimate_sigma
from heliorestore.prepare.average import average_frames
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from astropy.io.fits import Header

ANCHOR = "anchor"


@dataclass(frozen=True, eq=False)
class States:
    """Images (state, place, y, x) of the modulation states at places in the line, and of the wide band (y,
    x).

    `anchors` of the same shape show the wide band as each state's frames gave it, `sigmas` the noise of the
    states. `places` are the coordinates of the places in the line, if the files give them.
    """

    images: FloatArray
    sigmas: FloatArray
    header: Header
    instrument: Instrument
    unit: str
    sources: tuple[Source, ...]
    wide: FloatArray | None = None
    anchors: FloatArray | None = None
    places: tuple[Coordinates, ...] = ()


@dataclass(frozen=True, eq=False)
class _File:
    """What one file holds, (object, y, x)."""

    images: FloatArray
    sigmas: FloatArray
    anchors: FloatArray | None
    coordinates: tuple[Coordinates, ...]
    header: Header
    instrument: Instrument
    unit: str


def gather_states(paths: Sequence[Path], states: int, wide_band: int | None = None) -> States:
    """The states of restored files, or of bursts, whose frames are averaged; `states` is how many there are
    in one place of the line, `wide_band` the object that is none, where the file does not say.

    Objects with known coordinates are put into their order; others count as they come, all states of one
    place first.
    """
    files = [_read(path) for path in paths]
    coordinates = tuple(each for file in files for each in file.coordinates)
    images, sigmas = (np.concatenate([getattr(f, name) for f in files]) for name in ("images", "sigmas"))
    anchors = [file.anchors for file in files if file.anchors is not None]
    every = None if len(anchors) < len(files) else np.concatenate(anchors)
    known = bool(coordinates) and len(coordinates) == len(images)
    wide = anchor_of(coordinates) if wide_band is None and known else wide_band
    if wide is not None and not 0 <= wide < len(images):
        raise SettingsError(f"There is no object {wide}: the files have {len(images)}, numbered from 0.")
    order = [n for n in range(len(images)) if n != wide and not (known and coordinates[n].is_wide_band)]
    if known and all(coordinates[n].state is not None for n in order):
        order.sort(key=lambda n: (coordinates[n].offset_pm or 0.0, coordinates[n].state or 0))
    if not order or len(order) % states:
        raise SettingsError(
            f"The files have {len(order)} images besides the wide band, and the matrix is for {states} "
            "states: give a multiple of that (--wide-band N says which object is the wide band)."
        )
    first = files[0]

    def placed(values: FloatArray) -> FloatArray:
        return values[order].reshape(-1, states, *values.shape[1:]).swapaxes(0, 1)

    return States(
        images=placed(images),
        sigmas=placed(sigmas),
        header=first.header,
        instrument=first.instrument,
        unit=first.unit,
        sources=tuple(Source.of(path) for path in paths),
        wide=None if wide is None else images[wide],
        anchors=None if every is None else placed(every),
        places=tuple(replace(coordinates[n], state=None) for n in order[::states]) if known else (),
    )


def _read(path: Path) -> _File:
    from astropy.io.fits import Header

    found = read(path)
    if isinstance(found, Burst):
        images, sigmas = average_frames(found)
        header = found.headers[0].copy() if found.headers else Header()
        sigma_images = np.broadcast_to(sigmas[:, None, None], images.shape)
        return _File(images, sigma_images, None, found.coordinates, header, found.instruments[0], found.unit)
    return _restored(found, path)


def _restored(found: Snapshot, path: Path) -> _File:
    run = found.run
    if run is None or found.zoom != 1:
        raise SettingsError(
            f"{path} has no record of its run, or finer pixels: demodulate what was restored."
        )
    sigmas = found.array("uncertainty")
    if sigmas is None:
        noise = np.array([estimate_sigma(image) for image in found.images], np.float32)
        sigmas = np.broadcast_to(noise[:, None, None], found.images.shape)
    return _File(
        found.images,
        sigmas,
        found.array(ANCHOR),
        run.coordinates,
        primary_header(found),
        run.instruments[0],
        run.unit,
    )

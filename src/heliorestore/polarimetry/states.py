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
    states. `places` are the coordinates of the places in the line, if the files give them, and `messages`
    say what was left out of the images.
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
    messages: tuple[str, ...] = ()


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
    messages: tuple[str, ...] = ()

    def wide(self, wanted: int | None) -> int | None:
        """The number of the wide band: as wanted, or as the file says."""
        if wanted is None or len(self.images) == 1:
            return anchor_of(self.coordinates)
        if not 0 <= wanted < len(self.images):
            raise SettingsError(f"There is no object {wanted}: a file has {len(self.images)}, from 0 on.")
        return wanted

    def anchored(self, wide: int | None) -> FloatArray | None:
        """The wide band as the frames of each object gave it, or the one `wide` of all objects."""
        if self.anchors is not None or wide is None:
            return self.anchors
        return np.broadcast_to(self.images[wide], self.images.shape)


def gather_states(
    given: Sequence[Path | Burst | Snapshot], states: int, wide_band: int | None = None
) -> States:
    """The states of restored files or results, or of bursts, whose frames are averaged; `states` is how many
    there are in one place of the line, `wide_band` the object of every file with more than one that is none,
    where the files do not say.

    Objects with known coordinates are put into their order; others count as they come, all states of one
    place first. Where every state is a file with a wide band of its own, that is its anchor.
    """
    files = [_read(each) for each in given]
    coordinates = tuple(each for file in files for each in file.coordinates)
    images, sigmas = (np.concatenate([getattr(f, name) for f in files]) for name in ("images", "sigmas"))
    known = bool(coordinates) and len(coordinates) == len(images)
    wides = [file.wide(wide_band) for file in files]
    apart = len(files) == states
    anchors = [file.anchored(wide if apart else None) for file, wide in zip(files, wides, strict=True)]
    every = [each for each in anchors if each is not None]
    seen = [file.images[wide] for file, wide in zip(files, wides, strict=True) if wide is not None]
    firsts = np.cumsum([0, *(len(file.images) for file in files)])
    beside = {int(first) + wide for first, wide in zip(firsts, wides, strict=False) if wide is not None}
    order = [n for n in range(len(images)) if n not in beside]
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
        sources=tuple(source for each in given for source in _sources(each)),
        wide=seen[0] if seen else None,
        anchors=None if len(every) < len(files) else placed(np.concatenate(every)),
        places=tuple(replace(coordinates[n], state=None) for n in order[::states]) if known else (),
        messages=tuple(message for file in files for message in file.messages),
    )


def stokes_places(states: States) -> tuple[Coordinates, ...]:
    """The coordinates of I, Q, U and V at all places in the line, parameter by parameter."""
    places = states.places or (Coordinates(wavelength_nm=states.instrument.wavelength_nm),)
    if len(places) != states.images.shape[1]:
        places = tuple(Coordinates() for _ in range(states.images.shape[1]))
    return tuple(replace(place, stokes=name) for name in "IQUV" for place in places)


def _sources(given: Path | Burst | Snapshot) -> tuple[Source, ...]:
    if isinstance(given, Path):
        return (Source.of(given),)
    of = given if isinstance(given, Burst) else given.run
    return () if of is None else of.sources


def _read(given: Path | Burst | Snapshot) -> _File:
    from astropy.io.fits import Header

    found = read(given) if isinstance(given, Path) else given
    if isinstance(found, Burst):
        found.check_values()
        mean = average_frames(found)
        images = mean.images
        header = found.headers[0].copy() if found.headers else Header()
        sigma_images = np.broadcast_to(mean.sigmas[:, None, None], images.shape)
        named = f"{given.name}: " if isinstance(given, Path) else ""
        return _File(
            images=images,
            sigmas=sigma_images,
            anchors=None,
            coordinates=found.coordinates,
            header=header,
            instrument=found.instruments[0],
            unit=found.unit,
            messages=tuple(named + message for message in mean.messages),
        )
    return _restored(found, str(given) if isinstance(given, Path) else "The result")


def _restored(found: Snapshot, name: str) -> _File:
    run = found.run
    if run is None or found.zoom != 1:
        raise SettingsError(
            f"{name} has no record of its run, or finer pixels: demodulate what was restored."
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

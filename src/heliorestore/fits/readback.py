"""Read a file that `writer.write` wrote: as a Snapshot, or as a burst of its images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import BurstError, RestorationError, SettingsError
from heliorestore.fits.files import Opened, in_one_line, silent_astropy
from heliorestore.fits.hdus import Hdu, Image, header_of, images_of
from heliorestore.fits.layouts import OWN_FORMAT
from heliorestore.fits.provenance import from_ascii, read_tables
from heliorestore.fits.steps import first_own_step, step_number
from heliorestore.fits.wcs import planar, zoomed
from heliorestore.instrument import Instrument
from heliorestore.snapshot import DATA_UNIT, SERIES, Map, Run, Snapshot, as_map

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.io.fits import Header

FORMAT = 1
"""The version of the layout of restored files that this module writes and reads."""

MAP_CARD = "HELIOMAP"  # the name of a map, in its extension
AXES_CARD, SIGNED_CARD = "HELIOAXS", "HELIOSGN"  # of a map; files of earlier versions have neither
NODE_TYPE = "PIXEL"  # CTYPE of the axes of a grid of nodes
HEADER_EXTENSION = "HEADER"  # of the second and later objects
OWN_CARDS = ("LABEL", "WLNM")  # with the object's number, in the primary header


def snapshot_of(opened: Opened, path: Path, scanned: list[Hdu]) -> Snapshot:
    """The Snapshot of a restored file; `methods.base.settings_of` converts its settings from text."""
    with _hdus_of(opened, path, scanned[0].cards.get(OWN_FORMAT)) as hdus:
        fields = read_tables(hdus)
        images = np.array(hdus[0].data, np.float32)
        run = fields.pop("run")
        maps = {h.header[MAP_CARD]: _map_of(h, run) for h in hdus[1:] if MAP_CARD in h.header}
        if run is not None:
            run = dataclasses.replace(
                run, headers=_input_headers(opened.file(path), path, scanned, len(run.labels), fields["zoom"])
            )
        return Snapshot(images=images, maps=maps, run=run, **fields)


def read_start(path: Path) -> Snapshot:
    """The start of a restoration whose setting `start` names an earlier result: images, and modes if the file
    has them, at step 0. Files without the record of a run are accepted.
    """
    from astropy.io import fits

    try:
        with silent_astropy(), fits.open(path, memmap=False) as hdus:
            images = np.asarray(hdus[0].data, np.float32)
            maps = {"modes": as_map("modes", hdus["MODES"].data, None)} if "MODES" in hdus else {}
            images = images.reshape(-1, *images.shape[-2:])
            return Snapshot(step=0, total=0, images=images, maps=maps)
    except (OSError, TypeError, ValueError, RestorationError) as error:
        raise SettingsError(
            f"start is '{path}': it must be average, patches, or a FITS file that heliorestore wrote with an "
            f"earlier result ({in_one_line(error)})."
        ) from error


def _map_of(hdu: fits.ImageHDU, run: Run | None) -> Map:
    """A map as its header describes it; in files of earlier versions its name and the settings do."""
    header, array = hdu.header, np.array(hdu.data, np.float32)
    if AXES_CARD not in header:
        return as_map(header[MAP_CARD], array, run)
    unit = from_ascii(header.get("BUNIT", ""))
    return Map(
        array,
        tuple(header[AXES_CARD].split(",")),
        DATA_UNIT if run is not None and unit == run.unit else unit,
        *_nodes(header),
        signed=bool(header[SIGNED_CARD]),
    )


def _nodes(header: Header) -> tuple[tuple[float, float] | None, tuple[float, float]]:
    """`step` and `first` of a map on nodes."""
    if header.get("CTYPE1") != NODE_TYPE or header.get("CTYPE2") != NODE_TYPE:
        return None, (0.0, 0.0)
    # The map's own WCS counts pixels from 1, the record from 0.
    steps = [float(header[f"CDELT{axis}"]) for axis in (2, 1)]
    places = [
        header[f"CRVAL{axis}"] + (1 - header[f"CRPIX{axis}"]) * step - 1
        for axis, step in zip((2, 1), steps, strict=True)
    ]
    return (steps[0], steps[1]), (places[0], places[1])


@contextmanager
def _hdus_of(opened: Opened, path: Path, format_: object) -> Iterator[fits.HDUList]:
    """A file whose sizes were checked, as astropy reads it; damage of any kind is a BurstError."""
    try:
        if format_ != FORMAT:
            raise BurstError(
                f"{path} was written by another version of heliorestore (format {format_}); this one "
                f"reads format {FORMAT}."
            )
        with silent_astropy():
            yield opened.hdus(path)
    except BurstError:
        raise
    except Exception as error:  # a damaged table makes astropy, numpy or json raise almost anything
        raise BurstError(
            f"{path} is a restored file, but damaged: {in_one_line(error)}; only its images may be readable "
            "by other software."
        ) from error


def _input_headers(
    file: BinaryIO, path: Path, scanned: list[Hdu], labels: int, zoom: int
) -> tuple[Header, ...]:
    """The original headers of the input, one per object: on its own pixels, without this step's cards."""

    def stored(hdu: Hdu) -> Header:
        return header_of(file, dataclasses.replace(image, header_at=((hdu.header_at, hdu.header_size),)))

    image = images_of(scanned, path)[0]
    # The file has the WCS of the finer pixels: undone here, for the input's.
    headers = [without_own_cards(zoomed(planar(stored(scanned[0])), 1 / zoom))] * labels
    for hdu in scanned[1:]:
        if hdu.cards.get("EXTNAME") == HEADER_EXTENSION:
            header = stored(hdu)
            objects = [int(number) for number in str(header["OBJECTS"]).split(",")]
            headers[objects[0]] = without_own_cards(header)
            for number in objects:
                headers[number] = headers[objects[0]]
    return tuple(headers)


def without_own_cards(header: Header) -> Header:
    """The header without the cards that `writer.write` adds, so that writing again adds them once."""
    kept = header.copy()
    first = first_own_step(kept)
    own = {OWN_FORMAT, "EXTNAME", "EXTVER", "OBJECTS"}
    for key in set(kept):
        numbered = key.rstrip("0123456789") in OWN_CARDS and key[-1:].isdigit()
        if key in own or numbered or step_number(key) >= max(first, 1):
            kept.remove(key, remove_all=True)
    return kept


def as_burst(burst: Burst, image: Image, opened: Opened) -> Burst:
    """A restored file's images as a burst of one frame, with the restoration's labels and instruments."""
    with _hdus_of(opened, image.path, image.cards.get(OWN_FORMAT)) as hdus:
        fields = read_tables(hdus)
        run, zoom = fields["run"], fields["zoom"]
        if run is None or len(run.labels) != burst.shape[0]:
            return burst
        return dataclasses.replace(
            burst,
            instruments=tuple(finer(i, zoom) for i in run.instruments),
            labels=run.labels,
            coordinates=run.coordinates,
            unit=run.unit,
        )


def series_of(opened: Opened, path: Path) -> tuple[FloatArray, npt.NDArray[np.datetime64] | None] | None:
    """All frames (object, frame, y, x) of a restored file and their times; None if it has but one image."""
    with _hdus_of(opened, path, FORMAT) as hdus:
        for hdu in hdus[1:]:
            if hdu.header.get(MAP_CARD) == SERIES:
                run = read_tables(hdus)["run"]
                return np.array(hdu.data, np.float32), None if run is None else run.times
    return None


def finer(instrument: Instrument, zoom: int) -> Instrument:
    """The instrument with `zoom` pixels along each axis instead of one."""
    return (
        dataclasses.replace(instrument, pixel_arcsec=instrument.pixel_arcsec / zoom)
        if instrument.pixel_arcsec
        else instrument
    )

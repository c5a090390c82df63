"""Write a Snapshot with its full provenance into one FITS file, atomically."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heliorestore.errors import RestorationError
from heliorestore.fits.files import silent_astropy
from heliorestore.fits.hdus import STRUCTURE
from heliorestore.fits.layouts import OWN_FORMAT
from heliorestore.fits.provenance import Card, tables, to_ascii
from heliorestore.fits.readback import (
    AXES_CARD,
    FORMAT,
    HEADER_EXTENSION,
    MAP_CARD,
    NODE_TYPE,
    SIGNED_CARD,
    finer,
)
from heliorestore.fits.steps import last_step, step_cards
from heliorestore.fits.wcs import planar, pointed, untabulated, zoomed
from heliorestore.snapshot import IMAGE_AXES, SERIES_AXES, Map, Run, Snapshot
from heliorestore.storage import check_output, replacing

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.io.fits import Header

_ABOUT = {
    "uncertainty": "One standard deviation of the images; the page of the method says of what.",
    "spread": "Disagreement of the members of a committee; how far they are all wrong was not measured.",
    "members": "Members of the committee, whose mean the image is.",
    "estimates": "Estimates of the recurrent network after each frame but the first.",
}
_AXIS_NAMES = {"gx": "X of the grid", "gy": "Y of the grid", "mode": "MODE", "frame": "FRAME"}
# true of the old array only; VAR_KEYS names tables of the old file
_STALE = ("VAR_KEYS", "EXTNAME", "EXTVER", "EXTLEVEL", "INHERIT", "DATAMIN", "DATAMAX", OWN_FORMAT)
_STEADY = 0.02  # relative spread of the steps between frames that still count as equal
_MOST_NUMBERED = 999  # largest object number that fits into a keyword; the OBJECTS table has all labels


def write(snapshot: Snapshot, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
    """Write the snapshot as FITS (gzipped if the name ends in .gz) and return the file's path.

    The file appears under its name when it is complete; until then, and on any failure, an older file stays.
    """
    from astropy.io import fits

    if not isinstance(snapshot, Snapshot):
        raise RestorationError(
            f"What is written is a Snapshot, not {type(snapshot).__name__}: restore and stream give one."
        )
    target = check_output(
        path, overwrite=overwrite, inputs=() if snapshot.run is None else snapshot.run.inputs()
    )
    records = tables(snapshot)  # takes time for checksums: not under astropy's lock
    with silent_astropy():
        hdus = fits.HDUList([*image_hdus(snapshot), *records])
        with replacing(target) as file:
            hdus.writeto(file, checksum=True, output_verify="exception")
    return target


def image_hdus(snapshot: Snapshot) -> Iterator[fits.PrimaryHDU | fits.ImageHDU]:
    """The images, the maps, and the headers of further objects."""
    from astropy.io import fits

    yield fits.PrimaryHDU(snapshot.images, primary_header(snapshot))
    for name, each in snapshot.maps.items():
        yield _map_hdu(snapshot, name, each)
    yield from _further_headers(snapshot.run)


# -- headers -------------------------------------------------------------------------------------------------


def primary_header(snapshot: Snapshot, object_: int = 0, frame: int | None = None) -> Header:
    """An object's header with the WCS of the restored images and the record of the processing."""
    run = snapshot.run
    header = _base(run, snapshot.zoom, _shown_frame(snapshot) if frame is None else frame, object_)
    number = last_step(header) + 1
    added: list[Card] = [
        (OWN_FORMAT, FORMAT, "format of a file restored by heliorestore"),
        ("DATE", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "when this file was written (UTC)"),
    ]
    if run is not None:
        if str(header.get("TIMESYS") or "UTC").strip() == "UTC":  # the times of frames are UTC
            added += _time_cards(run)
        added += _object_cards(run)
        if run.unit:
            added.append(("BUNIT", to_ascii(run.unit), "unit of the images"))
        added += step_cards(snapshot, run, number)
    # Removed first: a card of an earlier step would keep its old place.
    for keyword, value, comment in added:
        if keyword in header:
            header.remove(keyword, remove_all=True)
        header.append((keyword, value, comment), bottom=True)
    return header


def _shown_frame(snapshot: Snapshot) -> int | None:
    """The frame that is shown by a method that restores every frame; None if they became one image."""
    frames = snapshot.history.get("frame")
    frame = (
        frames[-1]
        if frames is not None and len(frames)
        else getattr(snapshot.run and snapshot.run.settings, "frame", None)
    )
    return None if frame is None else int(frame)


def _base(run: Run | None, zoom: int, frame: int | None = None, number: int = 0) -> Header:
    """The input header for the images: planar WCS on their pixels, and the object as third axis."""
    from astropy.io.fits import Header

    header = _placed(run, number, frame) if run is not None and run.headers else Header()
    header = zoomed(header, zoom)
    scale = None if run is None else finer(run.instruments[number], zoom).pixel_arcsec
    if scale is not None and not any(key.startswith(("CDELT", "CD1_")) for key in header):
        for axis in (1, 2):
            header[f"CDELT{axis}"] = (scale, "pixel scale of the instrument")
            header[f"CUNIT{axis}"] = "arcsec"
    for keyword, value, comment in (
        ("CTYPE3", "OBJECT", "channel, camera or wavelength"),
        ("CRPIX3", 1.0, ""),
        ("CRVAL3", 0.0, "objects are numbered from 0"),
        ("CDELT3", 1.0, ""),
    ):
        header[keyword] = (value, comment)
    return header


def _placed(run: Run, number: int, frame: int | None = None) -> Header:
    """An object's header at the mean place of the images that share it, or at that of one frame."""
    header = cleaned(run.headers[number])
    if run.pointing is None:
        return header
    sharing = [k for k, other in enumerate(run.headers) if other is run.headers[number]]
    return pointed(header, run.pointing[sharing, slice(None) if frame is None else slice(frame, frame + 1)])


def cleaned(header: Header) -> Header:
    """The cards that hold for any copy of the image: none about bytes, scaling, checksums, compression."""
    from astropy.io.fits import Header

    return Header(
        [
            card
            for card in untabulated(planar(header)).cards
            if not STRUCTURE.match(card.keyword) and card.keyword not in _STALE
        ]
    )


def _time_cards(run: Run) -> list[Card]:
    times = run.times if run.image_times is None else run.image_times
    known = times[~np.isnat(times)] if times is not None else ()
    if not len(known):
        return []
    first, last = (str(np.datetime_as_string(pick(known), unit="us")) for pick in (np.min, np.max))
    return [
        ("DATE-BEG", first, "time of the first image used"),
        ("DATE-END", last, "time of the last image used"),
    ]


def _object_cards(run: Run) -> Iterator[Card]:
    for number, (label, instrument) in enumerate(
        zip(run.labels[:_MOST_NUMBERED], run.instruments, strict=False), 1
    ):
        yield f"LABEL{number}", to_ascii(label), f"object {number - 1}"
        if instrument.wavelength_nm is not None:
            yield f"WLNM{number}", instrument.wavelength_nm, f"[nm] wavelength of object {number - 1}"


def _further_headers(run: Run | None) -> Iterator[fits.ImageHDU]:
    """The headers of objects that are not the first one's, each once, in extensions without data."""
    from astropy.io import fits

    if run is None or not run.headers:
        return
    others = [
        k for k, header in enumerate(run.headers) if header is not run.headers[0] and header != run.headers[0]
    ]
    # Objects of one file share their header, so runs of the same header are written once.
    for number, (_, same) in enumerate(itertools.groupby(others, key=lambda k: run.headers[k].tostring()), 1):
        objects = list(same)
        hdu = fits.ImageHDU(header=_placed(run, objects[0]), name=HEADER_EXTENSION, ver=number)
        hdu.header["OBJECTS"] = (",".join(map(str, objects)), "objects of this header, from 0")
        yield hdu


def _map_hdu(snapshot: Snapshot, name: str, shown: Map) -> fits.ImageHDU:
    """A map with the WCS of its own pixels: the restored image's, the input's, that of its nodes, or none."""
    from astropy.io import fits

    run, plane, zoom = snapshot.run, shown.shape[-2:], snapshot.zoom
    header = fits.Header()
    if shown.axes == IMAGE_AXES and plane == snapshot.images.shape[1:]:
        header = _coordinates(_base(run, zoom, _shown_frame(snapshot)))
    elif shown.axes == IMAGE_AXES and tuple(n * zoom for n in plane) == snapshot.images.shape[1:]:
        header = _coordinates(_base(run, 1, _shown_frame(snapshot)))
    elif shown.axes == SERIES_AXES and run is not None:
        header = _coordinates(_base(run, zoom))
        header.extend(_series_axes(run), bottom=True, update=True)
    else:
        for number, axis in enumerate(reversed(shown.axes), 1):
            if axis in _AXIS_NAMES:
                header[f"CNAME{number}"] = _AXIS_NAMES[axis]
        header.extend(_node_cards(shown), bottom=True)
    header[MAP_CARD] = (name, "name of the map")
    header[AXES_CARD] = (",".join(shown.axes), "its axes, the last one is axis 1")
    header[SIGNED_CARD] = (shown.signed, "whether it is shown around zero")
    if unit := snapshot.unit_of(name):
        header["BUNIT"] = to_ascii(unit)
    if name in _ABOUT:
        header["COMMENT"] = _ABOUT[name]
    if "mode" in shown.axes:
        header["COMMENT"] = (
            "Coefficients (frame, mode, grid y, grid x) of the modes of the wavefront; SETTINGS names the "
            "basis."
        )
    return fits.ImageHDU(shown.array, header, name=to_ascii(name).upper())


def _node_cards(shown: Map) -> Iterator[Card]:
    """The positions of the nodes of a grid, in pixels of the input, counted from 1 as in FITS."""
    if shown.step is None:
        return
    for axis, step, first in zip((2, 1), shown.step, shown.first, strict=True):
        yield f"CTYPE{axis}", NODE_TYPE, "pixels of the input, its first one is 1"
        yield f"CUNIT{axis}", "pixel", ""
        yield f"CRPIX{axis}", 1.0, ""
        yield f"CRVAL{axis}", first + 1, "place of the first node"
        yield f"CDELT{axis}", step, "from node to node"


def _series_axes(run: Run) -> list[Card]:
    """Axis 3 is time if the frames are equally spaced, else their number; FRAMES has all times."""
    seconds = None if run.times is None else (run.times - run.times[0]) / np.timedelta64(1, "s")
    steps = np.diff(seconds) if seconds is not None and len(seconds) > 1 else np.array([np.nan])
    steady = bool(np.isfinite(steps).all() and steps[0] > 0 and np.ptp(steps) <= _STEADY * steps[0])
    # Numbers that are not evenly spaced have no linear axis: FRAMSEL of SETTINGS lists them.
    numbers = run.frame_numbers if isinstance(run.frame_numbers, range) else range(len(run.frame_numbers))
    start, step = (0.0, float(steps.mean())) if steady else (float(numbers.start), float(numbers.step))
    time = [
        (
            "CTYPE3",
            "TIME" if steady else "FRAME",
            "since DATE-BEG" if steady else "number of the frame, from 0",
        )
    ]
    time += [("CUNIT3", "s", "")] if steady else []
    frame = [("CRPIX3", 1.0, ""), ("CRVAL3", start, ""), ("CDELT3", step, "")]
    objects = [
        ("CTYPE4", "OBJECT", "named by OBJECTS"),
        ("CRPIX4", 1.0, ""),
        ("CRVAL4", 0.0, ""),
        ("CDELT4", 1.0, ""),
    ]
    return [*time, *frame, *objects]


def _coordinates(header: Header) -> Header:
    """The cards of a header that give the place of its pixels."""
    from astropy.io.fits import Header

    axes = (
        "CTYPE",
        "CUNIT",
        "CRVAL",
        "CRPIX",
        "CDELT",
        "CROTA",
        "PC",
        "CD",
        "PV",
        "LONPOLE",
        "LATPOLE",
        "WCSNAME",
    )
    observer = (
        "RSUN_REF",
        "DSUN_OBS",
        "HGLN_OBS",
        "HGLT_OBS",
        "CRLN_OBS",
        "CRLT_OBS",
        "DATE-OBS",
        "DATE-BEG",
        "RADESYS",
        "TIMESYS",
    )
    kept = Header()
    for card in header.cards:
        if card.keyword in observer or (
            card.keyword.startswith(axes) and card.keyword.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")[-1:].isdigit()
        ):
            kept.append(card, bottom=True)
    return kept

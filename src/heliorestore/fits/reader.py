"""Read files as a Burst, or one of our own restored files as a Snapshot."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst, Source
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits import ana, lapalma
from heliorestore.fits.files import Gunzip, Opened, read_exactly, regular, silent_astropy
from heliorestore.fits.frames import FileFrames
from heliorestore.fits.hdus import FOREIGN, Hdu, header_of, images_of, scan
from heliorestore.fits.layouts import Piece, Plan, frame_times, labels_of, natural, plan_file, plan_files
from heliorestore.fits.tables import (
    tabulated_axes,
    tabulated_objects,
    tabulated_seconds,
    tabulated_sky,
    tabulated_times,
)
from heliorestore.fits.wcs import planar, pointed, untabulated
from heliorestore.instrument import LEAST, MOST, Instrument
from heliorestore.preparation import Preparation
from heliorestore.settings import to_rows
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from astropy.io.fits import Header

Paths = str | PathLike[str] | Iterable[str | PathLike[str]]

SUFFIXES = (
    *(".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fts.gz", ".fits.fz", ".fz", ".f0", ".ana"),
    *lapalma.SUFFIXES,
)
"""The endings of the file names that are searched for in a folder."""

_SMALL = 2**22  # pixels: smaller bursts are read at once, to report early if none is valid
_MOST_COUNTED = 2**28  # pixels that `describe` reads to count the bad ones
_FEW = 2**14  # images, of which each takes a read: no more are looked at for either
_MOST_OBJECTS = 2**16  # each has a label, an instrument and layers
_MOST_IMAGES = 2**20


def read(path: Paths, axes: str = "") -> Burst | Snapshot:
    """Read a file, a list of files or a folder as a Burst; a restored file comes back as its Snapshot.

    `axes` are the names of the files' axes, the slowest first, where their headers do not give them, as in
    `wavelength,stokes,frame,y,x`; `frame,stokes=4,wavelength=21,y,x` also splits the slowest one.
    """
    files = _files(path)
    if len(files) > 1:
        return read_burst(files, axes)
    with Opened(Gunzip()) as opened:
        plan, hdus = _plan_of(opened.file(files[0]), files[0], axes)
        if plan.layout == "restored":
            from heliorestore.fits.readback import snapshot_of

            snapshot = snapshot_of(opened, files[0], hdus)
            if not np.isfinite(snapshot.images).any():
                raise _no_valid_pixel(files[0])
            return snapshot
        return _read(files, [plan], opened, axes)


def read_burst(path: Paths, axes: str = "") -> Burst:
    """Read a file, a list of files or a folder as a Burst; a restored file is a burst of one frame of its
    images.

    Headers are read now, pixels when the frames are sliced. See `layouts.LAYOUTS` for what files may hold,
    and `read` for `axes`.
    """
    files = _files(path)
    with Opened(Gunzip()) as opened:
        plans = [_plan_of(opened.file(each), each, axes)[0] for each in files]
        return _read(files, plans, opened, axes)


def read_series(path: Path) -> Burst:
    """Read a file as `read_burst` does, and a restored file that has every frame as the burst of them all."""
    burst = read_burst(path)
    if burst.layout != "restored":
        return burst
    from heliorestore.fits.readback import series_of

    with Opened(Gunzip()) as opened:
        found = series_of(opened, path.absolute())
    if found is None:
        return burst
    frames, times = found
    numbers = range(frames.shape[1])
    return dataclasses.replace(
        burst, frames=frames, times=times, image_times=None, pointing=None, frame_numbers=numbers
    )


def are_frames(paths: Sequence[Path]) -> bool:
    """Whether the files have one image each, of one shape and unit, by their headers alone."""
    kinds = set()
    with Opened(Gunzip()) as opened:
        for path in paths:
            try:
                plan, _ = _plan_of(opened.file(path), path, "")
            except BurstError:  # it says for itself what is wrong with it
                return False
            kinds.add((plan.layout != "restored", plan.shape, str(plan.pieces[0].image.cards.get("BUNIT"))))
    return len(kinds) == 1 and all(alien and shape[:2] == (1, 1) for alien, shape, _ in kinds)


def read_cameras(path: Paths, axes: str = "") -> list[Burst]:
    """Read files as a burst for each shape of their images; bursts, and the objects of each, are in the order
    in which their files are given.
    """
    files = _files(path)
    with Opened(Gunzip()) as opened:
        plans = [_plan_of(opened.file(each), each, axes)[0] for each in files]
        shapes = [plan.shape[2:] for plan in plans]
        alike = [[n for n, other in enumerate(shapes) if other == shape] for shape in dict.fromkeys(shapes)]
        parts = [([files[n] for n in ns], [plans[n] for n in ns]) for ns in alike]
        return [_read(*part, opened, axes, in_order=True) for part in parts]


def _read(
    files: list[Path], plans: list[Plan], opened: Opened, axes: str, *, in_order: bool = False
) -> Burst:
    """The burst of files that were looked into; `in_order` puts objects into the order of the files."""
    plan = plan_files(plans)
    if in_order:
        plan = plan.ordered(files)
    objects, frames, rows, columns = plan.shape
    if objects > _MOST_OBJECTS or objects * frames > _MOST_IMAGES:
        raise BurstError(
            f"{files[0]} would be {objects} objects of {frames} frames of {rows} x {columns} pixels; "
            f"possible are {_MOST_OBJECTS} objects and {_MOST_IMAGES} images. If its axes have another "
            "order, name them, the slowest first, as in --axes y,x,frame (in Python, axes=)."
        )
    try:
        sources = tuple(Source.of(file) for file in dict.fromkeys(piece.image.path for piece in plan.pieces))
        burst = _burst_of(plan, sources, opened)
        burst = dataclasses.replace(burst, preparation=Preparation(axes=axes))  # for the record
    except OSError as error:
        raise BurstError(
            f"{error.filename or files[0]} cannot be read: {error.strerror or error}."
        ) from error
    if _within(burst, _SMALL) and not any(np.isfinite(image).any() for _, _, image in burst.images()):
        raise _no_valid_pixel(files[0])
    return burst


def _within(burst: Burst, pixels: int) -> bool:
    """Whether a burst has at most so many pixels, in so few images that all can be looked at."""
    objects, frames, *_ = burst.shape
    return objects * frames <= _FEW and int(np.prod(burst.shape, dtype=np.int64)) <= pixels


def _no_valid_pixel(path: Path) -> BurstError:
    return BurstError(f"{path} has no valid pixel: every value is NaN or blank.")


def _files(path: Paths) -> list[Path]:
    """The files of a path, with the images of a folder listed."""
    if isinstance(path, (str, PathLike)):
        folder = Path(path)
        is_folder = False
        with suppress(OSError):  # whose reason is said below
            is_folder = folder.is_dir()
        if not is_folder:
            return [regular(folder)]
        try:
            found = sorted(
                (
                    p
                    for p in folder.iterdir()
                    if p.name.lower().endswith(SUFFIXES) and not p.name.startswith(".") and p.is_file()
                ),
                key=lambda p: natural(p.name),
            )
        except OSError as error:
            raise BurstError(f"The folder {folder} cannot be read: {error.strerror or error}.") from error
        if not found:
            raise BurstError(
                f"The folder {folder} holds no images: none of its files ends in {', '.join(SUFFIXES)}."
            )
        # The same cube with its spectra in front, as SSTRED and CRISPEX have it.
        flipped = {p.with_stem(p.stem.removesuffix("_im") + "_sp") for p in found}
        return [p.absolute() for p in found if p not in flipped]
    given = [Path(p) for p in path]
    if not given:
        raise BurstError("No file is given: name a FITS or ANA file, several of them, or a folder.")
    if len(given) == 1:
        return _files(given[0])
    return [regular(p) for p in given]


def _plan_of(file: BinaryIO, path: Path, axes: str) -> tuple[Plan, list[Hdu]]:
    """The plan for the images of an open file, and its HDUs if it is FITS."""
    start = read_exactly(file, 0, min(file.seek(0, 2), 512), path)
    if ana.is_ana(start):
        return plan_file([ana.image_of(file, path)], axes), []
    if lapalma.is_lapalma(start):
        image = lapalma.image_of(file, path)
        return plan_file([image], axes or lapalma.axes_beside(image)), []
    hdus = scan(file, path)
    images = images_of(hdus, path)
    if not images:
        tables = sum(hdu.kind in ("TABLE", "BINTABLE") for hdu in hdus)
        found = f"{tables} table{'s' * (tables != 1)}" if tables else "only headers without data"
        raise BurstError(f"{path} holds no image, {found}; an image has at least two axes.")
    return plan_file(images, axes), hdus


def _burst_of(plan: Plan, sources: tuple[Source, ...], opened: Opened) -> Burst:
    named = labels_of(plan, [tabulated_axes(group[0], opened) for group in plan.groups])
    headers: list[Header] = []
    instruments: list[Instrument] = []
    places: list[npt.NDArray[np.float64] | None] = []
    for group in plan.groups:
        place = _place(group, opened)
        header = _header(group[0], opened)
        header = header if place is None else pointed(header, place, group[0].shape[2:])
        sound = untabulated(header)
        for _ in range(group[0].shape[0]):
            wave_nm = named[len(instruments)][1]
            headers.append(sound)
            instruments.append(_instrument(header, wave_nm, group[0].image.path))
        places.append(place)
    times = np.concatenate([_times(group, opened) for group in plan.groups])
    differ = ((times != times[0]) & ~np.isnat(times)).any()
    burst = Burst(
        frames=FileFrames(plan, sources, opened.gunzip),
        instruments=tuple(instruments),
        labels=tuple(label for label, _ in named),
        headers=tuple(headers),
        times=None if np.isnat(times[0]).all() else times[0],
        image_times=times if differ else None,
        pointing=_pointing(plan, places),
        unit=str(plan.pieces[0].image.cards.get("BUNIT") or "").strip(),
        sources=sources,
        layout=plan.layout,
        scale_from_file=plan.layout != "restored",  # whose scale was believed when it was made
    )
    if plan.layout != "restored":
        return dataclasses.replace(burst, **tabulated_objects(plan, opened))
    from heliorestore.fits.readback import as_burst

    return as_burst(burst, plan.pieces[0].image, opened)


def _times(group: Sequence[Piece], opened: Opened) -> npt.NDArray[np.datetime64]:
    """The times of the images of a group (object, frame)."""
    found = []
    for piece in group:
        times = tabulated_times(piece, opened)
        if times is None:
            times = frame_times(piece, tabulated_axes(piece, opened), tabulated_seconds(piece, opened))
        found.append(np.broadcast_to(times, piece.shape[:2]))
    return np.concatenate(found, 1)


def _place(group: Sequence[Piece], opened: Opened) -> npt.NDArray[np.float64] | None:
    """Where the images of a group lie by their files' tables, (object, frame, 2, 3); None if unknown."""
    places = [tabulated_sky(piece, opened) for piece in group]
    if all(place is None for place in places):
        return None
    return np.concatenate(
        [
            _unknown_places(*p.shape[:2]) if place is None else place
            for p, place in zip(group, places, strict=True)
        ],
        1,
    )


def _pointing(plan: Plan, places: Sequence[npt.NDArray[np.float64] | None]) -> npt.NDArray[np.float64] | None:
    """The places of all groups, in the form of `Burst.pointing`."""
    if all(place is None for place in places):
        return None
    frames = plan.shape[1]
    filled = [
        _unknown_places(g[0].shape[0], frames) if place is None else place
        for g, place in zip(plan.groups, places, strict=True)
    ]
    return np.concatenate(filled)


def _unknown_places(objects: int, frames: int) -> npt.NDArray[np.float64]:
    return np.full((objects, frames, 2, 3), np.nan)


def _header(piece: Piece, opened: Opened) -> Header:
    """The header of a piece's images, its WCS that of their plane: x is axis 1 and y axis 2."""
    from astropy.io.fits import Header

    image = piece.image
    if image.code in FOREIGN:
        header = Header()
        text = "".join(c if " " <= c <= "~" else " " for c in image.cards.get("TEXT", ""))
        if text.strip():
            header.add_history(text)
        return header
    header = header_of(opened.file(image.path), image)
    with silent_astropy():
        return planar(header, len(image.shape) - piece.axes.x, len(image.shape) - piece.axes.y)


def _instrument(header: Header, wave_nm: float | None, path: Path) -> Instrument:
    """The instrument of an object's images; a wavelength from an axis takes precedence over the header's."""
    cards: dict[str, Any] = {key: header[key] for key in header if key not in ("COMMENT", "HISTORY", "")}
    if wave_nm is not None and LEAST < wave_nm < MOST:  # a damaged table may say anything
        cards |= {"WAVELNTH": wave_nm, "WAVEUNIT": -9}
    try:
        return Instrument.from_header(cards)
    except SettingsError as error:
        raise BurstError(f"{path}: the header describes an impossible instrument: {error}") from error


# -- what a file holds, in words -----------------------------------------------------------------------------


def describe(data: Burst | Snapshot) -> dict[str, Any]:
    """The facts that `heliorestore info` prints about a burst or a restored file, ready for JSON."""
    if isinstance(data, Snapshot):
        return _describe_snapshot(data)
    countable = _within(data, _MOST_COUNTED)
    return {
        "layout": data.layout,
        "shape": list(data.shape),
        **_stored(data),
        "unit": data.unit,
        "labels": list(data.labels),
        "coordinates": [dataclasses.asdict(each) for each in data.coordinates],
        "missing_images": 0 if data.present is None else int((~data.present).sum()),
        "instruments": [_describe_instrument(instrument) for instrument in data.instruments],
        "pixel_arcsec": data.instruments[0].pixel_arcsec,
        "doubts": data.doubts,
        "times": _describe_times(data.times),
        "bad_pixels": data.count_bad_pixels() if countable else None,
        "files": [str(source.path) for source in data.sources],
    }


def _stored(burst: Burst) -> dict[str, Any]:
    """Type of number, storage and number of bytes in the file."""
    frames = burst.frames
    if not isinstance(frames, FileFrames):
        return {"dtype": str(frames.dtype), "storage": "memory"}
    image = frames.plan.pieces[0].image
    kinds = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}
    dtype = kinds[image.bitpix]
    half = 2.0 ** (image.bitpix - 1) if image.bitpix > 8 else -128.0
    if image.bitpix > 0 and image.cards.get("BZERO") == half and image.cards.get("BSCALE", 1) == 1:
        dtype = "int8" if image.bitpix == 8 else f"u{dtype}"
    storage = FOREIGN.get(image.code) or (f"tile-compressed ({image.code})" if image.code else "plain")
    return {"dtype": dtype, "storage": storage}


def _describe_instrument(instrument: Instrument) -> dict[str, Any]:
    return dataclasses.asdict(instrument) | {"unknown": list(instrument.unknown)}


def _describe_times(times: npt.NDArray[np.datetime64] | None) -> dict[str, Any]:
    every = np.array([], "datetime64[us]") if times is None else times
    known = np.sort(every[~np.isnat(every)])
    first, last = (
        str(np.datetime_as_string(known[end], unit="ms")) if len(known) else None for end in (0, -1)
    )
    return {"first": first, "last": last, "known": len(known)}


def _describe_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    from heliorestore.fits.readback import finer

    run = snapshot.run
    objects, rows, columns = snapshot.images.shape
    instruments = [finer(instrument, snapshot.zoom) for instrument in run.instruments] if run else []
    facts: dict[str, Any] = {
        "layout": "restored",
        "shape": [objects, 1, rows, columns],
        "dtype": "float32",
        "storage": "plain",
        "unit": run.unit if run else "",
        "labels": list(run.labels) if run else [],
        "instruments": [_describe_instrument(instrument) for instrument in instruments],
        "pixel_arcsec": instruments[0].pixel_arcsec if instruments else None,
        "doubts": [],
        "times": _describe_times(run.times if run else None),
        "bad_pixels": int(np.count_nonzero(~np.isfinite(snapshot.images))),
        "files": [],
        "zoom": snapshot.zoom,
        "step": snapshot.step,
        "total": snapshot.total,
        "seconds": snapshot.elapsed_s,
        "stop": snapshot.stop.value if snapshot.stop else None,
        "losses": dict(snapshot.losses),
        "maps": {name: list(array.shape) for name, array in snapshot.maps.items()},
        "messages": list(snapshot.messages),
    }
    if run is None:
        return facts
    return facts | {
        "method": run.settings.method,
        "settings": {name: value for name, value, *_ in to_rows(run.settings)},
        "device": run.device,
        "seed": run.seed,
        "inputs": [
            {"file": str(source.path), "size": source.size, "sha256": source.sha256} for source in run.sources
        ],
    }


__all__: Sequence[str] = ["SUFFIXES", "are_frames", "describe", "read", "read_burst", "read_cameras"]

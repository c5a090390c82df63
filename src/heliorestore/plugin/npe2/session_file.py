"""A session in one file: an archive without compression that holds a text, `session.json`, and FITS files.

Files that were opened are named with their checksums; results lie in the archive with their whole record, and
so do images that come from no file, and points and shapes as texts.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from heliorestore.burst import Burst, Source
from heliorestore.errors import BurstError, HeliorestoreError
from heliorestore.fits.files import silent_astropy
from heliorestore.fits.provenance import checked_source, find_source
from heliorestore.fits.reader import read
from heliorestore.plugin.npe2.writers import header_of, pixels_of
from heliorestore.plugin.viewer.layers import burst_layers, pictures, snapshot_layer
from heliorestore.snapshot import Snapshot
from heliorestore.storage import atomic_write, check_output, replacing

SUFFIX = ".heliosession"
_TEXT, _FORMAT = "session.json", 1
_LONGEST = 2**24  # bytes of the text
_FARTHEST = 2**30  # pixels or planes: the sliders of a window count no further
_DAMAGED = (KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError, OverflowError)
"""What reading an archive and its text raises that nobody has written like this; RuntimeErrors come from
encrypted or unknown parts, and from texts that are nested too deep.
"""


@dataclass(frozen=True, kw_only=True)
class SavedLayer:
    """A layer of a session. `record` is the burst or the snapshot whose picture `key` it shows, None for
    other pixels; `more` are the entries of its metadata that are plain.
    """

    name: str
    data: Any
    looks: Mapping[str, Any]
    kind: str = "image"
    record: Burst | Snapshot | None = None
    key: tuple[str, int] = ("image", 0)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a session holds; a layer that cannot be had is None, and `problems` says why."""

    layers: tuple[SavedLayer | None, ...]
    panels: tuple[Mapping[str, Any], ...] = ()
    view: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def write_session(session: Session, path: Path) -> Path:
    """Write a session; the file appears when it is complete, until then an older one stays."""
    layers = [layer for layer in session.layers if layer is not None]
    bursts = _distinct(layers, Burst)
    inputs = [source.path for burst in bursts for source in burst.sources]
    target = check_output(path, overwrite=True, inputs=inputs)
    results = _distinct(layers, Snapshot)
    entries: list[dict[str, Any]] = []
    files, drawn = list[SavedLayer](), list[SavedLayer]()
    for layer in layers:
        entry: dict[str, Any] = {"name": layer.name, "type": layer.kind, "more": layer.more}
        entry |= {"looks": {} if layer.kind in MARKS else layer.looks}
        if layer.kind in MARKS:
            drawn.append(layer)
            entry |= {"drawn": len(drawn) - 1}
        elif layer.record is None:
            files.append(layer)
            entry |= {"image": len(files) - 1, "shape": list(np.shape(layer.data))}
        else:
            place, among = ("burst", bursts) if isinstance(layer.record, Burst) else ("result", results)
            entry |= {place: among.index(layer.record), "key": layer.key}
        entries.append(entry)
    text = {
        "format": _FORMAT,
        "layers": entries,
        "bursts": [_named(burst) for burst in bursts],
        "panels": session.panels,
        "view": session.view,
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        replacing(target) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
    ):
        archive.writestr(_TEXT, json.dumps(text, indent=1))
        part = Path(folder) / "part.fits"
        for number, result in enumerate(results):
            from heliorestore.fits.writer import write

            archive.write(write(result, part, overwrite=True), f"results/{number}.fits")
        for number, layer in enumerate(files):
            archive.write(_image(layer, part), f"images/{number}.fits")
        for number, layer in enumerate(drawn):
            places = [np.asarray(mark, float).tolist() for mark in layer.data]
            archive.writestr(f"drawn/{number}.json", json.dumps({"data": places, "looks": layer.looks}))
    return target


def read_session(path: Path) -> Session:
    """Read a session; the layers of a file that is gone or changed are left out, with a sentence."""
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            return _Reading(archive, path, Path(folder)).session()
    except OSError as error:
        raise BurstError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (zipfile.BadZipFile, *_DAMAGED) as error:
        raise BurstError(
            f"{path} is no session of heliorestore, or it is damaged ({_brief(error)}): save it again, or "
            "open its images alone; it is a zip archive."
        ) from error


class _Reading:
    """An archive that is being read; each of its files is read once."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
        self._archive, self._path, self._folder = archive, path, folder
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("its parts are compressed")
        if sum(info.file_size for info in infos) > path.stat().st_size:
            raise ValueError("its parts are larger than it is")
        if archive.getinfo(_TEXT).file_size > _LONGEST:
            raise ValueError("its text is too long")
        self._text = json.loads(archive.read(_TEXT))
        if self._text["format"] != _FORMAT:
            raise ValueError(f"its format is {self._text['format']}, this version reads {_FORMAT}")
        self._known: dict[tuple[str, int], Any] = {}
        self._problems: list[str] = []

    def session(self) -> Session:
        """Everything in it."""
        layers = tuple(self._layer(dict(entry)) for entry in list(self._text["layers"]))
        return Session(
            layers=layers,
            panels=tuple(dict(panel) for panel in self._text["panels"]),
            view=dict(self._text["view"]),
            problems=tuple(dict.fromkeys(self._problems)),
        )

    def _layer(self, entry: dict[str, Any]) -> SavedLayer | None:
        name, looks = str(entry.get("name", "a layer")), dict(entry["looks"])
        try:
            if "drawn" in entry:
                drawn = json.loads(self._archive.read(f"drawn/{int(entry['drawn'])}.json"))
                data, metadata = [_marked(mark) for mark in drawn["data"]], dict[str, Any]()
                looks = dict(drawn["looks"])
            else:
                data, metadata = self._pixels(entry)
        except HeliorestoreError as error:
            self._problems.append(str(error))
            return None
        except (OSError, zipfile.BadZipFile, fits.VerifyError, *_DAMAGED) as error:
            self._problems.append(f"{name} is damaged in {self._path.name} ({_brief(error)}).")
            return None
        more = {key: value for key, value in dict(entry["more"]).items() if key in MORE}
        return SavedLayer(
            name=name,
            data=data,
            looks=looks,
            kind=entry["type"] if entry["type"] in ("labels", *MARKS) else "image",
            metadata=metadata | more,
        )

    def _pixels(self, entry: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The pixels of a layer with the metadata that a layer of its file has."""
        if "image" in entry:
            data, header = self._once("image", int(entry["image"]), self._open_image)
            shape = tuple(int(n) for n in entry["shape"])
            if shape[-2:] != data.shape[-2:] or len(shape) != data.ndim or max(shape) > _FARTHEST:
                raise ValueError("its pixels have another shape")
            return np.broadcast_to(data, shape) if shape != data.shape else data, {"header": dict(header)}
        kind, object_ = entry["key"]
        if "burst" in entry:
            burst = self._once("burst", int(entry["burst"]), self._open_burst)
            layers = {
                known["metadata"]["object"]: each for each in burst_layers(burst) for known in each[1:2]
            }
            data, arguments, _ = layers[_index(object_, burst.shape[0])]
        else:
            result = self._once("result", int(entry["result"]), self._open_result)
            key = str(kind), int(object_)
            data, arguments, _ = snapshot_layer(key, pictures(result)[key], result)
        return data, arguments["metadata"]

    def _once(self, place: str, number: int, make: Any) -> Any:
        """What `make` gives for this number, or the sentence why not, each time."""
        if (place, number) not in self._known:
            try:
                self._known[place, number] = make(number)
            except HeliorestoreError as error:
                self._known[place, number] = error
        found = self._known[place, number]
        if isinstance(found, HeliorestoreError):
            raise found
        return found

    def _open_burst(self, number: int) -> Burst:
        entry = self._text["bursts"][_index(number, len(self._text["bursts"]))]
        paths = [self._unchanged(*file) for file in entry["files"]]
        record = read(paths[0] if len(paths) == 1 else paths, str(entry["axes"]))
        if not isinstance(record, Burst):
            raise ValueError("it is a restored file")
        return record

    def _unchanged(self, name: str, size: int, mtime_ns: int, sha256: str) -> Path:
        """The file at its old place or beside the session, as it was."""
        source = Source(path=Path(name), size=int(size), mtime_ns=int(mtime_ns), sha256=str(sha256))
        beside = self._path.absolute().parent
        try:
            if source.path.is_file() and Source.of(source.path) == Source(
                path=source.path.absolute(), size=source.size, mtime_ns=source.mtime_ns
            ):
                return source.path
            if source.sha256:
                return find_source(source, beside)
        except (HeliorestoreError, OSError):
            pass
        raise BurstError(
            f"{source.path} is gone or has been changed since the session was saved; its layers are left "
            f"out. Put the original back, or into {beside}."
        )

    def _open_result(self, number: int) -> Snapshot:
        record = read(self._unpacked(f"results/{number}.fits"))
        if not isinstance(record, Snapshot):
            raise ValueError("it is no restored file")
        return record

    def _open_image(self, number: int) -> tuple[Any, fits.Header]:
        with silent_astropy(), fits.open(self._unpacked(f"images/{number}.fits"), memmap=False) as hdus:
            data, header = hdus[0].data, hdus[0].header
            return data.astype(data.dtype.newbyteorder("="), copy=False), header

    def _unpacked(self, member: str) -> Path:
        """A part of the archive as a file."""
        target = self._folder / member.replace("/", "-")
        with self._archive.open(member) as packed, atomic_write(target) as file:
            while chunk := packed.read(2**22):
                file.write(chunk)
        return target


MORE = ("kind", "version", "settings", "instrument", "parameter")
"""The entries of a layer's metadata that a session keeps as they are."""

MARKS = ("points", "shapes")
"""The types of layers that have marks instead of pixels."""


def _distinct(layers: Sequence[SavedLayer], kind: type) -> list[Any]:
    """The different records of that kind, by identity."""
    found = {id(layer.record): layer.record for layer in layers if isinstance(layer.record, kind)}
    return list(found.values())


def _named(burst: Burst) -> dict[str, Any]:
    """The files of a burst, as they were when it was opened."""
    files = [
        (str(source.path), source.size, source.mtime_ns, checked_source(source)[0])
        for source in burst.sources
    ]
    return {"files": files, "axes": burst.preparation.axes}


def _image(layer: SavedLayer, part: Path) -> Path:
    """Write the pixels of a layer; an axis along which they only repeat has one plane."""
    data = layer.data
    if isinstance(data, np.ndarray):
        data = data[tuple(slice(0, 1) if step == 0 else slice(None) for step in data.strides)]
    hdu = fits.PrimaryHDU(pixels_of(data), header_of({"metadata": layer.metadata, **layer.looks}))
    with silent_astropy(), replacing(part) as file:
        hdu.writeto(file, checksum=True, output_verify="silentfix")
    return part


def _marked(mark: Any) -> Any:
    """The coordinates of a point, or of the corners of a shape."""
    places = np.asarray(mark, float)
    if not (np.abs(places) <= _FARTHEST).all():  # nor NaN
        raise ValueError("its marks are beyond any image")
    return places


def _index(number: Any, count: int) -> int:
    if not 0 <= int(number) < count:
        raise IndexError(f"there is no number {number}")
    return int(number)


def _brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]

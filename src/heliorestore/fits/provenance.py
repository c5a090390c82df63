"""Provenance: the record of a run as FITS cards and tables, written and read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Source
from heliorestore.errors import BurstError
from heliorestore.fits.object_table import COLUMNS, object_columns, read_objects
from heliorestore.instrument import Instrument
from heliorestore.preparation import Preparation
from heliorestore.selection import Numbers, numbers_text
from heliorestore.settings import SavedSettings, Settings, from_rows, to_rows
from heliorestore.snapshot import Run, Snapshot, StopReason

if TYPE_CHECKING:
    from astropy.io import fits

Card = tuple[str, Any, str]

_SETTING_COLUMNS = ("NAME", "VALUE", "UNIT", "HELP")
_MOST_ZOOM = 64


# -- text in FITS, which is printable ASCII ------------------------------------------------------------------


def to_ascii(text: str) -> str:
    """Write any text as printable ASCII, other characters escaped as in JSON; `from_ascii` reads it."""
    # astropy takes a quote before a slash for the end of the text
    return re.sub("'(?= */)", r"\\u0027", json.dumps(text)[1:-1].replace("\x7f", "\\u007f"))


def from_ascii(text: str) -> str:
    """The text that `to_ascii` wrote."""
    read: str = json.loads(f'"{text}"', strict=False)
    return read


# -- the tables ----------------------------------------------------------------------------------------------


def tables(snapshot: Snapshot) -> list[fits.BinTableHDU]:
    """LOSS, SETTINGS, OBJECTS, INPUTS, and PREPARATION and FRAMES where there is something to say."""
    run = snapshot.run
    found = [_loss_table(snapshot)]
    if run is None:
        return found
    found += [
        _settings_table("SETTINGS", run.settings, _run_cards(run)),
        table_of(
            "OBJECTS",
            {"LABEL": run.labels, "INSTRUMENT": [i.record for i in run.instruments]}
            | object_columns(run.coordinates, run.present),
        ),
    ]
    if run.preparation != Preparation():
        found.append(_settings_table("PREPARATION", run.preparation))
    if run.sources or run.files:
        found.append(inputs_table(run.sources, run.files))
    if run.times is not None:
        times: dict[str, Any] = {"TIME": [str(time) for time in run.times]}
        cards = [("TIMESYS", "UTC", "time system of TIME")]
        if run.image_times is not None:
            # A row of the table has the numbers of all objects.
            cards.append(("TUNIT2", "s", "image of each object after TIME"))
            times["LATER"] = ((run.image_times - run.times) / np.timedelta64(1, "s")).T
        found.append(table_of("FRAMES", times, cards))
    return found


def inputs_table(sources: Sequence[Source], files: Mapping[str, Source]) -> fits.BinTableHDU:
    """The files from which something was made, and those that settings name, with their checksums."""
    everything = [*sources, *files.values()]
    checked = [checked_source(source) for source in everything]
    columns: dict[str, Any] = {
        "FILE": [str(source.path) for source in everything],
        "SIZE": np.array([source.size for source in everything], np.int64),
        "MODIFIED": [str(np.datetime64(source.mtime_ns, "ns")) for source in everything],
        "SETTING": [""] * len(sources) + list(files),
        "SHA256": [sha256 for sha256, _ in checked],
        "NOTE": [note for _, note in checked],
    }
    return table_of("INPUTS", columns)


def _settings_table(
    name: str, settings: Settings | SavedSettings, cards: Sequence[Card] = ()
) -> fits.BinTableHDU:
    rows = to_rows(settings)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(_SETTING_COLUMNS)
    return table_of(name, dict(zip(_SETTING_COLUMNS, columns, strict=True)), cards)


def _run_cards(run: Run) -> list[Card]:
    return [
        ("METHOD", run.settings.method, "method of the restoration"),
        ("SEED", run.seed, "seed of the random numbers"),
        ("DEVICE", run.device, "where it was computed"),
        ("DATAUNIT", to_ascii(run.unit), "unit of the images"),
        ("OBJSEL", numbers_text(run.object_numbers), "objects of the input"),
        ("FRAMSEL", numbers_text(run.frame_numbers), "frames of the input"),
    ]


def _loss_table(snapshot: Snapshot) -> fits.BinTableHDU:
    cards: list[Card] = [
        ("STEP", snapshot.step, "iterations done"),
        ("TOTAL", snapshot.total, "iterations wanted"),
        ("ELAPSED", snapshot.elapsed_s, "[s] computing time"),
        ("ZOOM", snapshot.zoom, "pixels of the images per pixel of the input"),
        ("STOP", snapshot.stop.name if snapshot.stop else "", "why it stopped"),
        ("STOPTEXT", snapshot.stop.value if snapshot.stop else "It had not stopped.", ""),
        ("LASTLOSS", json.dumps(dict(snapshot.losses)), "losses of the last step"),
    ]
    cards += [(f"MSG{number}", to_ascii(text), "") for number, text in enumerate(snapshot.messages, 1)]
    return table_of(
        "LOSS", {to_ascii(name): np.asarray(column) for name, column in snapshot.history.items()}, cards
    )


def table_of(name: str, columns: dict[str, Any], cards: Sequence[Card] = ()) -> fits.BinTableHDU:
    """A binary table of texts and numbers by column name."""
    from astropy.io import fits

    made = []
    for title, values in columns.items():
        if isinstance(values, np.ndarray):
            form = "K" if values.dtype.kind == "i" else "D"
            many = "" if values.ndim == 1 else str(values.shape[1])
            made.append(fits.Column(title, many + form, array=values))
        else:
            texts = [to_ascii(value) for value in values]
            # FITS has no texts of length 0.
            width = max([1, *map(len, texts)])
            made.append(fits.Column(title, f"{width}A", array=np.array(texts, f"S{width}")))
    hdu = fits.BinTableHDU.from_columns(made, name=name)
    for card in cards:
        hdu.header.append(card, end=True)
    return hdu


def checked_source(source: Source) -> tuple[str, str]:
    """SHA-256 and a note of an input file; if it has changed since it was opened, only the reason."""
    try:
        now = Source.of(source.path)
        # A checksum of a changed file would certify the wrong input.
        if (now.size, now.mtime_ns) == (source.size, source.mtime_ns):
            return _sha256(now), ""
        note = "changed since it was opened"
    except OSError:
        note = "not found when this was written"
    return (source.sha256, note) if source.sha256 else ("", f"{note}: no checksum")


@lru_cache(maxsize=1024)
def _sha256(source: Source) -> str:
    """The checksum of a file in that state; a long run is exported many times and hashes its inputs once."""
    with source.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- and back ------------------------------------------------------------------------------------------------


def read_tables(hdus: fits.HDUList) -> dict[str, Any]:
    """The fields of a Snapshot, without images and maps, from the tables of a restored file."""
    loss = hdus["LOSS"]
    card = loss.header
    stop = card["STOP"]
    names = loss.columns.names
    zoom = int(card["ZOOM"])
    if not 1 <= zoom <= _MOST_ZOOM:
        raise ValueError(f"ZOOM is {zoom}")
    return {
        "step": int(card["STEP"]),
        "total": int(card["TOTAL"]),
        "elapsed_s": float(card["ELAPSED"]),
        "zoom": zoom,
        "stop": StopReason[stop] if stop else None,
        "losses": json.loads(card["LASTLOSS"]),
        "messages": tuple(
            from_ascii(card[f"MSG{n}"]) for n in range(1, 1 + sum(key.startswith("MSG") for key in card))
        ),
        "history": {from_ascii(name): np.array(loss.data[name], np.float64) for name in names},
        "run": _read_run(hdus) if "SETTINGS" in hdus else None,
    }


def _read_run(hdus: fits.HDUList) -> Run:
    settings, objects = hdus["SETTINGS"], hdus["OBJECTS"]
    card = settings.header
    inputs = _read_sources(hdus) if "INPUTS" in hdus else []
    times, image_times = _read_times(hdus["FRAMES"]) if "FRAMES" in hdus else (None, None)
    rows = zip(*(_texts(settings, name) for name in _SETTING_COLUMNS), strict=True)
    prepared = Preparation()
    if "PREPARATION" in hdus:
        values = (_texts(hdus["PREPARATION"], name) for name in _SETTING_COLUMNS[:2])
        prepared = from_rows(Preparation, zip(*values, strict=True))
    return Run(
        settings=SavedSettings(card["METHOD"], tuple(rows)),
        device=card["DEVICE"],
        seed=int(card["SEED"]),
        instruments=tuple(Instrument.recorded(text) for text in _texts(objects, "INSTRUMENT")),
        labels=tuple(_texts(objects, "LABEL")),
        unit=from_ascii(card["DATAUNIT"]),
        sources=tuple(source for setting, source in inputs if not setting),
        files={setting: source for setting, source in inputs if setting},
        times=times,
        image_times=image_times,
        **read_objects({name: objects.data[name] for name in COLUMNS if name in objects.columns.names}),
        object_numbers=_read_numbers(card["OBJSEL"]),
        frame_numbers=_read_numbers(card["FRAMSEL"]),
        preparation=prepared,
    )


def _texts(table: fits.BinTableHDU, column: str) -> list[str]:
    return [from_ascii(str(text)) for text in table.data[column]]


def _read_sources(hdus: fits.HDUList) -> list[tuple[str, Source]]:
    """The inputs, each with the setting that names it, empty for a file of the burst."""
    table = hdus["INPUTS"]
    named = _texts(table, "SETTING") if "SETTING" in table.columns.names else [""] * len(table.data)
    rows = zip(
        named,
        _texts(table, "FILE"),
        table.data["SIZE"],
        _texts(table, "MODIFIED"),
        _texts(table, "SHA256"),
        strict=True,
    )
    return [
        (
            setting,
            Source(
                path=Path(file),
                size=int(size),
                mtime_ns=int(np.datetime64(modified, "ns").astype(np.int64)),
                sha256=sha256,
            ),
        )
        for setting, file, size, modified, sha256 in rows
    ]


def _read_times(
    table: fits.BinTableHDU,
) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.datetime64] | None]:
    """The times of the frames, and of every image (object, frame) if objects differ in them."""
    times = np.array(_texts(table, "TIME"), "datetime64[us]")
    if "LATER" not in table.columns.names:
        return times, None
    later = np.array(table.data["LATER"], np.float64).reshape(len(times), -1).T
    return times, times + np.round(later * 1e6).astype("timedelta64[us]")


def _read_numbers(text: str) -> Numbers:
    """The numbers that `numbers_text` wrote, or an earlier version, which wrote an end before 0 as -1."""
    found: list[int] = []
    for part in text.split(","):
        words = part.split(":")
        start, stop = int(words[0]), int(words[1] or -1) if len(words) > 1 else int(words[0]) + 1
        run = range(start, stop, int(words[2]) if len(words) > 2 else 1)
        if "," not in text:
            return run
        found += run
    return tuple(found)


def find_source(source: Source, beside: Path) -> Path:
    """The input file at its old place, or beside the restored one; its checksum must be the recorded one."""
    places = [source.path, beside / source.path.name]
    found = [place for place in dict.fromkeys(places) if place.is_file()]
    if not found:
        raise BurstError(
            f"The input {source.path} no longer exists: put it back, or beside the restored file in {beside}."
        )
    for place in found:
        if not source.sha256 or _sha256(Source.of(place)) == source.sha256:
            return place
    raise BurstError(
        f"{found[0]} is not the file that was restored: its SHA-256 differs from the recorded "
        f"{source.sha256[:12]}...; put the original into {beside}."
    )

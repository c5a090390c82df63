"""The processing steps of a header after SOLARNET's recommendations: PRSTEPn and the cards beside it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import heliorestore
from heliorestore.burst import Source
from heliorestore.fits.provenance import Card, to_ascii
from heliorestore.settings import SavedSettings, options, to_rows
from heliorestore.snapshot import Run, Snapshot

if TYPE_CHECKING:
    from astropy.io.fits import Header

_STEPS = {
    "richardson-lucy": "RICHARDSON-LUCY-DECONVOLUTION",
    "enhance": "SUPER-RESOLUTION-DECONVOLUTION",
    "mfbd": "NEURAL-MFBD",
    "momfbd": "MOMFBD",
    "sv-momfbd": "SPATIALLY-VARIANT-MOMFBD",
    "denoise": "NOISE-FILTERING",
    "pca": "NOISE-FILTERING",
}
"""The value of SOLARNET's PRSTEPn for a method, from the words that its recommendations list."""

_PREPARATIONS = {
    "dark": "DARK-SUBTRACTION",
    "flat": "FLATFIELDING",
    "gain": "FLATFIELDING",
    "bad_pixels": "BAD-PIXEL-MASKING",
    "register": "SPATIAL-ALIGNMENT",
}
"""The same for the files that a preparation names, in the order in which they act; each is a step."""

_MOST_NAMED = 20  # input files in a card
_LIBRARIES = ("heliorestore", "torch", "numpy", "astropy")
_OWN_STEP = "heliorestore "
_PREPARED_BY = f"{_OWN_STEP}prepare"
_STEP_CARD = re.compile(r"PR(?:STEP|PROC|PVER|MODE|PARA|REF|LOG|ENV|LIB|VER|HSH|BRA)([1-9]\d*)[A-Z]?\Z")


def version_of(library: str) -> str:
    """The version of an installed library, without importing it."""
    if library == "heliorestore":
        return heliorestore.__version__
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def last_step(keywords: Iterable[str]) -> int:
    """The number of the last processing step in a header, 0 if there is none."""
    return max(map(step_number, keywords), default=0)


def step_number(keyword: str) -> int:
    """The processing step of a keyword, 0 if it belongs to none."""
    found = _STEP_CARD.match(keyword)
    return int(found[1]) if found else 0


def first_own_step(header: Header) -> int:
    """The number of the first processing step of the run that wrote this header: the last, but for files that
    prepared its frames.
    """
    first = last_step(header)
    while header.get(f"PRPROC{first - 1}") == _PREPARED_BY:
        first -= 1
    return first


def step_cards(snapshot: Snapshot, run: Run, number: int) -> list[Card]:
    """The SOLARNET keywords of this restoration, and before it of what prepared its frames, as processing
    steps from `number` on.
    """
    cards: list[Card] = []
    files = run.preparation.files()
    for name in (name for name in _PREPARATIONS if name in files):
        cards += [
            (f"PRSTEP{number}", _PREPARATIONS[name], "Processing step type"),
            (f"PRPROC{number}", _PREPARED_BY, "Name of the procedure"),
            (f"PRPVER{number}", version_of("heliorestore"), "Version of the procedure"),
            (f"PRREF{number}", to_ascii(files[name].name), "Its file (checksum in INPUTS)"),
        ]
        number += 1
    return cards + _method_cards(snapshot, run, number)


def _method_cards(snapshot: Snapshot, run: Run, number: int) -> list[Card]:
    method = run.settings.method
    cards: list[Card] = [
        (f"PRSTEP{number}", _STEPS.get(method, method.upper()), "Processing step type"),
        (f"PRPROC{number}", f"{_OWN_STEP}{method}", "Name of the procedure"),
        (f"PRPVER{number}", version_of("heliorestore"), "Version of the procedure"),
        (
            f"PRMODE{number}",
            "TURNED" if _was_turned(snapshot, run) else "FIXED",
            "TURNED: settings were changed while it ran",
        ),
        (f"PRPARA{number}", json.dumps(_parameters(run), ensure_ascii=True), "Settings (units in SETTINGS)"),
    ]
    if run.sources:
        cards += _reference_cards(number, (*run.files.values(), *run.sources))
    machine = (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, device {run.device}"
    )
    cards.append((f"PRENV{number}", to_ascii(machine), "Processing environment"))
    if snapshot.messages:
        cards.append(
            (
                f"PRLOG{number}",
                to_ascii(" ".join(dict.fromkeys(snapshot.messages))),
                "Messages of the procedure",
            )
        )
    return cards + _library_cards(number)


def plain_step(
    number: int, kind: str, procedure: str, parameters: dict[str, Any], sources: Sequence[Source] = ()
) -> list[Card]:
    """The keywords of processing step `number` that no method did: one of `kind` by a procedure of ours."""
    cards: list[Card] = [
        (f"PRSTEP{number}", kind, "Processing step type"),
        (f"PRPROC{number}", f"{_OWN_STEP}{procedure}", "Name of the procedure"),
        (f"PRPVER{number}", version_of("heliorestore"), "Version of the procedure"),
        (f"PRPARA{number}", json.dumps(parameters, ensure_ascii=True), "Settings"),
    ]
    return cards + _reference_cards(number, sources) + _library_cards(number)


def _reference_cards(number: int, sources: Sequence[Source]) -> list[Card]:
    if not sources:
        return []
    names = ",".join(to_ascii(source.path.name) for source in sources[:_MOST_NAMED])
    # A card names a few, the table INPUTS has all.
    more = f" and {len(sources) - _MOST_NAMED} more" if len(sources) > _MOST_NAMED else ""
    return [(f"PRREF{number}", names + more, "Input files (checksums in INPUTS)")]


def _library_cards(number: int) -> list[Card]:
    cards: list[Card] = []
    for letter, library in zip("ABCDEFGH", _LIBRARIES, strict=False):
        cards.append((f"PRLIB{number}{letter}", library, "Software library"))
        cards.append((f"PRVER{number}{letter}", version_of(library), f"Version of PRLIB{number}{letter}"))
    return cards


def _parameters(run: Run) -> dict[str, Any]:
    if isinstance(run.settings, SavedSettings):
        return {name: value for name, value, *_ in run.settings.rows}
    return {opt.name: getattr(run.settings, opt.name) for opt in options(type(run.settings))}


def _was_turned(snapshot: Snapshot, run: Run) -> bool:
    """Whether a live setting has more than one value in the history."""
    # A column of a list has a number behind the setting's name, as `object_weights 1`.
    names = {name for name, *_ in to_rows(run.settings)}
    columns = [column for title, column in snapshot.history.items() if title.partition(" ")[0] in names]
    return any(len(np.unique(column)) > 1 for column in columns)

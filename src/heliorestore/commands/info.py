"""The command `heliorestore info`: what a file holds, and what is unknown about it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "file", metavar="FILE", nargs="+", type=Path, help="file, folder, or files of one burst"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument(
        "--axes", default="", help="names of the file's axes, slowest first, as in wavelength,frame,y,x"
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from heliorestore.fits.reader import describe, read
    from heliorestore.fits.redux_cfg import is_config

    if is_config(parsed.file[0]):
        return _run_config(parsed)
    facts = describe(read(parsed.file[0] if len(parsed.file) == 1 else parsed.file, parsed.axes))
    shown = facts | {"files": facts["files"] or [str(file) for file in parsed.file]}
    for name, value in _in_words(shown):
        print(f"{name:<12} {value}")
    if parsed.json:
        print(json.dumps(facts))
    return 0


def _run_config(parsed: argparse.Namespace) -> int:
    """What a configuration of redux says, and what of it is not used."""
    from heliorestore.fits.redux_cfg import read_config
    from heliorestore.methods.momfbd import MomfbdSettings

    config = read_config(parsed.file[0])
    facts: dict[str, Any] = {
        "file": str(config.path),
        "layout": "redux configuration",
        "channels": [channel.facts() for channel in config.channels],
        "settings": config.settings(MomfbdSettings),
        "unused": config.unused(MomfbdSettings),
    }
    for name in ("file", "layout"):
        print(f"{name:<12} {facts[name]}")
    for channel in facts["channels"]:
        print(f"{'camera':<12} " + ", ".join(f"{key} {value}" for key, value in channel.items() if value))
    print(f"{'settings':<12} " + ", ".join(f"{name} {value}" for name, value in facts["settings"].items()))
    for key, reason in facts["unused"].items():
        print(f"{'not used':<12} {key}: {reason}")
    if parsed.json:
        print(json.dumps(facts))
    return 0


def _in_words(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts of `describe` as lines; of many objects only the first and last four."""
    from heliorestore.fits.layouts import LAYOUTS

    files, times = facts["files"], facts["times"]
    yield "file", files[0] + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    yield "layout", f"{facts['layout']}, {LAYOUTS[facts['layout']]}"
    yield "shape", " x ".join(map(str, facts["shape"])) + " (object, frame, y, x)"
    bad = (
        "too many pixels to count the bad ones"
        if facts["bad_pixels"] is None
        else f"{facts['bad_pixels']} bad pixels"
    )
    yield "pixels", f"{facts['dtype']}, {facts['storage']}, {facts['unit'] or 'unit unknown'}, {bad}"
    if missing := facts.get("missing_images"):
        every = facts["shape"][0] * facts["shape"][1]
        yield "missing", f"{missing} of {every} images: objects that were taken in turns"
    known = f"{times['first']} to {times['last']}" if times["known"] > 1 else times["first"]
    yield (
        "times",
        f"{known} UTC, known for {times['known']} of {facts['shape'][1]} frames"
        if times["known"]
        else "unknown",
    )
    lines = [
        f"{label}: {_instrument_text(i)}"
        for label, i in zip(facts["labels"], facts["instruments"], strict=True)
    ]
    # A spectral scan may have hundreds of objects.
    for line in lines if len(lines) < 9 else [*lines[:4], f"... {len(lines) - 8} more ...", *lines[-4:]]:
        yield "object", line
    if unknown := sorted({name for instrument in facts["instruments"] for name in instrument["unknown"]}):
        yield "unknown", f"{', '.join(unknown)}: give it with --instrument"
    for doubt in facts["doubts"]:
        yield "warning", doubt
    for name in ("method", "settings", "step", "stop", "losses", "device", "seed", "messages"):
        if facts.get(name) not in (None, [], {}):
            value = facts[name]
            yield (
                name,
                ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value),
            )
    for source in facts.get("inputs", ()):
        yield "input", f"{source['file']} (SHA-256 {source['sha256'][:12] or 'unknown'})"


def _instrument_text(instrument: dict[str, Any]) -> str:
    known = [
        f"{instrument[name]:g} {unit}"
        for name, unit in _INSTRUMENT_UNITS.items()
        if instrument[name] is not None
    ]
    return ", ".join(
        [instrument["name"] if instrument["name"] != "unknown" else "instrument unknown", *known]
    )


_INSTRUMENT_UNITS = {"diameter_m": "m aperture", "pixel_arcsec": "arcsec per pixel", "wavelength_nm": "nm"}

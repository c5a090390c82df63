"""The command `heliorestore register`: find the map between two cameras, and write it as TOML."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from heliorestore.errors import BurstError, HeliorestoreError, RestorationError
from heliorestore.storage import check_output

if TYPE_CHECKING:
    from heliorestore.burst import Burst
    from heliorestore.prepare.camera_map import CameraMap

_CARDS = ("CAMERA", "DETECTOR", "CAM", "CHANNEL", "BAND", "ARM")  # that name a camera


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "wide",
        metavar="WIDE",
        type=Path,
        help="pinholes or frames of the camera on whose pixels all will be; or a configuration of redux",
    )
    parser.add_argument(
        "narrow",
        metavar="NARROW",
        help="the same of the other camera; or a part of its file names in the configuration of redux",
    )
    parser.add_argument("-o", "--output", metavar="MAP.toml", type=Path, required=True, help="file to write")
    parser.add_argument(
        "--kind",
        choices=("affine", "projective"),
        default="affine",
        help="affine (default), or projective where a camera is tilted",
    )
    parser.add_argument(
        "--near", metavar="MAP", type=Path, help="a rough map to begin with, also ALIGN_MAP or nine numbers"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace MAP.toml if it exists")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from heliorestore.prepare.camera_map import read_map, write_map

    inputs = [parsed.wide, Path(parsed.narrow), *([parsed.near] if parsed.near else [])]
    check_output(parsed.output, overwrite=parsed.overwrite, inputs=inputs)
    if parsed.output.suffix.lower() != ".toml":
        raise RestorationError(f"{parsed.output} cannot name a map: its name must end in .toml.")
    if parsed.wide.suffix.lower() in (".cfg", ".txt"):
        found = read_map(parsed.wide, parsed.narrow)
    else:
        found = _found(parsed)
        print(found.in_words(found.wide_shape or (1, 1)))
        print(f"{found.points} places from {found.method}, residual {found.residual_px:.3f} px (held out)")
    write_map(found, parsed.output)
    if parsed.json:
        facts = {"output": str(parsed.output), "kind": found.kind, "matrix": found.matrix.tolist()}
        print(json.dumps(facts | {"residual_px": found.residual_px, "points": found.points}))
    return 0


def _found(parsed: argparse.Namespace) -> CameraMap:
    from heliorestore.fits.provenance import checked_source
    from heliorestore.fits.reader import read_burst
    from heliorestore.prepare.average import average_frames
    from heliorestore.prepare.camera_map import read_map
    from heliorestore.prepare.register import find_map

    bursts = [read_burst(path).select(objects=slice(0, 1)) for path in (parsed.wide, Path(parsed.narrow))]
    for path, burst in zip((parsed.wide, parsed.narrow), bursts, strict=True):
        try:
            burst.check_values()
        except BurstError as error:
            raise BurstError(f"{path}: {error}") from error
    averages = [average_frames(burst, points=True) for burst in bursts]  # perhaps of pinholes
    for path, average in zip((parsed.wide, parsed.narrow), averages, strict=True):
        for message in average.messages:
            print(f"heliorestore: {path}: {message}", file=sys.stderr)
    pixels = [burst.instruments[0].pixel_arcsec for burst in bursts]
    scale = pixels[0] / pixels[1] if pixels[0] and pixels[1] else None
    near = read_map(parsed.near) if parsed.near else None
    try:
        found = find_map(
            *(average.images[0] for average in averages), kind=parsed.kind, near=near, scale=scale
        )
    except HeliorestoreError as error:
        raise type(error)(f"{parsed.wide} and {parsed.narrow}: {error}") from error
    sources = [burst.sources[0] for burst in bursts]
    files = tuple(dataclasses.replace(each, sha256=checked_source(each)[0]) for each in sources)
    return dataclasses.replace(found, files=files, applies_to=_camera(*bursts))


def _camera(wide: Burst, narrow: Burst) -> tuple[str, ...]:
    """The name of the narrow camera, if the headers distinguish the two by one."""
    headers = [burst.headers[0] if burst.headers else {} for burst in (wide, narrow)]
    for key in _CARDS:
        names = [str(header.get(key) or "").strip() for header in headers]
        if all(names) and names[0] != names[1]:
            return (names[1],)
    return ()

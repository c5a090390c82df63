"""The command `heliorestore movie`: the images of a cube, or of restorations, one after the other."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heliorestore.commands.pictures import add_picture_arguments, in_time, look_of
from heliorestore.errors import SettingsError
from heliorestore.quality.movies import check_name, encode
from heliorestore.storage import check_output, replacing

if TYPE_CHECKING:
    from heliorestore.burst import Burst
    from heliorestore.quality.pictures import Look

_MOST_LOOKED_AT = 40  # images that decide about the cut levels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "input", metavar="IN", nargs="+", type=Path, help="a cube, a burst, restored files, or nights"
    )
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="an .mp4 or a .gif")
    add_picture_arguments(parser)
    parser.add_argument("--fps", type=float, default=10.0, help="images per second (default 10)")
    parser.add_argument(
        "--scale-bar",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a bar with its length in arcsec",
    )
    parser.add_argument("--time", action=argparse.BooleanOptionalAction, default=True, help="the time (UTC)")


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    check_name(parsed.output)
    if not 0 < parsed.fps <= 120:
        raise SettingsError(f"fps is {parsed.fps:g}; it must be above 0 and at most 120.")
    from heliorestore.batch.results import results_of

    inputs = results_of(parsed.input)
    check_output(parsed.output, overwrite=parsed.overwrite, inputs=inputs)
    images = in_time(inputs, parsed)
    look = _with_limits(look_of(parsed, images[0][0], scale_bar=parsed.scale_bar), images, parsed.object)
    with replacing(parsed.output) as file:
        encode(file, parsed.output.suffix.lower(), _frames(images, look, parsed), parsed.fps)
    low, high = look.limits or (0.0, 0.0)
    print(f"{parsed.output}: {len(images)} images, cut levels {low:.4g} to {high:.4g}")
    return 0


def _with_limits(look: Look, images: list[tuple[Burst, int]], object_: int) -> Look:
    """The look with cut levels that stay the same over time, from images spread over all of it."""
    import dataclasses

    from heliorestore.quality.pictures import cut_levels

    if look.limits is not None:
        return look
    chosen = images[:: max(1, len(images) // _MOST_LOOKED_AT)]
    return dataclasses.replace(
        look, limits=cut_levels([burst.image(object_, frame) for burst, frame in chosen])
    )


def _frames(images: list[tuple[Burst, int]], look: Look, parsed: argparse.Namespace) -> Iterator[Any]:
    from heliorestore.quality.pictures import painted

    for burst, frame in images:
        time = None if burst.times is None else burst.times[frame]
        stamp = (
            ""
            if time is None or np.isnat(time) or not parsed.time
            else str(np.datetime_as_string(time, unit="s"))
        )
        yield painted(burst.image(parsed.object, frame), look, stamp.replace("T", " ") + " UTC" * bool(stamp))

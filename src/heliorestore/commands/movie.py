"""The command `heliorestore movie`: the images of a cube, or of restorations, one after the other."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heliorestore.commands.pictures import add_picture_arguments, in_time, look_of
from heliorestore.errors import SettingsError
from heliorestore.storage import check_output, replacing

if TYPE_CHECKING:
    from heliorestore.burst import Burst
    from heliorestore.quality.pictures import Look

_SUFFIXES = (".mp4", ".gif")
_MOST_LOOKED_AT = 40  # images that decide about the cut levels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "input", metavar="IN", nargs="+", type=Path, help="a cube, a burst, or restored files"
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
    if parsed.output.suffix.lower() not in _SUFFIXES:
        raise SettingsError(f"{parsed.output} cannot name a movie: its name must end in .mp4 or .gif.")
    if not 0 < parsed.fps <= 120:
        raise SettingsError(f"fps is {parsed.fps:g}; it must be above 0 and at most 120.")
    check_output(parsed.output, overwrite=parsed.overwrite, inputs=parsed.input)
    images = in_time(parsed.input, parsed)
    look = _with_limits(look_of(parsed, images[0][0], scale_bar=parsed.scale_bar), images, parsed.object)
    with replacing(parsed.output) as file:
        _encode(file, parsed.output.suffix.lower(), _frames(images, look, parsed), parsed.fps)
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


def _encode(file: Any, suffix: str, frames: Iterator[Any], fps: float) -> None:
    """Write the frames as H.264 or as GIF, one after the other."""
    try:
        from imageio import v2 as imageio
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise SettingsError("A movie needs the extra `movie`: pip install 'heliorestore[movie]'.") from error
    if suffix == ".gif":
        writer: Any = imageio.get_writer  # its own types know no writer
        with writer(file, format="GIF", duration=1000 / fps, loop=0) as movie:
            for frame in frames:
                movie.append_data(frame)
        return
    # The coder writes a file of its own, which is then taken over.
    part = Path(f"{file.name}.mp4")
    try:
        coder = None
        for frame in frames:
            if coder is None:
                size = (frame.shape[1], frame.shape[0])
                coder = write_frames(part, size, fps=fps, codec="libx264", macro_block_size=2, quality=8)
                coder.send(None)
            coder.send(np.ascontiguousarray(frame))
        if coder is not None:
            coder.close()
        file.write(part.read_bytes())
    finally:
        part.unlink(missing_ok=True)

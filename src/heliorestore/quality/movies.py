"""Movies as files: frames, one after the other, as GIF or H.264."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import SettingsError

Frame = npt.NDArray[np.uint8]

SUFFIXES = (".mp4", ".gif")
_NEEDED = "A movie needs the extra `movie`: pip install 'heliorestore[movie]'."


def check_name(path: Path) -> None:
    """Raise a SettingsError if a movie cannot have that name."""
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"{path} cannot name a movie: its name must end in .mp4 or .gif.")


def encode(file: Any, suffix: str, frames: Iterable[Frame], fps: float) -> None:
    """Write frames (row, column, RGB) of one even size into a file that is open for writing."""
    (_write_gif if suffix == ".gif" else _write_mp4)(file, iter(frames), fps)


def _write_gif(file: Any, frames: Iterator[Frame], fps: float) -> None:
    try:
        from imageio import v2 as imageio
    except ImportError as error:
        raise SettingsError(_NEEDED) from error
    writer: Any = imageio.get_writer  # its own types know no writer
    with writer(file, format="GIF", duration=1000 / fps, loop=0) as movie:
        for frame in frames:
            movie.append_data(frame)


def _write_mp4(file: Any, frames: Iterator[Frame], fps: float) -> None:
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise SettingsError(_NEEDED) from error
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

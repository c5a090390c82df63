"""The command `heliorestore figure`: a restored image, or before and after, as a figure for a paper."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from heliorestore.commands.pictures import add_picture_arguments, in_time, look_of
from heliorestore.quality.charts import check_suffix
from heliorestore.storage import check_output

if TYPE_CHECKING:
    from heliorestore.burst import Burst
    from heliorestore.quality.pictures import Panel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("restored", metavar="RESTORED", type=Path, help="the restored file, or any image")
    parser.add_argument(
        "-o", "--output", metavar="OUT", type=Path, required=True, help="a .pdf, .png or .svg"
    )
    add_picture_arguments(parser)
    parser.add_argument("--before", metavar="BURST", type=Path, help="show a frame of this burst beside it")
    parser.add_argument("--frame", metavar="N", type=int, default=0, help="which frame of BURST (default 0)")


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from heliorestore.quality.pictures import save_figure

    check_suffix(parsed.output)
    files = [path for path in (parsed.before, parsed.restored) if path is not None]
    check_output(parsed.output, overwrite=parsed.overwrite, inputs=files)
    restored = in_time([parsed.restored], parsed)[0][0]
    scale = restored.instruments[parsed.object].pixel_arcsec
    panels = [_panel(restored, parsed.object, restored.labels[parsed.object], scale)]
    if parsed.before is not None:
        burst = in_time([parsed.before], parsed)[0][0].select(frames=str(parsed.frame))
        before = burst.instruments[parsed.object].pixel_arcsec
        if before is None and scale is not None:
            # The user has given the instrument for the restoration, and both show the same field.
            before = scale * restored.shape[3] / burst.shape[3]
        panels = [
            _panel(burst, parsed.object, f"frame {parsed.frame}", before),
            _panel(restored, parsed.object, "restored", scale),
        ]
    save_figure(panels, parsed.output, look_of(parsed, restored))
    print(parsed.output)
    return 0


def _panel(burst: Burst, object_: int, title: str, scale: float | None) -> Panel:
    from heliorestore.quality.pictures import Panel

    rows, columns = burst.shape[2:]
    extent = (0.0, columns * scale, 0.0, rows * scale) if scale else None
    return Panel(image=burst.image(object_, 0), title=title, extent=extent, unit=burst.unit)

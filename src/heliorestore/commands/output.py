"""Shared by the commands that write a restored file: their flags, and the run that ends in the file."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heliorestore.commands.progress import Progress, interruptible
from heliorestore.errors import RestorationError
from heliorestore.storage import at_home

if TYPE_CHECKING:
    from heliorestore.burst import Burst
    from heliorestore.settings import Settings
    from heliorestore.snapshot import Snapshot


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a command that writes a restored file."""
    parser.add_argument(
        "-o", "--output", metavar="OUT", type=Path, required=True, help="the FITS file to write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument(
        "--json",
        action="store_true",
        help="end with one line of JSON: output, seconds, iterations, losses, contrast",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def whole_number(text: str) -> int:
    """The value of a flag that is a whole number from 0, such as a seed."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def drain(
    parsed: argparse.Namespace, burst: Burst, settings: Settings, snapshots: Any, notes: tuple[str, ...] = ()
) -> int:
    """Drain the stream with a progress bar, write the last snapshot with the notes, and report the result."""
    began = time.perf_counter()
    progress = Progress(None if parsed.quiet else sys.stderr, settings.method)
    snapshot: Snapshot | None = None
    with interruptible() as interrupted, closing(snapshots):
        with closing(progress):
            for snapshot in snapshots:
                progress.show(snapshot)
                if interrupted or snapshot.stop is not None:
                    break
        if snapshot is None:
            # Stopped before the first snapshot: there is nothing to write.
            raise KeyboardInterrupt(*interrupted[:1])
        if snapshot.stop is None:
            snapshots.close()  # which writes the state
        # A request to stop does not end the writing: what was computed would be lost.
        snapshot, written = _kept(parsed, settings, snapshot, notes, stopped=bool(interrupted))
        # Only now: a method that goes on to its end deletes its state, with which a full disk loses nothing.
        for _ in snapshots:
            pass
    if not parsed.quiet:
        print(
            f"{written}: {snapshot.step} iterations. {snapshot.stop.value if snapshot.stop else ''}",
            file=sys.stderr,
        )
    if parsed.json:
        print(json.dumps(_report(burst, snapshot, written, time.perf_counter() - began)))
    return 128 + interrupted[0] if interrupted else 0  # as a shell says it: 130 or 143


def _kept(
    parsed: argparse.Namespace,
    settings: Settings,
    snapshot: Snapshot,
    notes: tuple[str, ...],
    *,
    stopped: bool,
) -> tuple[Snapshot, Path]:
    """The last snapshot with the notes, in its file."""
    import dataclasses

    from heliorestore.fits.writer import write
    from heliorestore.snapshot import StopReason

    state, kept = getattr(settings, "checkpoint", ""), ""
    if stopped and snapshot.stop is None:
        snapshot = dataclasses.replace(snapshot, stop=StopReason.USER)
        # Closing the stream has written it.
        kept = state
    snapshot = dataclasses.replace(snapshot, messages=snapshot.messages + notes)
    for message in dict.fromkeys(snapshot.messages):
        print("heliorestore:", message, file=sys.stderr)
    if kept:
        keeps = "keeps the state: the same command with --overwrite continues from there"
        there = at_home(kept).exists()
        print(f"heliorestore: {kept} {keeps if there else 'could not be written'}", file=sys.stderr)
    try:
        return snapshot, write(snapshot, parsed.output, overwrite=parsed.overwrite)
    except RestorationError:
        if state and at_home(state).exists():
            print(f"heliorestore: {state} keeps the state: the same command continues there", file=sys.stderr)
        raise


def _report(burst: Burst, snapshot: Snapshot, written: Path, seconds: float) -> dict[str, Any]:
    """The output of `--json`; contrasts are per object, before for the first frame."""
    from heliorestore.quality.metrics import contrast

    return {
        "output": str(written),
        "seconds": round(seconds, 3),
        "iterations": snapshot.step,
        "stop": snapshot.stop.name.lower() if snapshot.stop else None,
        "losses": dict(snapshot.losses),
        "contrast_before": [contrast(burst.first_image(k)) for k in range(burst.shape[0])],
        "contrast_after": [contrast(image) for image in snapshot.images],
    }

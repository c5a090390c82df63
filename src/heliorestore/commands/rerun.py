"""The command `heliorestore rerun`: repeat the run that made a restored file."""

from __future__ import annotations

import argparse
from pathlib import Path

from heliorestore.commands.output import add_output_arguments, drain
from heliorestore.storage import check_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("restored", metavar="RESTORED.fits", type=Path, help="a file that heliorestore wrote")
    add_output_arguments(parser)
    parser.add_argument(
        "--device", default="", help="auto, cpu, cuda, cuda:N or mps (default: that of the first run)"
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from heliorestore.methods.base import least_bytes, pick_device, replay, settings_of
    from heliorestore.prepare.opening import reopen

    burst, snapshot = reopen(parsed.restored)
    run = snapshot.run
    assert run is not None  # `reopen` has checked it
    settings, inputs = settings_of(run), [*run.inputs(), parsed.restored]
    size = least_bytes(burst, settings)
    check_output(parsed.output, overwrite=parsed.overwrite, inputs=inputs, size=size)
    # A run that fell back to the CPU has recorded both devices.
    device = parsed.device or run.device.partition(",")[0]
    pick_device(device)
    return drain(
        parsed, burst, settings, replay(burst, settings, snapshot.history, device=device, seed=run.seed)
    )

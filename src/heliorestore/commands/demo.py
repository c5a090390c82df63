"""The command `heliorestore demo`: the bundled sunspot burst becomes sharp in napari."""

from __future__ import annotations

import argparse

from heliorestore.commands.view import open_napari
from heliorestore.samples import sample_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("--method", default="sv-momfbd", choices=("sv-momfbd", "momfbd"), help="the method")


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    open_napari([sample_path("sunspot_burst.fits")], parsed.method, started=True)
    return 0

"""The command `heliorestore view`: napari with files and a panel."""

from __future__ import annotations

import argparse
from pathlib import Path

from heliorestore.errors import SettingsError
from heliorestore.methods import METHODS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "file", metavar="FILE", nargs="*", type=Path, help="file, folder, files of one burst, or a session"
    )
    parser.add_argument("--method", choices=METHODS, help="the method whose form is shown")


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    try:
        from heliorestore.plugin.launch import view
    except ImportError as error:
        raise SettingsError(
            f'napari is not installed ({error}): pip install "heliorestore[napari]" adds it.'
        ) from error
    view(parsed.file, parsed.method)
    return 0

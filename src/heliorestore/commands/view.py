"""The command `heliorestore view`: napari with files and a panel."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
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
    open_napari(parsed.file, parsed.method)
    return 0


def open_napari(files: Sequence[Path], method: str | None, *, started: bool = False) -> None:
    """Open napari with the files and the panel of a method, its run started if asked, until it is closed."""
    if not has_screen():  # Qt would end the process
        raise SettingsError(
            "There is no screen for the window of napari (neither DISPLAY nor WAYLAND_DISPLAY is set): use a "
            "desktop, `ssh -X` or `xvfb-run`; every method also runs as a command, without a window."
        )
    try:
        from heliorestore.plugin.launch import view
    except ImportError as error:
        raise SettingsError(
            f'napari is not installed ({error}): pip install "heliorestore[all]" adds it, with Qt.'
        ) from error
    view(files, method, started=started)


def has_screen() -> bool:
    """Whether Qt finds a screen, or was told to do without one."""
    known = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in known)

"""The command `heliorestore cite`: the papers behind a restoration, as BibTeX."""

from __future__ import annotations

import argparse
import re
from importlib import resources
from pathlib import Path

from heliorestore import __version__
from heliorestore.errors import BurstError
from heliorestore.methods import METHODS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "restored",
        metavar="RESTORED.fits|METHOD",
        nargs="*",
        help="restored files, or names of methods (default: every method)",
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    methods = [METHODS.get(_method(name)) for name in parsed.restored or METHODS]  # None: one of a user's own
    keys = [key for method in methods if method for key in method.papers]
    papers = entries()
    print("\n\n".join([_ITSELF, *(papers[key] for key in dict.fromkeys(keys))]))
    return 0


def entries() -> dict[str, str]:
    """The papers behind the methods: BibTeX by key."""
    text = (resources.files("heliorestore") / "papers.bib").read_text(encoding="utf-8")
    return {re.split("[{,]", entry)[1]: entry.strip() for entry in re.split(r"\n\n(?=@)", text)}


def _method(name: str) -> str:
    """The method of a restored file, or the method itself."""
    if name in METHODS:
        return name
    from heliorestore.fits.reader import read
    from heliorestore.snapshot import Snapshot

    data = read(Path(name))
    if not isinstance(data, Snapshot) or data.run is None:
        raise BurstError(
            f"{name} was not restored by heliorestore: name a restored file, or a method "
            f"({', '.join(METHODS)})."
        )
    return data.run.settings.method


_ITSELF = f"""@software{{heliorestore,
  author  = {{{{The heliorestore developers}}}},
  title   = {{{{heliorestore: restoration of images of the Sun}}}},
  version = {{{__version__}}},
  year    = {{2026}}
}}"""

"""The command `heliorestore`: a user's mistake is one line and exit 2, Ctrl-C keeps the result so far."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from heliorestore import __version__
from heliorestore.commands import COMMANDS
from heliorestore.errors import HeliorestoreError
from heliorestore.methods import METHODS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    # only in our own process: on a busy machine, threads that wait by spinning take the cores from each other
    if argv is None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    parsed = _parser(arguments).parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except HeliorestoreError as error:
        return _fail(parsed, error, str(error), 2)
    except KeyboardInterrupt:
        return _fail(parsed, None, "interrupted before there was a result to write", 130)
    except BrokenPipeError:  # the reader of our output has ended, as in `heliorestore info FILE | head -1`
        sys.stdout = None  # nothing to flush at exit
        return 1
    except Exception as error:  # a fault of ours: still one line, and how to see more
        return _fail(
            parsed, error, f"internal error, {type(error).__name__}: {error} (--debug shows where)", 1
        )
    return status


def _fail(parsed: argparse.Namespace, error: Exception | None, message: str, status: int) -> int:
    if error is not None and parsed.debug:
        raise error
    print("heliorestore:", " ".join(message.split()), file=sys.stderr)
    return status


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the requested command is loaded, so that `--help` is fast."""
    parser = _Parser(prog="heliorestore", description="Restore images of the Sun.")
    parser.add_argument("--version", action="version", version=f"heliorestore {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    methods = {name: entry.summary for name, entry in METHODS.items()}
    for name, summary in ({"info": COMMANDS["info"]} | methods | COMMANDS).items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if name == asked:
            room = importlib.import_module(f"heliorestore.commands.{'restore' if name in METHODS else name}")
            command.set_defaults(command=name, run=room.run)
            room.add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())

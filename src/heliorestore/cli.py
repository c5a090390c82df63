"""The command `heliorestore`: a user's mistake is one line and exit 2, Ctrl-C keeps the result so far."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from heliorestore import __version__
from heliorestore.commands import COMMANDS
from heliorestore.docs_pages import with_page
from heliorestore.errors import HeliorestoreError, memory_asked, memory_is_full
from heliorestore.methods import METHODS
from heliorestore.process import heard, open_streams

_WORD = 300  # characters: what is longer is no name, and is shortened in a message


_FIRST_STEPS = f"""heliorestore {__version__} restores images of the Sun.

  heliorestore demo                        a sunspot burst becomes sharp in napari
  heliorestore view FILE                   your file in napari, with a panel
  heliorestore info FILE                   what a file holds, and what is unknown about it
  heliorestore sv-momfbd BURST -o OUT      restore a burst, without a window
  heliorestore enhance HMI.fits -o OUT     sharpen an image of HMI
  heliorestore --help                      every command; each has its own --help
  heliorestore doctor                      if something does not work"""


class _Parser(argparse.ArgumentParser):
    """Takes the files of a command after its flags too, and says in one line what is wrong."""

    _begun = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._subparsers is not None or self._begun:
            return super().parse_known_args(args, namespace)
        self._begun = True  # the intermixed parsing comes back here
        if self.usage is None and sys.version_info < (3, 13):  # which took the % of a value for a format
            self.usage = self.format_usage().removeprefix("usage: ").replace("%", "%%")
        return self.parse_known_intermixed_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    # only in our own process: on a busy machine, threads that wait by spinning take the cores from each other
    if argv is None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        open_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        print(_FIRST_STEPS)
        return 0
    parser = _parser(arguments)
    _refuse(arguments, parser)
    parsed = parser.parse_args(arguments)
    try:
        with heard(_end):
            status: int = parsed.run(parsed)
    except BrokenPipeError:  # the reader of our output has ended, as in `heliorestore info FILE | head -1`
        sys.stdout = None  # nothing to flush at exit
        return 141  # as a shell says it of a process that SIGPIPE has ended
    except (Exception, KeyboardInterrupt) as error:
        if parsed.debug and isinstance(error, Exception):
            raise
        message, status = _explain(error, parsed.command)
        words = (word if len(word) <= _WORD else f"{word[:40]}...{word[-40:]}" for word in message.split())
        print("heliorestore:", " ".join(words), file=sys.stderr)
    return status


def _end(number: int, frame: object) -> NoReturn:
    """Every signal ends the command as Ctrl-C does, so that no part of a file stays behind."""
    raise KeyboardInterrupt(number)


def _explain(error: BaseException, command: str) -> tuple[str, int]:
    """The sentence about an error of a command, and the exit status."""
    if isinstance(error, HeliorestoreError):
        method = METHODS.get(command)
        room = method.target.partition(":")[0] if method else f"heliorestore.commands.{command}"
        return with_page(str(error), error, room), 2
    if isinstance(error, KeyboardInterrupt):  # it may name the signal
        return "interrupted before there was a result to write", 128 + (*error.args, signal.SIGINT)[0]
    if isinstance(error, FileNotFoundError) and not error.filename:  # of the present folder
        return "The folder in which this runs does not exist any more: change into another one.", 2
    if isinstance(error, OSError):
        return f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}.", 2
    if memory_is_full(error):
        return f"There is not enough memory{memory_asked(error)}: choose fewer frames or a part of them.", 2
    # a fault of ours: still one line, and how to see more
    return f"internal error, {type(error).__name__}: {error} (--debug shows where)", 1


def _refuse(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """End with a sentence for what argparse hands on wrongly, or no file can be called."""
    for word in arguments:
        if word == "--":
            return
        if re.fullmatch(r"(-\w|--[\w-]+=)--", word):  # argparse makes an empty list of it
            parser.error(f"{word.removesuffix('--').removesuffix('=')} has no value")
        if "\0" in word:
            parser.error(f"{word!r} has a character that is not text")


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

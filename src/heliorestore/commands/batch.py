"""The command `heliorestore batch`: a night of bursts, begun, watched, looked at, cancelled, gone on with."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heliorestore import __version__
from heliorestore.errors import SettingsError
from heliorestore.process import heard
from heliorestore.storage import at_home

if TYPE_CHECKING:
    from heliorestore.batch.engine import Workers
    from heliorestore.batch.ledger import Ledger
    from heliorestore.batch.night import Night

_VERBS = ("status", "cancel", "add", "retry", "resume", "work")
_SHOWN = 20  # bursts that failed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    from heliorestore.batch.night import DEFAULT_NAME
    from heliorestore.preparation import Preparation
    from heliorestore.settings import add_settings

    parser.usage = (
        "heliorestore batch METHOD|SETTINGS.toml|RESTORED.fits INPUT... -o NIGHT [...]\n"
        "       heliorestore batch status|cancel|retry|resume|work NIGHT [--json]\n"
        "       heliorestore batch add NIGHT INPUT..."
    )
    parser.add_argument("what", metavar="METHOD|SETTINGS.toml|RESTORED.fits|VERB", help="how, or what to do")
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        type=Path,
        help="files, folders, patterns, plans (TOML, CSV), configurations of redux; or NIGHT",
    )
    parser.add_argument("-o", "--output", metavar="NIGHT", type=Path, help="the folder of the night")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="a setting of the method"
    )
    parser.add_argument(
        "--workers", type=int, help="processes on this machine (default: one per GPU, or per core)"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", default="", help="a Dask scheduler, tcp://HOST:8786"
    )
    parser.add_argument(
        "--slurm",
        metavar="TEMPLATE",
        nargs="?",
        const="",
        help="workers as jobs by sbatch (default: our template)",
    )
    parser.add_argument("--watch", action="store_true", help="take new files when they have stopped growing")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds a file must rest (default 3)")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="list the bursts, their memory, the workers and the time, and do nothing",
    )
    parser.add_argument("--retries", type=int, default=2, help="further attempts at a burst (default 2)")
    parser.add_argument(
        "--name",
        default=DEFAULT_NAME,
        help="names of the results: {stem} {date:%%H%%M%%S} {wavelength} {label}",
    )
    parser.add_argument("--instrument", default="", help="as for the method")
    parser.add_argument("--frames", default=":", help="as for the method")
    parser.add_argument("--best", metavar="N|P%", default="", help="only so many of the sharpest frames")
    parser.add_argument("--objects", default=":", help="as for the method")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    parser.add_argument("--memory-gb", type=float, help="memory of one worker (default: its share)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_settings(parser.add_argument_group("preparation of the frames"), Preparation)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    if parsed.what not in _VERBS:
        return _begin(parsed)
    if not parsed.inputs:
        raise SettingsError(f"Name the night: heliorestore batch {parsed.what} NIGHT.")
    folder, rest = parsed.inputs[0].absolute(), parsed.inputs[1:]
    verbs = dict(zip(_VERBS, (_status, _cancel, _add, _retry, _resume, _work), strict=True))
    return verbs[parsed.what](parsed, folder, rest)


def _begin(parsed: argparse.Namespace) -> int:
    from heliorestore.batch.ledger import Ledger
    from heliorestore.batch.night import Night, add, output_name
    from heliorestore.batch.plan import is_plan, wanted

    folder = None if parsed.output is None else parsed.output.absolute()
    line = _line(parsed)
    night = (None if folder is None else Night.asked_before(folder, line)) or _night(parsed)
    if night.best:
        from heliorestore.prepare.sharpness import how_many

        how_many(night.best, 1)  # what is wrong is said before anything is read
    if not parsed.inputs:
        raise SettingsError("No burst is given: name files, folders or patterns such as 'scan_*.fits'.")
    if parsed.dry_run:
        return _plan(parsed, night)
    if folder is None:
        raise SettingsError("Name the folder of the night with -o NIGHT.")
    if parsed.watch and any(map(is_plan, parsed.inputs)):
        raise SettingsError("--watch takes folders and patterns; a plan's bursts are there already.")
    bursts = [] if parsed.watch else list(wanted(parsed.inputs, night))
    if bursts:
        output_name(night.name, bursts[0].paths)  # a wrong pattern is said before the night stands there
    night.begin(folder)
    night.remember(folder, line)
    ledger = Ledger(folder, parsed.retries)
    ledger.refresh()
    ledger.turn(cancel=False)
    add(ledger, night, bursts)
    _find_lost(ledger)
    return _run(parsed, night, ledger)


def _line(parsed: argparse.Namespace) -> str:
    """What of the command decides about the settings of a night, in one text."""
    from heliorestore.preparation import Preparation
    from heliorestore.settings import options

    names = [
        "instrument",
        "objects",
        "frames",
        "best",
        "seed",
        "name",
        *(o.name for o in options(Preparation)),
    ]
    file = at_home(parsed.what)
    stat = file.stat() if file.is_file() else None
    known = [] if stat is None else [stat.st_size, stat.st_mtime_ns]
    return json.dumps([str(Path.cwd()), parsed.what, known, parsed.set, [getattr(parsed, n) for n in names]])


def _night(parsed: argparse.Namespace) -> Night:
    """The night that the command asks for; settings come from the method, a file of settings, or a result."""
    from heliorestore.batch.night import Night, settings_named
    from heliorestore.preparation import Preparation
    from heliorestore.settings import from_arguments, options

    settings = settings_named(parsed.what)
    known = {option.name: option for option in options(type(settings))}
    for text in parsed.set:
        name, _, value = text.partition("=")
        if name not in known:
            raise SettingsError(
                f"{settings.method} has no setting {name!r}; it has {', '.join(sorted(known))}."
            )
        settings = settings.replace(**{name: known[name].parse(value)})
    return Night.restoring(
        settings,
        from_arguments(Preparation, parsed),
        instrument=parsed.instrument,
        objects=parsed.objects,
        frames=parsed.frames,
        best=parsed.best,
        seed=parsed.seed,
        name=parsed.name,
    )


def _plan(parsed: argparse.Namespace, night: Night) -> int:
    """List what would be done."""
    from heliorestore.batch.dry_run import dry_run
    from heliorestore.batch.here import places, shared_gb
    from heliorestore.batch.plan import wanted

    workers, memory_gb = [], parsed.memory_gb
    if not parsed.scheduler and parsed.slurm is None:
        there = places(parsed.workers, parsed.device)
        memory_gb = memory_gb or (None if there[0].gpu else shared_gb(len(there)))
        for number, place in enumerate(there):
            gpu = f"GPU {place.gpu}, " if place.gpu else ""
            memory = f", {memory_gb:.1f} GB" if memory_gb else ""
            workers.append(f"worker {number}: {gpu}{place.threads} threads{memory}")
    folder = parsed.output.absolute() if parsed.output is not None else None
    for line in dry_run(night, list(wanted(parsed.inputs, night)), folder, workers, memory_gb):
        print(line)
    return 0


def _find_lost(ledger: Ledger) -> None:
    """Have results done again whose files are gone."""
    for entry in ledger.entries.values():
        if entry.result is not None and not (ledger.night / entry.name).exists():
            ledger.say("retry", entry.id, attempt=entry.last)
    ledger.refresh()


def _run(parsed: argparse.Namespace, night: Night, ledger: Ledger) -> int:
    """Restore the night with the workers that the command asks for."""
    from heliorestore.batch.contact_sheet import write_sheet
    from heliorestore.batch.engine import run_night
    from heliorestore.batch.watch import Watch

    caught: list[int] = []
    watch = Watch(night, parsed.inputs, parsed.settle) if parsed.watch else None
    shown: list[dict[str, int]] = []

    def report(seen: Ledger) -> None:
        counts = seen.counts()
        if not parsed.quiet and shown[-1:] != [counts]:
            print(f"heliorestore: {_in_words(counts)}", file=sys.stderr, flush=True)
            shown.append(counts)

    counts = ledger.counts()
    if watch is None and not counts["waiting"] + counts["running"]:
        write_sheet(ledger)
        return _tell(parsed, ledger)
    with heard(lambda number, frame: caught.append(number)):
        run_night(
            ledger,
            _workers(parsed, ledger.night),
            report=report,
            asked_to_stop=lambda: bool(caught),
            look=None if watch is None else lambda: watch.look(ledger),
        )
        write_sheet(ledger)
    if caught:
        return 128 + caught[0]
    return _tell(parsed, ledger)


def _workers(parsed: argparse.Namespace, folder: Path) -> Workers:
    from heliorestore.batch.cluster import DaskWorkers, SlurmWorkers
    from heliorestore.batch.here import Processes, places, shared_gb, worker_command

    known: dict[str, Any] = {"retries": parsed.retries, "memory_gb": parsed.memory_gb}
    if parsed.scheduler:
        return DaskWorkers(parsed.scheduler, folder, device=parsed.device, **known)
    there = places(parsed.workers, parsed.device) if parsed.slurm is None else []
    if there and not there[0].gpu and parsed.memory_gb is None:
        # Each would else take half of what is free.
        known["memory_gb"] = shared_gb(len(there))
    command = [*worker_command(folder, stay=parsed.watch, **known), "--device", parsed.device]
    if parsed.slurm is not None:
        template = Path(parsed.slurm) if parsed.slurm else None
        return SlurmWorkers(template, folder, parsed.workers or 1, command)
    return Processes(command, folder / "workers.log", there, ready=parsed.watch)


def _tell(parsed: argparse.Namespace, ledger: Ledger) -> int:
    """Say how the night stands; the exit status is 1 if bursts have failed."""
    from heliorestore.batch.ledger import State

    counts, judged = ledger.counts(), ledger.verdicts()
    failed = [entry for entry in ledger.entries.values() if ledger.state(entry) is State.FAILED]
    if parsed.json:
        known = {"cancelled": ledger.cancelled, "failures": {e.paths[0]: e.reason for e in failed}}
        print(json.dumps(counts | judged | known))
    else:
        said = _in_words(counts) + "".join(f", {n} {word}" for word, n in judged.items() if n)
        print(f"{ledger.night}: {said}{', cancelled' if ledger.cancelled else ''}")
        for entry in failed[:_SHOWN]:
            print(f"  {entry.paths[0]}: {entry.reason}")
    return 1 if failed else 0


def _in_words(counts: dict[str, int]) -> str:
    return f"{counts['total']} bursts: " + ", ".join(
        f"{n} {word}" for word, n in counts.items() if word != "total"
    )


def _opened(parsed: argparse.Namespace, folder: Path) -> tuple[Night, Ledger]:
    from heliorestore.batch.ledger import Ledger
    from heliorestore.batch.night import Night

    night = Night.read(folder)
    ledger = Ledger(folder, parsed.retries)
    ledger.refresh()
    return night, ledger


def _status(parsed: argparse.Namespace, folder: Path, rest: Sequence[Path]) -> int:
    from heliorestore.batch.contact_sheet import write_sheet

    _, ledger = _opened(parsed, folder)
    write_sheet(ledger)
    _tell(parsed, ledger)
    return 0


def _cancel(parsed: argparse.Namespace, folder: Path, rest: Sequence[Path]) -> int:
    _, ledger = _opened(parsed, folder)
    ledger.turn(cancel=True)
    _tell(parsed, ledger)
    return 0


def _retry(parsed: argparse.Namespace, folder: Path, rest: Sequence[Path]) -> int:
    from heliorestore.batch.ledger import State

    _, ledger = _opened(parsed, folder)
    for entry in ledger.entries.values():
        if ledger.state(entry) is State.FAILED:
            ledger.say("retry", entry.id, attempt=entry.last)
    ledger.refresh()
    _tell(parsed, ledger)
    return 0


def _add(parsed: argparse.Namespace, folder: Path, rest: Sequence[Path]) -> int:
    from heliorestore.batch.night import add
    from heliorestore.batch.plan import wanted

    night, ledger = _opened(parsed, folder)
    added = add(ledger, night, list(wanted(rest, night)))
    print(f"{added} bursts were added; the workers of a night that runs take them by themselves.")
    _tell(parsed, ledger)
    return 0


def _resume(parsed: argparse.Namespace, folder: Path, rest: Sequence[Path]) -> int:
    """Go on with a night that stands in its folder, without its first line."""
    if parsed.watch:
        raise SettingsError("What is watched is named by the first line of the night: begin it again.")
    night, ledger = _opened(parsed, folder)
    replace(night, version=__version__).begin(folder)  # one that another version began is refused
    ledger.turn(cancel=False)
    _find_lost(ledger)
    return _run(parsed, night, ledger)


def _work(parsed: argparse.Namespace, folder: Path, rest: Sequence[Path]) -> int:
    """Be a worker: what a coordinator, or a line of a cluster's script, begins."""
    from heliorestore.batch.work import Worker

    worker = Worker(
        folder, device=parsed.device, memory_gb=parsed.memory_gb, retries=parsed.retries, stay=parsed.watch
    )
    worker.run()
    return 143 if worker.stopping else 0

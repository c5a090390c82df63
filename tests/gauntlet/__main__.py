"""The gauntlet: attacks on the package, counted in one table. `python tests/gauntlet [ROW...] [--short]
[--keep FOLDER]`.

A row is a kind of attack, and each of its cases follows from its number alone: `--first 731 --number 1`
repeats one. A row runs in processes of its own, so that one that dies is a case that failed, and the row
goes on with the next one. Cases that are kept in a folder are not tried again: a long row may be cut off.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ENDED = "ended"  # a row's last line
MOST_FRUITLESS = 3  # processes in a row that die in their first case


@dataclass(frozen=True)
class Row:
    """A kind of attack: the function that makes its cases, how many of them, and how many in a short run."""

    what: str
    attack: str
    tried: int
    short: int
    window: bool = False
    # without a case, after which a process hangs: longer than any case has on a busy machine (forked.BUSY)
    silent_s: float = 1800.0


ROWS = {
    "files": Row("damaged files are opened", "damaged_files:attack", 10_000, 600),
    "edited": Row("files that are edited by hand", "edited_files:attack", 5_000, 400),
    "commands": Row("command lines", "command_lines:attack", 5_000, 60),
    "weights": Row("hostile weights are loaded or imported", "hostile_weights:attack", 300, 40),
    "kills": Row("kills while a file is written or a run goes on", "kills:attack", 200, 16),
    "places": Row("full disk, file-size limit, read-only folder", "places:attack", 56, 56),
    "invariances": Row("results of changed bursts", "invariances:attack", 96, 14),
    "snapshots": Row("snapshots of one run, with flat memory", "long_runs:snapshots", 1_000, 200),
    "repeated": Row("runs in one process, with flat memory", "long_runs:repeated", 24, 0),
    "together": Row("simultaneous runs", "together:attack", 24, 4),
    "properties": Row("files of tests, with 1000 examples", "properties:attack", 9, 0, silent_s=7200.0),
    "windows": Row("teardowns in a real window", "windows:attack", 600, 6, window=True),
}


@dataclass
class Outcome:
    """What became of a row."""

    tried: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    skipped: str = ""
    seconds: float = 0.0
    kept: Path | None = None

    def keep(self, case: int, wrong: str) -> None:
        """Note a case in the file of the row, if there is one."""
        if self.kept is not None:
            with self.kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"case": case, "wrong": wrong}) + "\n")

    def remembered(self, cases: range) -> int:
        """Count the first of these cases that were tried before; how many they are."""
        lines = self.kept.read_text("utf-8").splitlines() if self.kept and self.kept.exists() else []
        known = {each["case"]: each["wrong"] for each in map(json.loads, lines)}
        for case in cases:
            if case not in known:
                break
            self.tried += 1
            if known[case]:
                self.failed[case] = known[case]
        return self.tried


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/gauntlet", description=__doc__)
    parser.add_argument("rows", metavar="ROW", nargs="*", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--short", action="store_true", help="the few cases that every change must pass")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--number", type=int, help="how many cases of each row")
    parser.add_argument("--keep", type=Path, help="folder of the cases that were tried, which are not again")
    parser.add_argument("--row", help=argparse.SUPPRESS)  # a process of that row
    parsed = parser.parse_args()
    sys.path[:0] = [str(HERE), str(HERE.parent / "shared")]
    if parsed.row:
        return cases_of(parsed.row, parsed.first, parsed.number)
    if unknown := set(parsed.rows) - set(ROWS):
        parser.error(f"no row is called {', '.join(sorted(unknown))}")
    wanted = {}
    for name, row in ROWS.items():
        number = (row.short if parsed.short else row.tried) if parsed.number is None else parsed.number
        if number and name in (parsed.rows or ROWS):
            wanted[name] = number
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # the longest first, so that they end together
    with ThreadPoolExecutor(max(1, cores)) as pool:
        running = {
            name: pool.submit(row_of, name, parsed.first, number, parsed.keep)
            for name, number in wanted.items()
        }
        outcomes = {name: each.result() for name, each in running.items()}
    print(table(outcomes))
    return int(any(each.failed for each in outcomes.values()))


def row_of(name: str, first: int, number: int, keep: Path | None = None) -> Outcome:
    """Run a row's cases in as many processes as it takes."""
    began, outcome, following, fruitless = time.monotonic(), Outcome(), first, 0
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        outcome.kept = keep / f"{name}.jsonl"
        following += outcome.remembered(range(first, first + number))
    while following < first + number:
        reached, died = process_of(name, following, first + number - following, outcome)
        if not died:
            break
        failure(name, reached, died, outcome)
        fruitless = fruitless + 1 if reached == following else 0
        if fruitless == MOST_FRUITLESS:  # whatever is wrong, it is wrong with each
            break
        following = reached + 1
    outcome.seconds = time.monotonic() - began
    return outcome


def process_of(name: str, first: int, number: int, outcome: Outcome) -> tuple[int, str]:
    """Run cases in one process; the case in which it was when it died, and how, or nothing."""
    row, folder = ROWS[name], tempfile.mkdtemp(prefix=f"gauntlet-{name}-")
    command = [sys.executable, "-X", "faulthandler", str(HERE), "--row", name]
    command += ["--first", str(first), "--number", str(number)]
    if row.window and shutil.which("xvfb-run"):
        command = ["xvfb-run", "--auto-servernum", "--server-args", "-screen 0 1600x1000x24", *command]
    following = first
    errors = Path(folder, "stderr")
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=surroundings(Path(folder)),
            start_new_session=True,
        )
    ended = False
    assert process.stdout is not None
    for line in lines_of(process, row.silent_s):
        said = json.loads(line)
        if ENDED in said:
            ended, outcome.skipped = True, said[ENDED]
        elif said["wrong"]:
            failure(name, said["case"], said["wrong"], outcome)
        if "case" in said:
            outcome.tried += 1
            following = said["case"] + 1
            outcome.keep(said["case"], said["wrong"])
    process.wait()
    end_group(process.pid)
    left = errors.read_text(errors="replace")[-2000:]
    shutil.rmtree(folder, ignore_errors=True)
    if ended and process.returncode == 0:
        return following, ""
    outcome.tried += 1
    died = f"its process ended with {process.returncode}: {left}"
    outcome.keep(following, died)
    return following, died


def lines_of(process: subprocess.Popen[bytes], silent_s: float) -> list[bytes] | object:
    """The lines that a process prints, until it ends, or says nothing for too long and is ended."""
    stop = threading.Event()
    heard = [time.monotonic()]

    def watch() -> None:
        while not stop.wait(1.0):
            if time.monotonic() - heard[0] > silent_s:
                end_group(process.pid)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            heard[0] = time.monotonic()
            if line.startswith(b'{"'):
                yield line
    finally:
        stop.set()


def end_group(leader: int) -> None:
    """End a process that was started here, and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of a row: a user of its own, one thread."""
    own = {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE", "STATE")}
    for path in own.values():
        Path(path).mkdir()
    own |= {"TMPDIR": str(folder), "MPLCONFIGDIR": str(folder / "matplotlib"), "NAPARI_CONFIG": ""}
    return os.environ | own | {"OMP_NUM_THREADS": "1", "HOME": str(folder)}


def cases_of(name: str, first: int, number: int) -> int:
    """Run cases of a row and print a line of JSON for each."""
    module, _, function = ROWS[name].attack.partition(":")
    attack = getattr(importlib.import_module(module), function)
    reason, parent = "", os.getppid()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for case, wrong in attack(Path(folder), range(first, first + number)):
                print(json.dumps({"case": case, "wrong": wrong[-3000:]}), flush=True)
                if os.getppid() != parent:  # nobody hears it any more
                    return 1
        except NotImplementedError as impossible:  # on this machine
            reason = str(impossible)
        print(json.dumps({ENDED: reason}), flush=True)
    return 0


def failure(name: str, case: int, wrong: str, outcome: Outcome) -> None:
    outcome.failed[case] = wrong
    print(f"{name} {case}: {wrong[-1500:]}", file=sys.stderr, flush=True)


def table(outcomes: dict[str, Outcome]) -> str:
    """The table that a run ends with, in Markdown."""
    lines = ["| row | attack | tried | failed | to repeat | seconds |", "|---|---|---|---|---|---|"]
    for name, found in outcomes.items():
        cases = ", ".join(map(str, sorted(found.failed)[:5]))
        repeat = f"`{name} --number 1 --first` {cases}" if found.failed else found.skipped
        lines.append(
            f"| {name} | {ROWS[name].what} | {found.tried} | {len(found.failed)} | {repeat} "
            f"| {found.seconds:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""Places where nothing can be written: a full disk, a limit of the size of files, a folder of somebody else.

Whatever writes ends in a sentence, the old file stays, and nothing is left beside it.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from edited_files import burst_file
from forked import Ended, forked
from kills import WRITERS

from build_files import small_snapshot
from heliorestore.cli import main
from heliorestore.errors import HeliorestoreError
from heliorestore.methods.base import load
from heliorestore.snapshot import Snapshot

LIMIT = 1_000  # bytes of a file
PAGE = 4096  # bytes
SNAPSHOT: list[Snapshot] = []  # what is written


def attack(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Every case is one writer, or one command, in one place."""
    for method in ("sv-momfbd", "mfbd"):
        load(method)
    folder.chmod(0o755)
    for parent in folder.parents[:2]:
        if parent.name.startswith("gauntlet-"):
            parent.chmod(0o755)
    os.umask(0o022)
    SNAPSHOT.append(small_snapshot(folder))
    burst, reason = burst_file(folder), no_full_disk(folder)
    places = PLACES[2:] if reason else PLACES
    ways = [*WRITERS, *COMMANDS]
    for case in cases:
        at, place = case % len(ways), places[case // len(ways) % len(places)]
        where = folder / f"case{case}"
        where.mkdir()
        wrong = place(where, ways[at], burst)
        yield case, f"{ways[at].__name__}, {place.__name__}: {wrong}" if wrong else ""
    if reason:
        raise NotImplementedError(reason)


def no_full_disk(folder: Path) -> str:
    """Why no full disk can be made here, or nothing."""
    if os.geteuid() != 0:
        return "no full disk: it needs root, who may mount one"
    (folder / "disk").mkdir()
    made = mounted(folder / "disk")
    return f"no full disk: {made.stderr.strip()}" if made.returncode else unmount(folder / "disk")


def mounted(where: Path) -> subprocess.CompletedProcess[str]:
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(where)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def unmount(where: Path) -> str:
    subprocess.run(["umount", "--lazy", str(where)], check=False)
    return ""


# -- commands that write ---------------------------------------------------------------------------------


def a_run(where: Path, burst: Path) -> list[str]:
    return [
        "richardson-lucy",
        str(burst),
        "-o",
        str(where / "run.fits"),
        "--overwrite",
        "--quiet",
        "--iterations=2",
    ]


def a_run_with_a_checkpoint(where: Path, burst: Path) -> list[str]:
    knobs = ["--modes=6", "--patch=32", "--psf=32", "--iterations=2", "--patch-iterations=1"]
    files = ["-o", str(where / "field.fits"), "--checkpoint", str(where / "field.state")]
    return ["sv-momfbd", str(burst), *files, "--overwrite", "--quiet", *knobs]


def a_simulation(where: Path, burst: Path) -> list[str]:
    return ["simulate", "-o", str(where / "sun.fits"), "--overwrite", "--size=32", "--frames=2"]


def a_figure(where: Path, burst: Path) -> list[str]:
    return ["figure", str(burst), "-o", str(where / "figure.png"), "--overwrite"]


def a_night(where: Path, burst: Path) -> list[str]:
    return [
        "batch",
        "richardson-lucy",
        str(burst),
        "-o",
        str(where / "night"),
        "--workers=1",
        "--quiet",
        "--set",
        "iterations=1",
    ]


def an_instrument(where: Path, burst: Path) -> list[str]:
    os.environ["XDG_CONFIG_HOME"] = str(where)
    return ["instruments", "add", "mine", "pixel_arcsec=0.05,diameter_m=1,wavelength_nm=630"]


COMMANDS = (a_run, a_run_with_a_checkpoint, a_simulation, a_figure, a_night, an_instrument)
Way = Callable[..., object]


def tried(way: Way, where: Path, burst: Path, *, again: bool) -> int:
    """Write; again where there are files already. 2 for a sentence, as a command ends with."""
    os.chdir(where)
    os.environ |= {f"XDG_{kind}_HOME": str(where) for kind in ("CONFIG", "DATA", "CACHE")}
    try:
        if way in COMMANDS:
            return main(way(where, burst))
        write_, _ = way(where, SNAPSHOT[0])
        write_(2 if again else 1)
    except HeliorestoreError as error:
        print("heliorestore:", error, file=sys.stderr)
        return 2
    except OSError as error:  # is one sentence in the command, and a message in a panel
        print("heliorestore:", error, file=sys.stderr)
        return 2
    return 0


def judged(ended: Ended, before: dict[Path, bytes], where: Path) -> str:
    """What went wrong, or nothing."""
    if "Traceback" in ended.err or "internal error" in ended.err or ended.status not in (0, 1, 2):
        return f"{ended.status}: {ended.err[-700:]}"
    if ended.status and not ended.err.strip():
        return "no sentence"
    changed = [
        p.name
        for p, data in before.items()
        if not p.exists() or (ended.status and p.read_bytes() != data and not data)
    ]
    left = [path.name for path in where.rglob("*.part")]
    return f"changed {changed}" if changed else f"left {left}" if left else ""


def contents(where: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in where.rglob("*")
        if path.is_file() and path.suffix not in (".jsonl",)
    }


# -- places ----------------------------------------------------------------------------------------------


def full_disk(where: Path, way: Way, burst: Path) -> str:
    return filled_disk(where, way, burst, left=0)


def nearly_full_disk(where: Path, way: Way, burst: Path) -> str:
    """There is room for a file, and none for the result of a run, which says so before it begins."""
    return filled_disk(where, way, burst, left=PAGE)


def filled_disk(where: Path, way: Way, burst: Path, *, left: int) -> str:
    """A file system of its own, with the files of a first time, then filled but for some bytes."""
    assert mounted(where).returncode == 0
    try:
        first = forked(lambda: tried(way, where, burst, again=False), where.parent)
        if first.status:
            return f"it does not even work: {first.err[-500:]}"
        before = contents(where)
        filler = (where / "filler").open("wb", buffering=0)
        try:
            while True:
                filler.write(bytes(PAGE))
        except OSError:
            filler.truncate((filler.tell() - left) // PAGE * PAGE)
            filler.close()
        ended = forked(lambda: tried(way, where, burst, again=True), where.parent)
        early = "needs at least" if left else "cannot be written"
        if way in (a_run, a_run_with_a_checkpoint) and early not in ended.err:
            return f"it was not refused before the work: {ended.err[-500:]}"
        return judged(ended, before, where)
    finally:
        unmount(where)


def limited_size(where: Path, way: Way, burst: Path) -> str:
    first = forked(lambda: tried(way, where, burst, again=False), where.parent)
    before = contents(where)
    if first.status:
        return f"it does not even work: {first.err[-500:]}"
    return judged(
        forked(lambda: tried(way, where, burst, again=True), where.parent, file_size=LIMIT), before, where
    )


def read_only(where: Path, way: Way, burst: Path) -> str:
    """A folder of somebody else, as an ordinary user, whom permissions stop."""
    first = forked(lambda: tried(way, where, burst, again=False), where.parent)
    if first.status:
        return f"it does not even work: {first.err[-500:]}"
    before = contents(where)
    for path in (where, *where.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def act() -> int:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
        return tried(way, where, burst, again=True)

    ended = forked(act, where.parent)
    if ended.status == 0:
        return "it was written after all"
    wrong = judged(ended, before, where)
    for path in (where, *where.rglob("*")):
        path.chmod(0o755)
    return wrong


PLACES = (full_disk, nearly_full_disk, limited_size, read_only)

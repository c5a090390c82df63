"""Command lines as nobody would type them: they end in a result or a sentence, never in a traceback, and what
was there before stays as it was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from edited_files import WORDS, a_csv_plan, a_preset, a_toml_plan, burst_file
from forked import HUNG, Ended, forked

from heliorestore.cli import _parser, main
from heliorestore.commands import COMMANDS
from heliorestore.methods import METHODS
from heliorestore.methods.base import load

MEMORY = 6 * 2**30
TERMS_S = (8.0, 20.0)  # SIGTERM: a run that has begun ends with what it has
MOST_S = 60.0
# what opens a window, shows a traceback on request, waits for files, or asks a cluster
LEFT_OUT = ("view", "demo", "debug", "watch", "slurm", "scheduler", "resume")
SETS_WORTH = {
    "--iterations": "2",
    "--patch-iterations": "1",
    "--fit": "0",
    "--committee": "1",
    "--modes": "6",
}
SUFFIXES = {"figure": ".png", "movie": ".gif", "register": ".toml", "train": "", "batch": ""}
OF_RESULTS = ("rerun", "quality", "cube", "movie", "figure")
FINE = (0, 1, 2, 130, 143)
LOST = ((0,), (1,), (2,), (1, 2), (0, 1, 2))  # streams that whoever began the command has closed
VERDICTS = ("batch", "doctor")  # whose status 1 is an answer
FAULTS = ("Traceback", "internal error", "Segmentation", "weights_only")
WORTH = (
    "0",
    "1",
    "2",
    "3",
    "0.5",
    "-1",
    "1e9",
    "16",
    "32",
    "true",
    "false",
    "none",
    "auto",
    "a",
    "0:2",
    "1:",
    "::-1",
    "7,8",
    "50%",
)


def attack(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Every case is one line."""
    os.chdir(folder)
    inputs = files(folder / "in")
    # as a checksum of each: no line may change what it reads
    before = {path: digest(path) for path in inputs if path.is_file()}
    for name in METHODS:
        load(name)
    parsers = {name: parser_of(name) for name in (*METHODS, *COMMANDS) if name not in LEFT_OUT}
    for case in cases:
        rng = random.Random(case)
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / "there.fits").write_bytes(b"precious")
        line, lost = a_line(parsers, inputs, out, rng), rng.choice(LOST) if rng.random() < 0.1 else ()
        run = partial(begun, line, lost)
        ended = forked(run, folder, terms_s=TERMS_S, most_s=MOST_S, memory=MEMORY)
        wrong = judged(ended, line, out, heard=2 not in lost)
        changed = [path.name for path, was in before.items() if not path.is_file() or digest(path) != was]
        if changed:
            wrong += f" changed {', '.join(changed)}"
            files(folder / "in")
        without = f" without {lost}" if lost else ""
        yield case, f"{' '.join(map(repr, line))[:1500]}{without}: {wrong}" if wrong else ""


def begun(line: list[str], lost: tuple[int, ...]) -> int:
    """The command as a process of its own that lacks some of its streams."""
    for number in lost:
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)
    if not lost:
        return main(line)
    sys.argv[1:] = line
    return main()


def judged(ended: Ended, line: list[str], out: Path, *, heard: bool = True) -> str:
    """What went wrong, or nothing."""
    said, there = ended.err.strip(), out / "there.fits"
    kept = there.is_file() and there.read_bytes() == b"precious"
    left = [path.name for path in out.rglob("*.part")]
    wrong = {
        "it does not end, though asked by SIGTERM twice": ended.status == HUNG,
        "a fault of ours": any(word in said for word in FAULTS),
        f"exit status {ended.status}": ended.status not in FINE
        or (ended.status == 1 and line[0] not in VERDICTS),
        "no sentence": ended.status == 2 and heard and not said,
        "a file was overwritten without --overwrite": not kept and not {"--overwrite", "batch"} & {*line},
        "a file was overwritten, and the line refused": not kept and ended.status == 2,
        f"left {left}": bool(left),
    }
    found = [what for what, is_so in wrong.items() if is_so]
    return f"{', '.join(found)}: {said[-600:]}" if found else ""


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a command."""
    choices = _parser([name])._subparsers._group_actions[0].choices
    found: argparse.ArgumentParser = choices[name]
    return found


def a_line(
    parsers: dict[str, argparse.ArgumentParser], inputs: list[Path], out: Path, rng: random.Random
) -> list[str]:
    """A command with flags of its own, some with strange values."""
    name = rng.choice(list(parsers))
    if rng.random() < 0.05:
        return [rng.choice((*WORDS, name)) for _ in range(rng.randrange(6))] or [""]
    line, often = [name], rng.choice((0.01, 0.04, 0.12))
    if sound := rng.random() < 0.6:  # a line that may well run
        often /= 2
        inputs = [inputs[-1]] if name in OF_RESULTS else [inputs[0]] * 3 + inputs[6:7] + inputs[-1:]
    for action in parsers[name]._actions:
        if "--help" in action.option_strings or action.dest in LEFT_OUT:
            continue
        if not action.option_strings:
            many = rng.choice((1, 1, 2) if sound else (0, 1, 2, 3)) if action.nargs in ("*", "+") else 1
            line += [positional(action, inputs, rng) for _ in range(many)]
        elif action.required or rng.random() < often or action.dest == "output":
            wanted = out / f"new{SUFFIXES.get(name, '.fits')}" if sound else output(out, inputs, rng)
            line += ["-o", str(wanted)] if action.dest == "output" else flagged(action, inputs, rng)
    if name in METHODS:
        known = {flag for action in parsers[name]._actions for flag in action.option_strings}
        line += [
            f"{flag}={value}" for flag, value in SETS_WORTH.items() if flag in known and rng.random() < 0.9
        ]
    if not sound and rng.random() < 0.2:
        line.insert(
            rng.randrange(len(line) + 1), rng.choice(("--", "-", "-x", "--no-such", "--=", "-o", *WORDS))
        )
    if not sound and rng.random() < 0.2:
        rng.shuffle(line)
    if rng.random() < 0.15:
        line = onto_an_input(line, inputs, out, rng)
    if {"view", "demo"} & {*line[:2]}:
        line = ["info"]
    return line


def onto_an_input(line: list[str], inputs: list[Path], out: Path, rng: random.Random) -> list[str]:
    """The line with an output that is one of the files that it names, under any name of that file."""
    words = {word.partition("=")[2] or word for word in line}
    named = [path for path in inputs if str(path) in words and path.is_file()]
    if not named:
        return line
    chosen = rng.choice(named)
    link, hard = out / "link", out / "hard"
    link.symlink_to(chosen)
    hard.hardlink_to(chosen)
    ways = (chosen, chosen.parent / ".." / chosen.parent.name / chosen.name, link, hard)
    flag = rng.choice(("--truth", "--psfs", "--checkpoint", "--plot", "-o", "-o", "-o"))
    return [*line, flag, str(rng.choice(ways)), *(["--overwrite"] if rng.random() < 0.9 else [])]


def positional(action: argparse.Action, inputs: list[Path], rng: random.Random) -> str:
    if action.choices and rng.random() < 0.8:
        return str(rng.choice(list(action.choices)))
    if action.dest in ("what", "method") and rng.random() < 0.8:
        return rng.choice((*METHODS, "status", "cancel", "add", "retry", "resume", "emulator"))
    return str(rng.choice(inputs)) if rng.random() < 0.8 else rng.choice(WORDS)


def flagged(action: argparse.Action, inputs: list[Path], rng: random.Random) -> list[str]:
    flag = rng.choice(action.option_strings)
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return [flag] if rng.random() < 0.95 else [f"{flag}=x"]
    if action.choices and rng.random() < 0.7:
        value = str(rng.choice(list(action.choices)))
    elif action.metavar and str(action.metavar).startswith("{") and rng.random() < 0.7:
        value = rng.choice(str(action.metavar).strip("{}").split(","))
    else:
        pool = rng.random()
        value = (
            rng.choice(WORTH) if pool < 0.6 else str(rng.choice(inputs)) if pool < 0.8 else rng.choice(WORDS)
        )
    return [f"{flag}={value}"] if flag.startswith("--") and rng.random() < 0.6 else [flag, value]


def output(out: Path, inputs: list[Path], rng: random.Random) -> Path:
    """Names that can be written, and many that cannot."""
    if rng.random() < 0.5:
        return out / rng.choice(("new.fits", "new.fits.gz", "new.mp4", "new.png", "new.toml", "new"))
    dangling = out / "dangling.fits"
    if not dangling.is_symlink():
        dangling.symlink_to(out / "nowhere" / "x.fits")
    return rng.choice(
        (
            out,
            out / "there.fits",
            dangling,
            out / "no" / "folder.fits",
            Path("/dev/full"),
            Path("/proc/x.fits"),
            Path("/dev/null"),
            out / ("n" * 300),
            rng.choice(inputs),
            Path("-"),
            Path("/"),
            out / "there.fits" / "x.fits",
        )
    )


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(folder: Path) -> list[Path]:
    """Sound and unsound inputs; what was there is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    burst = burst_file(folder)
    found = [burst, burst, burst, folder, folder / "nothing.fits", Path("/dev/null")]
    rng = np.random.default_rng(2)
    header = fits.Header(
        {
            "TELESCOP": "SDO/HMI",
            "INSTRUME": "HMI_SIDE1",
            "CDELT1": 0.5,
            "CDELT2": 0.5,
            "CONTENT": "CONTINUUM INTENSITY",
        }
    )
    shapes = {
        "hmi": (48, 48),
        "row": (1, 200),
        "column": (200, 1),
        "two": (2, 2),
        "odd": (33, 57),
        "wide": (16, 400),
        "five": (2, 3, 2, 24, 24),
    }
    for name, shape in shapes.items():
        path = folder / f"{name}.fits"
        fits.PrimaryHDU(rng.normal(1000, 30, shape).astype("f4"), header if name == "hmi" else None).writeto(
            path
        )
        found.append(path)
    for name, value in {"nan": np.nan, "zero": 0.0, "inf": np.inf, "huge": 1e37, "tiny": 1e-42}.items():
        path = folder / f"{name}.fits"
        image = (
            rng.normal(1, 0.1, (2, 40, 40)) * value
            if name in ("huge", "tiny")
            else np.full((2, 40, 40), value)
        )
        with np.errstate(all="ignore"):
            fits.PrimaryHDU(image.astype("f4")).writeto(path)
        found.append(path)
    for name, pixel in {"scale": 1e300, "point": 1e-300}.items():
        path = folder / f"{name}.fits"
        fits.PrimaryHDU(np.ones((2, 40, 40), "f4"), fits.Header({"CD1_1": pixel})).writeto(path)
        found.append(path)
    (folder / "text.fits").write_text("no image")
    (folder / "empty.fits").touch()
    (folder / "cut.fits").write_bytes(burst.read_bytes()[:4000])
    (folder / "note.txt").write_text("hello")
    found += [folder / name for name in ("text.fits", "empty.fits", "cut.fits", "note.txt")]
    found += [make(folder)[1] for make in (a_toml_plan, a_csv_plan)] + [a_preset(folder)[1]]
    restored = folder / "restored.fits"
    line = ["richardson-lucy", str(burst), "-o", str(restored), "--iterations", "1", "--quiet"]
    assert main(line) == 0
    return [*found, restored, restored]

"""Processes that are killed at any moment: what stood there before is whole, or what they were writing is,
and a run goes on to the image that it would have had.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edited_files import burst_file
from forked import forked

from build_files import small_snapshot
from heliorestore.cli import main
from heliorestore.fits.burst_writer import write_burst
from heliorestore.fits.reader import read, read_burst
from heliorestore.fits.writer import write
from heliorestore.methods.base import load
from heliorestore.methods.checkpoint import Saver, resume
from heliorestore.nets import weights
from heliorestore.plugin.npe2.session_file import SavedLayer, Session, read_session, write_session
from heliorestore.plugin.runs import autosave
from heliorestore.presets import find_preset, save_preset
from heliorestore.snapshot import Snapshot
from heliorestore.storage import sweep


@dataclass(frozen=True)
class Numbers:
    """A state of a run whose numbers are all the same."""

    values: torch.Tensor
    number: int


def attack(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Three of four cases kill a process that writes files, one of four a run."""
    os.chdir(folder)
    torch.set_num_threads(1)
    burst_file(folder)
    load("sv-momfbd")
    snapshot = small_snapshot(folder)
    writers = [kind(folder, snapshot) for kind in WRITERS]
    for write_, _ in writers:
        write_(0)
    took: dict[int, float] = {}
    whole: dict[str, Any] = {}
    for case in cases:
        rng = random.Random(case)
        if case % 4 == 3:
            yield case, killed_run(folder, rng, whole)
            continue
        at = case % len(writers)
        write_, check = writers[at]
        if at not in took:
            began = time.monotonic()
            write_(0)
            took[at] = time.monotonic() - began
        yield (
            case,
            f"{WRITERS[at].__name__}: {wrong}"
            if (wrong := killed(write_, check, folder, rng, took[at]))
            else "",
        )


def killed(
    write_: Callable[[int], Any], check: Callable[[], Any], folder: Path, rng: random.Random, took_s: float
) -> str:
    """Kill a process that writes one file again and again; what is there must be whole."""
    pid = os.fork()
    if pid == 0:
        try:
            for number in range(1, 10_000):
                write_(number)
        finally:
            os._exit(3)
    time.sleep(rng.uniform(0, 3 * took_s))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    try:
        check()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    for each in {path.parent for path in folder.rglob("*.part")}:
        sweep(each)  # as the next process does that writes into the folder
    left = [path.name for path in folder.rglob("*.part")]
    return f"left {left}" if left else ""


def killed_run(folder: Path, rng: random.Random, whole: dict[str, Any]) -> str:
    """Kill a run with a checkpoint until it ends by itself; the image is that of a run without kills."""
    state, out = folder / "run.state", folder / "run.fits"
    for each in (state, out):
        each.unlink(missing_ok=True)
    line = [
        "sv-momfbd",
        str(burst_file(folder)),
        "--quiet",
        "--overwrite",
        "--modes=6",
        "--patch-iterations=2",
        "--iterations=12",
        "--patch=32",
        "--psf=32",
        "--no-stop-early",
    ]
    if not whole:
        began = time.monotonic()
        ended = forked(lambda: main([*line, "-o", str(folder / "whole.fits")]), folder)
        assert ended.status == 0, ended.err
        whole |= {"seconds": time.monotonic() - began, "images": np.array(read(folder / "whole.fits").images)}
    line += ["-o", str(out), "--checkpoint", str(state)]
    with_saves = lambda: every_iteration() or main(line)  # noqa: E731 - what the process does
    for _ in range(rng.randrange(1, 4)):
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os._exit(with_saves())
        time.sleep(rng.uniform(0, whole["seconds"]))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    ended = forked(with_saves, folder, most_s=120)
    if ended.status != 0:
        return f"run: it does not go on: {ended.err[-500:]}"
    if not np.array_equal(read(out).images, whole["images"]):
        return "run: another image than that of a run without kills"
    return "run: its checkpoint was left" if state.exists() else ""


def every_iteration() -> int:
    """Let the checkpoint be written at every iteration, not every minute."""
    from heliorestore.methods import checkpoint

    checkpoint.INTERVAL_S = 0.0
    return 0


# -- what is written, and how it is read again -----------------------------------------------------------


def a_result(folder: Path, snapshot: Snapshot) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    path = folder / "result.fits"

    def check() -> None:
        assert read(path).images.shape == snapshot.images.shape

    return lambda _: write(snapshot, path, overwrite=True), check


def a_packed_result(folder: Path, snapshot: Snapshot) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    path = folder / "result.fits.gz"
    return lambda _: write(snapshot, path, overwrite=True), lambda: read(path)


def a_burst(folder: Path, snapshot: Snapshot) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    path, burst = folder / "written_burst.fits", read_burst(burst_file(folder))
    return lambda _: write_burst(burst, path, overwrite=True), lambda: read_burst(path).image(0, 3)


def a_checkpoint(folder: Path, snapshot: Snapshot) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    burst, settings = read_burst(burst_file(folder)), load("richardson-lucy").settings()
    saver = Saver(str(folder / "numbers.state"), burst, settings)

    def check() -> None:
        found = resume(saver, Numbers(torch.zeros(50_000), 0))
        assert bool((found.values == found.number).all())

    return lambda n: saver.write(Numbers(torch.full((50_000,), float(n)), n)), check


def a_preset(folder: Path, snapshot: Snapshot) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    settings = load("richardson-lucy").settings
    return (
        lambda n: save_preset("killed", settings(iterations=n + 1)),
        lambda: find_preset("killed", "richardson-lucy").settings(settings),
    )


def some_weights(folder: Path, snapshot: Snapshot) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    net, where = weights.build("enhance-small"), folder / "own"
    record = weights.WeightsRecord(name="killed", architecture="enhance-small")

    def save(number: int) -> None:
        with torch.no_grad():
            next(net.parameters()).fill_(number)
        weights.save(net, record, where)

    return save, lambda: weights.load(str(where / "killed.safetensors"))


def a_session(folder: Path, snapshot: Snapshot) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    path = folder / "killed.heliosession"

    def save(number: int) -> None:
        layer = SavedLayer(name="pixels", data=np.full((200, 200), number, "f4"), looks={})
        write_session(Session(layers=(layer,)), path)

    def check() -> None:
        found = read_session(path)
        assert not found.problems
        assert len(found.layers) == 1

    return save, check


def an_autosave(folder: Path, snapshot: Snapshot) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    saved, said = autosave.begin(read_burst(burst_file(folder)), load("sv-momfbd").settings())
    if saved is None:
        raise OSError(said)
    path = saved.state.with_suffix(".json")
    return lambda _: saved.write(), lambda: json.loads(path.read_bytes())


WRITERS = (a_result, a_packed_result, a_burst, a_checkpoint, a_preset, some_weights, a_session, an_autosave)

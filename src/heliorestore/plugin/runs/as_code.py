"""A run of the panel as a command line, or as Python, that repeats it."""

from __future__ import annotations

import shlex
from pathlib import Path

from heliorestore.burst import Burst
from heliorestore.errors import SettingsError
from heliorestore.preparation import Preparation
from heliorestore.selection import numbers_text
from heliorestore.settings import Settings, options, to_flags
from heliorestore.snapshot import Snapshot, StopReason

_HARMLESS = {"iterations", "residual_frame"}  # live settings that do not change an iteration


def not_repeated(snapshot: Snapshot | None) -> str:
    """Why no single set of settings repeats this result, and what does; empty where one does."""
    if snapshot is None or snapshot.run is None or not snapshot.history:
        return ""
    from heliorestore.methods.base import settings_of
    from heliorestore.methods.history import restarts, with_row

    ran = settings_of(snapshot.run)
    rows = [with_row(ran, snapshot.history, n) for n in range(len(snapshot.history["step"]))]
    why = ""
    if any(not _HARMLESS.issuperset(row.unlike(ran, live=True)) for row in rows):
        why = "settings were moved during its run"
    elif restarts(snapshot.history):
        why = "its run was begun again in between"
    elif snapshot.stop is StopReason.USER:
        why = "its run was stopped by hand"
    return why and (
        f"This does not repeat the result that is shown: {why}. Export it, then `heliorestore rerun FILE` "
        "repeats it exactly."
    )


def as_command(
    whole: Burst, part: Burst, settings: Settings, *, instrument: str, device: str, seed: int
) -> str:
    """The `heliorestore` command that restores `part` of the burst `whole`, quoted for a shell."""
    words = ["heliorestore", settings.method, *_paths(whole), "-o", _output(whole)]
    if instrument:
        words += ["--instrument", instrument]
    for flag, before, after in (
        ("--frames", whole.frame_numbers, part.frame_numbers),
        ("--objects", whole.object_numbers, part.object_numbers),
    ):
        if after != before:
            words.append(f"{flag}={numbers_text(after)}")
    if device != "auto":
        words += ["--device", device]
    if seed:
        words += ["--seed", str(seed)]
    return shlex.join(words + to_flags(part.preparation) + to_flags(settings))


def as_python(
    whole: Burst, part: Burst, settings: Settings, *, instrument: str, device: str, seed: int
) -> str:
    """Python lines that do the same as the panel."""
    paths: str | list[str] = _paths(whole)
    chosen = {
        name: after
        for name, before, after in (
            ("objects", whole.object_numbers, part.object_numbers),
            ("frames", whole.frame_numbers, part.frame_numbers),
        )
        if after != before
    }
    select = ", ".join(f"{name}={numbers_text(numbers)!r}" for name, numbers in chosen.items())
    paths = paths[0] if len(paths) == 1 else paths
    opened, needed = f"heliorestore.read({paths!r})", []
    if part.preparation != Preparation():
        opened = f"open_burst({paths!r}, {_call(part.preparation)})"
        needed = [
            "from heliorestore.preparation import Preparation",
            "from heliorestore.prepare.opening import open_burst",
        ]
    steps = (f".select({select})" if select else "") + (
        f".with_instrument({instrument!r})" if instrument else ""
    )
    return "\n".join([
        "import heliorestore",
        f"from {type(settings).__module__} import {type(settings).__name__}",
        *needed,
        "",
        f"burst = {opened}",
        *([f"burst = burst{steps}"] if steps else []),
        f"settings = {_call(settings)}",
        f"snapshot = heliorestore.restore(burst, settings, device={device!r}, seed={seed})",
        f"heliorestore.write(snapshot, {_output(whole)!r})",
        "",
    ])  # fmt: skip


def _call(settings: Settings) -> str:
    """The Python that makes settings; defaults are left out, so that it shows what the user has chosen."""
    values = {o.name: getattr(settings, o.name) for o in options(type(settings))}
    changed = [f"{o.name}={values[o.name]!r}" for o in options(type(settings)) if values[o.name] != o.default]
    return f"{type(settings).__name__}({', '.join(changed)})"


def _paths(burst: Burst) -> list[str]:
    if not burst.sources:
        raise SettingsError(
            "The input is not in a file in its present form: save the layer to FITS, open that, and "
            "copy again."
        )
    return [str(source.path) for source in burst.sources]


def _output(burst: Burst) -> str:
    path = Path(burst.sources[0].path)
    return f"{path.name.partition('.')[0]}_restored.fits"

"""A run of the panel as a command line, or as Python, that repeats it."""

from __future__ import annotations

import shlex
from pathlib import Path

from heliorestore.burst import Burst
from heliorestore.errors import SettingsError
from heliorestore.selection import numbers_text
from heliorestore.settings import Settings, options, to_flags


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
    return shlex.join(words + to_flags(settings))


def as_python(
    whole: Burst, part: Burst, settings: Settings, *, instrument: str, device: str, seed: int
) -> str:
    """Python lines that do the same as the panel."""
    paths = _paths(whole)
    chosen = {
        name: after
        for name, before, after in (
            ("objects", whole.object_numbers, part.object_numbers),
            ("frames", whole.frame_numbers, part.frame_numbers),
        )
        if after != before
    }
    select = ", ".join(f"{name}={numbers_text(numbers)!r}" for name, numbers in chosen.items())
    # Defaults are left out: the lines show what the user has chosen.
    changed = ", ".join(
        f"{o.name}={getattr(settings, o.name)!r}"
        for o in options(type(settings))
        if getattr(settings, o.name) != o.default
    )
    name = type(settings).__name__
    steps = (f".select({select})" if select else "") + (
        f".with_instrument({instrument!r})" if instrument else ""
    )
    return "\n".join([
        "import heliorestore",
        f"from {type(settings).__module__} import {name}",
        "",
        f"burst = heliorestore.read({(paths[0] if len(paths) == 1 else paths)!r})",
        *([f"burst = burst{steps}"] if steps else []),
        f"settings = {name}({changed})",
        f"snapshot = heliorestore.restore(burst, settings, device={device!r}, seed={seed})",
        f"heliorestore.write(snapshot, {_output(whole)!r})",
        "",
    ])  # fmt: skip


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

"""The checkpoint of a training: one file or, of a large network, pieces that any file service takes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from heliorestore.storage import replacing

_PIECE = 15 * 2**20  # bytes: some services take files below 16 MiB alone


def write(path: Path, state: dict[str, Any], optimiser: dict[str, Any], step: int) -> None:
    """Write the state of a training after a step. A large one goes into pieces beside the path, which then
    lists them; those of the optimiser, twice the size of the weights, are apart. The older checkpoint is
    whole until the path is replaced.
    """
    contents = {"weights": _bytes(state), "optimiser": _bytes(optimiser)}
    names: dict[str, list[str]] = {}
    if sum(map(len, contents.values())) <= _PIECE:
        listed: dict[str, Any] = state | {"optimiser": optimiser}
    else:
        for kind, content in contents.items():
            pieces = range(0, len(content), _PIECE)
            names[kind] = [f"{path.stem}-{step}-{kind}-{n}{path.suffix}" for n in range(1, len(pieces) + 1)]
            for name, first in zip(names[kind], pieces, strict=True):
                with replacing(path.parent / name) as file:
                    file.write(content[first : first + _PIECE])
        listed = {"pieces": names}
    with replacing(path) as file:
        torch.save(listed, file)
    kept = {name for each in names.values() for name in each}
    for old in path.parent.glob(f"{path.stem}-*{path.suffix}"):
        if old.name not in kept:
            old.unlink()


def read(path: Path) -> dict[str, Any]:
    """What `write` has written, on the CPU, with the optimiser's state under that name."""
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if "pieces" not in found:
        return found
    parts = {
        kind: io.BytesIO(b"".join((path.parent / name).read_bytes() for name in names))
        for kind, names in found["pieces"].items()
    }
    state, optimiser = (
        torch.load(parts[kind], map_location="cpu", weights_only=True) for kind in ("weights", "optimiser")
    )
    return {**state, "optimiser": optimiser}


def _bytes(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()

"""Weights of networks: a safetensors file and, beside it, a record of their origin and purpose.

Some are bundled with the package; those that a user imports or trains are in the user's data folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heliorestore.errors import WeightsError, guess
from heliorestore.storage import replacing, user_folder

ARCHITECTURES: Mapping[str, str] = {
    "enhance": "heliorestore.nets.enhance:full",
    "enhance-small": "heliorestore.nets.enhance:small",
    # before "emulator", which has the same layers: a foreign file is of the published kind
    "emulator-published": "heliorestore.nets.emulator:published",
    "emulator": "heliorestore.nets.emulator:full",
    "emulator-narrow": "heliorestore.nets.emulator:narrow",
    "mfbd": "heliorestore.nets.mfbd:encoder_decoder",
    "mfbd-quarter": "heliorestore.nets.mfbd:encoder_decoder_quarter",
    "mfbd-recurrent": "heliorestore.nets.mfbd:recurrent",
    "mfbd-recurrent-quarter": "heliorestore.nets.mfbd:recurrent_quarter",
    "denoiser": "heliorestore.nets.denoiser:plain",
    "denoiser-residual": "heliorestore.nets.denoiser:residual",
    "denoiser-bayes": "heliorestore.nets.denoiser:bayes",
    "denoiser-uncertain": "heliorestore.nets.denoiser:uncertain",
}
"""The function that builds each network, by the name that records give it."""

_INPUTS = re.compile("[1-9][0-9]{0,2}")
_SUFFIX = ".safetensors"
_BEFORE = "replaces"  # in a record: that of the weights before, until they are replaced


@dataclass(frozen=True, kw_only=True)
class WeightsRecord:
    """The record of weights, a JSON file beside them.

    `kind` is what the network was trained on (`continuum`, `magnetogram`); the network's input is the image
    in the unit that `normalisation` names. `pixel_arcsec` is the range of pixels it may be given. `data`,
    `training` and `recipe` describe its training, `quality` its scores, and `quality_note` how they were
    measured.
    """

    name: str
    architecture: str
    sha256: str = ""
    kind: str = ""
    normalisation: str = ""
    instrument: str = ""
    pixel_arcsec: tuple[float, float] = (0.0, 1e3)
    seed: int | None = None
    data: str = ""
    training: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    quality_note: str = ""
    origin: str = ""


def build(architecture: str) -> nn.Module:
    """The untrained network of that name; `mfbd:12` is `mfbd` with 12 instead of its usual inputs."""
    name, _, inputs = architecture.partition(":")
    if name not in ARCHITECTURES or (inputs and not _INPUTS.fullmatch(inputs)):
        raise WeightsError(f"No network is called {architecture!r}; there are {', '.join(ARCHITECTURES)}.")
    module, _, maker = ARCHITECTURES[name].partition(":")
    net: nn.Module = getattr(importlib.import_module(module), maker)(*([int(inputs)] if inputs else []))
    return net


def outline(architecture: str) -> nn.Module:
    """The network of that name as layers and shapes, without its numbers, which take time and memory."""
    with torch.device("meta"):
        return build(architecture)


def folders() -> tuple[Path, Path]:
    """The folders with weights: the user's first, then the package's."""
    return user_folder("weights"), Path(str(resources.files("heliorestore") / "weights"))


def names() -> list[str]:
    """The names of all available weights; those of the user hide the package's of the same name."""
    # A set: weights of the user may have the name of bundled ones.
    return sorted({path.stem for folder in folders() for path in folder.glob(f"*{_SUFFIX}")})


def names_of(networks: str) -> list[str]:
    """Names of the available weights of networks whose names begin so; unreadable records are left out."""
    found = []
    for name in names():
        try:
            fits = read_record(find(name)).architecture.startswith(networks)
        except WeightsError:
            continue
        found += [name] if fits else []
    return found


def find(name: str) -> Path:
    """The safetensors file of that name, or the file itself if a path is given."""
    candidates = (
        [Path(name)] if name.endswith(_SUFFIX) else [folder / f"{name}{_SUFFIX}" for folder in folders()]
    )
    for path in candidates:
        with suppress(OSError):  # a name that is too long
            if path.is_file():
                return path
    known = names()
    raise WeightsError(
        f"There are no weights {name!r}; available: {', '.join(known) or 'none'}{guess(name, known)}"
    )


def read_record(path: Path, of: str = "") -> WeightsRecord:
    """The record beside a safetensors file; where it holds that of the weights which these were to replace,
    the one with the checksum `of`.
    """
    beside = path.with_suffix(".json")
    try:
        table = json.loads(beside.read_text(encoding="utf-8"))
        if of and table.get(_BEFORE, {}).get("sha256") == of:
            table = table[_BEFORE]
        known = {f.name for f in dataclasses.fields(WeightsRecord)}
        values: dict[str, Any] = {
            name: tuple(value) if name == "pixel_arcsec" else value
            for name, value in table.items()
            if name in known
        }
        record = WeightsRecord(**values)
        if wrong := _wrong(record):
            raise ValueError(f"{', '.join(wrong)} is no such thing")
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path} has no record {beside.name} beside it: weights and record belong together."
        ) from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"The record {beside} cannot be read: {error}.") from error
    return record


def _wrong(record: WeightsRecord) -> list[str]:
    """The fields whose values are of another kind than they are declared, as in a file that was edited."""
    kinds: dict[str, Any] = {"str": str, "int | None": (int, type(None)), "tuple[float, float]": tuple}
    values = {each.name: getattr(record, each.name) for each in dataclasses.fields(record)}
    wrong = [
        each.name
        for each in dataclasses.fields(record)
        if not isinstance(values[each.name], kinds.get(str(each.type), dict))
    ]
    numbers = {"pixel_arcsec": record.pixel_arcsec, "quality": [*dict(record.quality).values()]}
    wrong += [n for n, found in numbers.items() if not all(isinstance(each, (int, float)) for each in found)]
    return wrong if wrong or len(record.pixel_arcsec) == 2 else ["pixel_arcsec"]


def load(name: str) -> tuple[nn.Module, WeightsRecord]:
    """The network with weights of that name or file, ready to use, and their record; checksum verified."""
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    path = find(name)
    record = read_record(path)
    try:
        content = path.read_bytes()
        tensors = parse(content)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"The weights {path} are damaged ({error}): install or import them again."
        ) from error
    # The record may be that of other weights.
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        record = read_record(path, of=found)
    if found != record.sha256:
        raise WeightsError(
            f"The weights {path} are not those of their record: sha256 {found[:12]}..., "
            f"recorded {record.sha256[:12]}..."
        )
    net = build(record.architecture)
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).split("\n")[1:2] or [str(error)]
        raise WeightsError(
            f"The weights {path} do not fit the network {record.architecture}: {first[0].strip()}"
        ) from error
    if bad := [
        key for key, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()
    ]:
        raise WeightsError(f"The weights {path} hold NaN or infinite values, in {', '.join(bad[:3])}.")
    return net.eval(), record


def place(net: nn.Module, device: torch.device) -> None:
    """Move a network to a device, its kernels in the memory layout in which convolutions are fastest."""
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks memory_format


def check_name(name: str) -> None:
    """Refuse what cannot be the name of weights and of their file."""
    sound = name and all(letter.isalnum() or letter in "-_." for letter in name)
    if not sound or name.startswith(".") or name.endswith(".safetensors"):
        raise WeightsError(f"{name!r} cannot name weights: letters, digits, '-', '_' and '.' make a name.")


def copied(net: nn.Module) -> dict[str, torch.Tensor]:
    """The weights as they are now, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}


def on_cpu(value: Any) -> Any:
    """The same with its tensors, also those in dictionaries and lists, on the CPU."""
    if isinstance(value, dict):
        return {name: on_cpu(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(each) for each in value)
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def save(net: nn.Module, record: WeightsRecord, folder: Path, *, half: bool = False) -> Path:
    """Write weights, in `half` precision or as they are, and record; each whole or not at all."""
    from safetensors.torch import save as serialise

    folder.mkdir(parents=True, exist_ok=True)
    # safetensors refuses views and other layouts.
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    content = serialise(
        {
            name: value.half() if half and value.is_floating_point() else value
            for name, value in tensors.items()
        }
    )
    table = dataclasses.asdict(dataclasses.replace(record, sha256=hashlib.sha256(content).hexdigest()))
    path = folder / f"{record.name}{_SUFFIX}"
    beside, before = path.with_suffix(".json"), {}
    with suppress(OSError, ValueError, RecursionError):
        before = {_BEFORE: json.loads(beside.read_bytes())}
    # The record first: weights are found by their own file, which must not appear without it. Until the new
    # weights are there, it holds the record of the old ones too: the process may be killed in between.
    for each, data in ((beside, _as_text(table | before)), (path, content), (beside, _as_text(table))):
        with replacing(each) as file:
            file.write(data)
    return path


def _as_text(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, indent=1) + "\n").encode()

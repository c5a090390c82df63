"""`heliorestore weights import`: published weights converted to safetensors with a record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from heliorestore.errors import WeightsError
from heliorestore.nets import keras_files, torch_files
from heliorestore.nets.emulator import PUBLISHED_INSTRUMENTS
from heliorestore.nets.weights import ARCHITECTURES, WeightsRecord, build, check_name, folders, outline, save
from heliorestore.storage import check_folder

_KERAS = (".h5", ".hdf5", ".keras")
_TORCH = (".pth", ".pt", ".tar", ".ckpt")
_UNIT = {
    "denoiser": "continuum",
    "denoiser-bayes": "continuum",
    "mfbd": "times 0.001",
    "mfbd-recurrent": "times 0.001",
    "mfbd-quarter": "mean 0.4",
    "mfbd-recurrent-quarter": "mean 0.4",
    "emulator-published": "over its maximum",
}
_INSTRUMENT = {
    "enhance": "SDO/HMI 6173",
    "enhance-small": "SDO/HMI 6173",
    "emulator-published": "; ".join(PUBLISHED_INSTRUMENTS),
}
_KINDS = {
    "continuum": "continuum",
    "intensity": "continuum",
    "magnetogram": "magnetogram",
    "blos": "magnetogram",
}
_ENHANCE_UNIT = {"continuum": "quiet Sun", "magnetogram": "kG", "": "quiet Sun, or kG"}


def import_file(
    path: Path,
    name: str,
    *,
    input_scale: float | None = None,
    input_mean: float | None = None,
    folder: Path | None = None,
) -> Path:
    """Convert a weights file, recognise its network by its layers, and keep it under `name` in the user's
    folder.

    `input_scale` or `input_mean` give the normalisation of the network's input if it is not the usual one.
    """
    if not path.is_file():
        raise WeightsError(f"There is no file {path} to import.")
    check_name(name)
    target = check_folder(folder or folders()[0])
    if path.suffix.lower() not in _KERAS + _TORCH:
        raise WeightsError(
            f"{path.name} cannot be imported: possible are Keras files ({', '.join(_KERAS)}) and torch "
            f"checkpoints ({', '.join(_TORCH)})."
        )
    if path.suffix.lower() in _TORCH:
        architecture, net = _of_state(path, torch_files.read_state(path))
    else:
        layers = keras_files.read_layers(path)
        architecture, net = _recognise(path, list(ARCHITECTURES), lambda net: keras_files.fill(net, layers))
    # Kind and unit are in no file of weights: the name given, and the published code, decide.
    kind = next((kind for word, kind in _KINDS.items() if word in name.lower()), "")
    unit = (
        _ENHANCE_UNIT[kind]
        if architecture.startswith("enhance")
        else _UNIT.get(architecture.partition(":")[0], "")
    )
    if input_scale is not None or input_mean is not None:
        unit = f"times {input_scale:g}" if input_scale is not None else f"mean {input_mean:g}"
    record = WeightsRecord(
        name=name,
        architecture=architecture,
        kind=kind,
        normalisation=unit,
        instrument=_INSTRUMENT.get(architecture, ""),
        pixel_arcsec=(0.45, 0.56) if architecture.startswith("enhance") else (0.0, 1e3),
        origin=f"imported from {path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}",
    )
    return save(net, record, target)


def _of_state(path: Path, state: dict[str, torch.Tensor]) -> tuple[str, nn.Module]:
    """The network to which these tensors belong by their names, filled with them."""
    first = state.get("A01.conv.weight")
    names = list(ARCHITECTURES)
    # an encoder-decoder whose first layer has one channel per frame
    # The number of frames is a shape in the file, not a name.
    if first is not None and first.ndim == 4:
        names += [f"{name}:{first.shape[1]}" for name in ("mfbd", "mfbd-quarter")]

    def fill(net: nn.Module) -> None:
        # A network on the meta device has no memory to copy into: it takes the tensors themselves.
        net.load_state_dict(state, assign=any(parameter.is_meta for parameter in net.parameters()))

    return _recognise(path, names, fill)


def _recognise(path: Path, names: list[str], fill: Callable[[nn.Module], object]) -> tuple[str, nn.Module]:
    """The first network that can be filled; outlines without numbers are tried, one is built."""
    reasons = []
    for name in names:
        try:
            fill(outline(name))
        # torch raises RuntimeErrors of many lines; the second is the reason
        except (WeightsError, RuntimeError) as error:
            lines = str(error).split("\n")
            reasons.append(f"{name}: {lines[min(1, len(lines) - 1)].strip()[:200]}")
        else:
            net = build(name)
            fill(net)
            return name, net
    raise WeightsError(f"{path.name} fits none of the networks. {' '.join(reasons)}")

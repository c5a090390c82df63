"""Read weights that Keras saved as HDF5, without Keras or TensorFlow, into a torch network of the same
layers.

Layers are matched in order: the n-th convolution of the file is the n-th that the torch network registers;
the same for the norms. Keras numbers layers in the order of their creation, but lists them by their depth;
those with their own names follow the numbered ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from heliorestore.errors import WeightsError

_MOST = 2**28  # numbers in a file, ten times those of the largest network


@dataclass(frozen=True, eq=False)
class KerasLayer:
    """A layer's weights by short names: kernel, bias, or gamma, beta, moving_mean, moving_variance."""

    name: str
    weights: dict[str, npt.NDArray[np.float32]]

    @property
    def is_convolution(self) -> bool:
        return "kernel" in self.weights


def read_layers(path: Path) -> list[KerasLayer]:
    """The layers of a file that `model.save` or `model.save_weights` wrote, in the model's order."""
    try:
        import h5py
    except ImportError as error:
        raise WeightsError(
            'Reading Keras files needs h5py: pip install "heliorestore[import]" adds it.'
        ) from error
    try:
        with h5py.File(path) as file:
            # `save` puts the weights into a group, `save_weights` at the top.
            model = file.get("model_weights", file)
            if "layer_names" not in model.attrs:
                raise WeightsError(
                    f"{path} is HDF5, but not as Keras saves weights: it has no list of layer names."
                )
            layers, room = [], _MOST
            for name in _texts(model.attrs["layer_names"]):
                layers.append(_layer(model[name], name, file.filename, room))
                room -= sum(array.size for array in layers[-1].weights.values())
    except WeightsError:
        raise
    except Exception as error:  # a damaged file makes h5py and numpy raise almost anything
        raise WeightsError(
            f"The Keras weights {path} cannot be read: {' '.join(str(error).split())}."
        ) from error
    return [layer for layer in layers if layer.weights]


def _layer(group: Any, name: str, whole: str, room: int) -> KerasLayer:
    """A layer's arrays in the file `whole`, of `room` numbers at most; Keras names them `layer/kernel:0` and
    may nest them deeper.
    """
    names = _texts(group.attrs.get("weight_names", ()))
    found = [group[text] for text in names]
    if any(each.external or each.is_virtual or each.file.filename != whole for each in found):
        raise ValueError(f"the numbers of {name} are in other files")
    wanted = sum(math.prod(each.shape) for each in found)
    if wanted > room:
        raise ValueError(f"{name} holds {wanted:,} numbers, more than any network")
    return KerasLayer(
        name,
        {
            text.rpartition("/")[2].partition(":")[0]: np.asarray(each, np.float32)
            for text, each in zip(names, found, strict=True)
        },
    )


def _texts(names: Any) -> list[str]:
    # h5py returns bytes or text, depending on who wrote the file.
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def fill(net: nn.Module, layers: list[KerasLayer]) -> None:
    """Put the layers' weights into the network, or report the layer where they do not fit."""
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    # Convolutions and norms are counted apart, for a file may list a norm before its convolution.
    made = sorted(layers, key=_made)
    of_file = (
        [layer for layer in made if layer.is_convolution],
        [layer for layer in made if not layer.is_convolution],
    )
    found = tuple(map(len, of_file))
    if found != (len(convolutions), len(norms)):
        raise WeightsError(
            f"The file has {found[0]} convolutions and {found[1]} batch normalisations; "
            f"the network has {len(convolutions)} and {len(norms)}."
        )
    with torch.no_grad():
        for convolution, layer in zip(convolutions, of_file[0], strict=True):
            # Keras keeps kernels as (y, x, in, out); both libraries correlate, so nothing is mirrored.
            _put(convolution.weight, layer, "kernel", lambda kernel: kernel.transpose(3, 2, 0, 1))
            if convolution.bias is not None:
                _put(convolution.bias, layer, "bias")
        for norm, layer in zip(norms, of_file[1], strict=True):
            for target, name in (
                (norm.weight, "gamma"),
                (norm.bias, "beta"),
                (norm.running_mean, "moving_mean"),
                (norm.running_var, "moving_variance"),
            ):
                if target is not None:
                    _put(target, layer, name)


def _made(layer: KerasLayer) -> float:
    """The order in which a layer was created: Keras calls them conv2d, conv2d_1, conv2d_2 and so on."""
    number = layer.name.rpartition("_")[2]
    return (
        float(number)
        if number.isdigit()
        else 0.0
        if layer.name in ("conv2d", "batch_normalization")
        else float("inf")
    )


def _put(target: torch.Tensor, layer: KerasLayer, name: str, turn: Any = np.asarray) -> None:
    if name not in layer.weights:
        raise WeightsError(f"The layer {layer.name} has {', '.join(layer.weights)}, but no {name}.")
    values = layer.weights[name]
    values = turn(values) if values.ndim == 4 or name != "kernel" else values
    if values.shape != tuple(target.shape):
        raise WeightsError(
            f"The {name} of the layer {layer.name} has the shape {values.shape}; the network "
            f"needs {tuple(target.shape)}."
        )
    target.copy_(torch.from_numpy(np.ascontiguousarray(values)))

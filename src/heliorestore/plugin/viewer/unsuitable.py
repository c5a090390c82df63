"""Why a layer cannot be restored, in a sentence that says what to do instead."""

from __future__ import annotations

from typing import Any

import numpy as np

from heliorestore.plugin.viewer.contrast import finite_sample
from heliorestore.plugin.viewer.layers import is_restorable
from heliorestore.plugin.viewer.shown_plane import is_help

_WANTED = "an image (y, x) or a series (frame, y, x)"


def why_not_listed(layer: Any) -> str:
    """Why this layer is no input; empty for inputs, and for tools and maps, which nobody takes for one."""
    if is_restorable(layer) or is_help(layer) or layer.metadata.get("kind", "image") != "image":
        return ""
    kind = layer.__class__.__name__  # `__class__` sees through napari's proxy
    if kind != "Image":
        return f"{layer.name} holds {kind.lower()}, not an image: open or add {_WANTED}."
    if layer.rgb:
        return (
            f"{layer.name} has colours: split them (right click on the layer, Split RGB) and tick one of the "
            "three, or open the file that the picture was made from."
        )
    shape = " x ".join(map(str, layer.data.shape))
    return (
        f"{layer.name} has {layer.ndim} axes ({shape}): split it (right click on it, Split Stack) until "
        f"it is {_WANTED}, or open its file with Open FITS... and name the axes."
    )


def nothing_in(layer: Any) -> str:
    """What is wrong with the pixels where frames hold no image: all NaN, or all of one value.

    Of a series the first, the middle and the last frame are looked at, as few as are needed.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    while data.ndim > 3:  # of a cube one wavelength and one parameter
        data = data[0]
    last = len(data) - 1 if data.ndim > 2 else 0
    said = ""
    for frame in sorted({0, last // 2, last}):
        values = finite_sample(np.asarray(data[frame] if data.ndim > 2 else data))
        if values.size and values.min() < values.max():
            return ""
        said = f"all have the value {values.flat[0]:g}" if values.size else "are all NaN"
    return f"The pixels of {layer.name} {said}: there is nothing to restore, tick another layer."

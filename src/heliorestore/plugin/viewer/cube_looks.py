"""What a viewer shows of cubes: colours and limits of the parameter on the slider, and its name.

One layer has one colour map and one pair of limits, but I has other values than Q, U and V: each parameter
keeps its own while the slider is elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst
from heliorestore.plugin.viewer.contrast import COOLWARM, DIVERGING, cuts, first_look, symmetric_cuts
from heliorestore.plugin.viewer.cubes import (
    PARAMETER_AXIS,
    SIGNED,
    TIME_AXIS,
    Cube,
    cube_of,
    objects_in,
    place_in,
)
from heliorestore.plugin.viewer.layers import PARAMETER, TAG
from heliorestore.snapshot import SERIES, Snapshot

_LOOKS = "looks"  # metadata key of the looks that parameters keep, by their names
_KEPT = ("contrast_limits_range", "contrast_limits", "colormap", "gamma")
_SHOWN = "shown of the cube"  # the overlay's key
_WAVES = 5  # from which the limits of a parameter are taken


def watch_cubes(viewer: Any) -> None:
    """Let the layers of cubes, present and future ones, follow the sliders; write their place on the
    canvas.
    """
    from napari.components.overlays import TextOverlay
    from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap, ensure_colormap

    overlays = viewer.canvas.overlays
    if _SHOWN in overlays:
        return
    if DIVERGING not in AVAILABLE_COLORMAPS:
        ensure_colormap(Colormap([f"#{colour}" for colour in COOLWARM], name=DIVERGING))
    # legible on bright and on dark images, in any theme
    overlays[_SHOWN] = TextOverlay(visible=False, position="bottom_center", font_size=12, box=True)

    def inserted(event: Any) -> None:
        layer = event.value
        if TAG in layer.metadata and layer.colormap.name == DIVERGING:
            layer.colorbar.visible = True
        if cube_of(layer) is not None:
            if sum(cube_of(each) is not None for each in viewer.layers) == 1:
                _begin(viewer, layer)
            layer.events.visible.connect(look)
        look()

    def look(event: Any = None) -> None:
        _look(viewer)

    for layer in viewer.layers:
        if cube_of(layer) is not None:
            layer.events.visible.connect(look)
    viewer.layers.events.inserted.connect(inserted)
    viewer.layers.events.removed.connect(look)
    viewer.dims.events.current_step.connect(look)
    look()


def limits_of(layer: Any, object_: int) -> tuple[float, float]:
    """The contrast limits with which a layer shows one of its objects."""
    cube = cube_of(layer)
    if cube is not None and object_ in cube.objects:
        parameter = int(np.argwhere(cube.objects == object_)[0, 1])
        name = cube.parameters[parameter]
        if name != layer.metadata[PARAMETER]:
            kept = layer.metadata.get(_LOOKS, {}).get(name)
            look = kept or _first(layer, cube, parameter)
            return tuple(look["contrast_limits"])
    low, high = layer.contrast_limits
    return float(low), float(high)


def limits_of_inputs(layers: Sequence[Any]) -> list[tuple[float, float]]:
    """The limits of the objects of a burst, whose layers these are: a cube stands here once for each."""
    numbers = [iter(objects_in(layer)) for layer in layers]
    first = [layers.index(layer) for layer in layers]
    return [limits_of(layer, next(numbers[n])) for layer, n in zip(layers, first, strict=True)]


def limits_when(layer: Any, parameter: str, limits: tuple[float, float], reach: tuple[float, float]) -> None:
    """Give a layer the limits that it had while it showed this parameter (empty: it is no cube)."""
    if parameter != layer.metadata.get(PARAMETER, ""):
        layer.metadata.setdefault(_LOOKS, {}).setdefault(parameter, {}).update(
            contrast_limits=limits, contrast_limits_range=reach
        )
        return
    # The range first: setting it may clip the limits.
    layer.contrast_limits_range = reach
    layer.contrast_limits = limits


def limit_again(layer: Any) -> None:
    """Take the limits of a cube from its pixels again, as when it has changed; of other layers too."""
    cube = cube_of(layer)
    if cube is None:
        low, high = cuts(np.asarray(layer.data))
    else:
        layer.metadata.pop(_LOOKS, None)
        name = layer.metadata[PARAMETER]
        known = cube.parameters.index(name) if name in cube.parameters else 0
        low, high = _first(layer, cube, known)["contrast_limits"]
    reach = layer.contrast_limits_range
    layer.contrast_limits_range = min(low, reach[0]), max(high, reach[1])
    layer.contrast_limits = low, high


def same_limits(layer: Any, like: Any) -> None:
    """Give the parameters of a cube the limits that they have in another one, as of its input."""
    cube, other = cube_of(layer), cube_of(like)
    if cube is None or other is None or cube.parameters != other.parameters:
        return
    for number, name in enumerate(cube.parameters):
        low, high = limits_of(like, int(other.objects[0, number]))
        limits_when(layer, name, (low, high), (low - (high - low) / 2, high + (high - low) / 2))


def show_parameter(viewer: Any, name: str) -> None:
    """Move the slider of Stokes parameters to this one, if a cube has it."""
    for layer in viewer.layers:
        cube = cube_of(layer)
        if cube is not None and name in cube.parameters:
            viewer.dims.set_current_step(viewer.dims.ndim + PARAMETER_AXIS, cube.parameters.index(name))
            return


def _begin(viewer: Any, layer: Any) -> None:
    """Show the middle wavelength and the first parameter of a viewer's first cube: napari begins in the
    middle of every axis.
    """
    axis = viewer.dims.ndim + PARAMETER_AXIS
    viewer.dims.set_current_step((axis - 1, axis), (layer.data.shape[0] // 2, 0))


def _look(viewer: Any) -> None:
    shown = ""
    for layer in viewer.layers:
        cube = cube_of(layer)
        place = None if cube is None else place_in(layer, viewer.dims.point)
        if cube is None or place is None:
            continue
        _show(layer, cube, place[1])
        if layer.visible:
            shown = cube.describe(*place)
    overlay = viewer.canvas.overlays.get(_SHOWN)
    if overlay is not None and (overlay.text, overlay.visible) != (shown, bool(shown)):
        overlay.text, overlay.visible = shown, bool(shown)


def _show(layer: Any, cube: Cube, parameter: int) -> None:
    """Colours and limits for this parameter; those of the one before are kept."""
    before, name = str(layer.metadata.get(PARAMETER, "")), cube.parameters[parameter]
    if name == before:
        return
    looks = layer.metadata.setdefault(_LOOKS, {})
    looks[before] = {key: getattr(layer, key) for key in _KEPT}
    layer.metadata[PARAMETER] = name
    look = _first(layer, cube, parameter) | looks.get(name, {})
    low, high = look["contrast_limits"]
    room = (high - low) / 2
    look.setdefault("contrast_limits_range", (low - room, high + room))
    for key in _KEPT:
        if key in look:
            setattr(layer, key, look[key])
    layer.colorbar.visible = layer.colormap.name == DIVERGING


def _first(layer: Any, cube: Cube, parameter: int) -> dict[str, Any]:
    """The look of a parameter that has none yet; one of a map, such as a residual, depends on the map."""
    sample, record = _sample(layer, cube, parameter), layer.metadata.get(TAG)
    shown = record.maps.get(layer.metadata.get("kind")) if isinstance(record, Snapshot) else None
    if shown is None or layer.metadata["kind"] == SERIES:
        return first_look(sample, cube.parameters[parameter] in SIGNED)
    return {"contrast_limits": symmetric_cuts(sample) if shown.signed else cuts(sample)}


def _sample(layer: Any, cube: Cube, parameter: int) -> npt.NDArray[Any]:
    """A parameter (wavelength, y, x) at some wavelengths, in the first frame that has an image."""
    record, step = layer.metadata.get(TAG), -(-len(cube.objects) // _WAVES)
    planes = []
    for wave in range(0, len(cube.objects), step):
        frame = 0
        if isinstance(record, Burst) and layer.data.shape[TIME_AXIS] == record.shape[1]:
            frame = (record.frames_of(int(cube.objects[wave, parameter])) or [0])[0]
        planes.append(np.asarray(layer.data[wave, parameter, frame]))
    return np.stack(planes)

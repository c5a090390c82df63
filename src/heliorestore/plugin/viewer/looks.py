"""How a layer and a viewer look, as plain values that fit into JSON, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from napari.layers import Layer
from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap

from heliorestore.plugin.viewer.cut_levels import is_lower_left, set_origin

_PLACES = ("scale", "translate", "rotate", "shear")
_PLAIN = ("visible", "opacity", "blending")
_IMAGES = ("gamma", "interpolation2d")  # labels have neither these nor limits nor such colours
_MARKS = {
    "Points": ("size", "symbol", "face_color", "border_color", "border_width", "shown"),
    "Shapes": ("shape_type", "edge_width", "edge_color", "face_color", "z_index"),
}
"""What each mark of a layer has of its own."""
_ALL_MARKS = ("border_width_is_relative",)  # only points have it
_TEXT = re.compile(r"(?:[^{}]|\{\w+\})*")  # a format that only inserts features
_UNIT = re.compile(r"(1 ?/)?\D{1,40}\d?")  # no arithmetic: it would be computed


def looks_of(layer: Any) -> dict[str, Any]:
    """What the user sees of a layer besides its pixels or places of marks: place, colours, limits."""
    found: dict[str, Any] = {name: np.asarray(getattr(layer, name)).tolist() for name in _PLACES}
    found |= {name: _plain(getattr(layer, name)) for name in _PLAIN}
    found |= {
        "affine": np.asarray(layer.affine.affine_matrix).tolist(),
        "units": [str(unit) for unit in layer.units],
        "axis_labels": [str(label) for label in layer.axis_labels],
    }
    if is_picture(layer):
        found |= {name: _plain(getattr(layer, name)) for name in _IMAGES}
        found |= {"rgb": bool(layer.rgb)}
        if not layer.rgb:
            found |= {
                "contrast_limits": [float(value) for value in layer.contrast_limits],
                "contrast_limits_range": [float(value) for value in layer.contrast_limits_range],
                "colormap": _colours(layer.colormap),
            }
    return found | (_marks_of(layer) if has_marks(layer) else {})


def _marks_of(layer: Any) -> dict[str, Any]:
    """How the marks of a layer look, and what is known of each."""
    kind = str(layer.__class__.__name__)
    found: dict[str, Any] = {"ndim": int(layer.ndim)}
    found |= {name: bool(getattr(layer, name)) for name in _ALL_MARKS if kind == "Points"}
    if len(layer.data):
        found |= {name: _plain_list(getattr(layer, name)) for name in _MARKS[kind]}
        found |= {
            "features": {str(name): _plain_list(values) for name, values in layer.features.items()},
            "text": layer.text.model_dump(mode="json"),
        }
    return found


def has_marks(layer: Any) -> bool:
    """Whether a layer has points or shapes."""
    return layer.__class__.__name__ in _MARKS


def is_picture(layer: Any) -> bool:
    """Whether a layer is an image; `__class__` sees through napari's proxies."""
    return bool(layer.__class__.__name__ == "Image")


def made_layer(name: str, data: Any, looks: Mapping[str, Any], metadata: Mapping[str, Any], kind: str) -> Any:
    """A layer with these looks; what napari does not accept raises ValueError, TypeError or KeyError."""
    given = dict(looks)
    reach, colours = given.pop("contrast_limits_range", None), given.pop("colormap", None)
    known = {*_PLACES, *_PLAIN, *_IMAGES, "affine", "units", "axis_labels", "rgb", "contrast_limits"}
    if marks := _MARKS.get(kind.capitalize()):
        known |= {*marks, *_ALL_MARKS, "ndim", "features", "text"}
        if not _TEXT.fullmatch(str(given.get("text", {}).get("string", {}).get("format", ""))):
            raise ValueError("such a text is unknown")
    if unknown := given.keys() - known:
        raise ValueError(f"no layer has {', '.join(sorted(unknown))}")
    if not all(_UNIT.fullmatch(str(unit)) for unit in given.get("units", ())):
        raise ValueError("such a unit is unknown")
    if isinstance(colours, Mapping):
        given["colormap"] = Colormap(np.asarray(colours["colors"], float), controls=colours["controls"])
    elif colours is not None:
        given["colormap"] = str(colours)
    made = Layer.create(data, {"name": name, "metadata": dict(metadata), **given}, kind)
    if reach is not None:
        made.contrast_limits_range = reach
        made.contrast_limits = given["contrast_limits"]
    return made


def view_of(viewer: Any) -> dict[str, Any]:
    """Zoom, place, sliders and grid of a viewer."""
    camera, dims, grid = viewer.scene.camera, viewer.dims, viewer.canvas.grid
    return {
        "zoom": float(camera.zoom),
        "centre": [float(value) for value in camera.center],
        "lower_left": is_lower_left(viewer),
        "step": [int(number) for number in dims.current_step],
        "grid": [bool(grid.enabled), [int(number) for number in grid.shape], int(grid.stride)],
    }


def show_view(viewer: Any, view: Mapping[str, Any]) -> None:
    """Show a viewer as `view_of` saw it."""
    camera, grid = viewer.scene.camera, viewer.canvas.grid
    enabled, shape, stride = view["grid"]
    set_origin(viewer, lower_left=bool(view["lower_left"]))
    grid.shape, grid.stride, grid.enabled = tuple(shape), stride, bool(enabled)
    viewer.dims.current_step = tuple(view["step"])
    camera.zoom, camera.center = view["zoom"], tuple(view["centre"])


def _plain(value: Any) -> Any:
    """A number or a truth as it is, and the text of anything else, such as an enumeration's."""
    return value if isinstance(value, (bool, int, float)) else str(value)


def _plain_list(values: Any) -> Any:
    """Lists of numbers as they are, of anything else as texts."""
    array = np.asarray(values)
    return array.tolist() if array.dtype.kind in "biuf" else [_plain(value) for value in array.tolist()]


def _colours(colormap: Any) -> Any:
    """The name of a colour map that napari knows, or the colours themselves."""
    if colormap.name in AVAILABLE_COLORMAPS:
        return str(colormap.name)
    return {
        "colors": np.asarray(colormap.colors).tolist(),
        "controls": np.asarray(colormap.controls).tolist(),
    }

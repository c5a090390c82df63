"""Burst and Snapshot to napari layers and back: pure functions, no Qt.

All layers share one coordinate system: the corner of a layer's first pixel is the corner of the first
observed pixel, so a result with twice as many pixels covers its input exactly.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst
from heliorestore.errors import BurstError
from heliorestore.fits.reader import SUFFIXES
from heliorestore.instrument import Instrument
from heliorestore.methods import METHODS
from heliorestore.plugin.viewer.contrast import DIVERGING, cuts, first_look, shows_signs, symmetric_cuts
from heliorestore.plugin.viewer.cubes import (
    CUBE,
    Cube,
    coordinates_in,
    cube_at,
    cube_of,
    groups_of,
    label_in,
    number_of,
    objects_in,
    part_of,
)
from heliorestore.plugin.viewer.pixels import LayerFrames, frames_of_cube, frames_of_object
from heliorestore.settings import to_rows
from heliorestore.snapshot import IMAGE_AXES, NODE_AXES, SERIES, SERIES_AXES, Map, Snapshot

LayerData = tuple[Any, dict[str, Any], str]
# one picture of a snapshot: ("image", object), ("residual", object), ("modes", 0), ...
Key = tuple[str, int]

TAG = "heliorestore"  # metadata key that holds the Burst or Snapshot a layer shows
_ENTERED = "instrument"  # metadata key of the instrument that the user has entered, as text
PARAMETER = "parameter"  # metadata key of what a cube's colours and limits are for, as V
_COLORMAPS = {"uncertainty": "inferno"}
_AXIS_LABELS = {"mode": "k", "frame": "t", "gy": "y", "gx": "x"}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The place of the pixels (y, x) of an observed image in world coordinates, in `units`."""

    scale: tuple[float, float] = (1.0, 1.0)
    translate: tuple[float, float] = (0.0, 0.0)
    rotate: npt.NDArray[np.float64] = field(default_factory=lambda: np.eye(2))
    units: tuple[str, str] = ("pixel", "pixel")

    @classmethod
    def of_instrument(cls, instrument: Instrument) -> Placement:
        """In arcsec if the pixel size is known, else in pixels."""
        if instrument.pixel_arcsec is None:
            return cls()
        return cls(scale=(instrument.pixel_arcsec,) * 2, units=("arcsec", "arcsec"))

    @classmethod
    def of_layer(cls, layer: Any) -> Placement:
        """The place of a layer's last two axes, without its frame axis."""
        scale, translate = (
            (float(values[-2]), float(values[-1])) for values in (layer.scale, layer.translate)
        )
        rotate = np.asarray(layer.rotate, float)[-2:, -2:]
        return cls(
            scale=scale,
            translate=translate,
            rotate=rotate,
            units=(str(layer.units[-2]), str(layer.units[-1])),
        )

    def cropped(self, origin: tuple[int, int]) -> Placement:
        """The place of a part of the image that begins at the pixel `origin` (y, x)."""
        return dataclasses.replace(
            self, translate=tuple(np.array(self.translate) + self.rotate @ (np.array(self.scale) * origin))
        )

    def of_grid(self, observed: tuple[int, int], shape: tuple[int, int]) -> dict[str, Any]:
        """Layer arguments that spread a grid (y, x) of `shape` over the observed image, corner on corner."""
        zoom = np.array([n / m for n, m in zip(shape, observed, strict=True)])
        scale = np.array(self.scale) / zoom
        # The centre of the first pixel is half a pixel from the common corner.
        shift = self.rotate @ (scale / 2 - np.array(self.scale) / 2)
        return vars(self) | {"scale": scale, "translate": np.array(self.translate) + shift}

    def of_nodes(self, step: tuple[float, float], first: tuple[float, float]) -> dict[str, Any]:
        """Arguments for values every `step` pixels (y, x) from `first` on, linear in between."""
        scale = np.array(self.scale)
        return vars(self) | {
            "scale": scale * step,
            "translate": np.array(self.translate) + self.rotate @ (scale * first),
            "interpolation2d": "linear",
        }


def burst_layers(burst: Burst, name: str = "") -> list[LayerData]:
    """One layer per cube (λ, Stokes or state, t, y, x), and per object beside them (t, y, x) or, for a single
    frame, (y, x); only what is shown is read.
    """
    stem = name or (stem_of(burst.sources[0].path) if burst.sources else "")
    groups = groups_of(burst)
    return [_burst_layer(burst, group, stem, len(groups)) for group in groups]


def _burst_layer(burst: Burst, group: Cube | int, stem: str, groups: int) -> LayerData:
    cube = group if isinstance(group, Cube) else None
    object_ = number_of(group)
    place = vars(Placement.of_instrument(burst.instruments[object_]))
    labels: tuple[str, ...] = ("y", "x")
    if cube is not None:
        pixels = frames_of_cube(burst, cube)
        place, labels = cube.placed(place, burst.shape[1]), cube.axis_labels
        title = _layer_name(stem, "object " if groups == 1 else cube.name, groups)
    else:
        pixels, title = frames_of_object(burst, object_), _layer_name(stem, burst.labels[object_], groups)
        if burst.shape[1] == 1:
            pixels = pixels[0]
        else:
            place, labels = _with_axes(place, 1), ("t", *labels)
    # From the first image alone: the others are read when they are shown.
    first = burst.first_image(object_ if cube is None else int(cube.objects[0, 0]))
    arguments: dict[str, Any] = {
        "name": title,
        **place,
        "axis_labels": labels,
        **first_look(first, shows_signs(burst.labels[object_] if cube is None else "I", first)),
        "visible": group == 0 or (cube is not None and (groups == 1 or cube.first == 0)),
        "metadata": {TAG: burst, "object": object_, "header": _header(burst, object_), "pixels": pixels}
        | _of_cube(cube),
    }
    return pixels, arguments, "image"


def _of_cube(cube: Cube | None) -> dict[str, Any]:
    """The entries of a cube in its layer's metadata; its limits are those of its first parameter."""
    return {} if cube is None else {CUBE: cube, PARAMETER: cube.parameters[0]}


def stem_of(path: Path) -> str:
    """The name of a file without what says its format; JSOC's names have dots of their own."""
    ending = max((s for s in SUFFIXES if path.name.lower().endswith(s)), key=len, default="")
    return path.name[: len(path.name) - len(ending)]


def snapshot_layers(
    snapshot: Snapshot, name: str = "", placement: Placement | None = None
) -> list[LayerData]:
    """The restored images, and hidden above them the residual and the other maps; modes are one layer."""
    return [
        snapshot_layer(key, array, snapshot, name, placement) for key, array in pictures(snapshot).items()
    ]


def pictures(snapshot: Snapshot) -> dict[Key, npt.NDArray[np.float32]]:
    """Every array of a snapshot that becomes a layer, in the order in which they are added; that of a cube
    has the number of its first object.
    """
    groups = groups_of(snapshot)
    found: dict[Key, npt.NDArray[np.float32]] = {}
    for name, each in snapshot.maps.items():
        if each.axes == SERIES_AXES:
            found |= {(name, number_of(group)): part_of(each.array, group) for group in reversed(groups)}
        elif each.axes == NODE_AXES:
            modes = each.array.swapaxes(0, 1)  # as `_axes_of` says
            cubes = any(isinstance(group, Cube) for group in groups)
            found[name, 0] = modes[:, None, None] if cubes else modes
        elif each.axes == IMAGE_AXES:
            beside = groups if len(each.array) == len(snapshot.images) else range(len(each.array))
            found |= {(name, number_of(group)): part_of(each.array, group) for group in beside}
    # The images come last, so that they lie on top; the first object on top of the others.
    return found | {
        ("image", number_of(group)): part_of(snapshot.images, group) for group in reversed(groups)
    }


def snapshot_layer(
    key: Key,
    array: npt.NDArray[np.float32],
    snapshot: Snapshot,
    name: str = "",
    placement: Placement | None = None,
) -> LayerData:
    """The layer of one picture of a snapshot, placed over the image that was observed."""
    kind, object_ = key
    observed = (snapshot.images.shape[1] // snapshot.zoom, snapshot.images.shape[2] // snapshot.zoom)
    if placement is None:
        placement = Placement.of_instrument(snapshot.run.instruments[0]) if snapshot.run else Placement()
    shown = snapshot.maps.get(kind)
    cube = cube_at(snapshot, object_) if array.ndim == 5 and "mode" not in _axes_of(shown) else None
    axes = cube.axis_labels if cube is not None else _axes_of(shown)
    arguments = (
        placement.of_nodes(shown.step, shown.first)
        if shown is not None and shown.step is not None
        else placement.of_grid(observed, (array.shape[-2], array.shape[-1]))
    )
    if cube is not None:
        arguments |= cube.placed(arguments, array.shape[2])
    elif array.ndim > 2:
        arguments |= _with_axes(arguments, array.ndim - 2)
    method = METHODS.get(snapshot.run.settings.method) if snapshot.run else None
    said = method.maps.get(kind, kind) if method is not None else kind
    title = _title_of(snapshot, object_, axes, cube, name)
    if "mode" in axes:  # drawn over the image, which should remain visible
        arguments["opacity"] = 0.6
        axes = (*axes[:1], *("λ", "Stokes") * (array.ndim > 4), *axes[1:])
    arguments |= {
        "name": title if kind == "image" else f"{title} {said}",
        "axis_labels": tuple(_AXIS_LABELS.get(axis, axis) for axis in axes),
        **_look(kind, array if cube is None else array[0, 0], snapshot, object_),
        "visible": kind == "image" and object_ == 0,
        "metadata": snapshot_metadata(key, array, snapshot) | _of_cube(cube),
    }
    return array, arguments, "image"


def _title_of(snapshot: Snapshot, object_: int, axes: Sequence[str], cube: Cube | None, name: str) -> str:
    """The name of a result's layer without the kind of a map."""
    groups = 1 if "mode" in axes else len(groups_of(snapshot))
    if cube is not None:
        return _layer_name(name, "object " if groups == 1 else cube.name, groups)
    return _layer_name(name, snapshot.run.labels[object_] if snapshot.run else f"object {object_}", groups)


def _look(kind: str, image: npt.NDArray[Any], snapshot: Snapshot, object_: int) -> dict[str, Any]:
    """Contrast limits and colours of a picture; an image or its series is signed if it is around zero."""
    shown = snapshot.maps.get(kind)
    label = snapshot.run.labels[object_] if snapshot.run and object_ < len(snapshot.run.labels) else ""
    if kind in ("image", SERIES):
        return first_look(image, shows_signs(label, image))
    signed = shown is not None and shown.signed
    return {
        "contrast_limits": symmetric_cuts(image) if signed else cuts(image),
        "colormap": DIVERGING if signed else _COLORMAPS.get(kind, "viridis"),
    }


def _axes_of(shown: Map | None) -> tuple[str, ...]:
    """The axes of the layers of a map, or of an image: one layer per object, and frames next to the image
    axes.

    napari aligns axes from the last one, so that t is the burst's t.
    """
    axes = IMAGE_AXES if shown is None else shown.axes
    if axes == NODE_AXES:
        return ("mode", "frame", "gy", "gx")
    return axes[1:]


def _with_axes(arguments: Mapping[str, Any], more: int) -> dict[str, Any]:
    """The place of an image (y, x) for an array with that many axes before."""
    turn = np.eye(2 + more)
    turn[more:, more:] = arguments["rotate"]
    return {
        "scale": (*(1.0,) * more, *arguments["scale"]),
        "translate": (*(0.0,) * more, *arguments["translate"]),
        "units": (*("pixel",) * more, *arguments["units"]),
        "rotate": turn,
    }


def snapshot_metadata(key: Key, array: npt.NDArray[np.float32], snapshot: Snapshot) -> dict[str, Any]:
    """The metadata of a restored layer; the snapshot holds the settings, the losses and the run."""
    kind, object_ = key
    run = snapshot.run
    rows = [] if run is None else to_rows(run.settings)
    header = dict(run.headers[object_]) if run and object_ < len(run.headers) else {}
    return {
        TAG: snapshot, "object": object_, "kind": kind, "pixels": array, "header": header,
        "settings": {name: text for name, text, *_ in rows}, "losses": dict(snapshot.losses), "run": run,
    }  # fmt: skip


# -- and back ------------------------------------------------------------------------------------------------


def burst_of(layers: Sequence[Any]) -> Burst:
    """The burst that layers show: the original if unchanged, else one of their pixels, an object each."""
    if not layers:
        raise BurstError("No image layer is chosen: tick one in the list, or open a file.")
    if (whole := common_burst(layers)) is not None:
        return whole.select(objects=objects_of(layers))
    planes = [plane for layer in layers for plane in _planes(layer)]
    if len({plane.shape for plane in planes}) > 1:
        shapes = ", ".join(f"{layer.name} {'x'.join(map(str, layer.data.shape))}" for layer in layers)
        raise BurstError(
            f"The chosen layers differ in shape ({shapes}): choose layers of one shape, they "
            "become the objects of a burst."
        )
    places = [(layer, number) for layer in layers for number in objects_in(layer)]
    facts = [known(layer, number) for layer, number in places]
    headers = tuple(fact["header"] for fact in facts)
    found = [coordinates_in(layer.metadata.get(TAG), number) for layer, number in places]
    return Burst(
        frames=LayerFrames(planes),
        instruments=tuple(fact["instrument"] for fact in facts),
        labels=tuple(label_in(layer, number) for layer, number in places),
        coordinates=tuple(filter(None, found)) if all(found) else (),
        headers=headers if all(h is not None for h in headers) else (),
        unit=facts[0]["unit"],
        layout="layer",
        scale_from_file=any(fact["scale_from_file"] for fact in facts),
    )


def common_burst(layers: Sequence[Any]) -> Burst | None:
    """The one burst whose objects these layers show unchanged, or None; then its files define the input."""
    burst = layers[0].metadata.get(TAG) if layers else None
    if not isinstance(burst, Burst):
        return None
    same = all(
        layer.metadata.get(TAG) is burst and layer.data is layer.metadata.get("pixels") for layer in layers
    )
    # A selection of objects is a slice, so they must be equally spaced.
    steps = {b - a for a, b in itertools.pairwise(objects_of(layers))}
    return burst if same and len(steps) <= 1 and 0 not in steps else None


def objects_of(layers: Sequence[Any]) -> list[int]:
    """The numbers of the objects that layers show, in order."""
    return sorted(number for layer in layers for number in objects_in(layer))


def hint(layer: Any) -> str:
    """A warning about this layer before it is restored, or empty."""
    path = str(getattr(layer.source, "path", None) or "")
    foreign = TAG not in layer.metadata and layer.source.reader_plugin in ("napari", "builtins")
    if foreign and path.lower().endswith((".fits", ".fit", ".fts", ".fits.gz", ".fits.fz")):
        return (
            f"{layer.name} was opened by napari's own reader, which shows only the first plane of a "
            "cube and drops the header: open the file with Open FITS... instead."
        )
    return ""


def entered_instrument(layer: Any) -> str:
    """What a user has entered of a layer's instrument, as `Instrument.parse` takes it, or empty."""
    return str(layer.metadata.get(_ENTERED, ""))


def enter_instrument(layer: Any, text: str) -> None:
    """Keep it with the layer, which tells everyone who listens to its metadata."""
    if text != entered_instrument(layer):
        layer.metadata = {**layer.metadata, _ENTERED: text}


def is_restorable(layer: Any) -> bool:
    """Whether a layer can be restored: an image with two or three axes, or a cube, that is not a map."""
    kind = layer.metadata.get("kind", "image")
    # `__class__` sees through the proxy that napari hands to plugins, `type` does not.
    is_image = layer.__class__.__name__ == "Image" and not layer.rgb and kind == "image"
    return is_image and (2 <= layer.ndim <= 3 or cube_of(layer) is not None)


# -- details -------------------------------------------------------------------------------------------------


def _layer_name(stem: str, label: str, objects: int) -> str:
    """File name and label; a single object without its own label needs only the name."""
    if objects == 1 and stem and (label.startswith("object ") or label in stem):
        return stem
    return f"{stem} {label}".strip()


def _header(burst: Burst, object_: int) -> dict[str, Any]:
    return dict(burst.headers[object_]) if burst.headers else {}


def _planes(layer: Any) -> list[Any]:
    """The pixels of a layer as (frame, y, x), one for each of its objects."""
    if not is_restorable(layer):
        axes = "colours" if layer.rgb else f"{layer.ndim} axes"
        raise BurstError(
            f"{layer.name} is not a burst: it has {axes}; an image (y, x) or a series (frame, y, x) can "
            "be restored."
        )
    data = layer.data[0] if layer.multiscale else layer.data
    if (cube := cube_of(layer)) is not None:
        return [data[place] for place in np.ndindex(cube.objects.shape)]
    return [data[None] if data.ndim == 2 else data]


def known(layer: Any, object_: int | None = None) -> dict[str, Any]:
    """Instrument, header and unit of a layer's pixels, from its metadata or else from its scale; of an object
    of a cube, by default its first.
    """
    record = layer.metadata.get(TAG)
    object_ = layer.metadata.get("object", 0) if object_ is None else object_
    if isinstance(record, Burst):
        header = record.headers[object_] if record.headers else None
        return {"instrument": record.instruments[object_], "header": header, "unit": record.unit,
                "scale_from_file": record.scale_from_file}  # fmt: skip
    if isinstance(record, Snapshot) and record.run is not None:
        instrument = record.run.instruments[object_]
        if instrument.pixel_arcsec is not None:
            instrument = dataclasses.replace(instrument, pixel_arcsec=instrument.pixel_arcsec / record.zoom)
        return {"instrument": instrument, "header": None, "unit": record.run.unit, "scale_from_file": False}
    header = layer.metadata.get("header")
    instrument = Instrument.from_header(header) if isinstance(header, Mapping) else Instrument()
    if instrument.pixel_arcsec is None and (pixel := _pixel_arcsec(layer)) is not None:
        instrument = dataclasses.replace(instrument, pixel_arcsec=pixel)
    return {"instrument": instrument, "header": None, "unit": "", "scale_from_file": True}


def _pixel_arcsec(layer: Any) -> float | None:
    """The pixel size, if the layer's unit is an angle."""
    unit, scale = layer.units[-1], float(layer.scale[-1])
    if str(unit) in ("pixel", "") or not unit.is_compatible_with("arcsec"):
        return None
    arcsec = float((scale * unit).to("arcsec").magnitude)
    return arcsec if math.isfinite(arcsec) and arcsec > 0 else None

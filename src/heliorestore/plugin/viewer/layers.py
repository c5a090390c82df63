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
from heliorestore.settings import to_rows
from heliorestore.snapshot import IMAGE_AXES, NODE_AXES, SERIES, SERIES_AXES, Map, Snapshot

LayerData = tuple[Any, dict[str, Any], str]
# one picture of a snapshot: ("image", object), ("residual", object), ("modes", 0), ...
Key = tuple[str, int]

TAG = "heliorestore"  # metadata key that holds the Burst or Snapshot a layer shows
_ENTERED = "instrument"  # metadata key of the instrument that the user has entered, as text
_ENCLOSED = 99.0  # percent of the pixels between the contrast limits
_SAMPLES = 512  # pixels along an axis that are sampled for the contrast limits, fewer of each map of a stack
_COLORMAPS = {"image": "gray", "uncertainty": "inferno", SERIES: "gray"}
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
    """One layer per object, (t, y, x) or, for a single frame, (y, x); only what is shown is read."""
    stem = name or (stem_of(burst.sources[0].path) if burst.sources else "")
    layers = []
    for object_, (instrument, label) in enumerate(zip(burst.instruments, burst.labels, strict=True)):
        data = _frames_of_object(burst, object_)
        place = Placement.of_instrument(instrument)
        still = burst.shape[1] == 1
        # From the first image alone: the others are read when they are shown.
        limits = cuts(burst.first_image(object_))
        pixels = data[0] if still else data
        arguments: dict[str, Any] = {
            "name": _layer_name(stem, label, burst.shape[0]),
            "scale": place.scale if still else (1.0, *place.scale),
            "units": place.units if still else ("pixel", *place.units),
            "axis_labels": ("y", "x") if still else ("t", "y", "x"),
            "contrast_limits": limits,
            "colormap": "gray",
            "visible": object_ == 0,
            "metadata": {TAG: burst, "object": object_, "header": _header(burst, object_), "pixels": pixels},
        }
        layers.append((pixels, arguments, "image"))
    return layers


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
    """Every array of a snapshot that becomes a layer, in the order in which they are added."""
    found: dict[Key, npt.NDArray[np.float32]] = {}
    for name, each in snapshot.maps.items():
        if each.axes == SERIES_AXES:
            found |= {(name, object_): frames for object_, frames in reversed(list(enumerate(each.array)))}
        elif each.axes == NODE_AXES:
            found[name, 0] = each.array.swapaxes(0, 1)  # as `_axes_of` says
        elif each.axes == IMAGE_AXES:
            found |= {(name, object_): plane for object_, plane in enumerate(each.array)}
    # The images come last, so that they lie on top; the first object on top of the others.
    return found | {
        ("image", object_): snapshot.images[object_] for object_ in reversed(range(len(snapshot.images)))
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
    axes = _axes_of(shown)
    arguments = (
        placement.of_nodes(shown.step, shown.first)
        if shown is not None and shown.step is not None
        else placement.of_grid(observed, (array.shape[-2], array.shape[-1]))
    )
    if len(axes) > 2:
        arguments |= _with_axes(arguments, len(axes) - 2)
    label = snapshot.run.labels[object_] if snapshot.run else f"object {object_}"
    objects = 1 if "mode" in axes else len(snapshot.images)
    title = _layer_name(name, label, objects)
    method = METHODS.get(snapshot.run.settings.method) if snapshot.run else None
    said = method.maps.get(kind, kind) if method is not None else kind
    signed = shown is not None and shown.signed
    if "mode" in axes:  # drawn over the image, which should remain visible
        arguments["opacity"] = 0.6
    arguments |= {
        "name": title if kind == "image" else f"{title} {said}",
        "axis_labels": tuple(_AXIS_LABELS.get(axis, axis) for axis in axes),
        "contrast_limits": symmetric_cuts(array) if signed else cuts(array),
        "colormap": "coolwarm" if signed else _COLORMAPS.get(kind, "viridis"),
        "visible": kind == "image" and object_ == 0,
        "metadata": snapshot_metadata(key, array, snapshot),
    }
    return array, arguments, "image"


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
    planes = [_planes(layer) for layer in layers]
    if len({plane.shape for plane in planes}) > 1:
        shapes = ", ".join(f"{layer.name} {'x'.join(map(str, layer.data.shape))}" for layer in layers)
        raise BurstError(
            f"The chosen layers differ in shape ({shapes}): choose layers of one shape, they "
            "become the objects of a burst."
        )
    facts = [known(layer) for layer in layers]
    headers = tuple(fact["header"] for fact in facts)
    return Burst(
        frames=_LayerFrames(planes),
        instruments=tuple(fact["instrument"] for fact in facts),
        labels=tuple(str(layer.name) for layer in layers),
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
    return sorted(layer.metadata.get("object", 0) for layer in layers)


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
    """Whether a layer can be restored: an image with two or three axes that is not a map."""
    kind = layer.metadata.get("kind", "image")
    # `__class__` sees through the proxy that napari hands to plugins, `type` does not.
    return layer.__class__.__name__ == "Image" and not layer.rgb and 2 <= layer.ndim <= 3 and kind == "image"


# -- contrast ------------------------------------------------------------------------------------------------


def cuts(image: npt.NDArray[Any], percent: float = _ENCLOSED) -> tuple[float, float]:
    """Contrast limits that enclose so many percent of the pixels; NaN and infinity are ignored."""
    values = finite_sample(image)
    return apart(*np.percentile(values, (50 - percent / 2, 50 + percent / 2))) if values.size else (0.0, 1.0)


def apart(low: float, high: float) -> tuple[float, float]:
    """Contrast limits, moved apart where they are equal."""
    room = 0.0 if high > low else 0.5 * max(abs(low), 1e-6)
    return float(low) - room, float(high) + room


def symmetric_cuts(image: npt.NDArray[Any]) -> tuple[float, float]:
    """Contrast limits around zero, for maps that have a sign."""
    values = finite_sample(image)
    high = float(np.percentile(np.abs(values), 50 + _ENCLOSED / 2)) if values.size else 0.0
    return (-high, high) if high > 0 else (-1.0, 1.0)


def finite_sample(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Every n-th pixel of all images in a stack: enough for a percentile, not for the extremes."""
    side = max(1, round(_SAMPLES / math.sqrt(max(1, math.prod(image.shape[:-2])))))
    rows, columns = (slice(None, None, max(1, n // side)) for n in image.shape[-2:])
    sample = np.asarray(image[..., rows, columns])
    return sample[np.isfinite(sample)]


# -- details -------------------------------------------------------------------------------------------------


def _frames_of_object(burst: Burst, object_: int) -> Any:
    """(frame, y, x) of an object: numpy arrays directly, else through dask, one frame at a time."""
    frames = burst.frames
    if isinstance(frames, np.ndarray) and frames.dtype.isnative:
        return frames[object_]
    import dask.array as da

    def read(block_info: Mapping[Any, Any]) -> npt.NDArray[np.float32]:
        frame = block_info[None]["chunk-location"][0]
        return burst.image(object_, frame)[None]

    _, count, rows, columns = burst.shape
    # Without an explicit type dask would call `read` once to find it.
    return da.map_blocks(
        read,
        chunks=((1,) * count, (rows,), (columns,)),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )


def _layer_name(stem: str, label: str, objects: int) -> str:
    """File name and label; a single object without its own label needs only the name."""
    if objects == 1 and stem and (label.startswith("object ") or label in stem):
        return stem
    return f"{stem} {label}".strip()


def _header(burst: Burst, object_: int) -> dict[str, Any]:
    return dict(burst.headers[object_]) if burst.headers else {}


def _planes(layer: Any) -> Any:
    """The pixels of a layer as (frame, y, x)."""
    if not is_restorable(layer):
        axes = "colours" if layer.rgb else f"{layer.ndim} axes"
        raise BurstError(
            f"{layer.name} is not a burst: it has {axes}; an image (y, x) or a series (frame, y, x) can "
            "be restored."
        )
    data = layer.data[0] if layer.multiscale else layer.data
    return data[None] if data.ndim == 2 else data


def known(layer: Any) -> dict[str, Any]:
    """Instrument, header and unit of a layer's pixels, from its metadata or else from its scale."""
    record, object_ = layer.metadata.get(TAG), layer.metadata.get("object", 0)
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


class _LayerFrames:
    """The `Frames` of several layers, one object per layer, read only when needed."""

    def __init__(self, planes: Sequence[Any]) -> None:
        self._planes = planes
        self.shape = (len(planes), *planes[0].shape)
        self.dtype = np.dtype(planes[0].dtype)
        self.ndim = 4

    def __getitem__(self, key: Any) -> Any:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, slice):
            return np.stack([self._planes[k][tuple(rest)] for k in range(*first.indices(len(self._planes)))])
        return self._planes[first][tuple(rest)]

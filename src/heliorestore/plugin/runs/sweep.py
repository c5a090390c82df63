"""Results for several values of one setting as one stack of images, with a slider for the values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heliorestore.errors import SettingsError
from heliorestore.methods import METHODS
from heliorestore.plugin.runs.versions import NOT_OF_THE_RESULT, short_name
from heliorestore.plugin.viewer.contrast import cuts
from heliorestore.plugin.viewer.insertion import insert_quietly
from heliorestore.plugin.viewer.layers import Placement
from heliorestore.plugin.viewer.result_layers import ResultLayers
from heliorestore.settings import Option, Settings, options, to_text
from heliorestore.snapshot import Snapshot

_MOST = 50  # values: each is a run


def sweepable(settings_class: type[Settings]) -> list[Option]:
    """The settings of a method that take numbers and change its result: first those that the method says are
    worth it, then those on a logarithmic scale.
    """
    entry = METHODS.get(settings_class.method)
    first = entry.sweeps if entry is not None else ()
    numeric = [
        option
        for option in options(settings_class)
        if option.type in (int, float) and not option.choices and option.name not in NOT_OF_THE_RESULT
    ]

    def rank(option: Option) -> tuple[int, bool]:
        return first.index(option.name) if option.name in first else len(first), not option.log

    return sorted(numeric, key=rank)


def parse_values(option: Option, text: str) -> tuple[float, ...]:
    """Read `0.01, 0.03, 0.1`, each a value of the setting; a wrong one is a SettingsError."""
    values = tuple(option.parse(part.strip()) for part in text.split(",") if part.strip())
    if not 2 <= len(values) <= _MOST:
        raise SettingsError(
            f"A sweep takes 2 to {_MOST} values of {option.name}, separated by commas; there "
            f"are {len(values)}."
        )
    if len(set(values)) < len(values):
        raise SettingsError(f"Two of the values of {option.name} are the same: {text}.")
    return values


def suggested_ends(option: Option) -> tuple[float, float]:
    """Suggested first and last value: the default over and times 10, or 4 for whole numbers; without a
    default, as of r0 that the data give, over and times 2 around the middle of what is permitted.
    """
    whole = option.type is int
    factor = 4 if whole else 10
    middle = option.default
    if middle is None and option.minimum and option.maximum:
        factor, middle = 2, math.sqrt(option.minimum * option.maximum)
    elif middle is None or middle <= 0:
        middle = max(1.0, option.minimum or 0.0)
    low, high = _permitted(option, middle / factor), _permitted(option, middle * factor)
    return (
        (float(max(1, round(low))), float(round(high)))
        if whole
        else (float(f"{low:.3g}"), float(f"{high:.3g}"))
    )


def spaced_values(option: Option, low: float, high: float, count: int) -> str:
    """Values from low to high as text, even in their logarithm, three digits, none repeated."""
    if not (0 < low < high and count >= 2):
        raise SettingsError(
            f"Values from {low:g} to {high:g} in {count} steps: the first must be positive "
            "and smaller than the last."
        )
    found = (math.exp(v) for v in np.linspace(math.log(low), math.log(high), count))
    return ", ".join(
        dict.fromkeys(to_text(round(v) if option.type is int else float(f"{v:.3g}")) for v in found)
    )


def _permitted(option: Option, value: float) -> float:
    """The nearest permitted value."""
    low = value if option.minimum is None else max(value, option.minimum)
    return low if option.maximum is None else min(low, option.maximum)


@dataclass(frozen=True)
class Sweep:
    """A setting and its values."""

    setting: str
    values: tuple[float, ...]

    @property
    def axis(self) -> str:
        """The label of the stack's first axis, short enough for a slider."""
        return self.setting.split("_")[0]

    def title(self, number: int) -> str:
        """The setting with one of its values, as shown over the image."""
        return f"{short_name(self.setting)} = {self.values[number]:g}"


class SweepLayers:
    """The stack of a sweep: a layer (value, y, x) per object; the viewer's other axes lie between."""

    def __init__(self, viewer: Any, name: str, sweep: Sweep, inputs: Sequence[Any]) -> None:
        self.viewer, self._name, self.sweep = viewer, name, sweep
        self._places = [Placement.of_layer(layer) for layer in inputs]
        self._cuts = [tuple(layer.contrast_limits) for layer in inputs]
        # Along the existing sliders the images do not change, so these sliders act on the other layers alone.
        self._others = {
            label: int(n)
            for label, n in zip(viewer.dims.axis_labels[:-2], viewer.dims.nsteps[:-2], strict=True)
        }
        self.snapshots: list[Snapshot | None] = [None] * len(sweep.values)
        self.layers: list[Any] = []
        self._stack: Any = None
        self._step = viewer.dims.events.current_step
        self._step.connect(self._tell)
        viewer.layers.events.removed.connect(self._tell)

    def part(self, number: int) -> SweepPart:
        """The place for the results of one value."""
        return SweepPart(self, number)

    def show(self, number: int, snapshot: Snapshot) -> None:
        """Put the images of a value into their plane; the layers are made with the first ones."""
        self.snapshots[number] = snapshot
        if self._stack is None:
            objects, rows, columns = snapshot.images.shape
            # Planes of values that have not run yet are empty.
            self._stack = np.full((objects, len(self.sweep.values), rows, columns), np.nan, np.float32)
        if self._stack.shape[-2:] != snapshot.images.shape[-2:]:
            raise SettingsError(
                f"{self.sweep.title(number)} gives images of another size: they cannot be stacked."
            )
        self._stack[:, number] = snapshot.images
        if not self.layers:
            for object_ in reversed(range(len(self._stack))):
                self.layers.insert(0, self._add(object_, snapshot))
        for layer in self.layers:
            if layer in self.viewer.layers:
                layer.refresh()
        self._tell()

    @property
    def deleted(self) -> bool:
        """Whether the user has deleted all that it showed."""
        return bool(self.layers) and all(layer not in self.viewer.layers for layer in self.layers)

    def close(self) -> None:
        """Stop following the viewer."""
        self._step.disconnect(self._tell)
        self.viewer.layers.events.removed.disconnect(self._tell)
        self._overlay().visible = False

    def _add(self, object_: int, snapshot: Snapshot) -> Any:
        label = snapshot.run.labels[object_] if snapshot.run is not None else ""
        image = snapshot.images[object_]
        place = self._places[object_].of_grid(
            (image.shape[0] // snapshot.zoom, image.shape[1] // snapshot.zoom), image.shape
        )
        data: Any = self._stack[object_]
        values, rows, columns = data.shape
        # A view: the axes that only the viewer has get a stride of 0.
        data = np.broadcast_to(
            data.reshape(values, *(1 for _ in self._others), rows, columns),
            (values, *self._others.values(), rows, columns),
        )
        more = data.ndim - 2
        turn = np.eye(data.ndim)
        turn[more:, more:] = place["rotate"]
        low, high = (
            pick(pair)
            for pick, pair in zip((min, max), zip(self._cuts[object_], cuts(image), strict=True), strict=True)
        )
        arguments = {
            "name": f"{self._name} {label}".strip(),
            "scale": (1.0,) * more + tuple(place["scale"]),
            "translate": (0.0,) * more + tuple(place["translate"]),
            "rotate": turn,
            "units": ("pixel",) * more + tuple(place["units"]),
            "axis_labels": (self.sweep.axis, *self._others, "y", "x"),
            "contrast_limits": (low, high),
            "colormap": "gray",
            "visible": object_ == 0,
            "metadata": {
                "kind": "sweep",
                "sweep": self.sweep,
                "snapshots": self.snapshots,
                "object": object_,
            },
        }
        return insert_quietly(self.viewer, data, arguments)

    def _overlay(self) -> Any:
        return self.viewer.canvas.overlays["text"]

    def _tell(self, event: Any = None) -> None:
        """Write the current value over the image, as long as there is a layer of the sweep."""
        there = [layer for layer in self.layers if layer in self.viewer.layers]
        overlay = self._overlay()
        if not there:
            overlay.visible = False
            return
        number = int(self.viewer.dims.current_step[-there[0].ndim])
        overlay.text = self.sweep.title(min(max(number, 0), len(self.sweep.values) - 1))
        overlay.position = "top_left"
        overlay.visible = True


class SweepPart(ResultLayers):
    """The layers of a run for one value of a sweep: a plane of the stack instead of separate layers."""

    def __init__(self, layers: SweepLayers, number: int) -> None:
        super().__init__(layers.viewer, "", ())
        self._stack, self._number = layers, number

    def show(self, snapshot: Snapshot) -> None:
        self._stack.show(self._number, snapshot)

    def show_ahead(self, images: Any) -> None:
        """A sweep shows nothing before it is computed."""

    def complete(self) -> bool:
        return True


def export_sweep(snapshots: Sequence[Snapshot | None], sweep: Sweep, folder: Path) -> list[Path]:
    """Write one restored file per value, each with its whole provenance, and return their paths."""
    from heliorestore.fits.writer import write

    done = [
        (value, snapshot)
        for value, snapshot in zip(sweep.values, snapshots, strict=True)
        if snapshot is not None
    ]
    return [write(snapshot, folder / f"{sweep.setting}_{value:g}.fits") for value, snapshot in done]

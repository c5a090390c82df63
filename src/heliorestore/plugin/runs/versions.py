"""Results as versions: a list of them, and a copy of the current one that stays as it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from heliorestore.plugin.viewer.insertion import insert_quietly
from heliorestore.plugin.viewer.layers import (
    PARAMETER,
    TAG,
    enter_instrument,
    entered_instrument,
    pictures,
    snapshot_layer,
)
from heliorestore.plugin.viewer.result_layers import next_name
from heliorestore.settings import SavedSettings, Settings, options, to_rows, to_text
from heliorestore.snapshot import Snapshot

VERSION = "version"  # metadata key that marks the layers of a kept version

# settings whose names begin so are in a version's name even at their default
_ALWAYS_SHOWN = "lambda"

# settings of one machine or of what is shown, whatever the method
NOT_OF_THE_RESULT = frozenset({"checkpoint", "frame", "memory_gb", "residual_frame", "tile"})


@dataclass(frozen=True, eq=False)
class Version:
    """The layers of one result under their common name; `kept` ones no longer change."""

    name: str
    layers: tuple[Any, ...]
    kept: bool

    @property
    def snapshot(self) -> Snapshot:
        """The latest snapshot that the layers show: older ones of a run need not stay in memory."""
        images = [layer for layer in self.layers if layer.metadata.get("kind") == "image"] or self.layers
        latest: Snapshot = max((layer.metadata[TAG] for layer in images), key=lambda snapshot: snapshot.step)
        return latest


def versions(layers: Iterable[Any]) -> list[Version]:
    """Every result among these layers, in the order in which they were added."""
    groups: dict[Any, list[Any]] = {}
    for layer in layers:
        record = layer.metadata.get(TAG)
        if isinstance(record, Snapshot):
            groups.setdefault(_key(layer, record), []).append(layer)
    found = []
    for group in groups.values():
        images = [layer for layer in group if layer.metadata.get("kind") == "image"] or group
        name = _common_name([layer.name for layer in images])
        found.append(Version(name, tuple(group), any(VERSION in layer.metadata for layer in group)))
    return found


def settings_of(version: Version) -> dict[str, str]:
    """The settings of a version as short texts, the live ones as at its last iteration."""
    snapshot = version.snapshot
    if snapshot.run is None:
        return {}
    found = {name: text for name, text, *_ in to_rows(snapshot.run.settings)}
    found |= {
        name: to_text(float(values[-1]))
        for name, values in snapshot.history.items()
        if name in found and len(values)
    }
    return {"method": snapshot.run.settings.method} | {name: _short(text) for name, text in found.items()}


def differing(all_settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The settings whose values differ among the results that have them, the knobs first."""
    names = dict.fromkeys(name for settings in all_settings for name in settings)
    found = [
        name
        for name in names
        if name not in NOT_OF_THE_RESULT
        and len({settings[name] for settings in all_settings if name in settings}) > 1
    ]
    return sorted(found, key=lambda name: not name.startswith((_ALWAYS_SHOWN, "method")))


def contrast(version: Version) -> float:
    """The contrast of a version's first image: its standard deviation over its mean; NaN of a map around
    zero.
    """
    snapshot = version.snapshot
    if snapshot not in _contrasts:
        image = snapshot.images[0]
        mean = float(np.nanmean(image))
        spread = float(np.nanstd(image))
        _contrasts[snapshot] = spread / mean if mean > spread / 2 else float("nan")
    return _contrasts[snapshot]


_contrasts: WeakKeyDictionary[Snapshot, float] = WeakKeyDictionary()  # large images take long


def _short(text: str) -> str:
    """A number with at most four digits, any other text as it is."""
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def knob_text(settings: Settings | SavedSettings) -> str:
    """The settings that distinguish versions: every lambda, and other live settings not at their default, as
    `lambda object 0.1, prior 3.0`.
    """
    if isinstance(settings, SavedSettings):
        shown = [(name, text) for name, text, *_ in settings.rows if name.startswith(_ALWAYS_SHOWN)]
    else:
        values = {option: getattr(settings, option.name) for option in options(type(settings))}
        shown = [
            (option.name, to_text(value))
            for option, value in values.items()
            if option.name.startswith(_ALWAYS_SHOWN)
            or (option.log and option.live and value != option.default)
        ]
    return ", ".join(f"{short_name(name)} {value}" for name, value in shown)


def short_name(setting: str) -> str:
    """The name of a setting for layer names and axes: `lambda_object` is `lambda object`."""
    return setting.replace("_", " ")


def keep(viewer: Any, snapshot: Snapshot, settings: Settings | SavedSettings, name: str = "") -> str:
    """Put copies of a snapshot's images under the layers of its run, hidden, and return the beginning of
    their names.

    `settings` are those with which it was made. The pixels are shared, because they are read-only.
    """
    run = snapshot.run
    same = [
        v
        for v in versions(viewer.layers)
        if not v.kept and run is not None and v.snapshot.run and v.snapshot.run.settings is run.settings
    ]
    shown = {
        layer.metadata["object"]: layer
        for v in same
        for layer in v.layers
        if layer.metadata.get("kind") == "image"
    }
    stem = name or (same[0].name if same else run.settings.method if run is not None else "result")
    knobs = knob_text(settings)
    stem = next_name(viewer, f"{stem} kept") + (f" ({knobs})" if knobs else "")
    lowest = min((viewer.layers.index(layer) for v in same for layer in v.layers), default=len(viewer.layers))
    values = {row[0]: row[1] for row in to_rows(settings)}
    images = {key: array for key, array in pictures(snapshot).items() if key[0] == "image"}
    for key, array in images.items():
        data, arguments, kind = snapshot_layer(key, array, snapshot, stem)
        arguments["visible"] = False
        arguments["metadata"] |= {VERSION: stem, "settings": values}
        if (like := shown.get(key[1])) is not None:
            # Where the user sees the result now, with the same cuts and colours.
            arguments |= {name: getattr(like, name) for name in ("scale", "translate", "rotate", "units")}
            arguments |= {"contrast_limits": like.contrast_limits, "colormap": like.colormap}
            arguments["metadata"] |= {PARAMETER: name} if (name := like.metadata.get(PARAMETER)) else {}
        copy = insert_quietly(viewer, data, arguments, kind, lowest)
        if like is not None:
            enter_instrument(copy, entered_instrument(like))
    return stem


def pair(version: Version, layers: Iterable[Any]) -> tuple[Any, Any]:
    """The first image layer of a version, and that of the same object in the latest result that is not kept;
    None if there is none.
    """
    image = next((layer for layer in version.layers if layer.metadata.get("kind") == "image"), None)
    if image is None:
        return None, None
    others = [
        layer
        for other in versions(layers)
        if not other.kept
        for layer in other.layers
        if layer not in version.layers
    ]
    same = [
        each
        for each in others
        if each.metadata.get("kind") == "image" and each.metadata["object"] == image.metadata["object"]
    ]
    return image, same[-1] if same else None


def rename(version: Version, name: str) -> None:
    """Give the layers of a version another common name."""
    for layer in version.layers:
        rest = layer.name.removeprefix(version.name)
        layer.name = name + rest if rest != layer.name else f"{name} {layer.name}"


def delete(viewer: Any, version: Version) -> None:
    """Remove the layers of a version from the viewer."""
    for layer in version.layers:
        if layer in viewer.layers:
            viewer.layers.remove(layer)


def _key(layer: Any, snapshot: Snapshot) -> Any:
    """What the layers of one result share: a kept version's name, or a run's record of settings."""
    if VERSION in layer.metadata:
        return layer.metadata[VERSION]
    # All snapshots of a run share one settings record, and no other run has it.
    return id(snapshot.run.settings) if snapshot.run is not None else id(snapshot)


def _common_name(names: list[str]) -> str:
    """The common beginning of all names, up to the end of a word."""
    words = [name.split(" ") for name in names]
    common = list(itertools.takewhile(lambda same: len(set(same)) == 1, zip(*words, strict=False)))
    return " ".join(same[0] for same in common) or names[0]

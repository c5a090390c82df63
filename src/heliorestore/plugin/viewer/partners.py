"""Which image layers can be set against each other: those that show the same quantity of the same object."""

from __future__ import annotations

from typing import Any

from heliorestore.plugin.viewer.layers import TAG, known
from heliorestore.snapshot import SERIES

_SAME_BAND = 0.01  # relative difference of wavelengths


def comparable(first: Any, second: Any) -> bool:
    """Whether both are images, or maps of one kind, and not known to show different objects."""
    if first is None or first == second:
        return False
    return _kind(first) == _kind(second) and not _other_object(first, second)


def on_one_scale(first: Any, second: Any) -> bool:
    """Whether the pixels of both can be matched: by their numbers, or by their sizes in arcsec."""
    fine, coarse = sorted((first.data.shape[-2:], second.data.shape[-2:]), reverse=True)
    multiple = fine[0] % coarse[0] == 0 and fine == tuple(fine[0] // coarse[0] * n for n in coarse)
    return multiple or all(known(layer)["instrument"].pixel_arcsec for layer in (first, second))


def _kind(layer: Any) -> str:
    kind = str(layer.metadata.get("kind", "image"))
    return "image" if kind == SERIES else kind


def _other_object(first: Any, second: Any) -> bool:
    waves = [known(layer)["instrument"].wavelength_nm for layer in (first, second)]
    if all(waves) and abs(waves[0] - waves[1]) > _SAME_BAND * waves[0]:
        return True
    (mine, all_mine), (other, all_other) = _labels(first), _labels(second)
    # Labels of different files differ for the same object too: only one that the other file knows tells.
    return mine != other and (mine in all_other or other in all_mine)


def _labels(layer: Any) -> tuple[str, tuple[str, ...]]:
    """The label of a layer's object, and those of all objects that were observed or restored with it."""
    record = layer.metadata.get(TAG)
    labels = getattr(getattr(record, "run", None) or record, "labels", ())
    number = layer.metadata.get("object", 0)
    return (labels[number], labels) if number < len(labels) else ("", ())

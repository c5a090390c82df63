"""Cut levels of image layers as usual in solar physics, and the origin at the lower left."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import SettingsError
from heliorestore.plugin.preferences import preferences
from heliorestore.plugin.viewer.contrast import apart, cuts, finite_sample
from heliorestore.plugin.viewer.shown_plane import is_image, shown_plane

PERCENTS = (99.5, 99.0, 98.0, 95.0)
"""Percentages of the pixels between common cut levels."""


def cut_levels(image: npt.NDArray[Any], how: float | str) -> tuple[float, float]:
    """Contrast limits of an image (y, x): `min-max`, `zscale`, or the percentage between them."""
    if isinstance(how, (int, float)) and 0 < how <= 100:
        return cuts(image, how)
    if how not in ("min-max", "zscale"):
        raise SettingsError(
            f"Cut levels are min-max, zscale or a percentage above 0 and at most 100, not {how!r}."
        )
    values = image[np.isfinite(image)] if how == "min-max" else finite_sample(image)
    if not values.size:
        return 0.0, 1.0
    if how == "min-max":
        return apart(float(values.min()), float(values.max()))
    from astropy.visualization import ZScaleInterval

    return apart(*ZScaleInterval().get_limits(values))


def apply_cuts(viewer: Any, how: float | str) -> int:
    """Set the limits of the selected image layers, or all visible ones; return how many they are."""
    selected = [layer for layer in viewer.layers if layer in viewer.layers.selection and is_image(layer)]
    layers = selected or [layer for layer in viewer.layers if layer.visible and is_image(layer)]
    for layer in layers:
        low, high = cut_levels(shown_plane(viewer, layer), how)
        before = layer.contrast_limits_range
        layer.contrast_limits_range = min(low, before[0]), max(high, before[1])
        layer.contrast_limits = low, high
    return len(layers)


def set_origin(viewer: Any, *, lower_left: bool) -> None:
    """Let y grow upwards, as on a map of the Sun, or downwards, as on a screen; the data do not change."""
    viewer.scene.camera.orientation2d = ("up" if lower_left else "down", "right")


def is_lower_left(viewer: Any) -> bool:
    """Whether y grows upwards."""
    return str(viewer.scene.camera.orientation2d[0]) == "up"


def apply_origin(viewer: Any) -> None:
    """Put the origin at the lower left if the preferences say so."""
    if preferences().origin_lower_left:
        set_origin(viewer, lower_left=True)

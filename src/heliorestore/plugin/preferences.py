"""The user's choices on this plugin's page of napari's preferences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preferences:
    """Machine defaults, not settings of a run."""

    device: str = "auto"
    refresh_hz: float = 10.0
    memory_gb: float = 0.0  # 0: the method decides
    origin_lower_left: bool = True


def preferences() -> Preferences:
    """The current preferences; the defaults if napari does not know the plugin, as without its manifest."""
    from napari.settings import get_plugin_settings

    try:
        page = get_plugin_settings("heliorestore").restoration
        return Preferences(
            device=str(page.device), refresh_hz=float(page.refresh_hz), memory_gb=float(page.memory_gb),
            origin_lower_left=bool(page.origin_lower_left),
        )  # fmt: skip
    except (KeyError, AttributeError, ValueError):
        return Preferences()

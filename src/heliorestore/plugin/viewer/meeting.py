"""The first steps of every panel with its viewer."""

from __future__ import annotations

from typing import Any

from heliorestore.plugin.viewer.cut_levels import apply_origin
from heliorestore.plugin.viewer.gl_context import guard_removals


def meet(viewer: Any) -> None:
    """Make the removal of layers safe, and set the origin by the preferences."""
    guard_removals(viewer)
    apply_origin(viewer)

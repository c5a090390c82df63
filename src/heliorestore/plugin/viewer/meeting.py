"""What every panel does first with the viewer that it is shown beside."""

from __future__ import annotations

from typing import Any

from heliorestore.plugin.viewer.cut_levels import apply_origin
from heliorestore.plugin.viewer.gl_context import guard_removals


def meet(viewer: Any) -> None:
    """Make the removal of layers safe, and put the origin where the preferences want it."""
    guard_removals(viewer)
    apply_origin(viewer)

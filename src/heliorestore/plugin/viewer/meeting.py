"""The first steps of every panel with its viewer."""

from __future__ import annotations

from typing import Any

from heliorestore.plugin.viewer.blink_key import offer_blinking
from heliorestore.plugin.viewer.cube_looks import watch_cubes
from heliorestore.plugin.viewer.cut_levels import apply_origin
from heliorestore.plugin.viewer.end_of_python import end_safely
from heliorestore.plugin.viewer.gl_context import guard_removals
from heliorestore.plugin.viewer.sky import watch


def meet(viewer: Any) -> None:
    """Make the removal of layers and the end of Python safe, set the origin by the preferences, show places
    on the Sun and in spectra, and offer the key that blinks.
    """
    end_safely()
    guard_removals(viewer)
    apply_origin(viewer)
    watch(viewer)
    watch_cubes(viewer)
    offer_blinking()

"""Keys that press the buttons of a run, while the canvas has the focus."""

from __future__ import annotations

from typing import Any

from heliorestore.plugin.widgets.run_controls import RunPanel

SHORTCUTS = {
    "Control-Alt-R": "run",
    "Control-Alt-H": "pause",
    "Control-Alt-N": "step",
    "Control-Alt-X": "stop",
}
"""napari itself uses none of these."""


def bind_keys(viewer: Any, run_panel: RunPanel) -> None:
    """Bind keys to this panel's buttons and say so in tooltips; a disabled button ignores its key."""
    for key, name in SHORTCUTS.items():
        button = getattr(run_panel, f"{name}_button")
        viewer.bind_key(key, lambda _viewer, button=button: button.click(), overwrite=True)
        shown = key.replace("Control", "Ctrl").replace("-", "+")
        button.setToolTip(f"{button.toolTip()} ({shown} with the image in focus)")


def release_keys(viewer: Any) -> None:
    """Release the keys of a closed panel."""
    for key in SHORTCUTS:
        viewer.bind_key(key, None, overwrite=True)

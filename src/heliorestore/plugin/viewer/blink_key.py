"""A key that blinks two layers, in napari's list of shortcuts, where it can be changed."""

from __future__ import annotations

from typing import Any

from heliorestore.plugin.viewer.comparison import How, comparison_of
from heliorestore.plugin.viewer.shown_plane import is_image

KEY = "B"
"""napari uses it for shapes and labels alone."""

_ACTION = "heliorestore:blink"
_BLINKING = "heliorestore_blinking"


def offer_blinking() -> None:
    """Add the key to napari's shortcuts, once."""
    from napari.components.viewer_model import ViewerModel
    from napari.settings import get_settings
    from napari.utils.action_manager import action_manager

    if _ACTION in action_manager._actions:  # there is no public question
        return
    action_manager.register_action(
        _ACTION, blink, "Blink two images (heliorestore), or stop blinking", ViewerModel
    )
    for key in get_settings().shortcuts.shortcuts.get(_ACTION, [KEY]):
        action_manager.bind_shortcut(_ACTION, key)


def blink(viewer: Any) -> None:
    """Show two images in turns, or end that: the selected ones, or the chosen one and its nearest kin."""
    from napari.utils.notifications import show_info

    comparison, bar = comparison_of(viewer), viewer.window.main_menu
    bar.setProperty(_BLINKING, None)
    if comparison.how is How.BLINK:
        comparison.stop()
        return
    pair = comparison.pair or two_images(viewer)
    if pair is None:
        show_info("Blinking needs two images: open or restore another one.")
        return
    comparison.start(How.BLINK, *pair)
    # The window keeps what is blinking, as no panel need be open.
    bar.setProperty(_BLINKING, comparison.stop)


def two_images(viewer: Any) -> tuple[Any, Any] | None:
    """The two selected images, else the active or topmost visible one and another: of the same object before
    others, a visible one before hidden ones, an upper one before lower ones.
    """
    images = [layer for layer in reversed(list(viewer.layers)) if is_image(layer)]
    selected = [layer for layer in images if layer in viewer.layers.selection]
    if len(selected) == 2:
        return selected[0], selected[1]
    active = viewer.layers.selection.active
    images.sort(key=lambda layer: (layer != active, not layer.visible))
    if len(images) < 2:
        return None
    first = images[0]

    def strangeness(layer: Any) -> tuple[bool, bool, bool]:
        return (
            layer.metadata.get("kind", "image") != first.metadata.get("kind", "image"),
            layer.metadata.get("object", 0) != first.metadata.get("object", 0),
            not layer.visible,
        )

    return first, min(images[1:], key=strangeness)

"""What a user does in a panel, and whether there is a screen to do it on."""

import os
import sys
from typing import Any

HAS_DISPLAY = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def choose_method(widget: Any, name: str, qtbot: Any) -> None:
    widget.method_choice.setCurrentIndex(widget.method_choice.findData(name))
    qtbot.waitUntil(
        lambda: widget.form is not None and widget.form.settings_class.method == name, timeout=30_000
    )


def wait_for_threads() -> None:
    from qtpy.QtCore import QThreadPool

    pool = QThreadPool.globalInstance()
    assert pool is not None
    assert pool.waitForDone(10_000)


def set_fields(widget: Any, **values: Any) -> None:
    """Set fields of the panel's form as a user does."""
    for name, value in values.items():
        widget.form.fields[name].set(value)


def results(viewer: Any) -> dict[str, Any]:
    """The layers that the small method made, by name."""
    return {layer.name: layer for layer in viewer.layers if layer.name.startswith("fake")}


def version_names(panel: Any) -> list[str]:
    """What the list of versions shows."""
    panel.version_list.refresh()
    return [panel.version_list.table.item(n, 0).text() for n in range(panel.version_list.table.rowCount())]

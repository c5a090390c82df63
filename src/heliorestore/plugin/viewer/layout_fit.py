"""The view fits when the layout changes: who saw the whole field sees it in every cell of a grid."""

from __future__ import annotations

from typing import Any

_ROOM = 1.1  # times the zoom at which the field fills the canvas: it is still seen whole


def fit_with_layout(viewer: Any) -> None:
    """Zoom out to fit when a grid is switched on, unless a detail is looked at; off brings the view back."""
    grid, camera = viewer.canvas.grid, viewer.scene.camera
    before: list[tuple[float, tuple[float, ...]]] = []

    def changed(event: Any = None) -> None:
        if grid.enabled:
            seen = float(camera.zoom), tuple(camera.center)
            whole = seen[0] <= _ROOM * _filling_zoom(viewer)
            viewer.fit_to_view()
            if whole and camera.zoom < seen[0]:
                before[:] = [seen]
            else:
                before.clear()
                camera.zoom, camera.center = seen
        elif before:
            camera.zoom, camera.center = before.pop()

    grid.events.enabled.connect(changed)


def _filling_zoom(viewer: Any) -> float:
    """The zoom at which all layers fill a canvas that is not divided, in its pixels per unit of the world."""
    low, high = viewer.layers.extent.world[:, -2:]
    return float(min(n / max(size, 1e-9) for n, size in zip(viewer.canvas.size, high - low, strict=True)))

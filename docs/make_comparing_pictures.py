"""Take the pictures of docs/comparing.md and docs/quality.md from the real application.

xvfb-run -a -s '-screen 0 1600x1000x24' python docs/make_comparing_pictures.py [FOLDER]
"""

import sys
from pathlib import Path
from typing import Any

from make_pictures import opened, save, take
from qtpy.QtWidgets import QScrollArea

from heliorestore.plugin import launch


def main() -> None:
    """Take all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    burst(folder)
    quality(folder)


def burst(folder: Path) -> None:
    """Versions, a sweep and a suggestion for the small burst, then two versions with a divider between
    them.
    """
    viewer, widget = opened("small_burst.fits", "sv-momfbd")
    run(widget, iterations=14, patch_iterations=8, lambda_object=1.0)
    widget.keep_result()
    run(widget, iterations=14, patch_iterations=8, lambda_object=0.03)
    widget.keep_result()
    widget.suggest_section.set_open(True)
    box = widget.suggest_box
    offered = box.use_button.text()
    box.ask_button.click()
    launch.wait(lambda: box.use_button.text() != offered, "the suggestion", seconds=600)
    reveal(widget, widget.suggest_section)
    save(widget.suggest_section.grab().toImage(), folder / "suggestion.png")

    widget.suggest_section.set_open(False)
    widget.sweep_section.set_open(True)
    widget.sweep_box.setting.setCurrentText("lambda object")
    widget.sweep_box.values.setText("0.01, 0.1, 1, 10")
    widget.sweep_box.start_button.click()
    launch.wait(lambda: not widget.sweep_box.running, "the sweep", seconds=900)
    viewer.dims.current_step = (2, *viewer.dims.current_step[1:])
    reveal(widget, widget.sweep_box)
    take(viewer, folder / "sweep.png")

    versions = [layer for layer in viewer.layers if "kept" in layer.name and "wide" in layer.name]
    for layer in [layer for layer in viewer.layers if layer.metadata.get("kind") == "sweep"]:
        viewer.layers.remove(layer)
    viewer.window.remove_dock_widget(widget.parent())
    _, compare = viewer.window.add_plugin_dock_widget("heliorestore", "Compare")
    from heliorestore.plugin.viewer.comparison import How

    compare.compare(How.SPLIT, versions[0], versions[-1])
    viewer.fit_to_view()
    take(viewer, folder / "divider.png")
    viewer.close()


def quality(folder: Path) -> None:
    """Image quality of the continuum sample before and after Richardson-Lucy."""
    viewer, widget = opened("hmi_continuum.fits")
    run(widget, iterations=15)
    viewer.window.remove_dock_widget(widget.parent())
    for layer in [layer for layer in viewer.layers if layer.metadata.get("kind", "image") != "image"]:
        viewer.layers.remove(layer)
    _, panel = viewer.window.add_plugin_dock_widget("heliorestore", "Image quality")
    viewer.layers.selection = set(viewer.layers)
    viewer.canvas.grid.enabled = True
    viewer.fit_to_view()
    launch.wait(lambda: len(panel.measured) == 2 and panel.photometry.canvas is not None, "the figures")
    take(viewer, folder / "quality.png")
    viewer.close()


def run(widget: Any, **values: Any) -> None:
    """Run the panel with these settings to the end."""
    for name, value in values.items():
        widget.form.fields[name].set(value)
    ended: list[Any] = []
    widget.run_panel.ended.connect(ended.append)
    widget.run_panel.run_button.click()
    launch.wait(lambda: bool(ended), "the restoration", seconds=900)
    widget.run_panel.ended.disconnect(ended.append)


def reveal(widget: Any, part: Any) -> None:
    """Scroll the panel to one of its parts."""
    launch.process_events(0.3)
    widget.findChild(QScrollArea).ensureWidgetVisible(part)
    launch.process_events(0.3)


if __name__ == "__main__":
    main()

"""Save what is in the window, layers, versions, panels and view, and open it again another day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtWidgets import QFileDialog

from heliorestore.burst import Burst
from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.npe2.readers import NOTHING
from heliorestore.plugin.npe2.session_file import (
    MORE,
    SUFFIX,
    SavedLayer,
    Session,
    read_session,
    write_session,
)
from heliorestore.plugin.panels.compare import CompareWidget
from heliorestore.plugin.panels.restore import RestoreWidget
from heliorestore.plugin.panels.sv_momfbd import SvMomfbdWidget
from heliorestore.plugin.runs.preview import Rectangle
from heliorestore.plugin.runs.task import Outcome, start_task
from heliorestore.plugin.runs.versions import versions
from heliorestore.plugin.viewer.comparison import How, comparison_of
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.layers import TAG
from heliorestore.plugin.viewer.looks import has_marks, looks_of, made_layer, show_view, view_of
from heliorestore.plugin.viewer.meeting import meet
from heliorestore.plugin.viewer.tool_layers import is_tool
from heliorestore.preparation import Preparation
from heliorestore.settings import Settings, from_rows, to_rows
from heliorestore.snapshot import Snapshot

_OURS = " (heliorestore)"  # how napari ends the names of this plugin's docks
_FILES = f"Session (*{SUFFIX})"
_REFUSED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
"""What napari and Qt raise of values that nobody has saved like this."""


def save() -> None:
    """Menu command: ask for a name and save the session."""
    from napari.viewer import current_viewer

    viewer = current_viewer()
    name, _ = QFileDialog.getSaveFileName(None, "Save session", f"session{SUFFIX}", _FILES)
    if viewer is not None and name:
        save_session(viewer, Path(name) if Path(name).suffix else Path(f"{name}{SUFFIX}"))


def open_() -> None:
    """Menu command: ask for a session and open it."""
    from napari.viewer import current_viewer

    viewer = current_viewer()
    name, _ = QFileDialog.getOpenFileName(None, "Open session", "", _FILES)
    if viewer is not None and name:
        open_session(viewer, Path(name))


def get_reader(path: str | Sequence[str]) -> Callable[..., list[tuple[None]]] | None:
    """The reader of sessions for npe2: it opens them in the current viewer by itself."""
    paths = [path] if isinstance(path, str) else list(path)
    return _read if paths and all(each.lower().endswith(SUFFIX) for each in paths) else None


def save_session(viewer: Any, path: Path) -> None:
    """Write the session in a thread; what cannot be saved is said."""
    session, left_out = gathered(viewer)

    def written(outcome: Outcome) -> None:
        if outcome.error is not None:
            show_error(explain(outcome.error))
        elif left_out:
            kinds = "only images, labels, points and shapes can be saved"
            show_warning(f"Session saved: {path}. Not in it: {left_out} ({kinds}).")
        else:
            show_info(f"Session saved: {path}.")

    start_task(f"Save {path.name}", lambda: write_session(session, path), written)


def open_session(viewer: Any, path: Path) -> None:
    """Read a session in a thread and add it to the viewer."""

    def work() -> tuple[Session, list[Settings | str]]:
        session = read_session(path)
        return session, [_settings_of(panel) for panel in session.panels]

    def opened(outcome: Outcome) -> None:
        if outcome.error is not None:
            show_error(explain(outcome.error))
        else:
            show(viewer, *outcome.value)

    start_task(f"Open {path.name}", work, opened)


def gathered(viewer: Any) -> tuple[Session, str]:
    """The session in a viewer, and the names of what it cannot hold."""
    comparison = comparison_of(viewer)
    layers, left_out = [], []
    # hidden layers of a run may lag behind: all show its latest snapshot when it is opened again
    previews = [
        layer.name
        for panel in viewer.window.dock_widgets.values()
        if isinstance(panel, SvMomfbdWidget) and panel.preview is not None
        for layer in panel.preview.layers.layers.values()
    ]
    latest = {layer.name: version.snapshot for version in versions(viewer.layers) for layer in version.layers}
    for layer in viewer.layers:
        if is_tool(layer.metadata) or layer.name in previews:  # the box makes them again
            continue
        if not _can_be_saved(layer):
            left_out.append(str(layer.name))
            continue
        layers.append(_saved(layer, latest.get(layer.name), comparison.looks_before(layer)))
    names = [layer.name for layer in layers]
    panels = [
        state
        for title, panel in viewer.window.dock_widgets.items()
        if title.endswith(_OURS) and not _is_closed(panel)
        for state in [{"title": title.removesuffix(_OURS)} | _state_of(panel, names)]
    ]
    view = view_of(viewer)
    if comparison.how is How.SIDE:  # which comes with its own grid
        view["grid"][0] = False
    return Session(layers=tuple(layers), panels=tuple(panels), view=view), ", ".join(left_out)


def show(viewer: Any, session: Session, settings: Sequence[Settings | str]) -> None:
    """Add a session to a viewer; its view only to an empty one. What is wrong is one notification."""
    problems = list(session.problems)
    empty = not viewer.layers
    meet(viewer)
    added: list[Any] = []
    for saved in session.layers:
        try:
            made = None if saved is None else _made(saved)
        except _REFUSED as error:
            problems.append(f"{saved.name if saved else ''} is damaged in the session ({error}).")
            made = None
        added.append(None if made is None else viewer.add_layer(made))
    for state, wanted in zip(session.panels, settings, strict=True):
        try:
            _open_panel(viewer, state, wanted, added)
        except (HeliorestoreError, *_REFUSED) as error:
            problems.append(f"The panel {state.get('title')} is not as it was ({error}).")
    if empty:  # after the panels, which turn the view as the preferences say
        try:
            show_view(viewer, session.view)
        except _REFUSED:
            problems.append("The view of the session is damaged; the whole field is shown.")
            viewer.fit_to_view()
    if problems:
        show_warning("\n".join(problems))


# -- layers --------------------------------------------------------------------------------------------------


def _can_be_saved(layer: Any) -> bool:
    kind = layer.__class__.__name__
    return has_marks(layer) or (kind in ("Image", "Labels") and np.dtype(layer.dtype).kind in "biuf")


def _saved(layer: Any, latest: Snapshot | None, looks: Mapping[str, Any]) -> SavedLayer:
    record, metadata = layer.metadata.get(TAG), layer.metadata
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    # as in exported files: a picture that has been edited is no longer the documented result
    unchanged = layer.data is metadata.get("pixels")
    documented = bool(record.sources if isinstance(record, Burst) else getattr(record, "run", None))
    if isinstance(record, Snapshot) and latest is not None:
        record = latest
    return SavedLayer(
        name=str(layer.name),
        data=data,
        looks={**looks_of(layer), **looks},
        kind=str(layer.__class__.__name__).lower(),
        record=record if unchanged and documented else None,
        key=(str(metadata.get("kind", "image")), int(metadata.get("object", 0))),
        metadata=dict(metadata),
        more={key: metadata[key] for key in MORE if key in metadata},
    )


def _made(saved: SavedLayer) -> Any:
    metadata = dict(saved.metadata)
    if TAG in metadata:
        metadata["pixels"] = saved.data
    return made_layer(saved.name, saved.data, saved.looks, metadata, saved.kind)


# -- panels --------------------------------------------------------------------------------------------------


def _is_closed(widget: Any) -> bool:
    """Whether the dock of a panel is closed: napari only hides it."""
    dock = widget.parent()
    return dock is not None and bool(dock.isHidden())


def _state_of(widget: Any, names: Sequence[str]) -> dict[str, Any]:
    """What the user has entered in a panel."""
    if isinstance(widget, CompareWidget):
        pair = (widget.first.layer(), widget.second.layer())
        how = widget.comparison.how
        return {
            "pair": [_number(layer, names) for layer in pair],
            "how": None if how is None else how.value,
        }
    if not isinstance(widget, RestoreWidget):
        return {}
    knobs, preview = widget.method_form.knobs(), getattr(widget, "preview", None)
    box = None if preview is None or not preview.box.stands else preview.box.rectangle()
    preparation = widget.input.calibration.form.settings()
    return {
        "method": widget.method_name,
        "rows": None if knobs is None else [row[:2] for row in to_rows(knobs)],
        "preparation": [row[:2] for row in to_rows(preparation)],
        "inputs": [_number(layer, names) for layer in widget.layer_list.chosen()],
        "instrument": widget.instrument.text(),
        "objects": widget.objects.text(),
        "frames": widget.frames.text(),
        "device": widget.device.currentText(),
        "seed": int(widget.seed.value()),
        "box": None if box is None else [box.top, box.left, box.bottom, box.right],
    }


def _number(layer: Any, names: Sequence[str]) -> int:
    """The number of a layer in the session, -1 where it is not in it."""
    return -1 if layer is None or layer.name not in names else names.index(layer.name)


def _settings_of(state: Mapping[str, Any]) -> Settings | str:
    """The settings of a panel, or why they cannot be had; it may load the method."""
    if state.get("rows") is None:
        return ""
    from heliorestore.methods.base import load

    try:
        return from_rows(load(str(state["method"])).settings, [(str(n), str(t)) for n, t in state["rows"]])
    except (HeliorestoreError, *_REFUSED) as error:
        return str(error)


def _open_panel(viewer: Any, state: Mapping[str, Any], settings: Settings | str, added: list[Any]) -> None:
    dock, widget = viewer.window.add_plugin_dock_widget("heliorestore", str(state["title"]))
    dock.show()
    if isinstance(widget, CompareWidget):
        pair = [_layer(number, added) for number in state["pair"]]
        if state["how"] is not None and all(layer is not None for layer in pair):
            widget.compare(How(state["how"]), *pair)
    elif isinstance(widget, RestoreWidget):
        if widget.run_panel.busy:
            raise HeliorestoreError("it is running")
        inputs = [_layer(number, added) for number in state["inputs"]]
        widget.layer_list.choose([layer for layer in inputs if layer is not None])
        widget.input.calibration.show_preparation(
            from_rows(Preparation, [(str(name), str(text)) for name, text in state["preparation"]])
        )
        widget.objects.setText(str(state["objects"]))
        widget.frames.setText(str(state["frames"]))
        widget.instrument.set_text(str(state["instrument"]))
        widget.device.setCurrentText(str(state["device"]))
        widget.seed.setValue(int(state["seed"]))
        if isinstance(settings, Settings):
            widget.method_form.show_settings(settings)
        elif settings:
            raise HeliorestoreError(settings)
        if state["box"] is not None and isinstance(widget, SvMomfbdWidget):
            _open_box(widget, Rectangle(*(int(edge) for edge in state["box"])))


def _open_box(panel: SvMomfbdWidget, rectangle: Rectangle) -> None:
    """Show the preview box as soon as the panel's method is loaded."""

    def open_it() -> None:
        if panel.form is None:
            return
        panel.method_form.shown.disconnect(open_it)
        panel.preview_on.setChecked(True)
        if panel.preview is not None:
            panel.preview.box.move(rectangle)

    if panel.form is None:
        panel.method_form.shown.connect(open_it)
    else:
        panel.preview_on.setChecked(True)
        if panel.preview is not None:
            panel.preview.box.move(rectangle)


def _layer(number: Any, added: Sequence[Any]) -> Any:
    return added[number] if 0 <= int(number) < len(added) else None


def _read(path: str | Sequence[str]) -> list[tuple[None]]:
    from napari.viewer import current_viewer

    if (viewer := current_viewer()) is not None:
        for each in [path] if isinstance(path, str) else path:
            open_session(viewer, Path(each))
    return NOTHING

"""What ends in the middle of something in a real window, many times, each time in another moment."""

from __future__ import annotations

import os
import random
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import napari
import torch
from qtpy.QtWidgets import QApplication

from heliorestore.fits.reader import read
from heliorestore.plugin.launch import dock, process_events, wait
from heliorestore.plugin.runs import autosave
from heliorestore.plugin.viewer.layers import burst_layers
from heliorestore.samples import sample_path

SMALL = {"modes": 6, "psf": 32, "patch": 32, "patch_iterations": 2, "stop_early": False}
BURST = 25  # teardowns in one window, before the next one


def attack(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Every case is one action in the middle of a run; the window is used again where it is still there."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    autosave.folder = lambda: folder
    window: list[Any] = []
    errors: list[str] = []
    watch_errors(errors)
    for case in cases:
        rng = random.Random(case)
        act = ACTIONS[case % len(ACTIONS)]
        wrong = ""
        try:
            if not window or len(window) > BURST:
                close(window)
                window[:] = [opened()]
            act(window, rng)
            process_events(0.05)
        except Exception:
            wrong = traceback.format_exc()[-1500:]
        if errors:
            wrong += " ".join(errors)
            errors.clear()
        window.append(case)
        if wrong:
            close(window)
        yield case, f"{act.__name__}: {wrong}" if wrong else ""
    close(window)


def watch_errors(errors: list[str]) -> None:
    """Collect what napari would show as an error."""
    from napari.utils.notifications import notification_manager

    def seen(notification: Any) -> None:
        if str(notification.severity) in ("error", "NotificationSeverity.ERROR"):
            errors.append(str(notification.message))

    notification_manager.notification_ready.connect(seen)


def close(window: list[Any]) -> None:
    """Close the window, if there is one."""
    if window:
        napari.Viewer.close_all()
        QApplication.processEvents()
        window.clear()


def opened() -> tuple[Any, Any]:
    """A window with a part of the small burst and the panel SV-MOMFBD."""
    viewer = napari.Viewer()
    viewer.window.resize(900, 700)
    return viewer, filled(viewer)


def filled(viewer: Any) -> Any:
    """The panel, with the burst as its input."""
    burst = read(sample_path("small_burst.fits")).select(objects=slice(0, 1), frames=slice(0, 3)).middle(48)
    panel = dock(viewer, burst_layers(burst, "sun"), "sv-momfbd")
    wait(lambda: panel.form is not None, "the form")
    for name, value in SMALL.items():
        panel.form.fields[name].set(value)
    return panel


def begun(window: list[Any], rng: random.Random, *, iterations: int = 100_000) -> tuple[Any, Any]:
    """A run that goes on; the moment in it is random."""
    viewer, panel = window[0]
    panel.form.fields["iterations"].set(iterations)
    panel.run_panel.run_button.click()
    wait(lambda: panel.run_panel.busy, "the run to begin")
    process_events(rng.uniform(0.0, 0.6))
    return viewer, panel


def end(panel: Any) -> None:
    """Stop the run, where it still goes on, and wait for its end."""
    if panel.run_panel.busy:
        panel.run_panel.stop()
        wait(lambda: not panel.run_panel.busy, "the run to end")
    process_events(0.02)


def results_removed(viewer: Any) -> None:
    for layer in [layer for layer in viewer.layers if layer.name.startswith("sv-momfbd")]:
        viewer.layers.remove(layer)


def input_deleted(window: list[Any], rng: random.Random) -> None:
    viewer, panel = begun(window, rng)
    for layer in [layer for layer in viewer.layers if layer.name.startswith("sun")]:
        viewer.layers.remove(layer)
    process_events(rng.uniform(0.0, 0.2))
    end(panel)
    viewer.layers.clear()
    dropped(window)
    window[0] = viewer, filled(viewer)


def output_deleted(window: list[Any], rng: random.Random) -> None:
    viewer, panel = begun(window, rng)
    results_removed(viewer)
    process_events(rng.uniform(0.0, 0.2))
    end(panel)
    results_removed(viewer)


def dock_closed(window: list[Any], rng: random.Random) -> None:
    viewer, _ = begun(window, rng)
    dropped(window)
    process_events(rng.uniform(0.0, 0.2))
    viewer.layers.clear()
    window[0] = viewer, filled(viewer)


def dropped(window: list[Any]) -> None:
    """Remove the panel's dock, as a program does, without the question to the user."""
    viewer, panel = window[0]
    viewer.window.remove_dock_widget(panel)


def window_closed(window: list[Any], rng: random.Random) -> None:
    viewer, _ = begun(window, rng)
    viewer.close()
    process_events(rng.uniform(0.0, 0.2))
    window[:] = [opened()]


def second_run(window: list[Any], rng: random.Random) -> None:
    viewer, panel = begun(window, rng)
    end(panel)
    begun(window, rng, iterations=2)
    wait(lambda: not panel.run_panel.busy, "the second run to end")
    results_removed(viewer)


def preview_then_run(window: list[Any], rng: random.Random) -> None:
    viewer, panel = window[0]
    panel.preview_on.setChecked(True)
    process_events(rng.uniform(0.0, 0.6))
    begun(window, rng, iterations=2)
    wait(lambda: not panel.run_panel.busy, "the run to end")
    panel.preview_on.setChecked(False)
    process_events(0.05)
    results_removed(viewer)


ACTIONS = (input_deleted, output_deleted, dock_closed, window_closed, second_run, preview_then_run)
os.environ.setdefault("NAPARI_ASYNC", "0")

"""What is left in memory by what is over: runs, panels and windows; and what napari leaves by itself.

    xvfb-run -a -s '-screen 0 1600x1000x24' python benchmarks/leaks.py KIND [METHOD] [--count 30] [--trace]

A KIND is done again and again in one process:

    methods   restore a burst with METHOD, without a window
    runs      restore it in the panel of a window, then delete the layers of the result
    layers    add layers of the same shapes to an empty napari and delete them: napari's own share
    docks     open the panel, close it
    windows   open a window with a burst and the panel, close it
    plain     open an empty napari, close it: napari's own share

After each time what is free is given back to the system. Printed are the memory of the process's own, its
slope over the second half, and what there is more and more of: Python's objects by type, Qt's by class,
callbacks of napari's events. `--trace` adds the lines of code whose memory stays.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import threading
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from memory import own_bytes

from heliorestore.burst import Burst
from heliorestore.fits.reader import read
from heliorestore.methods.base import load, restore
from heliorestore.samples import sample_path

SHORT: dict[str, dict[str, Any]] = {
    "sv-momfbd": {"modes": 8, "psf": 32, "patch": 32, "patch_iterations": 2, "iterations": 4},
    "momfbd": {"modes": 8, "patch": 32, "patch_step": 16, "iterations": 4},
    "mfbd": {"committee": 2},
    "richardson-lucy": {"iterations": 5},
    "enhance": {},
    "denoise": {"fit": 1, "patches": 20},
    "pca": {},
}
SAMPLES = {
    "enhance": "hmi_continuum.fits",
    "denoise": "stokes_series.fits",
    "pca": "stokes_series.fits",
}
WARM = 5  # times at first: imports, caches, fonts


def held() -> float:
    """Memory of this process alone in MB, without garbage and what is free."""
    for _ in range(3):  # what one collection frees may have been the last to hold something else
        gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return own_bytes() / 1e6


def population() -> Counter[str]:
    """How many there are of each kind of thing."""
    found = Counter[str]()
    for each in gc.get_objects():
        kind = type(each)
        found[f"{kind.__module__}.{kind.__qualname__}"] += 1
        if kind.__name__ == "EventEmitter":
            found["callbacks of napari's events"] += len(each.callbacks)
        elif kind.__name__ == "SignalInstance":
            found["callbacks of psygnal"] += len(each)
    found["threads"] = threading.active_count()
    if "qtpy.QtWidgets" in sys.modules:
        found += qt_population()
    return found


def qt_population() -> Counter[str]:
    """Qt's objects under the application and its windows, also those that Python does not know."""
    from qtpy.QtCore import QObject
    from qtpy.QtWidgets import QApplication

    found = Counter[str]()
    application = QApplication.instance()
    for top in [] if application is None else [application, *application.topLevelWidgets()]:
        found.update(f"Qt {each.metaObject().className()}" for each in [top, *top.findChildren(QObject)])
    return found


# -- what is done again and again ----------------------------------------------------------------------------


def burst_for(method: str, whole: bool) -> Burst:
    """A sample; of a blind deconvolution's, without `whole`, a small part."""
    burst = read(sample_path(SAMPLES.get(method, "sunspot_burst.fits" if whole else "small_burst.fits")))
    assert isinstance(burst, Burst)
    small = method not in SAMPLES and not whole
    return burst.select(objects=slice(0, 1), frames=slice(0, 3)).middle(48) if small else burst


def methods(method: str, whole: bool) -> Iterator[None]:
    burst, settings = burst_for(method, whole), load(method).settings(**SHORT[method])
    while True:
        restore(burst, settings, device="cpu")
        yield


def runs(method: str, whole: bool) -> Iterator[None]:
    from heliorestore.plugin.launch import wait

    viewer, panel = window(method, whole)
    before = list(viewer.layers)
    while True:
        panel.run_panel.run_button.click()
        wait(lambda: not panel.run_panel.busy, "the end of the run")
        assert not (problem := panel.run_panel.problem.text()), problem
        remove_all_but(viewer, before)
        yield


def layers(method: str, whole: bool) -> Iterator[None]:
    import napari

    from heliorestore.plugin.viewer.layers import snapshot_layers

    burst, settings = burst_for(method, whole), load(method).settings(**SHORT[method])
    pictures = snapshot_layers(restore(burst, settings, device="cpu"))
    viewer = napari.Viewer()
    viewer.window.resize(900, 700)
    viewer.add_image(np.asarray(burst.frames[0]))
    before = list(viewer.layers)
    while True:
        for picture, arguments, _ in pictures:
            viewer.add_image(np.array(picture), visible=arguments["visible"])
            settle()
        remove_all_but(viewer, before)
        yield


def docks(method: str, whole: bool) -> Iterator[None]:
    from heliorestore.plugin.launch import dock, wait

    viewer, panel = window(method, whole)
    while True:
        viewer.window.remove_dock_widget(panel)
        settle()
        panel = dock(viewer, [], method)
        wait(lambda panel=panel: panel.form is not None, "the form")
        yield


def windows(method: str, whole: bool) -> Iterator[None]:
    while True:
        viewer, panel = window(method, whole)
        settle()
        viewer.close()
        del viewer, panel
        settle()
        yield


def plain(method: str, whole: bool) -> Iterator[None]:
    import napari

    while True:
        viewer = napari.Viewer()
        viewer.window.resize(900, 700)
        viewer.add_image(np.zeros((3, 48, 48), np.float32))
        settle()
        viewer.close()
        del viewer
        settle()
        yield


def window(method: str, whole: bool) -> tuple[Any, Any]:
    """A window with a burst, and the panel of a method with few iterations."""
    import napari

    from heliorestore.plugin.launch import dock, wait
    from heliorestore.plugin.viewer.layers import burst_layers

    viewer = napari.Viewer()
    viewer.window.resize(900, 700)
    panel = dock(viewer, burst_layers(burst_for(method, whole), "sun"), method)
    wait(lambda: panel.form is not None, "the form")
    for name, value in SHORT[method].items():
        panel.form.fields[name].set(value)
    return viewer, panel


def remove_all_but(viewer: Any, kept: list[Any]) -> None:
    for layer in [layer for layer in viewer.layers if layer not in kept]:
        viewer.layers.remove(layer)
    settle()


def settle() -> None:
    """Let Qt paint, and delete what is to be deleted later."""
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    from heliorestore.plugin.launch import process_events

    process_events(0.05)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


KINDS: dict[str, Callable[[str, bool], Iterator[None]]] = {
    each.__name__: each for each in (methods, runs, layers, docks, windows, plain)
}

# -- what is left --------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("method", nargs="?", choices=SHORT, default="sv-momfbd")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--whole", action="store_true", help="a whole burst of 12 x 256 x 256 pixels")
    parser.add_argument("--trace", action="store_true", help="print the lines whose memory stays")
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    again = KINDS[a.kind](a.method, a.whole)
    memory, untrimmed = [], []
    for number in range(WARM + a.count):
        if number == WARM:
            held()
            before = population()
            if a.trace:
                tracemalloc.start(12)
                allocated = tracemalloc.take_snapshot()
        next(again)
        untrimmed.append(own_bytes() / 1e6)
        memory.append(held())
    more = population()
    more.subtract(before)
    slope = np.polyfit(np.arange(a.count - a.count // 2), memory[WARM + a.count // 2 :], 1)[0]
    print(f"{a.kind} {a.method}: MB", " ".join(f"{each:.1f}" for each in memory))
    print("without giving back what is free:", " ".join(f"{each:.1f}" for each in untrimmed))
    print(f"slope {slope:+.3f} MB a time")
    for name, number in more.most_common():
        if number >= a.count // 2:
            print(f"  {number / a.count:+8.2f} a time  {name}")
    if a.trace:
        for each in tracemalloc.take_snapshot().compare_to(allocated, "traceback")[:12]:
            print(f"{each.size_diff / 1e3 / a.count:.1f} kB a time, {each.count_diff / a.count:.1f} blocks")
            print("\n".join(each.traceback.format()))


if __name__ == "__main__":
    main()

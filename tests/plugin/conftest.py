"""A burst, a panel and a run for the tests of the napari side; they need a display."""

import functools
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from fake_method import FakeMethod
from heliorestore.burst import Burst
from heliorestore.instrument import Instrument
from heliorestore.methods import METHODS, Entry
from window import HAS_DISPLAY, choose_method, wait_for_threads

if not HAS_DISPLAY:
    # Qt without a display aborts the process, so that not even a test that skips could be reported.
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(autouse=True, scope="session")
def _plugins_are_found_once():
    """Every viewer looks for plugins anew, which takes as long as making it; none is installed meanwhile."""
    from npe2 import PluginManifest

    discover = PluginManifest.discover
    found = functools.cache(lambda paths: list(discover(paths=paths)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda paths=(): found(tuple(paths)))
        yield


@pytest.fixture(autouse=True, scope="session")
def _signatures_are_read_once():
    """Each viewer connects thousands of functions, and napari reads the signature of each at each time."""
    if not HAS_DISPLAY:
        yield
        return
    from napari.utils.events import EventEmitter

    read, known = EventEmitter._check_signature, dict[Any, bool]()

    def takes_an_event(callback: Any) -> bool:
        function = getattr(callback, "__func__", callback)
        if isinstance(function, functools.partial):
            return read(callback)
        code = getattr(function, "__code__", type(function))  # a closure that is made anew has the same
        kind = code, function is callback
        if kind not in known:
            known[kind] = read(callback)
        return known[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventEmitter, "_check_signature", staticmethod(takes_an_event))
        yield


@pytest.fixture
def styled() -> None:
    """For a test that looks at the colours of the theme."""


@pytest.fixture(autouse=True)
def _style_sheets_only_where_they_are_seen(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qt applies napari's style sheet to each of thousands of widgets, a fifth of a test's time."""
    opens = {"viewer", "make_napari_viewer_proxy"} & set(request.fixturenames)
    if HAS_DISPLAY and opens and "styled" not in request.fixturenames:
        from qtpy.QtWidgets import QWidget

        monkeypatch.setattr(QWidget, "setStyleSheet", lambda *_: None)


@pytest.fixture(autouse=True)
def _one_thread():
    """On a busy machine torch's threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMethod:
    """The fake method, known to `heliorestore.methods` as `fake`."""
    module = ModuleType("heliorestore_fake_method")
    method = FakeMethod()
    module.METHOD = method
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(METHODS, "fake", Entry(f"{module.__name__}:METHOD", "Add a number."))
    return method


@pytest.fixture
def burst() -> Burst:
    """Two objects of four frames with a known instrument."""
    frames = np.random.default_rng(3).normal(10.0, 1.0, (2, 4, 24, 30)).astype(np.float32)
    instrument = Instrument(name="test", diameter_m=1.0, pixel_arcsec=0.05, wavelength_nm=630.0)
    return Burst.from_array(frames, instrument, labels=("WB", "NB"))


def _let_windows_go(application: Any) -> None:
    """Free what the last test left, and search only what comes now for garbage.

    Qt deletes a closed window in the next event loop that is run, not between two tests. napari searches all
    objects for garbage whenever layers go and at the end of each test: not in what was imported, nor in what
    every viewer leaves behind.
    """
    from qtpy.QtCore import QEvent

    application.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()  # before the freezing, which would keep what is garbage for good
    gc.freeze()


@pytest.fixture
def viewer(request: pytest.FixtureRequest) -> Any:
    """napari's viewer as a plugin gets it; it raises when another thread writes to it."""
    if not HAS_DISPLAY:
        pytest.skip("napari's canvas needs a display; under Linux run the tests with xvfb-run -a")
    _let_windows_go(request.getfixturevalue("qapp"))
    return request.getfixturevalue("make_napari_viewer_proxy")()


@pytest.fixture
def panel(viewer: Any, fake: FakeMethod, burst: Burst, qtbot: Any) -> Any:
    """The panel docked in a viewer with the burst, the fake method chosen and loaded."""
    from napari.layers import Layer

    from heliorestore.plugin.panels.restore import RestoreWidget
    from heliorestore.plugin.viewer.layers import burst_layers

    for data in burst_layers(burst, "sun"):
        viewer.add_layer(Layer.create(*data))
    widget = RestoreWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Restore")
    choose_method(widget, "fake", qtbot)
    yield widget
    # A run that a test left going must not reach into the next one.
    with suppress(RuntimeError):
        widget.run_panel.stop()
    wait_for_threads()


@pytest.fixture
def finish(qtbot: Any) -> Callable[..., Any]:
    """Wait for the end of a panel's run and return how it ended."""

    def wait(widget: Any, act: Callable[[], Any], seconds: float = 20) -> Any:
        outcomes: list[Any] = []
        widget.run_panel.ended.connect(outcomes.append)
        act()
        qtbot.waitUntil(lambda: bool(outcomes), timeout=round(1000 * seconds))
        widget.run_panel.ended.disconnect(outcomes.append)
        assert len(outcomes) == 1
        return outcomes[0]

    return wait

"""A small method, a burst and a panel for the tests of the napari side; they need a display."""

import os
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch

from heliorestore.burst import Burst
from heliorestore.instrument import Instrument
from heliorestore.methods import METHODS, Entry
from heliorestore.settings import Settings, option, weights_option
from heliorestore.snapshot import Snapshot, StopReason

# The user's own napari settings are neither read nor written.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp(prefix="napari-test-")) / "settings.yaml")
HAS_DISPLAY = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
if not HAS_DISPLAY:
    # Qt without a display aborts the process, so that not even a test that skips could be reported.
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(autouse=True)
def _one_thread():
    """On a busy machine torch's threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True, kw_only=True)
class FakeSettings(Settings):
    """One setting of every kind."""

    method: ClassVar[str] = "fake"

    iterations: int = option(5, minimum=1, maximum=100_000, live=True, help="Iterations.")
    strength: float = option(
        0.1, minimum=1e-6, maximum=10.0, live=True, log=True, unit="rad", help="What is added."
    )
    count: int = option(
        100, minimum=1, maximum=10_000, log=True, help="A whole number on a logarithmic scale."
    )
    offset: float = option(0.0, help="Any number.")
    kind: Literal["a", "b"] = option("a", help="One of two.")
    size: Literal[1, 2] = option(1, help="One of two numbers.")
    flag: bool = option(False, help="Yes or no.")
    text: str = option("", help="Some text.")
    net: str = weights_option("", of="mfbd", help="Some weights.")
    limit: float | None = option(None, minimum=0.0, help="A number or none.")
    pace_s: float = option(0.0, minimum=0.0, unit="s", help="How long an iteration takes.")
    fail: Literal["", "runtime", "memory", "gpu", "warning"] = option(
        "", help="What goes wrong at the third iteration."
    )


class FakeMethod:
    """Adds `strength` per iteration to the mean of the frames; remembers what became of its generators and
    arrays."""

    name = "fake"
    settings = FakeSettings

    def __init__(self) -> None:
        self.closed = 0
        self.made: list[weakref.ref[Any]] = []
        self.strengths: list[float] = []

    def stream(
        self, burst: Burst, settings: FakeSettings, *, device: Any, seed: int, start: Snapshot | None = None
    ) -> Generator[Snapshot, FakeSettings | None, None]:
        work = torch.tensor(np.stack([burst.image(k, 0) for k in range(burst.shape[0])]))
        self.made.append(weakref.ref(work))
        began = time.perf_counter()
        try:
            number = 0
            while number < settings.iterations:
                number += 1
                if settings.pace_s:
                    time.sleep(settings.pace_s)
                if number == 3:
                    _go_wrong(settings.fail)
                work += settings.strength
                self.strengths.append(settings.strength)
                images = work.numpy().copy().repeat(settings.size, 1).repeat(settings.size, 2)
                sent = yield Snapshot(
                    step=number,
                    total=max(settings.iterations, number),
                    images=images,
                    maps={"residual": np.full(burst.shape[:1] + burst.shape[2:], -0.5 / number)},
                    losses={"loss": 1 / number},
                    elapsed_s=time.perf_counter() - began,
                    zoom=settings.size,
                    stop=StopReason.DONE if number >= settings.iterations else None,
                )
                settings = sent or settings
        finally:
            self.closed += 1


def _go_wrong(how: str) -> None:
    if how == "runtime":
        raise RuntimeError("shapes do not fit")
    if how == "memory":
        raise MemoryError("4 TB")
    if how == "gpu":
        raise torch.OutOfMemoryError("CUDA out of memory")
    if how == "warning":
        _ = np.float32(1) / np.zeros(1, np.float32)


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


@pytest.fixture
def viewer(request: pytest.FixtureRequest) -> Any:
    """napari's viewer as a plugin gets it; it raises when another thread writes to it."""
    if not HAS_DISPLAY:
        pytest.skip("napari's canvas needs a display; under Linux run the tests with xvfb-run -a")
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

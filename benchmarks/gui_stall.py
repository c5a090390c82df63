"""The longest stall of napari's event loop while snapshots stream at full rate.

    xvfb-run -a python benchmarks/gui_stall.py [--size 2048] [--seconds 8] [--method richardson-lucy]
    xvfb-run -a python benchmarks/gui_stall.py --live [--size 1024] [--every 0.2]

With --live it is the panel of SV-MOMFBD, two objects of twelve frames, and 44 mode maps of every frame, all
layers shown; at the end one layer gets new pixels from nobody but napari.

A 1 ms timer runs in the GUI thread; the longest gap between two of its ticks is what a user feels as a hang.
Under Xvfb everything is drawn by software, on the CPU cores that the restoration uses too. "own work" is the
CPU time that the GUI thread itself needed in one such gap: what is left of the stall on a machine with
nothing else to do.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import napari
import numpy as np
from napari.layers import Layer
from qtpy.QtCore import Qt, QTimer

from heliorestore.burst import Burst
from heliorestore.instrument import find
from heliorestore.methods import METHODS, Entry, sv_momfbd
from heliorestore.plugin import launch
from heliorestore.plugin.viewer.layers import burst_layers
from heliorestore.plugin.viewer.result_layers import ResultLayers
from heliorestore.settings import Settings, option
from heliorestore.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class StreamSettings(Settings):
    method: ClassVar[str] = "stream"

    iterations: int = option(1_000_000, minimum=1, live=True, help="Snapshots.")


class StreamMethod:
    """Yields ready-made images as fast as they are taken."""

    name = "stream"
    settings = StreamSettings

    def stream(self, burst, settings, *, device, seed, start=None):
        first = burst.image(0, 0)
        images = [
            np.ascontiguousarray(first * factor)[None]
            for factor in np.linspace(0.9, 1.1, 8, dtype=np.float32)
        ]
        for step in range(1, settings.iterations + 1):
            image = images[step % len(images)]
            yield Snapshot(
                step=step,
                total=settings.iterations,
                images=image,
                maps={"residual": image},
                losses={"loss": 1 / step},
            )


def stream_live(every, burst, settings, *, device, seed, start=None):
    """Ready-made results as SV-MOMFBD has them: images and residuals of two objects, mode maps of every
    frame."""
    objects, frames, rows, columns = burst.shape
    rng = np.random.default_rng(0)
    nodes = tuple(-(-(n - 1) // settings.grid_step) + 1 for n in (rows, columns))
    modes = [rng.normal(0, 0.3, (frames, settings.modes, *nodes)).astype(np.float32) for _ in range(4)]
    images = [np.stack([burst.image(k, n) for k in range(objects)]) for n in range(4)]
    step = 0
    while True:
        step += 1
        maps = {"modes": modes[step % 4], "residual": images[(step + 1) % 4] - images[step % 4]}
        time.sleep(every)
        losses = {
            name: 1 / (step + k)
            for k, name in enumerate(("loss", "data", "object", "modes", "residual", "noise"), 1)
        }
        yield Snapshot(
            step=step, total=settings.iterations, images=images[step % 4], maps=maps, losses=losses
        )


class Ticks:
    """The gaps between the ticks of a timer, in milliseconds."""

    def __init__(self) -> None:
        self._last = time.perf_counter(), time.thread_time()
        self.gaps: list[tuple[float, float]] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(1)

    def _tick(self) -> None:
        now = time.perf_counter(), time.thread_time()
        self.gaps.append((1000 * (now[0] - self._last[0]), 1000 * (now[1] - self._last[1])))
        self._last = now

    def report(self, title: str) -> None:
        wall, own = np.array(self.gaps).T
        longest = f"longest stall {wall.max():7.1f} ms, own work {own.max():6.1f} ms"
        print(
            f"{title:<32} {longest}   99 % below {np.percentile(wall, 99):6.1f} ms   {len(wall)} ticks",
            flush=True,
        )
        self.gaps.clear()
        self._last = time.perf_counter(), time.thread_time()


def time_shows():
    """The milliseconds that each snapshot takes to be handed over, in the turn in which it comes."""
    shows: list[float] = []
    show = ResultLayers.show

    def timed(self: ResultLayers, snapshot: Snapshot) -> None:
        began = time.perf_counter()
        show(self, snapshot)
        shows.append(1000 * (time.perf_counter() - began))

    ResultLayers.show = timed
    return shows


def show_everything(viewer, widget, ticks):
    """Every layer and the PSF at the probe."""
    results = 5  # two images, two residuals, the mode maps
    launch.wait(lambda: len(viewer.layers) == 2 + results, "all layers")
    for layer in viewer.layers:
        layer.visible = True
        launch.process_events(0.3)
    widget.probe.on.setChecked(True)
    launch.process_events(2)
    ticks.report("every map and the PSF shown")


def napari_alone(viewer, seconds, ticks):
    """New pixels for one layer five times a second, with nothing of this program at work: what no plugin can
    get below."""
    layer = next(layer for layer in viewer.layers if layer.name.startswith("sv-momfbd"))
    images = [np.array(layer.data), np.array(layer.data)]

    def replace() -> None:
        images.reverse()
        layer.data = images[0]

    timer = QTimer()
    timer.timeout.connect(replace)
    timer.start(200)
    launch.process_events(seconds)
    timer.stop()
    ticks.report("napari alone, one layer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument(
        "--live", action="store_true", help="the panel of SV-MOMFBD with two objects and mode maps"
    )
    parser.add_argument(
        "--method",
        default="stream",
        help="stream: ready-made snapshots as fast as they are taken; or a real method",
    )
    parser.add_argument(
        "--every",
        type=float,
        default=0.0,
        help="seconds between two snapshots with --live; 0: as fast as they are taken",
    )
    arguments = parser.parse_args()

    module = ModuleType("heliorestore_stream_method")
    module.METHOD = StreamMethod()
    sys.modules[module.__name__] = module
    METHODS["stream"] = Entry(f"{module.__name__}:METHOD", "Stream.")

    shows = time_shows()
    many = (2, 12) if arguments.live else (1, 1)
    image = (
        np.random.default_rng(0).normal(1, 0.1, (*many, arguments.size, arguments.size)).astype(np.float32)
    )
    if arguments.live:
        arguments.method = "sv-momfbd"
        sv_momfbd.SvMomfbd.stream = lambda self, *given, **known: stream_live(
            arguments.every, *given, **known
        )
    viewer = napari.Viewer()
    ticks = Ticks()
    launch.process_events(2)
    ticks.report("nothing happens")
    for data in burst_layers(Burst.from_array(image, find("crisp-8542-paper")), "sun"):
        viewer.add_layer(Layer.create(*data))
    launch.process_events(1)
    ticks.report("add the image")
    widget = launch.dock(viewer, [], arguments.method)
    launch.wait(lambda: widget.form is not None, "the form")
    launch.process_events(1)
    ticks.report("open the panel, import torch")
    widget.form.fields["iterations"].set(10_000)
    widget.run_panel.run_button.click()
    launch.wait(lambda: widget.run_panel.snapshot is not None, "the first snapshot")
    launch.process_events(1)
    ticks.report("first snapshot, layers are made")
    if arguments.live:
        show_everything(viewer, widget, ticks)
    first, drawn = widget.run_panel.snapshot.step, len(shows)
    launch.process_events(arguments.seconds)
    ticks.report("streaming")
    made = widget.run_panel.snapshot.step - first
    count = len(shows) - drawn
    print(
        f"{made} snapshots made, {count} drawn, {np.median(shows[drawn:]):.1f} ms in the median to hand "
        "one over"
    )
    widget.run_panel.stop()
    launch.wait(lambda: not widget.run_panel.busy, "the stop")
    ticks.report("stop")
    if arguments.live:
        napari_alone(viewer, arguments.seconds, ticks)
    viewer.close()


if __name__ == "__main__":
    main()

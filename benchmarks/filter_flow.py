"""Filter flow against the U-Net of the neural emulator, at full width, and against its own FFTs, in the same
run on the same threads.

    python benchmarks/filter_flow.py [--threads 2] [--runs 5] [--device cpu] [--network-frames 2]

One object, 12 frames of 256 x 256, 44 modes, PSFs of 64 pixels (SST/CRISP at 854.2 nm), single precision;
forward, and backward to object and modes. The U-Net gets the object and a map of every mode per frame and
gives the gradient in those 45 channels, not in its weights, as a restoration uses it. It does some of the
frames, and its time is scaled to all.

All that is compared takes turns, run for run; wall clocks are divided within a run, and medians over the runs
are printed. Beside them stands the least processor time of all runs, which others on the machine disturb less
(with one thread: waiting threads count as busy, and on a loaded machine two threads wait for each other most
of the time). The FFT floor is the time of nothing but the Fourier transforms that filter flow asks for
(recorded, then repeated on contiguous data).
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from heliorestore.instrument import KNOWN
from heliorestore.methods.blind.emulated import frozen
from heliorestore.nets.emulator import INSTRUMENTS, MODES, full
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.psf import make_optics

SIZE, FRAMES, PSF = 256, 12, 64
STEPS = (32, 16, 8)
PROFILED = 16
CLEAR = Path("/proc/self/clear_refs")


class FourierTransforms(TorchDispatchMode):
    """Records the Fourier transforms that run under it, and repeats them alone."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, torch.Tensor, tuple[Any, ...]]] = []
        self._inputs: dict[Any, torch.Tensor] = {}

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operator.overloadpacket.__name__ in ("_fft_r2c", "_fft_c2r", "_fft_c2c"):
            key = (tuple(args[0].shape), args[0].dtype)
            if key not in self._inputs:
                self._inputs[key] = torch.randn(key[0], dtype=key[1], device=args[0].device)
            self.calls.append((operator, self._inputs[key], tuple(args[1:])))
        return operator(*args, **(kwargs or {}))

    def again(self) -> None:
        for operator, images, rest in self.calls:
            operator(images, *rest)


@dataclass(frozen=True)
class Case:
    """What takes its turn in every run; its time times `scale` is that of all frames."""

    what: str
    run: Callable[[], object]
    scale: float = 1.0


def squared(model: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> None:
    """Forward and backward, to the inputs that want a gradient."""
    for tensor in inputs:
        tensor.grad = None
    model(*inputs).square().sum().backward()


def flow(step: int, device: str) -> Callable[[], None]:
    model = FilterFlow(
        optics=[make_optics(KNOWN["crisp-8542-paper"], PSF, MODES, device=device)],
        shape=(SIZE, SIZE),
        step=step,
    )
    object_ = torch.rand(1, SIZE, SIZE, device=device).requires_grad_()
    modes = torch.randn(FRAMES, MODES, *model.grid, device=device).requires_grad_()
    return partial(squared, model, object_, modes)


def network(frames: int, device: str) -> Callable[[], None]:
    """A run of the U-Net over a batch of frames, its norms folded into its convolutions as for a
    restoration."""
    net = frozen(full()).to(device)
    objects = torch.rand(frames, 1, SIZE, SIZE, device=device).requires_grad_()
    modes = torch.randn(frames, MODES, SIZE, SIZE, device=device).requires_grad_()
    return partial(
        squared, partial(net, instruments=torch.eye(len(INSTRUMENTS), device=device)[:1]), objects, modes
    )


@dataclass(frozen=True)
class Times:
    """Seconds for all frames: the wall clock of every run, and the least processor time."""

    wall: list[float]
    processor: float

    @property
    def median(self) -> float:
        return statistics.median(self.wall)


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and processor time of one run, until the device is done."""
    began, busy = time.perf_counter(), time.process_time()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - busy


def in_turns(cases: list[Case], runs: int) -> dict[str, Times]:
    """Times per case; the first round warms up and does not count."""
    rounds = [[seconds(case.run) for case in cases] for _ in range(runs + 1)][1:]
    found = {}
    for case, of_case in zip(cases, zip(*rounds, strict=True), strict=True):
        found[case.what] = Times(
            [wall * case.scale for wall, _ in of_case], min(busy for _, busy in of_case) * case.scale
        )
    return found


def peak_bytes(make: Callable[[], Callable[[], None]], device: str) -> float:
    """Memory at the peak of the first run, beyond what was there before it; on a CPU to be called in a fresh
    process."""
    run = make()
    if device != "cpu":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if CLEAR.exists():
        CLEAR.write_text("5")  # Linux: the peak begins anew, from what is in use now
        before = resident("VmRSS")
    run()
    after = resident("VmHWM") if CLEAR.exists() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (after - before) * 1024


def resident(which: str) -> int:
    """Memory in use (VmRSS), or at most so far (VmHWM), in KiB."""
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def peaks(makes: list[Callable[[], Callable[[], None]]], device: str) -> list[float]:
    if device != "cpu":
        return [peak_bytes(make, device) for make in makes]
    threads = torch.get_num_threads()
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, spawn, torch.set_num_threads, (threads,), max_tasks_per_child=1) as pool:
        return list(pool.map(peak_bytes, makes, [device] * len(makes)))


def shares(run: Callable[[], object], device: str, most: int = 10) -> list[tuple[str, float, int]]:
    """The operators that take most of a run by themselves: name, share of the whole, calls."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device != "cpu")
    with profile(activities=activities) as found:
        run()
    kind = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    events = sorted(found.key_averages(), key=lambda event: -getattr(event, kind))
    total = sum(getattr(event, kind) for event in events)
    return [(event.key, getattr(event, kind) / total, event.count) for event in events[:most]]


def row(step: int, unet: Times, took: Times, floor: Times, peak: float) -> str:
    """A line of the table for one step."""
    ratio = statistics.median(a / b for a, b in zip(unet.wall, took.wall, strict=True))
    share = statistics.median(a / b for a, b in zip(floor.wall, took.wall, strict=True))
    wall = f"{took.median:.3g} s | {ratio:.1f} | {share:.0%}"
    processor = (
        f"{took.processor:.3g} s | {unet.processor / took.processor:.1f} | "
        f"{floor.processor / took.processor:.0%}"
    )
    return f"| {step} | {wall} | {processor} | {peak / 1e6:.0f} MB |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--network-frames",
        type=int,
        default=2,
        help=f"of the {FRAMES} frames, what the U-Net really does in a run",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device, some = arguments.device, arguments.network_frames

    unet_peak, *flow_peaks = peaks(
        [partial(network, some, device), *(partial(flow, step, device) for step in STEPS)], device
    )
    flows = {step: flow(step, device) for step in STEPS}
    cases = [Case("U-Net", network(some, device), FRAMES / some)]
    for step, run in flows.items():
        with FourierTransforms() as transforms:
            run()
        cases += [Case(f"step {step}", run), Case(f"FFTs {step}", transforms.again)]
    times = in_turns(cases, arguments.runs)

    print(
        f"torch {torch.__version__}, {device}, {arguments.threads} threads, {os.cpu_count()} cores "
        f"({platform.machine()}), ",
        end="",
    )
    print(
        f"load {os.getloadavg()[0]:.1f}, medians over {arguments.runs} runs in turns; seconds for {FRAMES} "
        f"frames of {SIZE}^2"
    )
    unet = times["U-Net"]
    parameters = sum(parameter.numel() for parameter in full().parameters())
    print(
        f"U-Net: {parameters / 1e6:.2f} M parameters; {unet.median:.3g} s, processor {unet.processor:.3g} s",
        end="",
    )
    print(f" ({some} of {FRAMES} frames done, time scaled), {unet_peak / some / 1e6:.0f} MB per frame")
    print(
        "\n| step | wall, median | U-Net / it | FFTs alone | processor, least | U-Net / it | FFTs alone | "
        "memory per frame |"
    )
    print("|---" * 8 + "|")
    for step, peak in zip(STEPS, flow_peaks, strict=True):
        print(row(step, unet, times[f"step {step}"], times[f"FFTs {step}"], peak / FRAMES))
    print(f"\n| operator, step {PROFILED} | share of the operators' own time | calls |\n|---|---|---|")
    for name, share, calls in shares(flows[PROFILED], device):
        print(f"| `{name}` | {share:.1%} | {calls} |")


if __name__ == "__main__":
    main()

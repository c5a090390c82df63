"""What an iteration of `sv-momfbd` moves: bytes in the memory of the device, copies from it and waits for it.

    python benchmarks/gpu_profile.py [--size 512] [--frames 12] [--objects 2] [--device cpu]

The bytes are those of all operations, what each reads and writes once; views are none. A Fourier transform
over two axes passes over its data twice or more, and a cache saves some of it: an estimate, made anywhere, of
what an iteration takes at a bandwidth.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from heliorestore import Burst, SvMomfbdSettings
from heliorestore.instrument import KNOWN
from heliorestore.methods.base import stream
from heliorestore.optics import filter_flow
from heliorestore.settings import Settings
from heliorestore.snapshot import Snapshot

BANDWIDTH = {
    "H100": 3.35e12,
    "H200": 4.8e12,
    "A100": 2.0e12,
    "RTX 4090": 1.0e12,
}  # bytes/s, the makers' figures


class Traffic(TorchDispatchMode):
    """Bytes that operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.transforms, self.calls = 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        aliases = [argument.alias_info for argument in func._schema.arguments]
        if any(alias is not None and not alias.is_write for alias in aliases):
            return out  # a view
        moved = sum(
            each.nbytes for each in tree_leaves((args, kwargs, out)) if isinstance(each, torch.Tensor)
        )
        self.bytes += moved
        self.calls += 1
        self.transforms += moved if "fft" in func.__name__ else 0
        return out


def burst_of(size: int, frames: int, objects: int) -> Burst:
    """Frames of noise on a smooth scene: the time of an iteration does not depend on what is seen."""
    random = np.random.default_rng(0)
    v = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    scene = np.fft.irfft2(np.fft.rfft2(random.standard_normal((size, size))) / (0.002 + v**2), s=(size, size))
    scene = 1 + 0.1 * (scene - scene.mean()) / scene.std()
    noise = 2e-3 * random.standard_normal((objects, frames, size, size), np.float32)
    return Burst(frames=scene.astype(np.float32) + noise, instruments=(KNOWN["crisp-8542-paper"],) * objects)


def settings_of(small: bool, **changes: Any) -> SvMomfbdSettings:
    settings = SvMomfbdSettings(start="average", iterations=10_000, stop_early=False, grid_step=32, psf=96)
    return settings.replace(**({"modes": 12, "psf": 32} if small else {}) | changes)


@contextmanager
def begun(burst: Burst, settings: Settings, device: str, warm: int) -> Iterator[Iterator[Snapshot]]:
    """A run whose first iterations are done."""
    with closing(stream(burst, settings, device=device)) as results:
        for _ in range(warm):
            next(results)
        yield results


def moved(burst: Burst, settings: Settings, device: str) -> dict[str, Any]:
    """Gigabytes of an iteration, of which Fourier transforms, its operations, and its seconds."""
    with begun(burst, settings, device, 2) as results:
        seconds = [_timed(lambda: next(results)) for _ in range(2)]  # the next one looks at the air
        with Traffic() as traffic:
            next(results)
    found = {
        "iteration_s": statistics.median(seconds),
        "gb": traffic.bytes / 1e9,
        "operations": traffic.calls,
    }
    return found | {"transforms_gb": traffic.transforms / 1e9}


def crossed(burst: Burst, settings: Settings, device: str) -> dict[str, Any]:
    """What torch's profiler sees of one iteration: copies from and to the device, waits, the busy share."""
    on_gpu = device != "cpu"
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * on_gpu
    with begun(burst, settings, device, 3) as results, torch.profiler.profile(activities=kinds) as profile:
        took = _timed(lambda: next(results))
    events = profile.events()
    names = [event.name for event in events]
    found: dict[str, Any] = {
        "numbers_read": names.count("aten::_local_scalar_dense"),
        "copies_back": sum("Memcpy DtoH" in name for name in names),
        "copies_there": sum("Memcpy HtoD" in name for name in names),
        "waits": sum(name in ("cudaStreamSynchronize", "cudaDeviceSynchronize") for name in names),
    }
    if on_gpu:
        busy = sum(event.device_time for event in events if event.device_type.name == "CUDA") / 1e6
        found |= {"kernels": sum(n == "cudaLaunchKernel" for n in names), "busy_share": busy / took}
    return found


def slider(burst: Burst, settings: Settings, device: str, moves: int) -> dict[str, Any]:
    """Milliseconds from a new lambda_object, which arrives in the middle of an iteration, to the first image
    computed with it."""
    random = np.random.default_rng(0)
    pending: list[tuple[float, Settings]] = []

    def news() -> Settings | None:
        return pending.pop()[1] if pending and time.perf_counter() >= pending[0][0] else None

    waits, pace = [], 0.0
    with closing(stream(burst, settings, device=device, news=news)) as results:
        for _ in range(4):
            began = time.perf_counter()
            next(results)
            pace = time.perf_counter() - began
        for number in range(moves):
            value = float(np.round([0.02, 0.3][number % 2] * random.uniform(0.8, 1.25), 4))
            due = time.perf_counter() + pace * float(random.uniform(0.1, 0.9))
            pending[:] = [(due, settings.replace(lambda_object=value))]
            for snapshot in results:
                if snapshot.history["lambda_object"][-1] == value:
                    break
            waits.append(1e3 * (time.perf_counter() - due))
    return {"slider_ms": statistics.median(waits), "slider_most_ms": max(waits), "iteration_s": pace}


def bandwidth(device: str, megabytes: int) -> float:
    """Bytes per second that a copy within the device reads and writes."""
    one = torch.ones(megabytes * 250_000, device=device)
    other = torch.empty_like(one)
    wait: Callable[[], None] = torch.cuda.synchronize if device != "cpu" else lambda: None
    times = []
    for _ in range(5):
        began = time.perf_counter()
        other.copy_(one)
        wait()
        times.append(time.perf_counter() - began)
    return 2 * one.nbytes / min(times)


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, usual in (("size", 512), ("frames", 12), ("objects", 2)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--device", default="cpu")
    a = parser.parse_args()
    # as many nodes at once as on a GPU, so that there are as many operations
    filter_flow._CPU_BATCH_BYTES = filter_flow._GPU_BATCH_BYTES
    found = moved(burst_of(a.size, a.frames, a.objects), settings_of(False), a.device)
    print(
        f"{found['gb']:.2f} GB in {found['operations']} operations, of which {found['transforms_gb']:.2f} GB "
        "by Fourier transforms"
    )
    for name, rate in BANDWIDTH.items():
        print(f"{name}: {1e12 * found['gb'] / rate:.1f} ms at {rate / 1e12:g} TB/s")


if __name__ == "__main__":
    main()

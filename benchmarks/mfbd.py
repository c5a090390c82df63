"""The MFBD networks: seconds for 7 frames of 1000 x 1000 pixels, against their own convolutions alone; on a
GPU images per second.

    python benchmarks/mfbd.py [--threads N] [--device cuda] [--size 1000] [--networks mfbd-quarter mfbd ...]

The floor is the time of the network's convolutions with their own shapes and nothing between them. On a GPU
the network runs in bfloat16, channels-last and compiled with CUDA graphs; its weights do not matter for the
speed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

from heliorestore.nets.weights import build
from optics import timed

NETWORKS = ("mfbd-quarter", "mfbd", "mfbd-recurrent-quarter", "mfbd-recurrent")
FRAMES = 7


def fastest(run: Callable[[], object], repeats: int, device: torch.device) -> tuple[float, float]:
    """The smallest wall-clock and the smallest processor time of several runs."""
    walls, processors = [], []
    for _ in range(repeats + 1):
        began, busy = time.perf_counter(), time.process_time()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        walls.append(time.perf_counter() - began)
        processors.append(time.process_time() - busy)
    return min(walls[1:]), min(processors[1:])


def convolutions(net: nn.Module, frames: torch.Tensor) -> list[tuple[nn.Conv2d, torch.Size]]:
    """Every convolution of a pass with the shape of its input."""
    found: list[tuple[nn.Conv2d, torch.Size]] = []
    hooks = [
        module.register_forward_hook(lambda layer, given, _: found.append((layer, given[0].shape)))
        for module in net.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.enable_grad():  # the path without gradients passes the layers by
        net(torch.zeros(frames.shape))
    for hook in hooks:
        hook.remove()
    return found


def floor(layers: list[tuple[nn.Conv2d, torch.Size]], repeats: int) -> tuple[float, float, float]:
    """Wall-clock and processor seconds of the convolutions alone, and their GFLOP."""
    wall = processor = work = 0.0
    for layer, shape in layers:
        plain = nn.Conv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.kernel_size[0] // 2
        )
        plain.to(memory_format=torch.channels_last)
        image = torch.rand(shape).contiguous(memory_format=torch.channels_last)
        seconds, busy = fastest(lambda plain=plain, image=image: plain(image), repeats, torch.device("cpu"))
        wall, processor = wall + seconds, processor + busy
        pixels = shape[-2] * shape[-1] / (layer.stride[0] * layer.stride[1])
        work += 2e-9 * shape[0] * pixels * layer.in_channels * layer.out_channels * layer.kernel_size[0] ** 2
    return wall, processor, work


def on_cpu(name: str, side: int, repeats: int) -> None:
    net = build(name).eval().to(memory_format=torch.channels_last)
    frames = torch.rand(1, FRAMES, side, side).contiguous(memory_format=torch.channels_last)
    layers = convolutions(net, frames)
    wall, busy = fastest(lambda: net(frames), repeats, torch.device("cpu"))
    floor_wall, floor_busy, work = floor(layers, repeats)
    print(
        f"{name}: {FRAMES} frames of {side} x {side} in {wall:.2f} s ({busy:.2f} s of processor), {work:.0f} "
        "GFLOP; "
        f"its convolutions alone {floor_wall:.2f} s ({floor_busy:.2f} s), {floor_busy / busy:.0%} of the "
        "processor time",
        flush=True,
    )


def images_per_second(
    name: str, side: int, device: torch.device, mode: str | None = None, runs: int = 30
) -> float:
    """Restored images per second, from `FRAMES` frames each; `mode` is one of torch.compile's, None runs the
    network as the method does."""
    net = build(name).eval().to(device, memory_format=torch.channels_last)
    run = net if mode is None else torch.compile(net, mode=mode)
    frames = torch.rand(1, FRAMES, side, side, device=device).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        for _ in range(3):
            run(frames)
        return 1 / timed(name, lambda: run(frames), runs).wall


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=NETWORKS[:2], choices=NETWORKS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    side = -(-asked.size // 8) * 8
    with torch.no_grad():
        for name in asked.networks:
            if asked.device == "cpu":
                on_cpu(name, side, asked.repeats)
            else:
                rate = images_per_second(name, side, torch.device(asked.device), "max-autotune")
                print(
                    f"{name}: {rate:.0f} images of {side} x {side} pixels a second from {FRAMES} frames each",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""The command `heliorestore doctor`: what is installed and what the machine has."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from heliorestore import __version__
from heliorestore.budget import free_bytes

BASE = ("torch", "numpy", "astropy", "matplotlib", "safetensors")
WINDOW = ("napari", "npe2", "vispy", "qtpy", "superqt")
_LONGEST = 60  # seconds that Qt may need to answer
_LITTLE = 2e9  # bytes of free memory
_NOT_A_USERS = (
    "test",
    "lint",
    "site",
    "all",
    "pyqt6",
    "pyside6",
)  # extras; what draws the window is said apart
_BROKEN_QT = ("6.11.0", "6.11.1")  # napari refuses them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status; scripts find what will not work in the line of JSON."""
    found = facts()
    for name, value in found.items():
        if name not in ("trouble", "advice"):
            print(f"{name:<14}{value}")
    for kind in ("trouble", "advice"):
        for sentence in found[kind]:
            print(f"{kind:<14}{sentence}")
    if not found["trouble"] + found["advice"]:
        print(f"{'trouble':<14}none found")
    if parsed.json:
        print(json.dumps(found))
    return 0


def facts() -> dict[str, Any]:
    """What is here, by name; `trouble` will not work, `advice` may be better."""
    found: dict[str, Any] = {
        "heliorestore": f"{__version__} in {Path(__file__).parents[1]}",
        "python": f"{platform.python_version()} in {sys.prefix}",
        "system": f"{platform.platform()}, {platform.machine()}",
        "packages": _versions(BASE),
        "window": _versions(WINDOW),
        **_machine(),
        **_screen(),
        **_weights(),
    }
    found["missing"] = ", ".join(f"{package} ([{extra}])" for extra, package in _missing()) or "nothing"
    return found | {"trouble": list(_trouble(found)), "advice": list(_advice(found))}


def _versions(packages: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {_version(name)}" for name in packages)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _missing() -> Iterator[tuple[str, str]]:
    """The extras whose packages are not all installed, each with the first that is missing."""
    extras: dict[str, list[str]] = {}
    for requirement in metadata.requires("heliorestore") or ():
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)", requirement)
        if found and found[2] not in _NOT_A_USERS:
            extras.setdefault(found[2], []).append(found[1])
    for extra, packages in extras.items():
        for package in packages:
            if _version(package) == "not installed":
                yield extra, package
                break


def _machine() -> dict[str, Any]:
    """Processor, memory and accelerators, as torch sees them."""
    import psutil
    import torch

    memory = psutil.virtual_memory()
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    named = [f"cuda:{number} {gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for number, gpu in enumerate(gpus)]
    named += ["mps"] if torch.backends.mps.is_available() else []
    return {
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
        "memory": f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB free",
        "gpu": "; ".join(named) or f"none (torch for {torch.version.cuda or 'the CPU alone'})",
    }


def _screen() -> dict[str, str]:
    """Qt, its platform and OpenGL, asked in a process of its own: a broken driver ends it."""
    asked = [sys.executable, "-m", "heliorestore.plugin.screen"]
    try:
        ran = subprocess.run(asked, capture_output=True, text=True, timeout=_LONGEST, check=False)
        return dict(json.loads(ran.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return {"qt": f"does not answer within {_LONGEST} s"}
    except (ValueError, IndexError):
        said = [line.strip(" .") for line in ran.stderr.splitlines() if line.strip()]
        first = said[-1] if said and said[0].startswith("Traceback") else next(iter(said), "")
        return {"qt": f"cannot start ({first or f'it ended with {ran.returncode}'})"}


def _weights() -> dict[str, Any]:
    from heliorestore.errors import WeightsError
    from heliorestore.nets import weights

    names, damaged = weights.names(), []
    for name in names:
        try:
            weights.load(name)
        except WeightsError:
            damaged.append(name)
    return {"weights": f"{len(names)}, " + (f"damaged: {', '.join(damaged)}" if damaged else "all whole")}


def _trouble(found: dict[str, Any]) -> Iterator[str]:
    """What will not work, with what to do."""
    if "not installed" in found["window"]:
        yield 'There is no window: pip install "heliorestore[all]" adds napari and Qt.'
    elif "platform" not in found:
        yield (
            f"The window cannot open: Qt {found['qt']}. Without a screen use `xvfb-run`; on Linux Qt needs "
            "system packages, which apt.txt of the source names."
        )
    elif found["platform"] == "offscreen":
        yield "Qt's platform `offscreen` shows no images: unset QT_QPA_PLATFORM, or use `xvfb-run`."
    elif not found["opengl"]:
        yield "There is no OpenGL, so napari shows no images: install the graphics driver, or Mesa."
    if found["qt"].startswith(_BROKEN_QT):
        yield "napari does not work with this version of Qt: install 6.10 or 6.11.2."
    if "PySide6 6.12.0" in found["qt"] and found["python"].startswith("3.11."):
        yield "PySide6 6.12.0 crashes Python 3.11: install PySide6 6.11.3, or take Python 3.12 or newer."
    if "damaged" in found["weights"]:
        yield "Weights are damaged: install heliorestore again, or import them again."


def _advice(found: dict[str, Any]) -> Iterator[str]:
    """What works, but not as well as it could."""
    if "llvmpipe" in found.get("opengl", ""):
        yield "OpenGL is drawn by the processor (llvmpipe): large images move slowly, and take its time."
    if found["gpu"].startswith("none") and Path("/proc/driver/nvidia/version").exists():
        yield "There is an NVIDIA card, but this torch does not use it: install torch for CUDA."
    if free_bytes() < _LITTLE:
        yield "Little memory is free: methods work in tiles, which takes longer."

"""The project on a machine with a CUDA GPU, in parts that each leave a JSON file; `benchmarks/gpu.sh` runs
all of them.

    python benchmarks/gpu.py PART [--device cuda] [--out gpu-results] [--small] [--cases NAME ...] [--resume]

    facts      the machine, its GPU, torch, and which packages are missing tests      the tests that want the
    device; tracebacks of those that fail in tests.txt methods    every method on the device against the CPU:
    the largest difference in units of the contrast, and both times flow       seconds per iteration of the
    blind deconvolutions, and the memory at the peak profile    bytes, copies and waits of an iteration
    networks   MFBD images per second, Enhance on a full disc, the denoiser training   slices of trainings
    summary    what the other parts have left in the folder, as text, also in summary.md

A file is whole at any moment: every row is written when it is known, and a signal marks the part as stopped.
Rows that --resume finds are not measured again; one that was running when its process died counts as failed.
--small tries everything out in a minute or two, --device cpu on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gpu_results import NUDGE, Case, Options, Row, Sheet, run_cases, summary

if TYPE_CHECKING:
    import numpy as np

    from heliorestore import Burst
    from heliorestore.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DEVICE_TESTS = ("tests/device", "tests/optics")
"""Folders whose tests take a fixture `device`; those in `on_*.py` need an accelerator."""
PACKAGES = ("numpy", "torch", "astropy", "platformdirs", "safetensors", "pytest", "hypothesis")


# -- facts ---------------------------------------------------------------------------------------------------


def facts(options: Options, sheet: Sheet) -> None:
    run_cases(
        sheet,
        {
            "machine": _machine,
            "packages": _packages,
            "torch": _torch,
            "gpu": functools.partial(_gpu, options),
        },
        options,
    )


def _machine() -> Row:
    lines = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if Path("/proc/cpuinfo").exists()
        else []
    )
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": model,
        "cores": cores,
        "memory_gb": memory,
    }


def _packages() -> Row:
    from importlib.metadata import PackageNotFoundError, version

    found: Row = {}
    for name in PACKAGES:
        try:
            found[name] = version(name) if find_spec(name) else "missing"
        except PackageNotFoundError:
            found[name] = "there"
    return found


def _torch() -> Row:
    import torch

    found = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "none",
        "cudnn": torch.backends.cudnn.version() or "none",
    }
    return found | {
        "threads": torch.get_num_threads(),
        "convolutions_in_tf32": torch.backends.cudnn.allow_tf32,
    }


def _gpu(options: Options) -> Row:
    import torch

    if not options.on_gpu:
        return {"gpu": "not asked for"}
    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} of {sys.executable} sees no CUDA device")
    known = torch.cuda.get_device_properties(options.device)
    free, total = torch.cuda.mem_get_info(torch.device(options.device).index)
    found = {
        "gpu": known.name,
        "memory_gb": total / 1e9,
        "free_gb": free / 1e9,
        "multiprocessors": known.multi_processor_count,
    }
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.split()[
            0
        ]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = "unknown"
    return found | {
        "capability": f"{known.major}.{known.minor}",
        "driver": driver,
        "bfloat16": known.major >= 8,
    }


# -- tests ---------------------------------------------------------------------------------------------------


class Recorder:
    """What pytest tells of its tests, in a sheet, with the tracebacks in a text file."""

    def __init__(self, sheet: Sheet, tracebacks: Path) -> None:
        self.sheet, self.tracebacks = sheet, tracebacks

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if item.nodeid not in self.sheet.rows]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.sheet.put(nodeid, "running")

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._failed(report)
        elif report.skipped:
            self.sheet.put(
                report.nodeid, "skipped", reason=str(report.longrepr[-1] if report.longrepr else "")
            )
        elif report.when == "call":
            self.sheet.put(report.nodeid, "done", seconds=report.duration)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._failed(report)

    def _failed(self, report: Any) -> None:
        text = report.longreprtext
        self.sheet.put(
            report.nodeid,
            "failed",
            reason=next((s[1:].strip() for s in text.splitlines() if s.startswith("E ")), "")[:600],
        )
        with self.tracebacks.open("a", encoding="utf-8") as file:
            file.write(f"==== {report.nodeid} ({report.when})\n{text}\n\n")


def tests(options: Options, sheet: Sheet) -> None:
    """The project's own settings of pytest ask for plugins that a bare machine lacks: none are used."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import pytest

    tracebacks = options.out / "tests.txt"
    if not sheet.rows:
        tracebacks.write_text("", encoding="utf-8")
    chosen = "accelerator" + (" and (refused or test_device)" if options.small else "")
    files = [
        str(path) for part in DEVICE_TESTS for path in sorted((ROOT / part).glob("on_*.py")) or [ROOT / part]
    ]
    shared = ROOT / "tests" / "shared"
    sys.path.insert(0, str(shared))  # of the pretended GPU, with which the tests are tried out
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "pytest.ini"
        plain.write_text(f"[pytest]\npythonpath = {shared}\n", encoding="utf-8")
        given = ["-q", "-c", str(plain), "--rootdir", str(ROOT), "--confcutdir", str(ROOT)]
        given += ["--import-mode=importlib", "--continue-on-collection-errors", "-p", "no:cacheprovider"]
        given += ["-k", chosen, *files, *([] if options.on_gpu else ["-p", "pretend_device"])]
        pytest.main(given, plugins=[Recorder(sheet, tracebacks)])
    if not sheet.rows:
        raise RuntimeError(f"no test that needs a GPU was found in {', '.join(DEVICE_TESTS)}")


# -- methods -------------------------------------------------------------------------------------------------


def methods(options: Options, sheet: Sheet) -> None:
    from heliorestore import read
    from heliorestore.samples import sample_path

    def case(sample: str, settings: Settings, expected: float, single: bool) -> Row:
        return against_cpu(read(sample_path(sample)), settings, expected, options, single=single)

    run_cases(
        sheet,
        {name: functools.partial(case, *how) for name, how in _restorations(options.small).items()},
        options,
    )


def _restorations(small: bool) -> dict[str, tuple[str, Settings, float, bool]]:
    """By name: a sample, the settings, the difference in contrasts that is no surprise, and whether a network
    works in single precision.

    Convolutions may be done in TF32 (11 binary digits) there; MFBD and the emulator work in bfloat16 (8
    digits) on a GPU.
    """
    from heliorestore import (
        EnhanceSettings,
        MfbdSettings,
        MomfbdSettings,
        RichardsonLucySettings,
        SvMomfbdSettings,
    )
    from heliorestore.methods.noise2noise import DenoiseSettings
    from heliorestore.methods.pca import PcaSettings

    burst, series, some = "small_burst.fits", "stokes_series.fits", 3 if small else 20
    flow = {"iterations": some, "patch_iterations": some // 3, "stop_early": False}
    network: Any = "small" if small else "full"
    return {
        "sv-momfbd": (burst, SvMomfbdSettings(**flow), 1e-2, False),
        "momfbd": (burst, MomfbdSettings(iterations=some, stop_early=False), 1e-2, False),
        "mfbd encoder-decoder": (burst, MfbdSettings(committee=1 if small else 8), 0.1, False),
        "mfbd recurrent": (burst, MfbdSettings(network="recurrent", committee=1 if small else 4), 0.1, False),
        "enhance continuum": ("hmi_continuum.fits", EnhanceSettings(network=network), 1e-2, True),
        "enhance magnetogram": ("hmi_magnetogram.fits", EnhanceSettings(network=network), 1e-2, True),
        "denoise": (series, DenoiseSettings(series=False), 1e-2, True),
        "richardson-lucy": (
            "hmi_continuum.fits",
            RichardsonLucySettings(iterations=some, damping=1.0),
            1e-3,
            False,
        ),
        "sv-momfbd emulator": (
            burst,
            SvMomfbdSettings(forward="emulator", iterations=1 if small else 3),
            0.1,
            False,
        ),
        "pca": (series, PcaSettings(), 1e-6, False),
        "sv-momfbd adamw": (burst, SvMomfbdSettings.paper(iterations=some // 2), 1e-2, False),
        "sv-momfbd wavelet": (
            burst,
            SvMomfbdSettings(**flow, regulariser="wavelet", positive=True),
            1e-2,
            False,
        ),
        "momfbd destretched": (
            burst,
            MomfbdSettings(iterations=some // 2, destretch=True, stop_early=False),
            1e-2,
            False,
        ),
        # dropout is random
        "denoise uncertainty": (
            series,
            DenoiseSettings(series=False, uncertainty=True, passes=2),
            math.inf,
            True,
        ),
        "denoise fitted": (
            series,
            DenoiseSettings(series=False, fit=1, patches=20 if small else 200),
            math.inf,
            True,
        ),
    }


def against_cpu(burst: Burst, settings: Settings, expected: float, options: Options, *, single: bool) -> Row:
    """A method on the device, twice, against the CPU, and the CPU against itself with frames that differ by
    about their rounding."""
    import numpy as np
    import torch
    from filter_flow import seconds

    from heliorestore import stream

    torch.set_num_threads(options.threads)
    begun: list[np.ndarray] = []
    made: list[Any] = []

    def restored(device: str, of: Burst) -> None:
        for number, snapshot in enumerate(stream(of, settings, device=device)):
            if number == 0:
                begun.append(snapshot.images.copy())
        made.append(snapshot)

    def timed(device: str, of: Burst = burst) -> float:
        return seconds(lambda: restored(device, of))[0]

    random = np.random.default_rng(0)
    frames = np.stack([image for _, _, image in burst.images()]).reshape(burst.shape)
    nudged = replace(
        burst, frames=(frames * (1 + NUDGE * random.standard_normal(burst.shape))).astype(np.float32)
    )
    if options.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    found: Row = {"first_s": timed(options.device), "device_s": timed(options.device)}
    if options.on_gpu:
        found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    found |= {"cpu_s": timed("cpu"), "ran_on": made[0].run.device}
    timed("cpu", nudged)
    device, again, cpu, rounded = (each.images for each in made)
    found |= {"first_step": apart(begun[0], begun[2]), "difference": apart(device, cpu)}
    found |= {"rounding": apart(rounded, cpu), "repeated": apart(again, device)}
    if single and options.on_gpu:
        torch.backends.cudnn.allow_tf32 = False
        try:
            timed(options.device)
        finally:
            torch.backends.cudnn.allow_tf32 = True
        found["difference_without_tf32"] = apart(made[-1].images, cpu)
    agrees = found["difference"] <= max(expected, 3 * found["rounding"]) and found["first_step"] <= expected
    agrees &= made[0].run.device == options.device
    return found | {"expected": expected, "verdict": "as expected" if agrees else "LOOK"}


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of images (object, y, x) in units of the standard deviation of the other;
    infinite where NaNs differ."""
    import numpy as np

    if one.shape != other.shape or (np.isfinite(one) != np.isfinite(other)).any():
        return math.inf
    worst = [
        np.nanmax(np.abs(a - b)) / max(float(np.nanstd(b)), 1e-30) for a, b in zip(one, other, strict=True)
    ]
    return float(max(worst))


# -- speed ---------------------------------------------------------------------------------------------------


def flow(options: Options, sheet: Sheet) -> None:
    import engine

    large, box, frames, objects = (96, 64, 3, 1) if options.small else (512, 256, 12, 2)
    usual = {
        "objects": objects,
        "frames": frames,
        "iterations": 4 if options.small else 10,
        "memory_gb": None,
        "threads": options.threads,
    }
    usual |= {"device": options.device, "ffts": True, "optimiser": "alternating", "grid_step": 32, "psf": 96}

    def case(size: int, method: str = "sv-momfbd", **changes: Any) -> Case:
        def run() -> Row:
            found = engine.measured(engine.Case(**{"size": size, "method": method, **usual, **changes}))
            row = {"iteration_s": found["iteration"], "first_s": found["first"], "fft_share": found["share"]}
            return row | {
                "peak_gb": found["peak"] / 1e9,
                "predicted_gb": found["estimate"] / 1e9,
                "tiles": int(found["tiles"]),
            }

        return run

    more = 4 if options.small else 20
    cases = {f"sv-momfbd {size}^2": case(size) for size in (large, box)}
    cases[f"slider in a box of {box}^2"] = lambda: slider(box, frames, objects, options)
    cases[f"sv-momfbd {2 * large}^2"] = case(2 * large)
    cases |= {
        f"memory of {more} x {large}^2, {forward}": functools.partial(memory, large, more, forward, options)
        for forward in ("filter-flow", "emulator")
    }
    cases |= {f"momfbd {size}^2": case(size, "momfbd") for size in (large, box)}
    cases[f"sv-momfbd {box}^2, AdamW"] = case(box, optimiser="adamw")
    cases[f"sv-momfbd {box}^2 on the CPU"] = case(box, device="cpu", iterations=3, ffts=False)
    run_cases(sheet, cases, options)


def slider(box: int, frames: int, objects: int, options: Options) -> Row:
    import gpu_profile

    burst = gpu_profile.burst_of(box, frames, objects)
    settings = gpu_profile.settings_of(options.small)
    return gpu_profile.slider(burst, settings, options.device, 3 if options.small else 12)


def memory(size: int, frames: int, forward: str, options: Options) -> Row:
    """The peak of some iterations of AdamW, the only optimiser that both models know."""
    import gpu_profile

    changes = {"forward": forward, "optimiser": "adamw"} | ({"modes": 44} if forward == "emulator" else {})
    settings = gpu_profile.settings_of(options.small, **changes)
    burst = gpu_profile.burst_of(size, frames, 1)

    def run() -> Row:
        with gpu_profile.begun(burst, settings, options.device, 1) as results:
            began = time.perf_counter()
            next(results)
            return {"iteration_s": time.perf_counter() - began}

    return with_peak(run, options)


def profile(options: Options, sheet: Sheet) -> None:
    """What an iteration moves, as a fraction of what the device can, and how often it is waited for."""
    import gpu_profile

    size, frames, objects = (96, 3, 1) if options.small else (512, 12, 2)
    settings = gpu_profile.settings_of(options.small)

    def moved() -> Row:
        rate = gpu_profile.bandwidth(options.device, 16 if options.small else 2000)
        row = gpu_profile.moved(gpu_profile.burst_of(size, frames, objects), settings, options.device)
        share = 1e9 * row["gb"] / row["iteration_s"] / rate
        return row | {"copy_gb_per_s": rate / 1e9, "share_of_copy": share}

    def crossed() -> Row:
        return gpu_profile.crossed(gpu_profile.burst_of(size, frames, objects), settings, options.device)

    run_cases(sheet, {f"bytes of {size}^2": moved, f"transfers of {size}^2": crossed}, options)


def networks(options: Options, sheet: Sheet) -> None:
    import mfbd
    import torch

    from heliorestore.nets.weights import names_of

    device, side = torch.device(options.device), 64 if options.small else 1000

    def speed(name: str, mode: str | None) -> Row:
        return with_peak(lambda: {"images_per_s": mfbd.images_per_second(name, side, device, mode)}, options)

    cases: dict[str, Case] = {name: functools.partial(speed, name, None) for name in mfbd.NETWORKS}
    disc = 256 if options.small else 4096
    cases[f"enhance {disc}^2"] = lambda: with_peak(lambda: enhanced(disc, options), options)
    cases[f"denoise {side}^2"] = lambda: with_peak(lambda: denoised(side, options), options)
    for network in ("encoder-decoder", "recurrent"):
        cases[f"mfbd {network}, method"] = functools.partial(whole_method, network, side, options)
    if options.on_gpu:
        cases |= {
            f"{name}, compiled": functools.partial(speed, name, "reduce-overhead") for name in mfbd.NETWORKS
        }
    sheet.head["weights"] = names_of("mfbd")
    run_cases(sheet, cases, options)


def with_peak(run: Callable[[], Row], options: Options) -> Row:
    """What it finds, and the memory of the device at its peak."""
    import torch

    torch.set_num_threads(options.threads)
    if not options.on_gpu:
        return run()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return run() | {"peak_gb": torch.cuda.max_memory_allocated() / 1e9}


def enhanced(size: int, options: Options) -> Row:
    """Enhance on a disc of that size after a small one: seconds in all, and from the first row of tiles to
    the last but one."""
    import enhance

    from heliorestore import Burst, EnhanceSettings, restore, stream

    small = Burst.from_array(enhance.image(300), enhance.HMI)
    restore(small, EnhanceSettings(), device=options.device)
    burst, began = Burst.from_array(enhance.image(size), enhance.HMI), time.perf_counter()
    marks = [time.perf_counter() - began for _ in stream(burst, EnhanceSettings(), device=options.device)]
    rows = (marks[-2] - marks[0]) / (len(marks) - 2) if len(marks) > 2 else None
    return {
        "seconds": marks[-1],
        "row_of_tiles_s": rows,
        "rows_of_tiles": len(marks),
        "first_row_after_s": marks[0],
    }


def denoised(side: int, options: Options) -> Row:
    import denoise
    import numpy as np

    from heliorestore import Burst, restore
    from heliorestore.methods.noise2noise import DenoiseSettings

    noise = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    burst = Burst.from_array(noise, labels=("Q",))
    wall, _ = denoise.fastest(lambda: restore(burst, DenoiseSettings(), device=options.device), 3)
    return {"seconds": wall}


def whole_method(network: Any, side: int, options: Options) -> Row:
    """The method MFBD from frames to result: seconds alone, and with the committee that it has by default."""
    import numpy as np
    from mfbd import FRAMES

    from heliorestore import Burst, MfbdSettings, restore
    from heliorestore.instrument import KNOWN
    from optics import timed

    random = np.random.default_rng(0)
    frames = (1 + 0.1 * random.standard_normal((1, FRAMES, side, side))).astype(np.float32)
    burst = Burst.from_array(frames, KNOWN["crisp-8542-paper"])
    found: Row = {}
    for what, members in (("seconds", 1), ("committee_s", MfbdSettings().committee)):
        settings = MfbdSettings(network=network, committee=2 if options.small else members)
        found[what] = timed(
            what,
            lambda settings=settings: restore(burst, settings, device=options.device),
            3 if members == 1 else 1,
        ).wall
    return found


def training(options: Options, sheet: Sheet) -> None:
    """Slices of the trainings at full width, each continued where the last call has left it in the folder."""
    recipes = {"emulator": "emulator", "mfbd": "mfbd-crisp"}
    cases = {
        f"{method}, a slice": functools.partial(training_slice, method, name, options)
        for method, name in recipes.items()
    }
    run_cases(sheet, cases, options)


def training_slice(method: str, name: str, options: Options) -> Row:
    """Steps per second, and the share of the time that making the data takes alone."""
    import gpu_profile
    import numpy as np
    import torch
    from astropy.io import fits

    from heliorestore.nets import weights
    from heliorestore.train import trainer
    from heliorestore.train.loop import OnDevice, train
    from heliorestore.train.recipe import from_table, read_table
    from heliorestore.train.scenes import SceneFile

    torch.set_num_threads(options.threads)
    known, place = trainer._trainer(method), torch.device(options.device)
    folder = options.out / "training" / method
    folder.mkdir(parents=True, exist_ok=True)
    scene = gpu_profile.burst_of(512, 1, 1).image(0, 0)
    fits.writeto(folder / "scene.fits", scene, overwrite=True)
    few: dict[str, Any] = {"validate_every": 10**6, "scenes": 0, "validation_scenes": 0, "days": 1}
    few |= {each: (SceneFile("scene.fits", 0.06),) for each in ("files", "validation_files")}
    if options.small:
        few |= {"batch": 2, "patch": 32, "precision": "float32"}
        few |= {
            "emulator": {"architecture": "emulator-narrow", "margin": 16, "flow_psf": 32},
            "mfbd": {"architecture": "mfbd-quarter", "size": 80, "psf_size": 32},
        }[method]
    few = {key: value for key, value in few.items() if key in known.recipe.__dataclass_fields__}
    recipe = from_table(known.recipe, read_table(name) | few)
    torch.manual_seed(recipe.seed)
    net = weights.build(recipe.architecture)
    known.start(net)
    task = known.task(recipe, folder)
    resumed = (folder / "checkpoint.pt").exists()
    seconds = 2.0 if options.small else 15.0
    found = train(
        *(net, task, recipe, folder), device=place, resume=resumed, seconds=seconds, say=lambda _: None
    )
    if isinstance(task, OnDevice):
        task.to(place)
    began, batches = time.perf_counter(), 3
    for number in range(batches):
        _, targets = task.batch(np.random.default_rng(number), recipe.batch, recipe.patch)
        targets.sum().item()
    data = (time.perf_counter() - began) / batches
    step = found.seconds / found.step
    files = [path.stat().st_size for path in folder.glob("*.pt")]
    return {
        "steps": found.step,
        "step_s": step,
        "data_share": data / step,
        "largest_file_mb": max(files) / 2**20,
        "files": len(files),
    }


PARTS: dict[str, Callable[[Options, Sheet], None]] = {
    "facts": facts, "tests": tests, "methods": methods, "flow": flow, "profile": profile,
    "networks": networks, "training": training,
}  # fmt: skip


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or min(8, os.cpu_count() or 1))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=[*PARTS, "summary"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--cases", nargs="+", default=[], help="only these rows of the part")
    parser.add_argument("--case-seconds", type=float, default=80.0, help="what takes longer counts as failed")
    parser.add_argument(
        "--threads",
        type=int,
        default=_threads(),
        help="of the CPU (default: all up to 8, or OMP_NUM_THREADS)",
    )
    parser.add_argument("--resume", action="store_true", help="keep the rows that the file already has")
    a = parser.parse_args()
    if a.part == "summary":
        text = summary(a.out, list(PARTS))
        (a.out / "summary.md").write_text(text + "\n", encoding="utf-8")
        print(text)
        return 0
    options = Options(a.device, a.out, a.small, a.threads, tuple(a.cases), a.case_seconds)
    sheet = Sheet(a.part, a.out, resume=a.resume, device=a.device, small=a.small)

    def stopped(number: int, frame: FrameType | None) -> None:
        sheet.close("stopped", f"stopped by {signal.Signals(number).name} (the time limit, or somebody).")
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped)
    try:
        if ":" in a.device:  # whose memory is measured
            import torch

            torch.cuda.set_device(a.device)
        PARTS[a.part](options, sheet)
    except Exception as error:
        sheet.close(
            "skipped" if isinstance(error, ImportError) else "failed", f"{type(error).__name__}: {error}"
        )
        traceback.print_exc()
        return 1
    sheet.close("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Bursts to train on: simulated once without noise, aligned as the method aligns them, kept in the user's
cache folder.

The target of a burst is the diffraction-limited scene at the mean of its frames' distortions: the mean
displacement of a granule cannot be known from seven frames, and a network that has to guess it learns to
blur.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import FloatArray
from heliorestore.instrument import Instrument, find
from heliorestore.prepare.align import frame_shifts
from heliorestore.quality.metrics import contrast
from heliorestore.simulate.burst import Simulation, make_scene, simulate_burst
from heliorestore.simulate.view import SimulationSettings
from heliorestore.storage import replacing, user_folder
from heliorestore.train.scenes import SceneFile, read

BORDER = 16
"""Largest displacement by alignment in pixels; so much of the border is cut off."""
_VERSION = 2
# offset of the seeds of files' cut-outs from those of the simulator's scenes, independent of the number of
# these
_FILE_SEEDS = 5000
_NODES = 32  # px between the PSFs, whose centroids are the distortion


@dataclass(frozen=True, kw_only=True)
class Days:
    """The bursts of one part of a recipe: `scenes` on the Sun, each seen on `days` days through different
    turbulence.

    `r0_cm` at 500 nm, drawn between its limits for every day, is converted to the instrument's wavelength; a
    share `ao` of the days has adaptive optics, the others `r0_without_ao_cm` or, if that is empty, the better
    half of the range. The brightness of every frame has smooth errors, whose rms is drawn up to `flux_rms`; a
    share `outliers` of the days has a frame with much worse seeing.
    """

    instruments: tuple[str, ...]
    scenes: int
    seed: int
    days: int = 3
    frames: int = 7
    size: int = 256
    r0_cm: tuple[float, float] = (5.0, 15.0)
    r0_without_ao_cm: tuple[float, ...] = ()
    ao: float = 0.75
    flux_rms: float = 0.0
    outliers: float = 0.0
    psf_size: int = 128
    files: tuple[SceneFile, ...] = ()

    def key(self, number: int) -> str:
        """A hash for a file's name of all that the bursts of scene `number` depend on."""
        shared = {
            name: value for name, value in dataclasses.asdict(self).items() if name not in ("scenes", "files")
        }
        file = None if number < self.scenes else dataclasses.asdict(self.files[number - self.scenes])
        text = json.dumps([_VERSION, "float32", BORDER, _NODES, shared, self.place(number), file])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def place(self, number: int) -> int:
        """The offset of scene `number` among seeds and instruments; files have their own range."""
        return number if number < self.scenes else _FILE_SEEDS + number - self.scenes


def cached(days: Days, folder: Path, say: Callable[[str], None] = lambda _: None) -> list[FloatArray]:
    """One memory map (day, object, frame + target, y, x) per scene; missing ones are simulated, by a process
    per core if they are many.
    """
    place = user_folder("bursts")
    place.mkdir(parents=True, exist_ok=True)
    total = days.scenes + len(days.files)
    paths = [place / f"{days.key(number)}.npy" for number in range(total)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    with _pool(len(missing)) as pool:
        simulate = pool.map if pool else map
        for number, stack in zip(missing, simulate(partial(seen, days, folder=folder), missing), strict=True):
            # The scenes that exist are kept if the next one is interrupted.
            with replacing(paths[number]) as file:
                np.save(file, stack)
            say(f"scene {number + 1} of {total} simulated")
    # Copied where written to, which nobody does: torch warns of arrays that cannot be written.
    return [np.load(path, mmap_mode="c") for path in paths]


@contextmanager
def _pool(tasks: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes of one thread each, or None where starting them takes longer than the tasks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, tasks // 2)
    if workers < 2:
        yield None
        return
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stops a training does not wait for all scenes


def seen(days: Days, number: int, folder: Path) -> FloatArray:
    """The bursts (day, object, frame + target, y, x) of a scene, each object in units of its mean."""
    place = days.place(number)
    seed = days.seed + place
    instrument = find(days.instruments[place % len(days.instruments)])
    bursts: list[FloatArray] = []
    scene: npt.NDArray[np.floating] | None = None
    for air in _airs(days, instrument, seed):
        # One Sun for all days: only the air differs.
        scene = _scene(days, number, air, instrument, folder) if scene is None else scene
        simulation = simulate_burst(
            air, instrument, seed=1000 * seed + len(bursts), scene=np.asarray(scene, np.float32)
        )
        bursts.append(aligned(simulation))
    return np.stack(bursts)


def aligned(simulation: Simulation) -> FloatArray:
    """Frames (object, frame, y, x), sharpest first, then the target, without borders lost by moving."""
    shifts = np.clip(frame_shifts(simulation.burst.frames), -BORDER, BORDER)
    frames = torch.from_numpy(np.ascontiguousarray(simulation.burst.frames, np.float32))
    size = frames.shape[-1] - 2 * BORDER
    moved = torch.stack(
        [
            frames[:, f, BORDER + y : BORDER + y + size, BORDER + x : BORDER + x + size]
            for f, (y, x) in enumerate(shifts)
        ],
        1,
    )
    # By the first object, the wide band.
    order = sorted(range(len(shifts)), key=lambda f: -contrast(moved[0, f].numpy()))
    # The part of the distortion that alignment has removed is not in the frames any more.
    mean = distortions(simulation) - torch.from_numpy(shifts).to(torch.float32)[:, None, None]
    target = distorted(torch.from_numpy(simulation.truth), mean.mean(0))[
        :, None, BORDER:-BORDER, BORDER:-BORDER
    ]
    stack = torch.cat([moved[:, order], target], 1)
    level = moved.mean((1, 2, 3), keepdim=True)
    if simulation.faults.flux is not None:
        # As the method does: it brings the frames to one mean.
        means = stack[:, :-1].mean((2, 3), keepdim=True)
        stack = torch.cat([stack[:, :-1] * level / means, stack[:, -1:]], 1)
    scaled: FloatArray = (stack / level).numpy()
    return scaled


def distortions(simulation: Simulation) -> torch.Tensor:
    """Displacements (frame, gy, gx, [y, x]) in px: the PSFs' centroids in the middle of cells of 32 px."""
    # The PSFs' own displacement is what the air does to the image there.
    psfs = torch.from_numpy(simulation.view.psf_grid(_NODES))
    offsets = torch.arange(psfs.shape[-1], dtype=torch.float32) - psfs.shape[-1] // 2
    total = psfs.sum((-2, -1))
    # A centroid is the mean slope of the wavefront, so it is the displacement, also of a blurred image.
    return torch.stack([(psfs.sum(-1) @ offsets) / total, (psfs.sum(-2) @ offsets) / total], -1)


def distorted(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Images (object, y, x) moved by displacements (gy, gx, [y, x]) in pixels at the cells' middles."""
    rows, columns = images.shape[-2:]
    shape = (rows, columns)
    fine = torch.nn.functional.interpolate(
        field.permute(2, 0, 1)[None], size=shape, mode="bicubic", align_corners=False
    )[0]
    y, x = torch.meshgrid(
        torch.arange(rows, dtype=torch.float32), torch.arange(columns, dtype=torch.float32), indexing="ij"
    )
    # grid_sample counts x first, from -1 to 1 between the centres of the outermost pixels.
    places = torch.stack([(x - fine[1]) * 2 / (columns - 1) - 1, (y - fine[0]) * 2 / (rows - 1) - 1], -1)
    # Bicubic: bilinear interpolation would blur the target.
    moved: torch.Tensor = torch.nn.functional.grid_sample(
        images[None], places[None], mode="bicubic", padding_mode="reflection", align_corners=True
    )[0]
    return moved


def _airs(days: Days, instrument: Instrument, seed: int) -> Iterator[SimulationSettings]:
    """The turbulence on the days of a scene."""
    random = np.random.default_rng((days.seed, seed))
    carried = (instrument.require().wavelength_nm / 500.0) ** 1.2  # Kolmogorov: r0 grows as lambda^(6/5)
    low, high = (carried * r0 for r0 in days.r0_cm)
    free = tuple(carried * r0 for r0 in days.r0_without_ao_cm) or (math.sqrt(low * high), high)
    base = SimulationSettings(
        size=days.size, frames=days.frames, objects=2, noise=0.0, step=_NODES, psf_size=days.psf_size
    )
    for _ in range(days.days):
        ao = bool(random.random() < days.ao)
        # Even in its logarithm: strong and weak turbulence are equally frequent.
        r0 = math.exp(random.uniform(*np.log((low, high) if ao else free)))
        layer, gain = float(random.uniform(4.0, 12.0)), float(random.uniform(0.7, 0.95))
        air = base.replace(r0_cm=r0, ao=ao, high_layer_km=layer, ao_gain=gain)
        if days.flux_rms or days.outliers:
            bad, flux = int(random.random() < days.outliers), float(random.uniform(0, days.flux_rms))
            air = air.replace(outlier_frames=bad, flux_rms=flux)
        yield air


def _scene(
    days: Days, number: int, air: SimulationSettings, instrument: Instrument, folder: Path
) -> npt.NDArray[np.floating]:
    """A scene (object, y, x) with margin: simulated, or part of a file as if on these pixels."""
    margin = (air.psf_size or 0) // 2
    if number < days.scenes:
        name = ("sunspot", "granulation")[number // len(days.instruments) % 2]
        return make_scene(air.replace(scene=name), instrument, margin, days.seed + number)
    _, image, _ = read(days.files[number - days.scenes], folder)
    random = np.random.default_rng((days.seed, days.place(number)))
    side = air.size + 2 * margin
    starts = [int(random.integers(0, max(1, n - side + 1))) for n in image.shape]
    part: Any = image[starts[0] : starts[0] + side, starts[1] : starts[1] + side]
    return np.asarray(part)[None]

"""The same Sun seen otherwise: brighter, through stray light, in another order, mirrored, turned, cut. The
result changes as the input does: to rounding where no pixel has other neighbours, else within the error that
the method states.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blind_bursts import simulate
from heliorestore.burst import Burst
from heliorestore.instrument import Instrument, find
from heliorestore.methods.base import load, restore
from heliorestore.settings import Settings
from heliorestore.snapshot import Snapshot

CUT = 8  # pixels that are cut off at each side
BORDER = 16  # of what is left, whose surroundings have changed, and which are not compared
SCALE = 7.3
NOISE = 2e-3  # of the spectra
STRAY = 0.3  # uniform light that is added, of the rms of the frames


@dataclass(frozen=True)
class Subject:
    """A method with its settings, data for a seed, and how much its result may differ.

    `rounding` is relative to the image's rms about its mean; `stated` is in units of the map `uncertainty`
    where the method has one, in units of `noise` where that is known, else relative as well.
    """

    method: str
    data: Callable[[int], Burst]
    knobs: dict[str, Any]
    rounding: float
    stated: float
    sigma: bool
    noise: float = 0.0  # of the result, where it is known and no map states it


def of_frames(seed: int) -> Burst:
    return simulate(size=80, frames=5, modes=10, objects=2, noise=3e-3, seed=seed).burst


def of_hmi(seed: int) -> Burst:
    """Granules at HMI's resolution, two objects."""
    sun = simulate(size=72, frames=1, modes=4, objects=2, noise=3e-3, seed=seed).burst.frames
    return Burst(frames=np.asarray(sun), instruments=(find("hmi-6173"),) * 2, unit="DN/s")


def of_spectra(seed: int) -> Burst:
    """Q and V at four wavelengths, weak signals of few shapes."""
    rng = np.random.default_rng(seed)
    waves = np.linspace(630.2, 630.3, 4)
    y, x = np.mgrid[:72, :72]
    places = [np.exp(-((y - a) ** 2 + (x - b) ** 2) / 40) for a, b in rng.uniform(15, 57, (3, 2))]
    shapes = rng.normal(0, 0.01, (2, 4, 3))
    truth = np.einsum("swp,pyx->swyx", shapes, places).reshape(8, 1, 72, 72)
    frames = (truth + rng.normal(0, NOISE, (8, 2, 72, 72))).astype("f4")
    labels = tuple(f"{wave:.3f} nm, {stokes}" for stokes in "QV" for wave in waves)
    return Burst(
        frames=frames,
        labels=labels,
        instruments=tuple(Instrument(wavelength_nm=float(w)) for _ in "QV" for w in waves),
    )


BLIND = {"modes": 10, "patch": 32}
FIELD = BLIND | {"psf": 32, "patch_iterations": 8, "iterations": 6, "stop_early": False}
PATCHES = BLIND | {"iterations": 12, "patch_step": 16, "stop_early": False}
HMI = {"kind": "continuum", "network": "small", "uncertainty": True}
SUBJECTS = (
    Subject("sv-momfbd", of_frames, FIELD, 1e-3, 1.0, True),
    Subject("momfbd", of_frames, PATCHES, 1e-3, 0.6, False),
    Subject("mfbd", of_frames, {"committee": 8}, 1e-3, 2.0, True),
    Subject("richardson-lucy", of_frames, {"iterations": 10}, 1e-4, 0.02, False),
    Subject("enhance", of_hmi, HMI, 1e-4, 1.0, True),
    Subject("denoise", of_spectra, {"uncertainty": True, "passes": 2}, 1e-3, 1.0, True),
    Subject("pca", of_spectra, {"components": 2}, 1e-3, 0.2, False, NOISE * 0.5**0.5),  # 2 of 4
)


# -- changes of a burst, and of the images that come of it -----------------------------------------------


def changed(burst: Burst, frames: Any, **more: Any) -> Burst:
    return dataclasses.replace(burst, frames=np.ascontiguousarray(frames), **more)


def brighter(burst: Burst) -> tuple[Burst, Callable[[Any], Any]]:
    return changed(burst, np.asarray(burst.frames) * np.float32(SCALE)), lambda image: image / SCALE


def offset(burst: Burst) -> tuple[Burst, Callable[[Any], Any]]:
    """Uniform light more, stray light or a bias, which no telescope blurs."""
    frames = np.asarray(burst.frames)
    light = np.float32(STRAY * np.sqrt(np.mean(np.square(frames, dtype=np.float64))))
    return changed(burst, frames + light), lambda image: image - light


def frames_reversed(burst: Burst) -> tuple[Burst, Callable[[Any], Any]]:
    """The last frame first; a single one stays, and so does the frame that is shown."""
    return changed(burst, np.asarray(burst.frames)[:, ::-1]), lambda image: image


def objects_reversed(burst: Burst) -> tuple[Burst, Callable[[Any], Any]]:
    orders = {
        "labels": burst.labels[::-1],
        "instruments": burst.instruments[::-1],
        "headers": burst.headers[::-1],
    }
    return changed(burst, np.asarray(burst.frames)[::-1], **orders), lambda image: image[::-1]


def mirrored(burst: Burst) -> tuple[Burst, Callable[[Any], Any]]:
    return changed(burst, np.asarray(burst.frames)[..., ::-1]), lambda image: image[..., ::-1]


def transposed(burst: Burst) -> tuple[Burst, Callable[[Any], Any]]:
    return changed(burst, np.asarray(burst.frames).swapaxes(-1, -2)), lambda image: image.swapaxes(-1, -2)


def cut(burst: Burst) -> tuple[Burst, Callable[[Any], Any]]:
    part = np.asarray(burst.frames)[..., CUT:-CUT, CUT:-CUT]
    return changed(burst, part), lambda image: image


CHANGES = (brighter, frames_reversed, objects_reversed, mirrored, transposed, cut, offset)
TO_ROUNDING = (brighter, frames_reversed, objects_reversed)
PAIRS = tuple(
    (subject, change)
    for change in CHANGES
    for subject in SUBJECTS
    # to the networks of Enhance the quiet Sun is 1, and the umbra a part of it: stray light is another image
    if not (change is offset and subject.method == "enhance")
)


def attack(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Every case is a method, a change, and a scene."""
    torch.set_num_threads(1)
    for case in cases:
        subject, change = PAIRS[case % len(PAIRS)]
        seed = case // len(PAIRS)
        found, allowed = difference(subject, change, seed)
        wrong = f"differs by {found:.3g}, allowed {allowed:g}" if not found <= allowed else ""
        yield case, f"{subject.method}, {change.__name__}: {wrong}" if wrong else ""


def difference(subject: Subject, change: Callable[[Burst], Any], seed: int) -> tuple[float, float]:
    """How much the result differs from what was to come, and how much it may."""
    burst, first = original(subject.method, seed)
    other, back = change(burst)
    shown = {"frame": burst.shape[1] - 1} if change is frames_reversed and burst.shape[1] == 2 else {}
    second = run(subject, other, **shown)
    one, two = first.images, back(np.asarray(second.images))
    zoom = first.zoom
    if change is cut:
        one = one[..., CUT * zoom : -CUT * zoom, CUT * zoom : -CUT * zoom]
    inner = (..., *(slice(BORDER * zoom, -BORDER * zoom),) * 2) if change is cut else (...,)
    left = (np.asarray(two, np.float64) - one)[inner]
    if change is not cut and not np.array_equal(np.isnan(one), np.isnan(two)):
        return np.inf, subject.stated
    if subject.noise and change not in TO_ROUNDING:
        return rms(left / subject.noise), subject.stated
    if change in TO_ROUNDING or not subject.sigma:
        contrast = np.nanstd(one[inner], axis=(-2, -1), keepdims=True)
        allowed = subject.rounding if change in TO_ROUNDING else subject.stated
        return rms(left / contrast), allowed
    sigma = np.asarray(first.maps["uncertainty"])
    if change is cut:
        sigma = sigma[..., CUT * zoom : -CUT * zoom, CUT * zoom : -CUT * zoom]
    return rms(left / sigma[inner]), subject.stated


def rms(values: Any) -> float:
    """Of the valid ones; those that no frame has seen are NaN in both."""
    return float(np.sqrt(np.nanmean(np.square(values))))


@functools.lru_cache(maxsize=len(SUBJECTS))
def original(method: str, seed: int) -> tuple[Burst, Snapshot]:
    """The burst of a method as it is, and its result."""
    subject = next(each for each in SUBJECTS if each.method == method)
    burst = subject.data(seed)
    return burst, run(subject, burst)


def run(subject: Subject, burst: Burst, **more: Any) -> Snapshot:
    settings: Settings = load(subject.method).settings(**subject.knobs, **more)
    return restore(burst, settings, device="cpu")

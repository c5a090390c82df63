"""The table of docs/quality.md: measures of sharpness against the true Strehl ratios of simulated bursts.

Takes four minutes on a core: `python docs/make_sharpness_table.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst
from heliorestore.instrument import KNOWN
from heliorestore.prepare.sharpness import sharpness
from heliorestore.quality.metrics import contrast
from heliorestore.simulate.burst import expose, make_scene
from heliorestore.simulate.view import SimulationSettings, make_view

Array = npt.NDArray[np.float64]
NOISES = (1e-3, 3e-3, 1e-2, 3e-2, None)  # of the mean; None: another in each frame, from 1e-3 to 3e-2
CASES = list(itertools.product(("crisp-8542", "hifi-6563"), ("granulation", "sunspot"), (True, False)))
SIZE, FRAMES, SEED = 128, 16, 100


def simulated(camera: str, scene: str, ao: bool, seed: int) -> tuple[Array, Array]:
    """Frames (frame, y, x) without noise, and the Strehl ratio of each, averaged over 5 x 5 places."""
    settings = SimulationSettings(
        scene=scene, size=SIZE, frames=FRAMES, objects=1, ao=ao, noise=0.0, r0_cm=8.0 if ao else 12.0
    )
    view = make_view(settings, KNOWN[camera], seed)
    scenes = torch.from_numpy(make_scene(settings, KNOWN[camera], view.margin, seed).astype(np.float32))
    psfs = view.psf_grid(26)
    return expose(view, scenes)[0].double().numpy(), (psfs.max((-2, -1)) / psfs.sum((-2, -1))).mean((1, 2))


def slopes(image: Array) -> Array:
    """The sum of the absolute slopes along both axes (y, x)."""
    return np.abs(np.gradient(image, axis=0)) + np.abs(np.gradient(image, axis=1))


def rms_gradient(image: Array) -> float:
    """The root of the mean squared relative gradient."""
    return float(np.sqrt(sum(np.mean(each**2) for each in np.gradient(image / image.mean()))))


def mfgs(image: Array) -> float:
    """Median-filter gradient similarity (Deng et al. 2015, doi:10.1007/s11207-015-0676-x)."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1, mode="symmetric"), (3, 3))
    one, other = slopes(image).sum(), slopes(np.median(around, axis=(-2, -1))).sum()
    return float(2 * one * other / (one**2 + other**2))


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's coefficient."""
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def each(measure: Callable[[Array], float]) -> Callable[[Array, str], Array]:
    """A measure of one frame for all."""
    return lambda frames, camera: np.array([measure(frame) for frame in frames])


MEASURES: dict[str, Callable[[Array, str], Array]] = {
    "this one": lambda frames, camera: sharpness(Burst.from_array(frames, KNOWN[camera])),
    "rms contrast": each(contrast),
    "rms gradient": each(rms_gradient),
    "median-filter gradient similarity": each(mfgs),
}


def main() -> None:
    """Print a row per measure: the mean over the bursts for every noise, and the worst of all."""
    bursts = [(*simulated(*case, SEED + number), case[0]) for number, case in enumerate(CASES)]
    for name, measure in MEASURES.items():
        found = np.zeros((len(NOISES), len(bursts)))
        for (row, noise), (column, (frames, strehls, camera)) in itertools.product(
            enumerate(NOISES), enumerate(bursts)
        ):
            rng = np.random.default_rng(column)
            drawn = 10 ** rng.uniform(-3, np.log10(3e-2), FRAMES)
            sigmas = (drawn if noise is None else noise) * frames.mean((1, 2))
            noisy = frames + sigmas[:, None, None] * rng.standard_normal(frames.shape)
            found[row, column] = rank_correlation(measure(noisy, camera), strehls)
        print(f"| {name} |", " | ".join(f"{mean:.2f}" for mean in found.mean(1)), f"| {found.min():.2f} |")


if __name__ == "__main__":
    main()

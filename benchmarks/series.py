"""How steady a series of restorations is, before and after `heliorestore cube --align --destretch --gain`.

    python benchmarks/series.py [--method richardson-lucy|sv-momfbd] [--size 160] [--times 8] [--frames 6]
    [--r0-cm 6 14] [--bad 4]

Bursts of one simulated scene with different seeds and r0, each brighter or darker by up to 10 %; the burst
number `--bad` has an r0 of 3.5 cm. Displacements are measured in windows of 48 pixels against the truth, and
their rms is taken over time, about a steady motion of each place; gains are medians of the images over their
mean.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch

import heliorestore
from heliorestore.fits.cube import Cube, gather
from heliorestore.instrument import KNOWN
from heliorestore.methods.richardson_lucy import RichardsonLucySettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.prepare.destretch import local
from heliorestore.prepare.series import SeriesSettings, steady
from heliorestore.simulate.burst import simulate_burst
from heliorestore.simulate.view import SimulationSettings

METHODS = {"richardson-lucy": RichardsonLucySettings(), "sv-momfbd": SvMomfbdSettings()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", choices=list(METHODS), default="richardson-lucy")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--r0-cm", type=float, nargs=2, default=[6.0, 14.0])
    parser.add_argument("--bad", type=int, default=4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        files, truth = restored(Path(name), asked)
        cube = gather(files)
        steps = {
            "as restored": SeriesSettings(),
            "--align": SeriesSettings(align=True),
            "--align --destretch": SeriesSettings(align=True, destretch=True),
            "--align --destretch --gain": SeriesSettings(align=True, destretch=True, gain=True),
        }
        print(f"| {asked.method} | displacement [px rms] | intensity [% peak to peak] |\n|---|---|---|")
        for title, settings in steps.items():
            done = steady(cube, settings)
            moved, level = flicker(done, truth, asked.bad)
            print(f"| {title} | {moved:.3f} | {100 * level:.2f} |", flush=True)
        print("\n".join(done.messages))


def restored(folder: Path, asked: argparse.Namespace) -> tuple[list[Path], torch.Tensor]:
    """The restored files of all times, and the scene through the telescope alone (y, x)."""
    dice, files, made = np.random.default_rng(5), [], None
    for number in range(asked.times):
        r0 = 3.5 if number == asked.bad else float(dice.uniform(*asked.r0_cm))
        settings = SimulationSettings(
            scene="granulation", size=asked.size, frames=asked.frames, r0_cm=r0, objects=1, ao=True
        )
        # All bursts show the Sun of the first one.
        scene = None if made is None else made.scene
        made = simulate_burst(settings, KNOWN["crisp-8542"], seed=7 + number, scene=scene)
        burst = dataclasses.replace(
            made.burst,
            frames=np.asarray(made.burst.frames[:, :]) * dice.uniform(0.9, 1.1),
            times=np.datetime64("2026-05-01T08:00:00", "us") + np.timedelta64(20 * number, "s")
            + np.arange(asked.frames) * np.timedelta64(30, "ms"),
        )  # fmt: skip
        files.append(folder / f"restored-{number}.fits")
        heliorestore.write(heliorestore.restore(burst, METHODS[asked.method]), files[-1])
        print(f"restored {number + 1} of {asked.times}, r0 {r0:.1f} cm", flush=True)
    return files, torch.from_numpy(np.asarray(made.truth[0]))


def flicker(cube: Cube, truth: torch.Tensor, bad: int) -> tuple[float, float]:
    """Displacement (px rms about a steady motion) and intensity (peak to peak) of all good restorations."""
    images = [each.image(0) for n, each in enumerate(cube.restorations) if n != bad]
    whole = [np.where(np.isfinite(image), image, np.nanmean(image)) for image in images]
    found = torch.stack([local(torch.from_numpy(image).float()[None], truth[None]) for image in whole])
    inner = found[..., 1:-1, 1:-1].flatten(1).numpy()
    times = np.array([n for n in range(len(cube.restorations)) if n != bad], float)
    # A straight line in time has two parameters, which take away two of the degrees of freedom.
    _, squares, *_ = np.polyfit(times, inner, 1, full=True)
    levels = np.array([np.nanmedian(image) for image in images])
    return float(np.sqrt((squares / (len(times) - 2)).mean())), float(np.ptp(levels) / levels.mean())


if __name__ == "__main__":
    main()

"""Stokes images from simulated modulation states, by several routes, beside the truth.

    python benchmarks/polarimetry.py FOLDER [--size 128] [--methods momfbd sv-momfbd] [--bursts 10:16:1 ...]

A burst is r0 in cm : frames : seed; every frame has the wide band and one of four states, behind adaptive
optics. Routes: the mean of the frames; the states as objects of one burst; each state restored apart with the
wide band beside it, and these registered on their mean, and by their wide bands; all states in one run with
the wide band as the anchor, before and after they are registered by their anchors, after cross-talk from I is
removed, and with Q, U, V filtered. Figures are added to FOLDER/polarimetry.json as they come, images are in
FOLDER/BURST.npz; bursts that are in the file already are not done again.

* V by I: rms of V that I and its gradient explain, in units of <I>, where the true V is below 1.5e-3 of <I>
* error of V: rms against the truth, in units of <I>
* NMSE of I: after one shift and one gain; *plain* is a run whose narrow band is one object without modulation
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst
from heliorestore.instrument import KNOWN
from heliorestore.methods.base import restore
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.polarimetry.crosstalk import fit_crosstalk
from heliorestore.polarimetry.cube import make_stokes
from heliorestore.polarimetry.demodulation import Demodulation
from heliorestore.polarimetry.registration import registered
from heliorestore.polarimetry.states import States
from heliorestore.prepare.average import average_frames
from heliorestore.quality import likeness
from heliorestore.settings import Settings
from heliorestore.simulate.burst import Simulation, simulate_burst
from heliorestore.simulate.polarimeter import TETRAHEDRON
from heliorestore.simulate.view import SimulationSettings

Images = npt.NDArray[np.floating]
METHODS: dict[str, Settings] = {"momfbd": MomfbdSettings(), "sv-momfbd": SvMomfbdSettings()}
KNOWN_MATRIX = Demodulation.of_modulation(TETRAHEDRON)
BORDER, WEAK = 8, 1.5e-3


def simulated(r0_cm: float, frames: int, seed: int, size: int) -> Simulation:
    settings = SimulationSettings(
        scene="granulation",
        size=size,
        frames=frames,
        polarimetry=True,
        ao=True,
        r0_cm=r0_cm,
        noise=3e-3,
    )
    return simulate_burst(settings, KNOWN["crisp-6302-paper"], seed=seed)


def routes(made: Simulation, method: str) -> Iterator[tuple[str, Images]]:
    """The name of each route and its I, Q, U, V (stokes, y, x)."""
    burst, settings = made.burst, METHODS[method]
    if method == "momfbd":  # once
        yield "mean of the frames", KNOWN_MATRIX.apply(average_frames(burst)[0][1:])
        yield "states as objects", KNOWN_MATRIX.apply(restore(together(burst), settings).images)
        runs = [restore(one, settings).images for one in alone(burst)]
        apart = np.stack([images[1] for images in runs])
        yield "restored apart", KNOWN_MATRIX.apply(apart)
        onto = registered(apart, apart, apart.mean(0), filters=False).states
        yield "restored apart, registered", KNOWN_MATRIX.apply(onto)
        wide = np.stack([images[0] for images in runs])
        yield (
            "restored apart, registered by the wide bands",
            KNOWN_MATRIX.apply(registered(apart, wide, wide[0]).states),
        )
    restored = restore(burst, settings)
    states, anchors = restored.images[1:], restored.maps["anchor"].array[1:]
    yield f"{method}, one run", KNOWN_MATRIX.apply(states)
    shown = States(
        images=states[:, None],
        sigmas=np.zeros_like(states)[:, None],
        header=burst.headers[0],
        instrument=burst.instruments[0],
        unit=burst.unit,
        sources=(),
        wide=restored.images[0],
        anchors=anchors[:, None],
    )
    for route, options in (
        ("registered", {}),
        ("without cross-talk", {"remove_crosstalk": True}),
        ("noise filtered", {"remove_crosstalk": True, "filter_noise": True}),
    ):
        yield f"{method}, {route}", make_stokes(shown, KNOWN_MATRIX, **options).images[:, 0]


def together(burst: Burst) -> Burst:
    """The states as objects of one burst: the first frames of all, the second ones, as if taken at once."""
    count = min(len(burst.frames_of(k)) for k in range(1, 5))
    frames = [[burst.image(k, f) for f in burst.frames_of(k)[:count]] for k in range(1, 5)]
    return Burst(frames=np.array(frames), instruments=burst.instruments[1:])


def alone(burst: Burst) -> list[Burst]:
    """Each state in its own frames, with the wide band beside it."""
    return [burst.select([0, k], burst.frames_of(k)) for k in range(1, 5)]


def plain(made: Simulation, method: str) -> float:
    """NMSE of the narrow band of a run in which all states are one object."""
    burst = made.burst
    frames = np.array(
        [
            [burst.image(0, f) for f in range(burst.shape[1])],
            [burst.image(1 + f % 4, f) for f in range(burst.shape[1])],
        ]
    )
    both = Burst(frames=frames, instruments=burst.instruments[:2])
    restored = restore(both, METHODS[method]).images[1]
    return likeness(restored, made.truth[1:].mean(0), BORDER).nmse


def figures(stokes: Images, truth: Images) -> dict[str, float]:
    """What the table shows of one route; both (stokes, y, x)."""
    level = float(truth[0].mean())
    inner = np.s_[BORDER:-BORDER, BORDER:-BORDER]
    found: dict[str, float] = {"I nmse": likeness(stokes[0], truth[0], BORDER).nmse}
    for k, name in enumerate("QUV", 1):
        weak = np.abs(truth[k]) < WEAK * level
        found[f"{name} by I"] = fit_crosstalk(stokes[k], stokes[0], weak).rms
        found[f"{name} error"] = float((stokes[k] - truth[k])[inner].std()) / level
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Stokes images of simulated states by several routes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--bursts", nargs="+", default=["10:16:1", "8:24:2", "15:12:3"])
    parsed = parser.parse_args()
    parsed.folder.mkdir(parents=True, exist_ok=True)
    path = parsed.folder / "polarimetry.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for method in parsed.methods:
        for name in parsed.bursts:
            key = f"{name} {parsed.size} {method}"
            if key in results:
                continue
            r0_cm, frames, seed = name.split(":")
            made = simulated(float(r0_cm), int(frames), int(seed), parsed.size)
            assert made.stokes is not None
            began, table, shown = time.process_time(), {}, {"truth": made.stokes[0]}
            for route, stokes in routes(made, method):
                table[route] = figures(stokes, made.stokes[0])
                shown[route] = stokes.astype(np.float32)
                print(key, route, {n: float(f"{v:.3g}") for n, v in table[route].items()}, flush=True)
            seconds = time.process_time() - began
            results[key] = {"routes": table, "plain I nmse": plain(made, method), "seconds": seconds}
            np.savez_compressed(parsed.folder / f"{key.replace(' ', '_').replace(':', '_')}.npz", **shown)
            path.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

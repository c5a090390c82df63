"""What destretching gains or loses where the image motion differs over the field: simulated bursts, restored
with and without it.

    python benchmarks/destretch.py [--size 192] [--high-layer-km 4 12] [--r0-cm 7] [--ao] [--methods momfbd
    sv-momfbd]

Granulation, 12 frames of SST/CRISP at 854.2 nm; `--ao` adds adaptive optics that look at the field's centre.
NMSE is the error after one sub-pixel shift and one gain, in units of the truth's variance; restored images
are looked at through the telescope again.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from momfbd import compared, reobserved

from heliorestore.instrument import find
from heliorestore.methods.base import stream
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.prepare.observe import observe
from heliorestore.simulate.burst import simulate_burst
from heliorestore.simulate.view import SimulationSettings

METHODS = {"momfbd": MomfbdSettings, "sv-momfbd": SvMomfbdSettings}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--high-layer-km", type=float, nargs="+", default=[4.0, 12.0])
    parser.add_argument("--r0-cm", type=float, default=7.0)
    parser.add_argument("--ao", action="store_true")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    a = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{a.size} x {a.size} pixels, r0 {a.r0_cm:g} cm, {'with' if a.ao else 'no'} AO\n")
    print(
        "| high layer | | destretched | NMSE | gain | iterations | seconds | displacements, rms "
        "|\n|---|---|---|---|---|---|---|---|"
    )
    for height in a.high_layer_km:
        settings = SimulationSettings(
            size=a.size,
            r0_cm=a.r0_cm,
            high_layer_km=height,
            ao=a.ao,
            scene="granulation",
            objects=1,
            noise=2e-3,
        )
        simulation = simulate_burst(settings, find("crisp-8542-paper"), seed=1)
        for destretch in (False, True):
            observation = observe(simulation.burst, torch.device("cpu"), destretch=destretch)
            motion = "" if observation.distortion is None else f"{observation.distortion.rms:.2f} px"
            rows = [("mean of the frames", observation.mean[0].numpy(), 0, 0.0)]
            for method in a.methods:
                began = time.process_time()
                last = list(stream(simulation.burst, METHODS[method](destretch=destretch), device="cpu"))[-1]
                rows.append(
                    (
                        f"`{method}`",
                        reobserved(np.asarray(last.images[0])),
                        last.step,
                        time.process_time() - began,
                    )
                )
            for what, image, steps, took in rows:
                found = compared(image, simulation.truth[0])
                said = (
                    f"{found['nmse']:.3f} | {found['gain']:.2f} | {steps or ''} | "
                    f"{f'{took:.0f}' if took else ''}"
                )
                print(
                    f"| {height:g} km | {what} | {'yes' if destretch else 'no'} | {said} | {motion} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""What the forward model of `sv-momfbd` leaves when the wavefronts are the true ones.

    python benchmarks/model_limit.py [--names G A S7] [--modes 44 100 200] [--step 32] [--border 16 40]

The bursts are those of `burst_set.py`. Prints NMSE and gain of the objects that belong to the true
wavefronts, as far as so many modes on such a grid describe them, without pixels so near to the border.
"""

import argparse

import numpy as np
import torch
from burst_set import error, make
from momfbd import flow_of, objects_of, true_modes

from heliorestore.methods.sv_momfbd import SvMomfbdSettings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", nargs="+", default=["G", "A", "S7"])
    parser.add_argument("--modes", nargs="+", type=int, default=[44, 100, 200])
    parser.add_argument("--step", type=int, default=32)
    parser.add_argument("--psf", type=int, default=128)
    parser.add_argument("--border", nargs="+", type=int, default=[16, 40])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name in chosen.names:
        simulation = make(name)
        for modes in chosen.modes:
            r0_cm = simulation.view.settings.r0_cm
            settings = SvMomfbdSettings(
                modes=modes, grid_step=chosen.step, psf=chosen.psf, r0_cm=r0_cm, align=False
            )
            flow = flow_of(simulation, settings)
            image = np.asarray(objects_of(flow, settings, true_modes(simulation, flow)))[0]
            found = [error(image, simulation.truth[0], simulation.view.instrument, n) for n in chosen.border]
            words = ", ".join(f"{nmse:.4f} ({gain:.2f})" for nmse, gain in found)
            print(f"{name}, {modes} modes every {chosen.step} px: {words}", flush=True)


if __name__ == "__main__":
    main()

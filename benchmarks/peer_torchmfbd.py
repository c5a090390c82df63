"""The same simulated bursts through torchmfbd (PyPI), with the settings of its own sunspot example; needs it
in the environment.

python benchmarks/peer_torchmfbd.py -o peer.json [--size 128] [--cases ao no-ao] [--strides 32 16]
[--iterations 100 350]

It is given frames that are aligned by whole pixels, as our own methods align them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from momfbd import CASES, Table, compared, reobserved, simulated

from heliorestore.prepare.observe import observe

CONFIGURATION = {
    "telescope": {"diameter": 100.0, "central_obscuration": 0.0},
    "images": {
        "n_pixel": 64,
        "pix_size": 0.059,
        "apodization_border": 6,
        "remove_gradient_apodization": False,
    },
    "object1": {"wavelength": 8542.0, "image_filter": "tophat", "cutoff": [0.75, 0.75]},
    "optimization": {
        "gpu": -1,
        "transform": "softplus",
        "softplus_scale": 1.0,
        "lr_obj": 0.02,
        "lr_modes": 0.08,
        "lr_prior": 0.1,
        "show_object_info": False,
        "filter_loss": "wiener",
    },
    "regularization": {"iuwt1": {"variable": "object", "lambda": 0.0, "nbands": 5}},
    "psf": {"model": "kl", "nmax_modes": 44, "orthogonalize": True},
    "initialization": {"object": "contrast", "modes_std": 0.0},
    "annealing": {"type": "linear", "start_pct": 0.0, "end_pct": 0.85},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="rows that it already holds are not measured again"
    )
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--cases", nargs="+", default=["ao", "no-ao"], choices=list(CASES))
    parser.add_argument("--strides", nargs="+", type=int, default=[32, 16])
    parser.add_argument("--iterations", nargs="+", type=int, default=[100, 350])
    arguments = parser.parse_args()
    table = Table(arguments.output)
    for case in arguments.cases:
        simulation = simulated(case, arguments.size)
        frames = observe(simulation.burst, torch.device("cpu")).read().images[:1]
        for stride, iterations in itertools.product(arguments.strides, arguments.iterations):
            method = f"torchmfbd, every {stride} px, {iterations} iterations"
            if table.holds(case, method, arguments.size):
                continue
            began = time.process_time()
            image = restored(frames, stride, iterations)
            row: dict[str, Any] = {
                "case": case,
                "method": method,
                "size": arguments.size,
                "iterations": iterations,
            }
            row["seconds"] = time.process_time() - began
            truth = simulation.truth[0][: image.shape[0], : image.shape[1]]
            # Whichever suits it better: its filter is neither the telescope's nor none.
            table.add(
                row
                | min(
                    (compared(seen, truth) for seen in (image, reobserved(image))),
                    key=lambda found: found["nmse"],
                )
            )


def restored(frames: torch.Tensor, stride: int, iterations: int) -> np.ndarray:
    """The image (y, x) that its patches of 64 pixels make of frames (1, frame, y, x)."""
    import torchmfbd

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(CONFIGURATION, file)  # JSON is YAML
        file.flush()
        solver = torchmfbd.Deconvolution(str(Path(file.name)))
    patchify = torchmfbd.Patchify4D()
    patches = patchify.patchify(frames, patch_size=64, stride_size=stride, flatten_sequences=True)
    solver.add_frames(patches, id_object=0, id_diversity=0, diversity=0.0)
    solver.deconvolve(
        infer_object=False, optimizer="adamw", simultaneous_sequences=90, n_iterations=iterations
    )
    image = patchify.unpatchify(solver.obj[0], apodization=6, weight_type="cosine", weight_params=30)
    return np.nan_to_num(np.squeeze(image.cpu().numpy()), nan=1.0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

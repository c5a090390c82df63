"""The same simulated bursts through torchmfbd (PyPI), with the settings of its own sunspot example; needs it
in the environment.

python benchmarks/peer_torchmfbd.py -o peer.json [--size 128] [--cases ao no-ao] [--strides 32 16]
[--iterations 100 350]
python benchmarks/peer_torchmfbd.py -o peer.txt --bursts FOLDER [--names A B] [--flux 0 0.02]

The second form takes the bursts that burst_set.py wrote and prints rows as photometry.py does. It is given
frames that are aligned by whole pixels, as our own methods align them.
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
from astropy.io import fits
from burst_set import CASES as BURSTS
from burst_set import error, file_name
from momfbd import CASES, Table, compared, reobserved, simulated

from heliorestore import read
from heliorestore.instrument import KnownInstrument
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
    parser.add_argument("--bursts", type=Path, help="where burst_set.py wrote bursts, instead of --cases")
    parser.add_argument("--names", nargs="+", default=list(BURSTS))
    parser.add_argument("--flux", nargs="+", type=float, default=[0.0, 0.02])
    arguments = parser.parse_args()
    if arguments.bursts:
        with arguments.output.open("a") as file:
            for name, flux in itertools.product(arguments.names, arguments.flux):
                line = burst_row(arguments.bursts, name, flux)
                print(line, flush=True)
                print(line, file=file, flush=True)
        return
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


def burst_row(folder: Path, name: str, flux: float, stride: int = 32, iterations: int = 350) -> str:
    """NMSE, gain and seconds for a burst of burst_set.py, seen as it is or through the telescope: whichever
    suits it better.
    """
    burst = read(folder / f"{file_name(name, flux)}.fits")
    truth = fits.getdata(folder / f"{name}_truth.fits").squeeze()
    instrument = burst.instruments[0].require()
    frames = observe(burst, torch.device("cpu")).read().images[:1]
    began = time.process_time()
    image = restored(frames, stride, iterations, instrument)
    seconds = time.process_time() - began
    rows, columns = image.shape
    nmse, gain = min(error(image, truth[:rows, :columns], seen) for seen in (None, instrument))
    return f"| {name} | {flux:.1%} | {nmse:.4f} | {gain:.2f} | {seconds:.0f} |"


def configured(instrument: KnownInstrument | None) -> dict[str, Any]:
    """The settings of its example, for another instrument."""
    made: dict[str, Any] = json.loads(json.dumps(CONFIGURATION))
    if instrument is not None:
        made["telescope"] = {
            "diameter": 100 * instrument.diameter_m,
            "central_obscuration": 100 * instrument.obscuration_m,
        }
        made["images"]["pix_size"] = instrument.pixel_arcsec
        made["object1"]["wavelength"] = 10 * instrument.wavelength_nm
    return made


def restored(
    frames: torch.Tensor, stride: int, iterations: int, instrument: KnownInstrument | None = None
) -> np.ndarray:
    """The image (y, x) that its patches of 64 pixels make of frames (1, frame, y, x)."""
    import torchmfbd

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(configured(instrument), file)  # JSON is YAML
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

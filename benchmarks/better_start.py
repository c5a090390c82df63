"""What a better start of `sv-momfbd` could be worth: its error over the processor's time from the usual
start, from the true wavefronts, and from these with errors.

    python benchmarks/better_start.py FOLDER [--names tG tA] [--knows 1 0.5]

A network that gave mode maps from the frames would be a start between no wavefronts and the true ones.
`knows` is the share of the variance of every mode that it gets right; the rest is replaced by another burst's
air of the same strength (frames in another order). Bursts are the tuning ones of burst_set.py. Each line of
FOLDER/better_start.json has the seconds of one processor and the NMSE after every iteration; the summary says
when each start first comes near the least error of the usual one, and how long that one was on patches, which
is all that a start could save.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from burst_set import error, make

from heliorestore.methods.sv_momfbd import METHOD, SvMomfbdSettings
from heliorestore.optics.convolve import node_grid
from heliorestore.optics.psf import make_optics
from heliorestore.simulate.burst import Simulation
from heliorestore.snapshot import NODE_AXES, Map, Snapshot

CPU = torch.device("cpu")
NEAR = (1.5, 1.1, 1.02)  # times the least error of the usual start


def true_modes(made: Simulation, count: int, step: int) -> npt.NDArray[np.float32]:
    """The modes (frame, mode, gy, gx) in radian at the nodes: least squares of the true phases."""
    view, telescope = made.view, made.view.telescope
    assert telescope is not None
    optics = make_optics(view.instrument, telescope.optics.size, count)
    lit = telescope.optics.amplitude / telescope.optics.amplitude.max()
    basis = torch.cat([torch.ones_like(lit)[None], optics.modes]).double()
    sensor = torch.linalg.solve((basis * lit) @ basis.T, basis * lit)[1:]
    size = view.settings.size
    rows, columns = (torch.arange(n) * step for n in node_grid((size, size), step))
    y, x = torch.meshgrid(rows.float(), columns.float(), indexing="ij")
    places = (torch.stack([y, x], -1).reshape(-1, 2) - (size - 1) / 2) * view.instrument.pixel_arcsec
    frames = []
    for frame in range(view.settings.frames):
        phases = telescope.wavefronts(places, frame * view.settings.cadence_s)
        found = sensor @ phases.reshape(len(places), -1).double().T
        frames.append(found.reshape(count, *y.shape))
    modes = torch.stack(frames)
    modes[:, :2] -= modes[:, :2].mean(0)  # where the image stands nobody can know
    return modes.numpy().astype(np.float32)


def trace(
    made: Simulation, settings: SvMomfbdSettings, modes: npt.NDArray[np.float32] | None
) -> list[tuple[float, float]]:
    """(processor seconds, NMSE) after every iteration."""
    start = None
    if modes is not None:
        mean = np.asarray(made.burst.frames).mean(1)
        step = float(settings.grid_step)
        start = Snapshot(
            step=0, total=1, images=mean, maps={"modes": Map(modes, NODE_AXES, "rad", (step, step))}
        )
    found, began = [], time.process_time()
    for snapshot in METHOD.stream(made.burst, settings, device=CPU, seed=0, start=start):
        paused = time.process_time()
        nmse, _ = error(snapshot.images[0], made.truth[0], made.view.instrument)
        found.append((paused - began, nmse))
        began += time.process_time() - paused
    return found


def reached(found: list[tuple[float, float]], level: float) -> float | None:
    """The seconds after which the error is as low as that, None if never."""
    return next((seconds for seconds, nmse in found if nmse <= level), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", nargs="+", default=["tG", "tA", "tB", "tS"])
    parser.add_argument("--knows", nargs="+", type=float, default=[1.0])
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    parsed.folder.mkdir(parents=True, exist_ok=True)
    path = parsed.folder / "better_start.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name in parsed.names:
        made = make(name)
        air = "auto" if made.view.settings.ao else "uncorrected"
        settings = SvMomfbdSettings(air=air, stop_early=False)
        if name not in results:
            truth = true_modes(made, settings.modes, settings.grid_step)
            other = np.roll(truth, len(truth) // 2, 0)
            starts = {
                f"knows {share:g}": np.float32(share**0.5) * truth + np.float32((1 - share) ** 0.5) * other
                for share in parsed.knows
            }
            results[name] = {"usual": trace(made, settings, None)}
            for label, modes in starts.items():
                results[name][label] = trace(made, settings, modes)
            path.write_text(json.dumps(results))
        usual = results[name]["usual"]
        least = min(nmse for _, nmse in usual)
        print(f"{name}: {usual[settings.patch_iterations - 1][0]:.0f} of {usual[-1][0]:.0f} s on patches")
        for label, found in results[name].items():
            times = [reached(found, near * least) for near in NEAR]
            said = ", ".join(
                f"{near:g} x {least:.4f} " + ("never" if seconds is None else f"after {seconds:.0f} s")
                for near, seconds in zip(NEAR, times, strict=True)
            )
            print(f"  {label:10s} least {min(nmse for _, nmse in found):.4f}; {said}", flush=True)


if __name__ == "__main__":
    main()

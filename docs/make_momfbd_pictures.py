"""Draw the pictures of sv-momfbd.md: `python docs/make_momfbd_pictures.py results.json variants.json`, files
of benchmarks/momfbd.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

from heliorestore.methods.base import stream
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.simulate.burst import Simulation

mpl.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from momfbd import compared, reobserved, simulated

PICTURES = Path(__file__).parent / "pictures"
SIZE = 128
LAMBDAS = (1e-3, 0.02, 0.1, 1.0)
CASES = {"ao": "adaptive optics", "no-ao": "no adaptive optics"}
CHOICES = {
    "grid step": {"16 px": "nodes every 16 px", "32 px": "as by default", "64 px": "nodes every 64 px"},
    "modes": {"20": "20 modes", "44": "as by default", "80": "80 modes"},
    "lambda_object": {"0.005": "lambda_object 0.005", "0.02": "as by default", "0.1": "lambda_object 0.1"},
    "lambda_modes": {"0.001": "lambda_modes 0.001", "0.01": "as by default", "0.1": "lambda_modes 0.1"},
    "r0 assumed": {"7 cm": "r0 7 cm assumed", "10 cm": "as by default", "15 cm": "r0 15 cm assumed"},
}


def draw_lambdas(simulation: Simulation) -> None:
    """The mean of the frames, one run that goes on for four iterations with each lambda, and the truth."""
    settings = SvMomfbdSettings()
    source = stream(simulation.burst, settings, device="cpu")
    snapshot = next(source)
    while snapshot.stop is None:
        snapshot = next(source)
    shown = [("mean of the frames", np.asarray(simulation.burst.frames)[0].mean(0))]
    for value in LAMBDAS:
        turned = settings.replace(lambda_object=value, iterations=snapshot.step + 4, stop_early=False)
        snapshot = source.send(turned)
        while snapshot.stop is None:
            snapshot = source.send(turned)
        error = compared(reobserved(snapshot.images[0]), simulation.truth[0])["nmse"]
        shown.append((f"lambda_object {value:g}: error {error:.3f}", np.asarray(snapshot.images[0])))
    source.close()
    shown.append(("truth, telescope's limit", np.asarray(simulation.truth[0])))
    low, high = np.percentile(shown[2][1][16:-16, 16:-16], (0.5, 99.5))
    figure, axes = plt.subplots(2, 3, figsize=(9.6, 6.7))
    for axis, (title, image) in zip(axes.flat, shown, strict=True):
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    finish(figure, "sv_lambda.png")


def draw_iterations(simulations: dict[str, Simulation], rows: list[dict[str, Any]]) -> None:
    """Error against iteration far beyond the stop, which is marked."""
    figure, axis = plt.subplots(figsize=(6.4, 3.6))
    for number, (case, simulation) in enumerate(simulations.items()):
        snapshots = stream(simulation.burst, SvMomfbdSettings(iterations=80, stop_early=False), device="cpu")
        errors = [
            compared(reobserved(np.asarray(s.images[0])), simulation.truth[0])["nmse"] for s in snapshots
        ]
        stopped = next(
            row for row in rows if (row["case"], row["method"], row["size"]) == (case, "sv-momfbd", SIZE)
        )
        axis.semilogy(range(1, len(errors) + 1), errors, color=f"C{number}", label=CASES[case])
        axis.plot(stopped["iterations"], stopped["nmse"], "o", color=f"C{number}", markersize=8)
        print(
            f"{case}: at the stop ({stopped['iterations']}) {stopped['nmse']:.4f}, at best "
            f"{min(errors):.4f}, after 80 {errors[-1]:.4f}"
        )
    patches = SvMomfbdSettings().patch_iterations
    axis.axvline(patches + 0.5, color="0.7", linewidth=1, zorder=0)
    axis.text(
        patches - 0.3, axis.get_ylim()[1] * 0.8, "patches", ha="right", va="top", color="0.4", fontsize=9
    )
    axis.text(patches + 1.3, axis.get_ylim()[1] * 0.8, "whole field", va="top", color="0.4", fontsize=9)
    axis.set(xlabel="iteration", ylabel="error / variance of the truth", xlim=(0, 80))
    axis.legend(frameon=False, fontsize=9)
    finish(figure, "sv_iterations.png")


def draw_choices(rows: list[dict[str, Any]]) -> None:
    """Error and gain as one setting is changed."""
    cases = [case for case in CASES if any(row["case"] == case for row in rows)]
    figure, axes = plt.subplots(2, len(CHOICES), figsize=(11, 4.4), sharey="row")
    for column, (title, values) in enumerate(CHOICES.items()):
        for number, case in enumerate(CASES):
            if case not in cases:
                continue
            found = {row["method"]: row for row in rows if row["case"] == case}
            names = [name for name, method in values.items() if method in found]
            for axis, key in zip(axes[:, column], ("nmse", "gain"), strict=True):
                axis.plot(
                    names,
                    [found[values[name]][key] for name in names],
                    "o-",
                    color=f"C{number}",
                    label=CASES[case],
                )
        axes[0, column].set(title=title, yscale="log")
        axes[1, column].axhline(1, color="0.7", linewidth=1, zorder=0)
    axes[0, 0].set_ylabel("error")
    axes[1, 0].set_ylabel("gain")
    axes[0, 0].legend(frameon=False, fontsize=8)
    finish(figure, "sv_choices.png")


def finish(figure: plt.Figure, name: str) -> None:
    """Save a figure among the pictures."""
    figure.tight_layout(pad=0.5)
    figure.savefig(PICTURES / name, dpi=90)
    plt.close(figure)


def main() -> None:
    """Draw all pictures."""
    torch.set_num_threads(1)
    results, variants = (json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:3])
    draw_choices(variants)
    simulations = {case: simulated(case, SIZE) for case in CASES}
    draw_lambdas(simulations["ao"])
    draw_iterations(simulations, results)


if __name__ == "__main__":
    main()

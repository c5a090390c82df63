"""Write the tables and pictures of docs/emulator.md: the emulator beside filter flow and the exact sum.

    python docs/make_emulator_tables.py [--weights NAME] [--runs 3] [--data ../shared/data]
        [--only defocus|mhd|points|strength|burst|timing|record]

The object is granulation of the simulator; for `mhd` it is the part of an MHD simulation that no training
saw, where the data are.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

import heliorestore
from heliorestore.diagnose import emulator_error
from heliorestore.diagnose.emulator_error import STEPS, Error, Models, make_models, middle
from heliorestore.instrument import KNOWN
from heliorestore.methods.blind.emulated import Trained, load_emulator
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.nets.emulator import INSTRUMENTS, MODES
from heliorestore.nets.weights import find, read_record
from heliorestore.optics.convolve import at_nodes, interpolate
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.photosphere import photosphere, quiet_sun
from heliorestore.train.scenes import SceneFile, read

mpl.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
sys.path[:0] = [*(str(ROOT / place) for place in ("benchmarks", "tests/shared"))]
import emulator as benchmark  # noqa: E402 - they lie beside the package

import blind_bursts  # noqa: E402 - they lie beside the package

PAGE = ROOT / "docs" / "emulator.md"
PICTURES = ROOT / "docs" / "pictures"
CRISP = KNOWN["crisp-8542-paper"]
MHD = SceneFile("truth/mhd_granulation.fits", 0.0662, columns=(700, 1000))
SPOT = Patch(shape=(emulator_error.LEAST_SIDE,) * 2, pixel_arcsec=0.059, scene="sunspot", seed=77)
PARTS = (slice(0, 2), slice(2, 9))
NAMES = ("emulator", *(f"step {step}" for step in STEPS))
COLOURS = {
    "emulator": "tab:red",
    "step 32": "tab:cyan",
    "step 16": "tab:blue",
    "step 8": "tab:purple",
    "no blur": "0.6",
}


def label(name: str) -> str:
    """What a reader calls a model."""
    return {"emulator": "emulator", "no blur": "the object as it is"}.get(name, f"filter flow, {name}")


def defocus_table(found: dict[str, Error]) -> str:
    """Every model with its errors."""
    lines = ["| model | NMSE | of the variance | largest error |", "|---|---|---|---|"]
    shown = ((label(name), found[name]) for name in (*NAMES, "no blur"))
    return "\n".join(
        [*lines, *(f"| {name} | {e.nmse:.1e} | {e.of_variance:.1e} | {e.largest:.1%} |" for name, e in shown)]
    )


def granulation(models: Models) -> torch.Tensor:
    """The object (y, x), as `heliorestore weights compare` has it."""
    return middle(
        torch.tensor(quiet_sun(CRISP, emulator_error.LEAST_SIDE), dtype=torch.float32), models.object_side
    )


def defocus(trained: Trained) -> str:
    """Fig. 5: a defocus at places of the diagonal; NMSE, the same in units of the image's variance, and the
    largest error.
    """
    models = make_models(trained, CRISP, 256, 64)
    object_ = granulation(models)
    modes = emulator_error.defocus_modes(models, 0.5)
    shown = {name: blur(object_, modes) for name, blur in models.blurs.items()}
    shown["diffraction limit"] = models.blurs["step 32"](
        object_, torch.zeros(MODES, models.side, models.side)
    )
    draw_defocus(models.inner(object_), shown)
    return defocus_table(emulator_error.defocus_errors(models, object_))


def mhd(trained: Trained, folder: Path) -> str:
    """The same on granulation of an MHD simulation, on as much as the part is wide."""
    _, image, _ = read(MHD, folder)
    models = make_models(trained, CRISP, 224, 64)
    return defocus_table(
        emulator_error.defocus_errors(
            models, middle(torch.tensor(image, dtype=torch.float32), models.object_side)
        )
    )


def draw_defocus(object_: torch.Tensor, shown: dict[str, torch.Tensor]) -> None:
    """The picture of fig. 5."""
    named = [("diffraction limit", "diffraction limit"), ("exact sum", "exact"), ("emulator", "emulator")]
    panels = [("object", object_), *((title, shown[name]) for title, name in named)]
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.2), layout="constrained")
    low, high = (float(q) for q in np.percentile(shown["exact"].numpy(), (0.3, 99.7)))
    for axis, (title, image) in zip(axes.flat, panels, strict=False):
        axis.imshow(image, origin="lower", cmap="gray", vmin=low, vmax=high)
        axis.set_title(title, fontsize=10)
    reach = float((shown["emulator"] - shown["exact"]).abs().quantile(0.998))
    for axis, name in zip(axes.flat[4:], ("emulator", "step 16"), strict=True):
        picture = axis.imshow(
            shown[name] - shown["exact"], origin="lower", cmap="RdBu_r", vmin=-reach, vmax=reach
        )
        axis.set_title(f"{'filter flow, step 16' if name == 'step 16' else name} - exact", fontsize=10)
    figure.colorbar(picture, ax=axes[1, 1:], shrink=0.8, label="quiet Sun")
    finish(figure, axes, "emulator_defocus.png")


def points(trained: Trained, size: int = 96, apart: int = 48) -> None:
    """Fig. 7: what the network makes of points on a dark sky, and what is right; one of them is shown."""
    models = make_models(trained, CRISP, size, 128)
    sky = torch.zeros(models.object_side, models.object_side)
    first = models.object_side // 2 % apart
    sky[first::apart, first::apart] = 1.0
    white = torch.randn(MODES, generator=torch.Generator().manual_seed(4))
    figure, axes = plt.subplots(2, len(emulator_error.R0_CM), figsize=(10, 3.6), layout="constrained")
    for column, r0_cm in enumerate(emulator_error.R0_CM):
        modes = (white * emulator_error.strengths(models.optics, r0_cm))[:, None, None].expand(-1, size, size)
        # the same PSF everywhere
        exact, seen = (middle(models.blurs[name](sky, modes), apart) for name in ("step 32", "emulator"))
        for axis, part in zip(axes[:, column], (exact, seen), strict=True):
            axis.imshow(
                part.clamp(min=0).sqrt(),
                origin="lower",
                cmap="inferno",
                vmin=0,
                vmax=float(exact.max()) ** 0.5,
            )
        axes[0, column].set_title(f"r0 = {r0_cm:g} cm", fontsize=10)
        axes[1, column].set_xlabel(f"NMSE {emulator_error.error(seen, exact).nmse:.2g}", fontsize=9)
    axes[0, 0].set_ylabel("exact", fontsize=10)
    axes[1, 0].set_ylabel("emulator", fontsize=10)
    finish(figure, axes, "emulator_points.png")


def strength(trained: Trained, size: int = 96) -> str:
    """Fig. 8: NMSE against r0, with one PSF for the field and with modes that vary over 3 arcsec."""
    models = make_models(trained, CRISP, size, 128)
    object_ = granulation(models)
    spot = middle(torch.tensor(photosphere(SPOT, 854.2), dtype=torch.float32), models.object_side)
    columns = [
        "r0",
        "emulator, one PSF",
        "of the variance",
        "emulator, varying",
        "of the variance",
        "in a spot, of the variance",
    ]
    columns += ["step 32", "step 16", "step 8", "the object as it is"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    same, varying = [], []
    for r0_cm in emulator_error.R0_CM:
        same.append(emulator_error.turbulence_errors(models, object_, r0_cm, varying=False)["emulator"])
        varying.append(found := emulator_error.turbulence_errors(models, object_, r0_cm))
        values = [same[-1].nmse, same[-1].of_variance, found["emulator"].nmse, found["emulator"].of_variance]
        values.append(emulator_error.turbulence_errors(models, spot, r0_cm)["emulator"].of_variance)
        values += [found[name].nmse for name in (*NAMES[1:], "no blur")]
        lines.append(f"| {r0_cm:g} cm | " + " | ".join(f"{value:.1e}" for value in values) + " |")
        print(lines[-1], flush=True)
    draw_strength(
        [e.nmse for e in same],
        {name: [found[name].nmse for found in varying] for name in (*NAMES, "no blur")},
    )
    return "\n".join(lines)


def draw_strength(same: list[float], varying: dict[str, list[float]]) -> None:
    """The picture of fig. 8."""
    figure, axis = plt.subplots(figsize=(8, 4.4), layout="constrained")
    for name in ("no blur", *NAMES):
        axis.loglog(
            emulator_error.R0_CM,
            varying[name],
            marker="o",
            markersize=4,
            color=COLOURS[name],
            label=label(name),
        )
    axis.loglog(
        emulator_error.R0_CM,
        same,
        "--",
        marker="o",
        markersize=4,
        color=COLOURS["emulator"],
        label="emulator, one PSF for the field",
    )
    titles = "Fried parameter r0 at 854 nm [cm], telescope of 1 m", "NMSE against the exact sum"
    finish_chart(figure, axis, emulator_error.R0_CM, titles, "emulator_strength.png")


def burst(weights: str) -> str:
    """A burst of filter flow at step 8, restored with both models: loss, error, and how well the true modes
    are found.
    """
    case = blind_bursts.simulate(size=96, frames=8, modes=MODES, strength=0.6, varying=0.3, step=8, seed=3)
    lines = ["| model | optimiser | data term | NMSE | gain | tilts | modes 3 to 9 | s |", "|---" * 8 + "|"]
    error, gain = blind_bursts.nmse(case.burst.frames[0].mean(0), case.truth[0], deconvolved=False)
    lines.append(f"| mean of the frames | | | {error:.3f} | {1e3 * gain:.2f} | | | |")
    common: dict[str, Any] = {"psf": 32, "grid_step": 16, "r0_cm": 20.0, "left_out": 0.0, "align": False}
    recipes = {
        ("filter flow", "alternating"): SvMomfbdSettings(**common, patch=48, iterations=30),
        ("filter flow", "adamw"): SvMomfbdSettings.paper(**common),
        ("emulator", "adamw"): SvMomfbdSettings.paper(**common, forward="emulator", emulator=weights),
    }
    true = at_nodes(interpolate(case.modes, (96, 96), 8), 16)
    for (model, optimiser), settings in recipes.items():
        began = time.process_time()
        *_, last = heliorestore.stream(case.burst, settings)
        took = time.process_time() - began
        error, gain = blind_bursts.nmse(last.images[0], case.truth[0])
        modes = torch.as_tensor(np.array(last.maps["modes"]))
        alike = [
            float(torch.corrcoef(torch.stack([modes[:, part].flatten(), true[:, part].flatten()]))[0, 1])
            for part in PARTS
        ]
        row = [
            f"{last.losses['data']:.1e}",
            f"{error:.3f}",
            f"{1e3 * gain:.2f}",
            *(f"{value:.2f}" for value in alike),
            f"{took:.0f}",
        ]
        lines.append(f"| {model} | {optimiser} | " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def timing(runs: int) -> str:
    """Fig. 6: seconds per image, as benchmarks/emulator.py measures them."""
    torch.set_num_threads(1)
    times, gradients = benchmark.by_size_and_batch("cpu", runs), benchmark.both_ways("cpu", runs)
    draw_timing(times)
    lines = ["| | " + " | ".join(benchmark.KINDS) + " |", "|---" * (len(benchmark.KINDS) + 1) + "|"]

    def row(label: str, values: list[float | None]) -> None:
        lines.append(
            f"| {label} | " + " | ".join("" if value is None else f"{value:.3g} s" for value in values) + " |"
        )

    for count in benchmark.BATCHES:
        for size in benchmark.SIZES:
            values = [times.get((kind, size, count)) for kind in benchmark.KINDS]
            if any(values):
                row(f"{size} x {size}" + f", {count} at a time" * (count > 1), values)
    row("256 x 256 with gradient", [gradients.get(kind) for kind in benchmark.KINDS])
    return "\n".join([*lines, "", f"Seconds per image; {benchmark.machine('cpu', 1, runs)}."])


def draw_timing(times: dict[tuple[str, int, int], float]) -> None:
    """The picture of fig. 6: seconds per image against its side, one and several at a time."""
    figure, axis = plt.subplots(figsize=(8, 4.4), layout="constrained")
    colours = {"full": "tab:red", "narrow": "tab:orange", "step 16": "tab:blue", "exact": "0.4"}
    names = {
        "full": "emulator, full width",
        "narrow": "emulator, narrow",
        "step 16": "filter flow, step 16",
        "exact": "exact sum",
    }
    for kind, colour in colours.items():
        for count, style in zip(benchmark.BATCHES, ("-", "--", ":"), strict=True):
            sizes = [size for size in benchmark.SIZES if (kind, size, count) in times]
            if sizes:
                shown = names[kind] + f", {count} at a time" * (count > 1)
                values = [times[kind, size, count] for size in sizes]
                axis.loglog(sizes, values, style, marker="o", markersize=4, color=colour, label=shown)
    finish_chart(
        figure,
        axis,
        benchmark.SIZES,
        ("side of the image [px]", "processor seconds per image, one thread"),
        "emulator_timing.png",
    )


def record(weights: str) -> str:
    """What the weights' record says they scored."""
    known = read_record(find(weights))
    names = [*INSTRUMENTS, *(name for name in known.quality if name.startswith("r0_")), "nmse"]
    head = [name.replace("r0_", "r0 ").replace("_cm", " cm").replace("nmse", "all") for name in names]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(names) + "|"]
    lines.append("| " + " | ".join(f"{known.quality[name]:.1e}" for name in names) + " |")
    return "\n".join([*lines, "", f"`{known.name}`: {known.training}; NMSE, {known.quality_note}."])


def replace(name: str, table: str) -> None:
    """Put a table between its two marks in the page."""
    text = PAGE.read_text()
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    assert pattern.search(text), f"the page has no marks for {name}"
    PAGE.write_text(pattern.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text))


def finish(figure: plt.Figure, axes: np.ndarray, name: str) -> None:
    """Take the ticks away and keep the picture."""
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    save(figure, name)


def finish_chart(
    figure: plt.Figure, axis: plt.Axes, ticks: Sequence[float], titles: tuple[str, str], name: str
) -> None:
    """Give a logarithmic chart its ticks along x, titles along x and y and a legend, and keep the picture."""
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel(titles[0])
    axis.set_ylabel(titles[1])
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    save(figure, name)


def save(figure: plt.Figure, name: str) -> None:
    """Keep the picture."""
    figure.savefig(PICTURES / name, dpi=100)
    plt.close(figure)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="emulator-narrow")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    tables: dict[str, Callable[[], str | None]] = {
        "defocus": lambda: defocus(trained),
        "mhd": lambda: mhd(trained, arguments.data) if (arguments.data / MHD.file).exists() else None,
        "points": lambda: points(trained),
        "strength": lambda: strength(trained),
        "burst": lambda: burst(arguments.weights),
        "timing": lambda: timing(arguments.runs),
        "record": lambda: record(arguments.weights),
    }
    parser.add_argument("--only", choices=tables)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trained = load_emulator(arguments.weights, torch.device("cpu"))
    for name in [arguments.only] if arguments.only else tables:
        table = tables[name]()
        if table is not None:
            replace(name, table)


if __name__ == "__main__":
    main()

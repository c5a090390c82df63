"""Write the tables and pictures of docs/emulator.md: the emulator beside filter flow and the exact sum.

    python docs/make_emulator_tables.py [--object IMAGE.fits] [--weights NAME] [--runs 3]
        [--only defocus|points|strength|burst|timing|record]

The object is the first image of a FITS file (the middle of it), else granulation of the simulator.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from astropy.io import fits

import heliorestore
from heliorestore.instrument import KNOWN
from heliorestore.methods.emulated import Emulated, emulated, load_emulator
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.nets.emulator import BASIS, INSTRUMENTS, MODES
from heliorestore.nets.weights import find, read_record
from heliorestore.optics.convolve import PerPixelSum, at_nodes, given_shape, interpolate, margins
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.modes import make_basis
from heliorestore.optics.psf import Optics, make_optics, psf
from heliorestore.optics.pupil import Aperture
from heliorestore.train.scenes import simulated

mpl.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
sys.path[:0] = [*(str(ROOT / place) for place in ("benchmarks", "tests/optics", "tests/methods"))]
import blind_bursts  # noqa: E402 - they lie beside the package
import emulator as benchmark  # noqa: E402 - they lie beside the package
from wandering import nmse, wandering_modes  # noqa: E402 - they lie beside the package

PAGE = ROOT / "docs" / "emulator.md"
PICTURES = ROOT / "docs" / "pictures"
CRISP = KNOWN["crisp-8542"]
CPU = torch.device("cpu")
STEPS = (32, 16, 8)
SEEDS = (1, 2)
R0_CM = (60.0, 40.0, 25.0, 15.0, 10.0, 5.0)
TILTS = 0.5  # of the turbulence's, as in the training
DEFOCUS_RAD, DEFOCUS_PX = 3.0, 30.0
PARTS = (slice(0, 2), slice(2, 9))
Blur = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@cache
def optics(size: int) -> Optics:
    """CRISP's PSFs on that many pixels."""
    return make_optics(CRISP, size, make_basis(MODES, Aperture.of(CRISP), BASIS))


def models(weights: str, size: int, psf_px: int) -> dict[str, Blur]:
    """Images (y, x) of `size` pixels of objects that bring their borders and modes (mode, y, x), by every model."""
    given, shape = [optics(psf_px)], (size, size)
    exact = PerPixelSum(optics=given, shape=shape, borders="given")

    def on_nodes(model: FilterFlow | Emulated, step: int) -> Blur:
        def blur(object_: torch.Tensor, modes: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return model(object_[None], at_nodes(modes, step)[None])[0, 0]

        return blur

    found: dict[str, Blur] = {"exact": lambda object_, modes: exact(object_[None], modes[None])[0, 0]}
    # A node on every fourth pixel is as good as the modes of every pixel, as the network wants them.
    found["emulator"] = on_nodes(emulated(load_emulator(weights, CPU))(given, shape, 4, 1e9), 4)
    for step in STEPS:
        found[f"step {step}"] = on_nodes(FilterFlow(optics=given, shape=shape, step=step, borders="given"), step)
    return found


def contrast_error(image: torch.Tensor, exact: torch.Tensor) -> float:
    """|image - exact|^2 in units of the exact image's variance."""
    return float((image - exact).square().mean() / exact.var(correction=0))


def defocus(scene: torch.Tensor, weights: str, size: int = 256) -> str:
    """Fig. 5: a defocus that moves along the diagonal; NMSE, the same in units of the image's variance, and the largest error."""
    run = models(weights, size, 64)
    object_ = middle(scene, given_shape((size, size), 64)[0])
    number = int(np.abs(optics(64).basis.expansion[:, 3]).argmax())  # the mode that is mostly Noll 4
    axis = torch.arange(size).float()
    rows: dict[str, list[list[float]]] = {}
    shown = []
    for place in (0.25, 0.5, 0.75):
        square = (axis[:, None] - place * size).square() + (axis[None, :] - place * size).square()
        modes = torch.zeros(MODES, size, size)
        modes[number] = DEFOCUS_RAD * torch.exp(-square / (2 * DEFOCUS_PX**2))
        exact = run["exact"](object_, modes)
        for name, blur in run.items():
            image = blur(object_, modes)
            error = float((image - exact).abs().max() / exact.max())
            rows.setdefault(name, []).append([nmse(image, exact), contrast_error(image, exact), error])
            if place == 0.5:
                shown.append((name, image))
    plain = run["step 32"](object_, torch.zeros(MODES, size, size))
    before = margins(64)[0]
    draw_defocus(object_[before : before + size, before : before + size], plain, dict(shown))
    lines = ["| model | NMSE | of the variance | largest error |", "|---|---|---|---|"]
    for name in ("emulator", *(f"step {step}" for step in STEPS)):
        values = np.mean(rows[name], 0)
        label = "emulator" if name == "emulator" else f"filter flow, {name}"
        lines.append(f"| {label} | {values[0]:.1e} | {values[1]:.1e} | {values[2]:.1%} |")
    return "\n".join(lines)


def draw_defocus(object_: torch.Tensor, plain: torch.Tensor, shown: dict[str, torch.Tensor]) -> None:
    """The picture of fig. 5."""
    panels = [("object", object_), ("diffraction limit", plain), ("exact sum", shown["exact"]), ("emulator", shown["emulator"])]
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.2), layout="constrained")
    low, high = (float(q) for q in np.percentile(shown["exact"].numpy(), (0.3, 99.7)))
    for axis, (title, image) in zip(axes.flat, panels, strict=False):
        axis.imshow(image, origin="lower", cmap="gray", vmin=low, vmax=high)
        axis.set_title(title, fontsize=10)
    reach = float((shown["emulator"] - shown["exact"]).abs().quantile(0.998))
    for axis, name in zip(axes.flat[4:], ("emulator", "step 16"), strict=True):
        picture = axis.imshow(shown[name] - shown["exact"], origin="lower", cmap="RdBu_r", vmin=-reach, vmax=reach)
        axis.set_title(f"{'filter flow, step 16' if name == 'step 16' else name} - exact", fontsize=10)
    figure.colorbar(picture, ax=axes[1, 1:], shrink=0.8, label="quiet Sun")
    finish(figure, axes, "emulator_defocus.png")


def points(weights: str, size: int = 96) -> None:
    """Fig. 7: the image of a point by the network, and the PSF."""
    blur = models(weights, size, 128)["emulator"]
    sky = torch.zeros(given_shape((size, size), 128))
    sky[(sky.shape[0] - 1) // 2, (sky.shape[1] - 1) // 2] = 1.0
    white = torch.randn(MODES, generator=torch.Generator().manual_seed(4))
    figure, axes = plt.subplots(2, len(R0_CM), figsize=(10, 3.6), layout="constrained")
    half = 24
    for column, r0_cm in enumerate(R0_CM):
        modes = white * strengths(r0_cm)
        exact = psf(optics(128), modes)[64 - half : 64 + half, 64 - half : 64 + half]
        image = blur(sky, modes[:, None, None].expand(-1, size, size))
        centre = (sky.shape[0] - 1) // 2 - margins(128)[0]
        image = image[centre - half : centre + half, centre - half : centre + half]
        for axis, part in zip(axes[:, column], (exact, image), strict=True):
            axis.imshow(part.clamp(min=0).sqrt(), origin="lower", cmap="inferno", vmin=0, vmax=float(exact.max()) ** 0.5)
        axes[0, column].set_title(f"r0 = {r0_cm:g} cm", fontsize=10)
        axes[1, column].set_xlabel(f"NMSE {nmse(image, exact):.2g}", fontsize=9)
    axes[0, 0].set_ylabel("PSF", fontsize=10)
    axes[1, 0].set_ylabel("emulator", fontsize=10)
    finish(figure, axes, "emulator_points.png")


def strengths(r0_cm: float) -> torch.Tensor:
    """Standard deviations (mode) in rad."""
    sigmas = torch.tensor(np.sqrt(optics(64).basis.variances), dtype=torch.float32) * (100 / r0_cm) ** (5 / 6)
    sigmas[:2] *= TILTS
    return sigmas


def strength(scene: torch.Tensor, weights: str, size: int = 96) -> str:
    """Fig. 8: NMSE against r0, with one PSF for the field and with modes that vary over 3 arcsec."""
    run = models(weights, size, 128)
    object_ = middle(scene, given_shape((size, size), 128)[0])
    columns = ["r0", "emulator, one PSF", "of the variance", "emulator, varying", "of the variance", "step 32", "step 16", "step 8"]
    lines = ["| " + " | ".join([*columns, "the object as it is"]) + " |", "|---" * (len(columns) + 1) + "|"]
    before = margins(128)[0]
    sharp = object_[before : before + size, before : before + size]
    for r0_cm in R0_CM:
        found = []
        for seed in SEEDS:
            white = torch.randn(MODES, generator=torch.Generator().manual_seed(seed))
            one = (white * strengths(r0_cm))[:, None, None].expand(-1, size, size).contiguous()
            varying = wandering_modes(optics(128), size, 100 / r0_cm, 3.0 / (CRISP.pixel_arcsec or 1), seed)[0]
            varying[:2] *= TILTS
            constant, exact = run["step 32"](object_, one), run["exact"](object_, varying)
            same, other = run["emulator"](object_, one), run["emulator"](object_, varying)
            flows = [nmse(run[f"step {step}"](object_, varying), exact) for step in STEPS]
            found.append([
                nmse(same, constant), contrast_error(same, constant), nmse(other, exact), contrast_error(other, exact), *flows,
                nmse(sharp, exact),
            ])  # fmt: skip
        lines.append(f"| {r0_cm:g} cm | " + " | ".join(f"{value:.1e}" for value in np.mean(found, 0)) + " |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def burst(weights: str) -> str:
    """A burst of filter flow at step 8, restored with both models: loss, error, and how well the true modes are found."""
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
        alike = [float(torch.corrcoef(torch.stack([modes[:, part].flatten(), true[:, part].flatten()]))[0, 1]) for part in PARTS]
        row = [f"{last.losses['data']:.1e}", f"{error:.3f}", f"{1e3 * gain:.2f}", *(f"{value:.2f}" for value in alike), f"{took:.0f}"]
        lines.append(f"| {model} | {optimiser} | " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def timing(runs: int) -> str:
    """Fig. 6: seconds per image, as benchmarks/emulator.py measures them."""
    torch.set_num_threads(1)
    times, batches, gradients = benchmark.by_size("cpu", runs), benchmark.by_batch("cpu", runs), benchmark.both_ways("cpu", runs)
    kinds = ("full", "narrow", "step 8", "step 16", "step 32", "exact")
    lines = ["| | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]

    def row(label: str, values: list[float | None]) -> None:
        lines.append(f"| {label} | " + " | ".join("" if value is None else f"{value:.3g} s" for value in values) + " |")

    for size in benchmark.SIZES:
        row(f"{size} x {size}", [times.get((kind, size)) for kind in kinds])
    for count in benchmark.BATCHES[1:]:
        row(f"{benchmark.BATCH_SIZE} x {benchmark.BATCH_SIZE}, {count} at a time", [batches.get((kind, count)) for kind in kinds])
    row("256 x 256 with gradient", [gradients.get(kind) for kind in kinds])
    return "\n".join([*lines, "", f"Seconds per image; {benchmark.machine('cpu', 1, runs)}."])


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
    figure.savefig(PICTURES / name, dpi=100)
    plt.close(figure)


def middle(scene: torch.Tensor, side: int) -> torch.Tensor:
    """The middle of a scene (y, x), as large as asked for."""
    top, left = ((n - side) // 2 for n in scene.shape)
    assert min(top, left) >= 0, f"the object has {tuple(scene.shape)} pixels; {side} are needed"
    return scene[top : top + side, left : left + side].contiguous()


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--object", type=Path, help="FITS file with the object to blur")
    parser.add_argument("--weights", default="emulator-narrow")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=("defocus", "points", "strength", "burst", "timing", "record"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [arguments.only] if arguments.only else ["defocus", "points", "strength", "burst", "timing", "record"]
    scene = torch.empty(0)
    if {"defocus", "strength"} & set(wanted):
        image = np.asarray(fits.getdata(arguments.object), float) if arguments.object else [*simulated("continuum", 2, 200_000)][1][1]
        scene = torch.tensor(image / np.mean(image), dtype=torch.float32)
    if "defocus" in wanted:
        replace("defocus", defocus(scene, arguments.weights))
    if "points" in wanted:
        points(arguments.weights)
    if "strength" in wanted:
        replace("strength", strength(scene, arguments.weights))
    if "burst" in wanted:
        replace("burst", burst(arguments.weights))
    if "timing" in wanted:
        replace("timing", timing(arguments.runs))
    if "record" in wanted:
        replace("record", record(arguments.weights))


if __name__ == "__main__":
    main()

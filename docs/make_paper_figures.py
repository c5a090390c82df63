"""Draw the figures of the SV-MOMFBD paper (Asensio Ramos 2024) with simulated bursts, and fill their tables
in papers.md.

    python docs/make_paper_figures.py [rates crisp lambdas hifi grids samples strength]

All by default: figs. 9, 10, 11, 13, 14, 3 and 8; half an hour on one thread. Fields are smaller than the
paper's 512 x 512 pixels. Errors are against the truth at the diffraction limit, through which a deconvolved
image is seen again (NMSE after one shift and one gain, as `heliorestore quality` has it).
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

from heliorestore import MomfbdSettings, Snapshot, SvMomfbdSettings, restore
from heliorestore.diagnose import emulator_error
from heliorestore.diagnose.emulator_error import MODES, make_models, middle, strengths
from heliorestore.instrument import KNOWN
from heliorestore.methods.blind.emulated import load_emulator
from heliorestore.presets import find_preset
from heliorestore.quality.metrics import contrast, likeness, power_spectrum
from heliorestore.settings import Settings
from heliorestore.simulate.burst import Simulation, simulate_burst
from heliorestore.simulate.photosphere import quiet_sun
from heliorestore.simulate.view import SimulationSettings
from heliorestore.train.textures import points

mpl.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parent))
from make_mfbd_tables import table, through_telescope

PAGE = Path(__file__).parent / "papers.md"
PICTURES = Path(__file__).parent / "pictures"
SEED = 300_000  # as for the other tables: no network was trained on it
BANDS = ("WB", "NB")
CRISP = KNOWN["crisp-8542-paper"]
Image = np.ndarray


def simulated(name: str = "crisp-8542-paper", **changes: Any) -> Simulation:
    """A burst of 8 frames of 96 x 96 pixels behind adaptive optics, but for the changes."""
    known: dict[str, Any] = {"size": 96, "frames": 8, "scene": "granulation", "r0_cm": 10.0, "ao": True}
    return simulate_burst(SimulationSettings(**(known | {"step": 16} | changes)), KNOWN[name], seed=SEED)


def last_of(simulation: Simulation, settings: Settings) -> Snapshot:
    """The end of a run."""
    return restore(simulation.burst, settings, device="cpu")


def nmse(simulation: Simulation, image: Image, number: int = 0) -> float:
    """The error of a restored object against the truth at the diffraction limit."""
    seen = through_telescope(image, simulation.burst.instruments[number])
    return likeness(seen, simulation.truth[number]).nmse


def rates() -> str:
    """Fig. 9: the loss after 20 iterations against both rates of AdamW."""
    simulation = simulated(objects=1, frames=4, size=64)
    objects, modes = np.arange(-2.6, -0.7, 0.45), np.arange(-2.0, 0.1, 0.5)
    losses = np.array(
        [
            [
                last_of(
                    simulation,
                    SvMomfbdSettings.paper(
                        iterations=20, grid_step=16, psf=48, rate_objects=10**o, rate_modes=10**m
                    ),
                ).losses["loss"]
                for o in objects
            ]
            for m in modes
        ]
    )
    figure, axis = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    drawn = axis.pcolormesh(objects, modes, np.log10(losses), cmap="viridis", shading="nearest")
    axis.plot(-1.7, -0.5, "x", color="red", markersize=10, markeredgewidth=2)
    row, column = np.unravel_index(np.argmin(losses), losses.shape)
    axis.plot(objects[column], modes[row], "o", color="white", markersize=8, fillstyle="none")
    axis.set(xlabel="log10 rate of the objects", ylabel="log10 rate of the modes")
    figure.colorbar(drawn, label="log10 loss after 20 iterations")
    save(figure, "papers_rates.png")
    near = losses[np.abs(modes + 0.5).argmin(), np.abs(objects + 1.7).argmin()]
    return (
        f"smallest loss {losses.min():.4f} at 10^{objects[column]:.1f} (objects) and 10^{modes[row]:.1f} "
        f"(modes); {near:.4f} at the paper's 10^-1.7 and 10^-0.5"
    )


def crisp() -> str:
    """Fig. 10: a sunspot and quiet Sun in both bands, first frame, residual, mean, and three restorations."""
    rows: list[list[str]] = []
    panels: list[list[tuple[str, Image]]] = []
    spectra: dict[str, dict[str, Image]] = {}
    for scene, lambda_object in (("sunspot", 0.1), ("granulation", 0.13)):
        simulation = simulated(size=160, frames=12, scene=scene, r0_cm=12.0)
        frames = np.asarray(simulation.burst.frames)
        paper = SvMomfbdSettings.paper(lambda_object=lambda_object, grid_step=16, psf=64, residual_frame=0)
        runs = {
            "SV-MOMFBD, paper's recipe": last_of(simulation, paper),
            "SV-MOMFBD, default": last_of(simulation, SvMomfbdSettings()),
            "MOMFBD": last_of(simulation, MomfbdSettings()),
        }
        residual = np.asarray(runs["SV-MOMFBD, paper's recipe"].maps["residual"].array)
        for number, band in enumerate(BANDS):
            first, truth = frames[number, 0], simulation.truth[number]
            left = float(np.sum(residual[number] ** 2) / np.sum(first**2))
            shown = {"first frame": first, "mean of the frames": frames[number].mean(0)}
            shown |= {name: np.asarray(run.images[number]) for name, run in runs.items()}
            rows.append(
                [f"{scene}, {band}", f"{left:.1e}"]
                + [f"{100 * contrast(image):.1f} %" for image in (*shown.values(), truth)]
                + [f"{nmse(simulation, np.asarray(run.images[number]), number):.4f}" for run in runs.values()]
            )
            print(rows[-1], flush=True)
            panels.append([(f"{name}" if not panels else "", image) for name, image in shown.items()])
            panels[-1].append(("truth" if len(panels) == 1 else "", truth))
            if band == "WB":
                spectra[scene] = shown | {"truth": truth}
    names = ("first frame", "mean", "paper's recipe", "default", "MOMFBD")
    grey_rows(panels, "papers_crisp.png")
    power_charts(spectra, "papers_crisp_power.png")
    header = ["burst", "residual of frame 1, NMSE", *(f"contrast: {name}" for name in names)]
    header += ["contrast: truth", *(f"NMSE: {name}" for name in names[2:])]
    return table(header, rows)


def lambdas() -> str:
    """Fig. 11: lambda_object with lambda_modes at 0.01, and lambda_modes with lambda_object at 0.01."""
    simulation = simulated(scene="sunspot", noise=5e-3, frames=4, size=64)
    values = (1e-3, 1e-2, 1e-1, 1.0)
    rows, panels = [], []
    for value in values:
        line: list[tuple[str, Image]] = []
        row = [f"{value:g}"]
        for name, other in (("lambda_object", "lambda_modes"), ("lambda_modes", "lambda_object")):
            settings = SvMomfbdSettings.paper(grid_step=16, psf=32, **{name: value, other: 0.01})
            images = last_of(simulation, settings).images
            for number, band in enumerate(BANDS):
                image = np.asarray(images[number])
                row.append(f"{nmse(simulation, image, number):.4f} ({100 * contrast(image):.1f} %)")
                line.append((f"{name} {value:g}, {band}", image))
        rows.append(row)
        panels.append(line)
        print(row, flush=True)
    grey_rows(panels, "papers_lambdas.png")
    header = ["value", *(f"{name}, {band}" for name in ("lambda_object", "lambda_modes") for band in BANDS)]
    return table(header, rows)


def hifi() -> str:
    """Fig. 13: GREGOR/HiFI in H alpha, both bands, and the power of the wide band."""
    simulation = simulated("hifi-6563", size=112, frames=6, scene="sunspot", r0_cm=12.0, psf_size=112)
    frames = np.asarray(simulation.burst.frames)
    recipe = SvMomfbdSettings.paper(
        grid_step=16, psf=64, lambda_object=0.005, filter_width=1.85, iterations=30
    )
    runs = {
        "SV-MOMFBD, paper's recipe": last_of(simulation, recipe),
        "SV-MOMFBD, preset hifi": last_of(
            simulation, find_preset("hifi", "sv-momfbd").settings(SvMomfbdSettings)
        ),
        "MOMFBD, 120 modes": last_of(simulation, MomfbdSettings(modes=120)),
    }
    rows, panels, spectra = [], [], {}
    for number, band in enumerate(BANDS):
        shown = {"first frame": frames[number, 0]}
        shown |= {name: np.asarray(run.images[number]) for name, run in runs.items()}
        truth = simulation.truth[number]
        for name, image in (*shown.items(), ("truth", truth)):
            seen = (
                image
                if name in ("first frame", "truth")
                else through_telescope(image, simulation.burst.instruments[number])
            )
            figures = (f"{100 * contrast(image):.1f} %", f"{likeness(seen, truth).nmse:.4f}")
            rows.append([band, name, *figures, *power_in_bands(seen, truth)])
            print(rows[-1], flush=True)
        panels.append([(f"{name}, {band}", image) for name, image in (*shown.items(), ("truth", truth))])
        if band == "WB":
            spectra["HiFI, WB"] = shown | {"truth": truth}
    grey_rows(panels, "papers_hifi.png")
    power_charts(spectra, "papers_hifi_power.png")
    bands = [f"power / truth's, {low}-{high}" for low, high in itertools.pairwise(EDGES)]
    return table(["band", "", "contrast", "NMSE", *bands], rows)


EDGES = (0.01, 0.04, 0.16, 0.3)  # cycles per pixel; the middle is where the paper misses power


def power_in_bands(image: Image, truth: Image) -> list[str]:
    """Power in units of the truth's."""
    found, wanted = power_spectrum(image), power_spectrum(truth)
    cells = []
    for low, high in itertools.pairwise(EDGES):
        band = (found.frequency >= low) & (found.frequency < high)
        weight = found.frequency[band]
        cells.append(f"{(weight * found.power[band]).sum() / (weight * wanted.power[band]).sum():.2f}")
    return cells


def grids() -> str:
    """Fig. 14: the same burst with nodes every 64 to 4 pixels, and the maps of both tilts of frame 1."""
    simulation = simulated(scene="sunspot", frames=5)
    rows, panels = [], []
    for step in (64, 32, 16, 8, 4):
        settings = SvMomfbdSettings.paper(grid_step=step, psf=64)
        last = last_of(simulation, settings)
        modes = np.asarray(last.maps["modes"].array)
        numbers = modes[0].size * len(modes)
        rows.append(
            [f"{512 // step}² of 512²", f"{step} px", f"{modes.shape[-2]} x {modes.shape[-1]}", f"{numbers}"]
            + [f"{nmse(simulation, np.asarray(last.images[n]), n):.4f}" for n in range(2)]
            + [f"{last.losses['data']:.4f}", f"{last.elapsed_s:.0f}"]
        )
        print(rows[-1], flush=True)
        line = [(f"{band}, every {step} px", np.asarray(last.images[n])) for n, band in enumerate(BANDS)]
        panels.append([*line, *((f"tilt {n + 1} [rad]", modes[0, n]) for n in range(2))])
    grey_rows(panels, "papers_grids.png", maps=(2, 3))
    header = ["the paper's grid", "nodes every", "nodes", "numbers of modes", "NMSE, WB", "NMSE, NB"]
    return table([*header, "data term", "seconds"], rows)


def samples() -> str:
    """Fig. 3: objects, their exact blur, the emulator's, and the residual."""
    trained = load_emulator("emulator-narrow", torch.device("cpu"))
    models = make_models(trained, CRISP, 96, 128)
    generator = torch.Generator().manual_seed(5)
    side = models.object_side
    sky = points(3, side, generator, margin=64)
    sun = middle(torch.tensor(quiet_sun(CRISP, side), dtype=torch.float32), side)
    objects = [sun, *sky[:2], sun.flip(0), sun.flip(1), sky[2]]
    r0s = (40.0, 40.0, 15.0, 15.0, 5.0, 5.0)
    panels: list[list[tuple[str, Image]]] = [[], [], [], []]
    cells = []
    for object_, r0_cm in zip(objects, r0s, strict=True):
        white = torch.randn(MODES, generator=generator) * strengths(models.optics, r0_cm)
        modes = white[:, None, None].expand(-1, 96, 96)
        exact, seen = (models.blurs[name](object_, modes) for name in ("step 32", "emulator"))
        found = emulator_error.error(seen, exact)
        cells.append(f"{found.nmse:.1e}")
        for line, (title, image) in zip(
            panels,
            (
                (f"r0 {r0_cm:g} cm", models.inner(object_)), ("exact", exact),
                ("emulator", seen), (f"NMSE {found.nmse:.1e}", seen - exact),
            ),
            strict=True,
        ):  # fmt: skip
            line.append((title, image.numpy()))
    grey_rows(panels, "papers_samples.png", own=True)
    return "NMSE: " + ", ".join(cells)


def strength(draws: int = 12) -> str:
    """Fig. 8: NMSE of granulation and of points against r0, over several draws of the air."""
    trained = load_emulator("emulator-narrow", torch.device("cpu"))
    models = make_models(trained, CRISP, 96, 128)
    side = models.object_side
    sun = middle(torch.tensor(quiet_sun(CRISP, side), dtype=torch.float32), side)
    sky = points(1, side, torch.Generator().manual_seed(1), margin=64)[0]
    rows = []
    for r0_cm in emulator_error.R0_CM:
        found: dict[str, list[float]] = {name: [] for name in ("sun", "variance", "contrast", "sky")}
        for seed in range(draws):
            white = torch.randn(MODES, generator=torch.Generator().manual_seed(100 + seed))
            modes = (white * strengths(models.optics, r0_cm))[:, None, None].expand(-1, 96, 96)
            for name, object_ in (("sun", sun), ("sky", sky)):
                exact, seen = (models.blurs[blur](object_, modes) for blur in ("step 32", "emulator"))
                error = emulator_error.error(seen, exact)
                found[name].append(error.nmse)
                if name == "sun":
                    found["variance"].append(error.of_variance)
                    found["contrast"].append(float(exact.std() / exact.mean()))
        cells = [np.array(found[name]) for name in ("sun", "contrast", "variance", "sky")]
        others = (f"{100 * cells[1].mean():.1f} %", f"{cells[2].mean():.2g}", f"{cells[3].mean():.2g}")
        spread = f"{cells[0].mean():.1e} ({cells[0].min():.0e} to {cells[0].max():.0e})"
        rows.append([f"{r0_cm:g} cm", spread, *others])
        print(rows[-1], flush=True)
    header = ["r0", f"NMSE, granulation (range of {draws})", "contrast of the exact image"]
    return table([*header, "error / variance", "NMSE, points"], rows)


# -- pictures ------------------------------------------------------------------------------------------------


def grey_rows(
    panels: Sequence[Sequence[tuple[str, Image]]], name: str, maps: tuple[int, ...] = (), *, own: bool = False
) -> None:
    """Rows of images; a row has the grey levels of its last image that is no map, or each image its `own`."""
    figure, axes = plt.subplots(
        len(panels), len(panels[0]), figsize=(1.75 * len(panels[0]), 1.95 * len(panels)), squeeze=False
    )
    for line, row in zip(axes, panels, strict=True):
        for column, (axis, (title, image)) in enumerate(zip(line, row, strict=True)):
            base = image if own or column in maps else row[column % 2 if maps else -1][1]
            low, high = np.percentile(base, (0.5, 99.5))
            colours = "RdBu_r" if column in maps else "gray"
            if column in maps:
                low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
            axis.imshow(image, cmap=colours, vmin=low, vmax=high, origin="lower", interpolation="nearest")
            axis.set_title(title, fontsize=7)
            axis.axis("off")
    figure.tight_layout(pad=0.3)
    save(figure, name, colours=bool(maps))


def power_charts(spectra: Mapping[str, Mapping[str, Image]], name: str) -> None:
    """Power spectra of the wide band."""
    figure, axes = plt.subplots(
        1, len(spectra), figsize=(4.6 * len(spectra), 3.2), squeeze=False, layout="constrained"
    )
    for axis, (title, images) in zip(axes[0], spectra.items(), strict=True):
        for label, image in images.items():
            found = power_spectrum(image)
            style = {"color": "black", "linestyle": "--"} if label == "truth" else {}
            axis.loglog(found.frequency[1:], found.power[1:], label=label, **style)
        axis.set(title=title, xlabel="cycles per pixel", ylabel="power [pixel²]", ylim=(1e-6, None))
        axis.minorticks_off()
        axis.set_xticks(ticks := (0.02, 0.05, 0.1, 0.2, 0.4), [f"{tick:g}" for tick in ticks])
    axes[0, 0].legend(fontsize=7, frameon=False)
    save(figure, name)


def save(figure: plt.Figure, name: str, *, colours: bool = True) -> None:
    """Keep a picture, in few colours so that it is small."""
    from PIL import Image as Pictures

    path = PICTURES / name
    figure.savefig(path, dpi=80)
    plt.close(figure)
    with Pictures.open(path) as picture:
        small = picture.convert("RGB").quantize(128 if colours else 48, dither=Pictures.Dither.NONE)
    small.save(path, optimize=True)
    print(name, path.stat().st_size // 1000, "kB", flush=True)


def put(name: str, content: str) -> None:
    """Put a table where the page has marks for it."""
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    assert pattern.search(text), f"papers.md has no place for {name}"
    PAGE.write_text(pattern.sub(lambda found: f"{found[1]}\n{content}\n\n{found[2]}", text), encoding="utf-8")


MAKERS: Mapping[str, Callable[[], str]] = {
    "rates": rates, "crisp": crisp, "lambdas": lambdas, "hifi": hifi, "grids": grids, "samples": samples,
    "strength": strength,
}  # fmt: skip


def main(makers: Mapping[str, Callable[[], str]]) -> None:
    """Make what is asked for, or all."""
    torch.set_num_threads(1)
    for name in sys.argv[1:] or makers:
        put(name, makers[name]())


if __name__ == "__main__":
    main(MAKERS)

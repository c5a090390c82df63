"""Measure MFBD by a network against the sharpest frame, the mean, MOMFBD and SV-MOMFBD; fill the tables of
mfbd.md, draw its pictures.

    python docs/make_mfbd_tables.py [FOLDER] [--only methods days real seeing] [--keep FOLDER]

FOLDER holds the reference data, of which one burst of real granulation is restored. All simulated bursts are
of scenes and air that no training has seen, and their truth is the scene at the diffraction limit as it is,
without the frames' mean distortion. In the folder of --keep stay the simulated bursts and what MOMFBD and
SV-MOMFBD made of them, so that another network is measured quickly.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits

from heliorestore import Burst, MfbdSettings, MomfbdSettings, SvMomfbdSettings, restore
from heliorestore.instrument import Instrument, find
from heliorestore.optics.psf import telescope_psf
from heliorestore.quality.metrics import contrast, power_spectrum, registered
from heliorestore.settings import Settings
from heliorestore.simulate.burst import simulate_burst
from heliorestore.simulate.view import SimulationSettings

DOCS = Path(__file__).parent
TEST_SEED = 300_000  # neither trained on nor used to choose the best weights
BORDER = 16
Image = np.ndarray

CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "granulation, AO": ("crisp-6302-paper", {"scene": "granulation", "r0_cm": 13.0, "ao": True}),
    "sunspot, AO": ("crisp-8542-paper", {"scene": "sunspot", "r0_cm": 15.0, "ao": True}),
    "granulation, no AO": ("crisp-6302-paper", {"scene": "granulation", "r0_cm": 15.0, "ao": False}),
}
METHODS: Mapping[str, Settings] = {
    "MFBD, one pass": MfbdSettings(committee=1),
    "MFBD, committee of 20": MfbdSettings(),
    "MFBD, recurrent": MfbdSettings(network="recurrent", committee=1),
    "MOMFBD": MomfbdSettings(),
    "SV-MOMFBD": SvMomfbdSettings(),
}
DAYS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "r0 6 cm": ("crisp-8542-paper", {"r0_cm": 6.0}),
    "r0 10 cm": ("crisp-8542-paper", {"r0_cm": 10.0}),
    "r0 15 cm": ("crisp-8542-paper", {"r0_cm": 15.0}),
    "r0 25 cm": ("crisp-8542-paper", {"r0_cm": 25.0}),
    "r0 40 cm": ("crisp-8542-paper", {"r0_cm": 40.0}),
    "noise 0.05 %": ("crisp-8542-paper", {"noise": 5e-4}),
    "noise 1 %": ("crisp-8542-paper", {"noise": 1e-2}),
    "noise 3 %": ("crisp-8542-paper", {"noise": 3e-2}),
    "narrow band": ("crisp-8542-paper", {"objects": 2}),
    "3 frames": ("crisp-8542-paper", {"frames": 3}),
    "14 frames": ("crisp-8542-paper", {"frames": 14}),
    "pixels of 0.045 arcsec": ("crisp-8542-paper,pixel_arcsec=0.045", {}),
    "pixels of 0.08 arcsec": ("crisp-8542-paper,pixel_arcsec=0.08", {}),
    "CRISP 6302": ("crisp-6302-paper", {}),
    "GREGOR/HiFI 6563": ("hifi-6563", {}),
    "CHROMIS 3934, r0 8 cm": ("chromis-3934-paper", {"r0_cm": 8.0}),
}
CAMERAS = ("crisp-8542-paper", "crisp-6302-paper")
SEEING: Mapping[str, list[tuple[str, dict[str, Any]]]] = {
    "no AO, r0 5 cm": [(name, {"ao": False, "r0_cm": 5.0}) for name in CAMERAS],
    "no AO, r0 7 cm": [(name, {"ao": False, "r0_cm": 7.0}) for name in CAMERAS],
    "no AO, r0 10 cm": [(name, {"ao": False, "r0_cm": 10.0}) for name in CAMERAS],
    "no AO, r0 15 cm": [(name, {"ao": False, "r0_cm": 15.0}) for name in CAMERAS],
    "sunspot, no AO, r0 8 cm": [(CAMERAS[0], {"ao": False, "r0_cm": 8.0, "scene": "sunspot"})],
    "AO, r0 10 cm": [(name, {"r0_cm": 10.0}) for name in CAMERAS],
    "AO, r0 15 cm": [(name, {"r0_cm": 15.0}) for name in CAMERAS],
    "AO, r0 25 cm": [(name, {"r0_cm": 25.0}) for name in CAMERAS],
    "sunspot, AO, r0 15 cm": [(CAMERAS[0], {"scene": "sunspot"})],
    "AO, errors of the brightness of 2 %": [(CAMERAS[0], {"flux_rms": 0.02})],
    "AO, one frame in much worse seeing": [(CAMERAS[0], {"outlier_frames": 1})],
}
OTHER_DAYS = ("MFBD, one pass", "MFBD, recurrent", "MOMFBD")


class Keeper:
    """Arrays that take long to make, under a name that says what they depend on; without a folder nothing is
    kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, name: str, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """What `make` gave when it was called for this name."""
        if self._folder is None:
            return make()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.npz"
        if not path.exists():
            np.savez(path, **make())
        with np.load(path) as arrays:
            return dict(arrays)


@dataclass(frozen=True)
class Known:
    """A burst and its truth (object, y, x); None for a real one."""

    name: str
    burst: Burst
    truth: Image | None = None


def simulated(keeper: Keeper, name: str, **changes: Any) -> Known:
    """A burst of 7 frames of 192 x 192 pixels of granulation with AO, but for the changes."""
    known = {
        "size": 192,
        "frames": 7,
        "objects": 1,
        "scene": "granulation",
        "r0_cm": 15.0,
        "ao": True,
        "noise": 2e-3,
    }
    instrument = Instrument.parse(name)

    def make() -> Mapping[str, Any]:
        simulation = simulate_burst(SimulationSettings(**(known | changes)), instrument, seed=TEST_SEED)
        return {"frames": np.asarray(simulation.burst.frames), "truth": simulation.truth}

    title = f"{instrument} {known | changes} {TEST_SEED}"
    arrays = keeper.get(title, make)
    return Known(title, Burst.from_array(arrays["frames"], instrument), arrays["truth"])


def sharpest(burst: Burst, number: int = 0) -> Image:
    """The frame of the highest contrast."""
    return max((burst.image(number, frame) for frame in range(burst.shape[1])), key=contrast)


def mean_frame(burst: Burst, number: int = 0) -> Image:
    """The mean of the frames as they are."""
    return np.mean([burst.image(number, frame) for frame in range(burst.shape[1])], axis=0)


def run(keeper: Keeper, known: Known, settings: Settings, number: int = 0) -> tuple[Image, float]:
    """The restored image as the telescope would show it, and the seconds it took.

    A deconvolved image is that of the Sun, sharper than any telescope shows it: it is looked at through the
    telescope again.
    """

    def make() -> Mapping[str, Any]:
        began = time.process_time()
        image = restore(known.burst, settings, device="cpu").images[number]
        return {"image": image, "seconds": time.process_time() - began}

    made = make() if settings.method == "mfbd" else keeper.get(f"{known.name} {settings} {number}", make)
    image = (
        made["image"]
        if settings.method == "mfbd"
        else through_telescope(made["image"], known.burst.instruments[number])
    )
    return image, float(made["seconds"])


def through_telescope(image: Image, instrument: Instrument) -> Image:
    """An image (y, x) as the telescope shows it without an atmosphere."""
    transfer = torch.fft.rfft2(telescope_psf(instrument, image.shape)).numpy()
    return np.fft.irfft2(np.fft.rfft2(image) * transfer, s=image.shape).astype(np.float32)


def error(image: Image, truth: Image) -> tuple[float, float]:
    """Rms error in units of the truth's rms, both relative to their means, after one shift; and the
    correlation.
    """
    _, moved = registered(image / image.mean(), truth / truth.mean(), BORDER)
    wanted = (truth / truth.mean())[BORDER:-BORDER, BORDER:-BORDER]
    difference = float(np.sqrt(np.nanmean((moved - wanted) ** 2)) / wanted.std())
    good = np.isfinite(moved)
    return difference, float(np.corrcoef(moved[good], wanted[good])[0, 1])


def power_ratios(image: Image, truth: Image) -> str:
    """Power relative to the truth's in thirds of the frequencies up to 0.3 per pixel."""
    (found, wanted), edges = (power_spectrum(part) for part in (image, truth)), (0.01, 0.1, 0.2, 0.3)
    bands = [(found.frequency >= low) & (found.frequency < high) for low, high in itertools.pairwise(edges)]
    weight = found.frequency
    return " / ".join(
        f"{(weight * found.power)[band].sum() / (weight * wanted.power)[band].sum():.2f}" for band in bands
    )


def methods_table(keeper: Keeper) -> tuple[str, dict[str, dict[str, Image]]]:
    """Every method on every case; and the images to draw."""
    rows, drawn = [], {}
    for case, (name, changes) in CASES.items():
        known = simulated(keeper, name, frames=12, **changes)
        burst, truth = known.burst, known.truth[0]
        images: dict[str, tuple[Image, float | None]] = {
            "sharpest frame": (sharpest(burst), None),
            "mean of the frames": (mean_frame(burst), None),
        }
        images |= {method: run(keeper, known, settings) for method, settings in METHODS.items()}
        base = error(images["sharpest frame"][0], truth)[0]
        for method, (image, seconds) in images.items():
            rms, correlation = error(image, truth)
            cells = [
                f"{rms / base:.2f}",
                f"{rms:.3f}",
                f"{correlation:.3f}",
                f"{contrast(image) / contrast(truth):.2f}",
            ]
            rows.append(
                [
                    case,
                    method,
                    *cells,
                    power_ratios(image, truth),
                    "" if seconds is None else f"{seconds:.1f}",
                ]
            )
            print(rows[-1], flush=True)
        drawn[case] = {method: image for method, (image, _) in images.items()} | {"truth": truth}
    header = [
        "burst",
        "method",
        "error / sharpest frame's",
        "error",
        "correlation",
        "contrast",
        "power",
        "seconds",
    ]
    return table(header, rows), drawn


def days_table(keeper: Keeper) -> str:
    """The networks under other air, noise, numbers of frames and samplings than those of the first table."""
    rows = []
    for title, (name, changes) in DAYS.items():
        known = simulated(keeper, name, step=16, **changes)
        number = changes.get("objects", 1) - 1
        truth, burst = known.truth[number], known.burst
        best, _ = error(sharpest(burst, number), truth)
        cells = []
        for image in (
            mean_frame(burst, number),
            *(run(keeper, known, METHODS[method], number)[0] for method in OTHER_DAYS),
        ):
            rms, correlation = error(image, truth)
            cells.append(f"{rms / best:.2f} ({correlation:.3f})")
        rows.append([title, f"{best:.3f}", *cells])
        print(rows[-1], flush=True)
    return table(["burst", "sharpest frame's error", "mean", *OTHER_DAYS], rows)


def seeing_table(keeper: Keeper) -> str:
    """All networks of the package on frames as they are, with and without AO."""
    names = ("crisp-quarter", "sst-quarter", "sst", "recurrent-crisp-quarter", "recurrent-sst-quarter")
    networks = {f"`mfbd-{name}`": MfbdSettings(committee=1, weights=f"mfbd-{name}") for name in names}
    rows = []
    for title, cases in SEEING.items():
        ratios, bases = [], []
        for name, changes in cases:
            known = simulated(keeper, name, step=16, **changes)
            truth, best = known.truth[0], sharpest(known.burst)
            bases.append(error(best, truth)[0])
            images = [run(keeper, known, settings)[0] for settings in networks.values()]
            # Pixels that no frame saw, at the border, do not count.
            filled = [np.where(np.isfinite(image), image, np.nanmean(image)) for image in images]
            ratios.append([error(image, truth)[0] / bases[-1] for image in filled])
        rows.append([title, f"{np.mean(bases):.3f}", *(f"{value:.2f}" for value in np.mean(ratios, 0))])
        print(rows[-1], flush=True)
    return table(["burst", "sharpest frame's error", *networks], rows)


def real_table(keeper: Keeper, folder: Path) -> str:
    """A real burst has no truth: contrast, power relative to the sharpest frame's, and how well two halves of
    it agree.
    """
    frames = fits.getdata(folder / "bursts" / "granulation_burst.fits").astype(np.float32)
    # The scale is unknown; a metre of aperture and CRISP's pixels are assumed where a method needs to know.
    burst = Burst.from_array(frames, find("crisp-6302-paper"))
    frame = sharpest(burst)
    rows, images = [], {"sharpest frame": frame, "mean of the frames": mean_frame(burst)}
    halves = {
        "sharpest frame": [sharpest(part) for part in split(burst)],
        "mean of the frames": [mean_frame(part) for part in split(burst)],
    }
    whole, parts = (
        Known("real", burst),
        [Known(f"real, half {n}", part) for n, part in enumerate(split(burst))],
    )
    for method, settings in METHODS.items():
        if method != "SV-MOMFBD":  # minutes for an image of this size
            images[method] = run(keeper, whole, settings)[0]
            halves[method] = [run(keeper, part, settings)[0] for part in parts]
    for method, image in images.items():
        rows.append(
            [
                method,
                f"{100 * contrast(image):.1f} %",
                power_ratios(image, frame),
                f"{error(*halves[method])[1]:.3f}",
            ]
        )
        print(rows[-1], flush=True)
    return table(
        ["method", "contrast", "power relative to the sharpest frame's", "correlation of two halves"], rows
    )


def split(burst: Burst) -> tuple[Burst, Burst]:
    """Every other frame, and the others."""
    return burst.select(frames=slice(0, None, 2)), burst.select(frames=slice(1, None, 2))


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(drawn: dict[str, dict[str, Image]]) -> None:
    """Each case as every method shows it, and the power spectra below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = ["sharpest frame", "MFBD, one pass", "MFBD, recurrent", "MOMFBD", "SV-MOMFBD", "truth"]
    figure, axes = plt.subplots(
        len(drawn),
        len(shown) + 1,
        figsize=(3.1 * len(shown) + 4.2, 3.3 * len(drawn)),
        layout="constrained",
        squeeze=False,
    )
    for axis, title in zip(
        axes[0], [*shown[:-1], "truth at the diffraction limit", "power spectra"], strict=True
    ):
        axis.set_title(title)
    for row, (case, images) in zip(axes, drawn.items(), strict=True):
        truth = images["truth"] / images["truth"].mean()
        low, high = np.percentile(truth, (0.5, 99.5))
        for axis, method in zip(row, shown, strict=False):
            image = images[method][BORDER:-BORDER, BORDER:-BORDER]
            axis.imshow(
                image / image.mean(),
                cmap="gray",
                vmin=low,
                vmax=high,
                origin="lower",
                interpolation="nearest",
            )
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(case)
        for method in shown:
            spectrum = power_spectrum(images[method])
            row[-1].loglog(
                spectrum.frequency[1:],
                spectrum.power[1:],
                label=method,
                color="black" if method == "truth" else None,
            )
        row[-1].set(xlabel="cycles per pixel", ylabel="power [pixel²]", ylim=(1e-7, None))
    axes[0][-1].legend(fontsize=8)
    (DOCS / "pictures").mkdir(exist_ok=True)
    figure.savefig(DOCS / "pictures" / "mfbd.png", dpi=66)


def put(tables: Mapping[str, str]) -> None:
    """Put the tables where the page has marks for them."""
    page = DOCS / "mfbd.md"
    text = page.read_text(encoding="utf-8")
    for name, content in tables.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert pattern.search(text), f"mfbd.md has no place for {name}"
        text = pattern.sub(lambda found, new=content: f"{found[1]}\n{new}\n\n{found[2]}", text)
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("methods", "days", "real", "seeing"),
        default=["methods", "days", "real"],
    )
    parser.add_argument("--keep", metavar="FOLDER", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keeper = Keeper(asked.keep)
    made: dict[str, Callable[[], str]] = {
        "days": lambda: days_table(keeper),
        "seeing": lambda: seeing_table(keeper),
    }
    if asked.folder is not None:
        made["real"] = lambda: real_table(keeper, asked.folder)
    if "methods" in asked.only:
        text, drawn = methods_table(keeper)
        draw(drawn)
        put({"methods": text})
    for name, make in made.items():
        if name in asked.only:
            put({name: make()})


if __name__ == "__main__":
    main()

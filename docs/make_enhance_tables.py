"""Measure Enhance against bicubic interpolation and Richardson-Lucy, write the tables into enhance.md and
draw its picture.

    python docs/make_enhance_tables.py [FOLDER]

FOLDER holds the reference data (real HMI images and what the published networks made of them); without it
only the table of simulated scenes and the picture, which is of a simulated scene too, are made anew.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits

from heliorestore import Burst, RichardsonLucySettings, restore, stream
from heliorestore.instrument import KNOWN
from heliorestore.methods.enhance import EnhanceSettings
from heliorestore.optics.reobserve import reobserved
from heliorestore.train.enhance import validation_pairs
from heliorestore.train.scenes import simulated
from heliorestore.train.views import observe

DOCS = Path(__file__).parent
HMI = KNOWN["hmi-6173"]
TEST_SEED = 200_000  # neither trained on nor used to choose the best weights
NOISE = {"continuum": 1e-3, "magnetogram": 1e-2}
QUIET = np.s_[300:400, 300:400]  # of the restored reference image
Image = np.ndarray


def bicubic(image: Image, kind: str) -> Image:
    """Interpolate."""
    tensor = torch.tensor(image)[None, None]
    return torch.nn.functional.interpolate(tensor, scale_factor=2, mode="bicubic")[0, 0].numpy()


def lucy(psf: str = "instrument") -> Callable[[Image, str], Image]:
    """Richardson-Lucy on pixels of half the size."""

    def run(image: Image, kind: str) -> Image:
        settings = RichardsonLucySettings(iterations=20, upsampling=2, psf=psf)
        return restore(Burst.from_array(image, HMI), settings, device="cpu").images[0]

    return run


def enhance(network: str, **changes: str | bool) -> Callable[[Image, str], Image]:
    """Enhance with one of its networks."""

    def run(image: Image, kind: str) -> Image:
        settings = EnhanceSettings(kind=kind, network=network, **changes)
        unit = {"magnetogram": "kG"}.get(kind, "")
        return restore(Burst.from_array(image, HMI, unit=unit), settings, device="cpu").images[0]

    return run


METHODS: Mapping[str, Callable[[Image, str], Image]] = {
    "bicubic": bicubic,
    "Richardson-Lucy, 20 iterations": lucy(),
    "Enhance, small": enhance("small"),
    "Enhance, full": enhance("full"),
}
# With the kernel of the published code, and with the PSF measured in the transit of Venus.
OTHER_PSFS: Mapping[str, tuple[str, Callable[[Image, str], Image]]] = {
    "Richardson-Lucy, `--psf wachter-short`": ("wachter-short", lucy("wachter-short")),
    "Richardson-Lucy, `--psf yeo-2014`": ("yeo-2014", lucy("yeo-2014")),
    "Enhance, full, `--psf wachter-short`": ("wachter-short", enhance("full", psf="wachter-short")),
}
MAGNETIC = {"Enhance, full, `--keep-flux`": enhance("full", keep_flux=True)}


def methods(kind: str) -> Mapping[str, Callable[[Image, str], Image]]:
    """What is compared on images of a kind."""
    return {**METHODS, **(MAGNETIC if kind == "magnetogram" else {})}


def rms(image: Image) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(image, dtype=np.float64))))


def best_lucy(image: Image, truth: Image) -> tuple[float, int]:
    """The smallest error against the truth that Richardson-Lucy reaches, on the image's pixels or finer ones,
    and when.
    """
    found = []
    # on the image's own pixels it takes longer to reach its best
    for upsampling, iterations in ((1, 300), (2, 80)):
        settings = RichardsonLucySettings(iterations=iterations, upsampling=upsampling)
        for snapshot in stream(Burst.from_array(image, HMI), settings, device="cpu"):
            restored = snapshot.images[0] if upsampling == 2 else bicubic(snapshot.images[0], "")
            found.append((rms(restored - truth), snapshot.step))
    return min(found)


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def simulated_table(kind: str) -> tuple[str, list[Image]]:
    """Errors relative to bicubic interpolation's on six new scenes of known truth; and one scene as everybody
    shows it.
    """
    views = [observe(name, image, pixel) for name, image, pixel in simulated(kind, 6, TEST_SEED)]
    pairs = [(low[0, 0].numpy(), high[0, 0].numpy()) for low, high in validation_pairs(views, NOISE[kind])]
    rows, plain = [], [rms(bicubic(low, kind) - high) for low, high in pairs]
    shown = [pairs[0][0]]
    for name, method in methods(kind).items():
        restored = [method(low, kind) for low, _ in pairs]
        rows.append(
            [
                name,
                *(
                    f"{rms(image - high) / base:.2f}"
                    for image, (_, high), base in zip(restored, pairs, plain, strict=True)
                ),
            ]
        )
        if name in METHODS:
            shown.append(restored[0])
    best = [best_lucy(low, high) for low, high in pairs]
    rows.insert(
        2,
        [
            "Richardson-Lucy, best stop",
            *(f"{error / base:.2f} ({step})" for (error, step), base in zip(best, plain, strict=True)),
        ],
    )
    names = [v.name.split()[0] + f" {v.whole()[0].shape[0]} px" for v in views]
    for row in rows:
        values = [float(cell.split()[0]) for cell in row[1:]]
        row.append(f"**{np.mean(values):.2f}**")
    return table(["method", *names, "mean"], rows), [*shown, pairs[0][1]]


def noise_line() -> str:
    """Errors of magnetograms with other noise, and the part of them at scales that HMI hardly passes."""
    views = [observe(*scene) for scene in simulated("magnetogram", 6, TEST_SEED)]
    method, found = enhance("full"), {}
    for gauss in (0, 3, 10, 20):
        errors, fine = [], []
        for low, high in validation_pairs(views, gauss / 1000):
            image, truth = low[0, 0].numpy(), high[0, 0].numpy()
            error = method(image, "magnetogram") - truth
            errors.append(rms(error) / rms(bicubic(image, "magnetogram") - truth))
            power = np.abs(np.fft.fft2(error)) ** 2
            frequency = np.hypot(
                *np.meshgrid(*(np.fft.fftfreq(n, 0.252) for n in error.shape), indexing="ij")
            )
            fine.append((power[frequency >= 0.75].sum(), power.sum()))
        found[gauss] = np.mean(errors), np.divide(*np.sum(fine, axis=0))
    listed = ", ".join(f"{error:.2f} with {gauss} G" for gauss, (error, _) in found.items())
    return (
        f"errors relative to bicubic's: {listed}; with 10 G {100 * found[10][1]:.0f} % of the squared error "
        "lies above 0.75 cycles per arcsec"
    )


def uncertainty_table() -> str:
    """How many errors on the six new scenes lie within the uncertainty, and how well it sorts them."""
    rows = []
    for kind in ("continuum", "magnetogram"):
        views = [observe(name, image, pixel) for name, image, pixel in simulated(kind, 6, TEST_SEED)]
        for network in ("full", "small"):
            errors, sigmas = [], []
            for low, high in validation_pairs(views, NOISE[kind]):
                settings = EnhanceSettings(kind=kind, network=network, uncertainty=True)
                unit = {"magnetogram": "kG"}.get(kind, "")
                burst = Burst.from_array(low[0, 0].numpy(), HMI, unit=unit)
                restored = restore(burst, settings, device="cpu")
                errors.append(np.abs(restored.images[0] - high[0, 0].numpy()).ravel())
                sigmas.append(restored.maps["uncertainty"].array[0].ravel())
            error, sigma = np.concatenate(errors), np.concatenate(sigmas)
            within = (f"{100 * np.mean(error < n * sigma):.1f} %" for n in (1, 2))
            rows.append([f"{kind}, {network}", *within, f"{np.corrcoef(error, sigma)[0, 1]:.2f}"])
    within = [f"within {n} sigma ({gaussian} % of Gaussian errors)" for n, gaussian in ((1, 68.3), (2, 95.4))]
    return table(["", *within, "correlation with the size of the error"], rows)


def band_power(image: Image) -> tuple[Image, Image]:
    """Power (y, x) of an image in a Hann window, and the frequency of each element per output pixel."""
    windowed = (image - image.mean()) * np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None])
    return np.abs(np.fft.fft2(windowed)) ** 2, frequency


def added_power(image: Image, plain: Image) -> list[str]:
    """Power over the interpolated image's at scales above 20, from 20 to 10, 10 to 6.7 and 6.7 to 4 output
    pixels.
    """
    (power, frequency), (before, _) = band_power(image), band_power(plain)
    edges = [0.005, 0.05, 0.1, 0.15, 0.25]
    bands = [(frequency >= low) & (frequency < high) for low, high in itertools.pairwise(edges)]
    return [f"{power[band].sum() / before[band].sum():.2f}" for band in bands]


def real_tables(folder: Path) -> dict[str, str]:
    """The tables of the two HMI images that the published networks were shown."""
    made = {}
    for kind in ("continuum", "magnetogram"):
        image = fits.getdata(folder / f"hmi_{kind}.fits").astype(np.float32) / (
            1 if kind == "continuum" else 1000
        )
        published = fits.getdata(folder / f"hmi_{kind}_published_x2.fits").astype(np.float32) / (
            1 if kind == "continuum" else 1000
        )
        plain = bicubic(image, kind)
        results = {name: (HMI.psf, method(image, kind)) for name, method in methods(kind).items()}
        results |= {name: (psf, method(image, kind)) for name, (psf, method) in OTHER_PSFS.items()}
        results["published Enhance"] = "wachter-short", published
        light = bicubic(fits.getdata(folder / "hmi_continuum.fits").astype(np.float32), "continuum")
        rows = []
        for name, (psf, result) in results.items():
            back = np.abs(reobserved(result, dataclasses.replace(HMI, psf=psf)) - image)
            figures = (
                continuum_row(result, plain) if kind == "continuum" else magnetogram_row(result, plain, light)
            )
            change = f"{100 * back.mean() / np.abs(image).mean():.2f} %"
            rows.append([name, correlation(result, published), *figures, change, *added_power(result, plain)])
        own = {
            "continuum": ["granulation contrast", "umbra", "re-observed: mean difference"],
            "magnetogram": [
                "1 kG",
                "1 kG, 99th percentile",
                "plage",
                "polarity inversion line",
                "unsigned flux",
                "re-observed: mean difference",
            ],
        }[kind]
        made[f"real {kind}"] = table(
            ["method", "correlation with published", *own, "power > 20 px", "20-10", "10-6.7", "6.7-4"], rows
        )
    return made


def correlation(a: Image, b: Image) -> str:
    """Pearson's coefficient."""
    return f"{np.corrcoef(a.ravel(), b.ravel())[0, 1]:.4f}"


def continuum_row(result: Image, plain: Image) -> list[str]:
    """Contrast of the quiet corner, darkening of the umbra."""
    quiet = result[QUIET]
    dark = plain < 0.3
    return [
        f"{100 * quiet.std() / quiet.mean():.1f} %",
        f"{100 * (result[dark].mean() / plain[dark].mean() - 1):+.1f} %",
    ]


def magnetogram_row(result: Image, plain: Image, light: Image) -> list[str]:
    """What becomes of fields near 1 kG, of plage, of the line where polarity changes; the unsigned flux."""
    modulus = np.abs(plain)
    strong = (modulus > 0.8) & (modulus < 1.2)
    plage = (modulus > 0.2) & (modulus < 0.8) & (light > 0.9)
    # Both signs stronger than 300 G within four output pixels, 1 arcsec.
    around = np.lib.stride_tricks.sliding_window_view(np.pad(plain, 4, mode="edge"), (9, 9))
    inversion = (around.max((2, 3)) > 0.3) & (around.min((2, 3)) < -0.3)
    factor = result[strong] / plain[strong]
    return [
        f"{factor.mean():.2f}",
        f"{np.percentile(factor, 99):.2f}",
        f"{np.mean(result[plage] / plain[plage]):.2f}",
        f"{np.abs(result[inversion]).mean() / modulus[inversion].mean():.2f}",
        f"{100 * (np.abs(result).mean() / modulus.mean() - 1):+.1f} %",
    ]


def draw(kinds: dict[str, list[Image]]) -> None:
    """A sunspot and its field: as HMI sees them, by each method, and the truth."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    titles = ["simulated HMI image", *METHODS, "truth at 28 cm"]
    figure, axes = plt.subplots(
        len(kinds), len(titles), figsize=(3.2 * len(titles), 3.4 * len(kinds)), layout="constrained"
    )
    for row, (kind, images) in zip(np.atleast_2d(axes), kinds.items(), strict=True):
        low, high = (0.1, 1.3) if kind == "continuum" else (-1.5, 1.5)
        for axis, title, image in zip(row, titles, images, strict=True):
            axis.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest")
            axis.set(title=title, xticks=[], yticks=[])
    (DOCS / "pictures").mkdir(exist_ok=True)
    figure.savefig(DOCS / "pictures" / "enhance.png", dpi=70)


def main() -> None:
    """Measure, draw, and put the tables where the page has marks for them."""
    torch.set_num_threads(2)
    tables, pictures = {}, {}
    for kind in ("continuum", "magnetogram"):
        tables[f"simulated {kind}"], pictures[kind] = simulated_table(kind)
    draw(pictures)
    tables |= {"uncertainty": uncertainty_table(), "noise": noise_line()}
    if len(sys.argv) > 1:
        tables |= real_tables(Path(sys.argv[1]))
    page = DOCS / "enhance.md"
    text = page.read_text(encoding="utf-8")
    for name, content in tables.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert pattern.search(text), f"enhance.md has no place for {name}"
        text = pattern.sub(lambda found, new=content: f"{found[1]}\n{new}\n\n{found[2]}", text)
        print(f"{name}\n{content}\n")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

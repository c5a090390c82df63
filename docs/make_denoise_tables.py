"""Measure denoising against smoothing, PCA and the published networks, write the tables into denoise.md and
draw its pictures.

    python docs/make_denoise_tables.py [FOLDER] [TABLE ...]

FOLDER holds the reference data (a real Stokes image, and what the published networks made of it and of a
simulated one); without it only what is simulated here is measured. The tables are errors, widths, weak,
real, calibration, series and targets; all by default.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits

from heliorestore import Burst, Instrument, restore
from heliorestore.methods.denoising.pairs import Aim, Pairs, train_epoch
from heliorestore.methods.denoising.polarisation import light_of, statistics
from heliorestore.methods.noise2noise import BUNDLED, DenoiseSettings
from heliorestore.methods.pca import PcaSettings
from heliorestore.nets import weights
from heliorestore.nets.denoiser import DROPOUT, Denoiser
from heliorestore.nets.importing import import_file
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.stokes import stokes
from heliorestore.train.denoise import calibration
from heliorestore.train.polarised import correlated_noise, of_light, simulated

DOCS = Path(__file__).parent
TEST_SEED = 200_000  # neither trained on nor used to choose the best weights
NOISE = 3e-3  # of the continuum
CPU = torch.device("cpu")
Image = np.ndarray
Method = Callable[[Image], Image]


def rms(image: Image) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(image, dtype=np.float64))))


def smoothed(sigma_px: float) -> Method:
    """Smoothing by a Gaussian."""

    def run(image: Image) -> Image:
        mirrored = np.pad(image, [(0, n) for n in image.shape], mode="symmetric")
        square = (
            np.fft.fftfreq(mirrored.shape[0])[:, None] ** 2 + np.fft.rfftfreq(mirrored.shape[1])[None, :] ** 2
        )
        made = np.fft.irfft2(
            np.fft.rfft2(mirrored) * np.exp(-2 * (np.pi * sigma_px) ** 2 * square), s=mirrored.shape
        )
        return made[: image.shape[0], : image.shape[1]]

    return run


def network(name: str = BUNDLED, **changes: float) -> Method:
    """A network with its weights."""
    settings = DenoiseSettings(weights=name, **changes)
    return lambda image: restore(Burst.from_array(image, labels=("Q",)), settings, device="cpu").images[0]


def best_smoothing(noisy: Image, truth: Image) -> Image:
    """The Gaussian that comes nearest to the truth, which nobody knows in practice."""
    tried = [smoothed(sigma)(noisy) for sigma in (0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0)]
    return min(tried, key=lambda image: rms(image - truth))


def scenes(folder: Path | None) -> dict[str, list[Image]]:
    """Maps of known truth: the simulator's and, with the reference data, some made of light and what a
    published network left.
    """
    found = {kind: simulated(number, TEST_SEED)[1] for kind, number in (("quiet Sun", 2), ("sunspot", 3))}
    if folder is not None:
        light = np.asarray(fits.getdata(folder / "truth" / "crisp_8542_quiet_wb.fits"), float)[
            300:600, 300:600
        ]
        found["shapes of granulation"] = of_light(light)
        found["MHD, published output"] = [
            np.asarray(fits.getdata(folder / "denoise" / "synthetic_stokes_published.fits"), np.float32)
        ]
    return found


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def errors_table(methods: Mapping[str, Method], folder: Path | None) -> str:
    """Errors (rms) in 1e-3 of the continuum, for white noise and for noise as a reconstruction leaves it."""
    random = np.random.default_rng(TEST_SEED)
    columns, rows = ["method"], {name: [name] for name in ("no method", "best Gaussian", *methods)}
    for kind, maps in scenes(folder).items():
        for noise in ("white", "correlated"):
            columns.append(f"{kind}, {noise}")
            errors: dict[str, list[float]] = {name: [] for name in rows}
            for truth in maps:
                added = correlated_noise(
                    random, truth.shape, **({} if noise == "white" else {"cutoff": 0.35, "boost": 1.5})
                )
                noisy = truth + NOISE * added
                made = {"no method": noisy, "best Gaussian": best_smoothing(noisy, truth)}
                made |= {name: method(noisy) for name, method in methods.items()}
                for name, image in made.items():
                    errors[name].append(rms(image - truth))
            for name, found in errors.items():
                rows[name].append(f"{1e3 * np.mean(np.square(found)) ** 0.5:.2f}")
    return table(columns, list(rows.values()))


def widths_table(folder: Path | None) -> str:
    """Errors of one of two frames, with 4 pixels and with the width that the frames choose."""
    random = np.random.default_rng(TEST_SEED)
    columns, rows = ["two frames"], [["`--keep-wide 4`"], ["as by default"], ["chosen"]]
    for kind, maps in scenes(folder).items():
        for noise in ("white", "correlated"):
            columns.append(f"{kind}, {noise}")
            known = {} if noise == "white" else {"cutoff": 0.35, "boost": 1.5}
            errors: list[list[float]] = [[], []]
            chosen = set()
            for truth in maps:
                noises = [NOISE * correlated_noise(random, truth.shape, **known) for _ in range(2)]
                burst = Burst.from_array((truth + np.stack(noises))[None].astype(np.float32), labels=("Q",))
                for number, width in enumerate((4.0, None)):
                    settings = DenoiseSettings(series=False, keep_wide=width)
                    last = restore(burst, settings, device="cpu")
                    errors[number].append(rms(last.images[0] - truth))
                said = next(text for text in last.messages if "(keep wide)" in text)
                chosen.add(float(re.findall(r"[\d.]+", said)[0]))
            for row, found in zip(rows, errors, strict=False):
                row.append(f"{1e3 * np.mean(np.square(found)) ** 0.5:.2f}")
            rows[-1].append(" to ".join(f"{width:g}" for width in sorted({min(chosen), max(chosen)})) + " px")
            print([row[-1] for row in rows], flush=True)
    return table(columns, rows)


def weak_table(methods: Mapping[str, Method]) -> str:
    """What is kept of spots of one and two noises, and what is made of noise alone."""
    random, size, step, width = np.random.default_rng(3), 384, 32, 2.0
    y, x = np.mgrid[:size, :size]
    places = np.arange(step // 2, size, step)
    spots = sum(
        (-1) ** (i + j) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
        for i, row in enumerate(places) for j, column in enumerate(places)
    )  # fmt: skip
    noise = NOISE * random.standard_normal((size, size)).astype(np.float32)
    sign = np.sign(spots[np.ix_(places, places)])
    rows = []
    for name, method in {
        "Gaussian of 1 px": smoothed(1.0),
        "Gaussian of 2 px": smoothed(2.0),
        **methods,
    }.items():
        alone = method(noise)
        row = [name]
        for strength in (1, 2):
            found = method(noise + np.float32(strength * NOISE) * spots.astype(np.float32))
            peaks = found[np.ix_(places, places)] * sign / (strength * NOISE)
            row.append(f"{100 * peaks.mean():.0f} % ± {100 * peaks.std():.0f} %")
        rows.append([*row, f"{rms(alone) / NOISE:.2f}", f"{1e6 * np.mean(np.abs(alone) > NOISE):.0f}"])
    return table(
        [
            "method",
            "kept at 1 sigma",
            "kept at 2 sigma",
            "rms of noise alone / sigma",
            "pixels beyond 1 sigma, in 1e6",
        ],
        rows,
    )


def series() -> tuple[Burst, Image]:
    """Eight times of Q, U and V at nine wavelengths of a sunspot's rim, static, and their truth (object, y,
    x).
    """
    offsets = np.linspace(-16, 16, 9)
    patch = Patch(shape=(160, 160), pixel_arcsec=0.059, scene="sunspot", seed=TEST_SEED)
    truth = stokes(patch, "fe-6302", list(offsets))[1:].reshape(27, 160, 160)
    random = np.random.default_rng(TEST_SEED)
    frames = (truth[:, None] + NOISE * random.standard_normal((27, 8, 160, 160))).astype(np.float32)
    waves = [630.25 + offset / 1000 for offset in offsets]
    labels = tuple(f"{wave:.3f} nm, {name}" for name in "QUV" for wave in waves)
    instruments = tuple(Instrument(wavelength_nm=wave) for _ in "QUV" for wave in waves)
    return Burst(frames=frames, labels=labels, instruments=instruments), truth


def series_table() -> str:
    """What can be done with a series: errors of the first frame, in 1e-3 of the continuum."""
    burst, truth = series()
    runs = {
        "PCA": PcaSettings(),
        f"weights {BUNDLED}": DenoiseSettings(series=False),
        f"weights {BUNDLED}, --fit 6": DenoiseSettings(series=False, fit=6, patches=300, learning_rate=2e-4),
        "--weights none --fit 12": DenoiseSettings(
            series=False, weights="none", fit=12, patches=300, learning_rate=1e-3
        ),
        "--weights none --fit 12 --spectral": DenoiseSettings(
            series=False, weights="none", fit=12, patches=300, learning_rate=1e-3, spectral=True
        ),
    }
    rows = [["one frame as observed", f"{1e3 * rms(burst.frames[:, 0] - truth):.2f}", "-", "-"]]
    rows.append(["mean of the 8 frames", f"{1e3 * rms(burst.frames[:].mean(1) - truth):.2f}", "-", "-"])
    for name, settings in runs.items():
        last = restore(burst, settings, device="cpu")
        facts = [statistics(residual, NOISE) for residual in last.maps["residual"]]
        figures = [
            np.mean([each[key] for each in facts]) for key in ("residual_sigma", "residual_local_mean")
        ]
        rows.append([name, f"{1e3 * rms(last.images - truth):.2f}", *(f"{figure:.2f}" for figure in figures)])
        print(rows[-1], flush=True)
    return table(
        ["", "error / 1e-3", "residual: sigma / noise", "residual: local means / those of noise"], rows
    )


def noisy_noisy(epochs: int = 10) -> str:
    """The same network trained from the same start on the same patches, with clean and with noisy targets."""
    burst, truth = series()
    frames = np.asarray(burst.frames)

    def read(group: tuple[int, ...], frame: int) -> Image:
        return np.stack([frames[group[0], frame], truth[group[0]].astype(np.float32)]) / np.float32(NOISE)

    pairs = Pairs(read, [(k,) for k in range(27)], [1.0] * 27, 8, (160, 160))
    errors = []
    for clean in (True, False):
        torch.manual_seed(0)
        net = Denoiser(residual=True, dropout=DROPOUT).to(memory_format=torch.channels_last)
        optimiser = torch.optim.Adam(net.parameters())
        for epoch in range(epochs):
            optimiser.param_groups[0]["lr"] = 1e-3 * min(1, 2 * (1 - epoch / epochs))
            random = np.random.default_rng(epoch)
            batches = (
                (one[:, :1], two[:, int(clean) :][:, :1])
                for one, two in pairs.batches(random, 300, spectral=False)
            )
            train_epoch(net, optimiser, batches, Aim("L2", False, 1.0), CPU)
        with torch.inference_mode():
            found = torch.stack(
                [net(torch.from_numpy(frames[k : k + 1, :1] / NOISE))[0, 0] for k in range(27)]
            ).numpy()
        errors.append(rms(found * NOISE - truth))
    return (
        f"noisy-clean {1e3 * errors[0]:.3f}e-3, noisy-noisy {1e3 * errors[1]:.3f}e-3 of the continuum: "
        f"{100 * (errors[1] / errors[0] - 1):+.1f} %"
    )


def calibration_line() -> str:
    """How many true values lie within the uncertainty."""
    net, _ = weights.load(BUNDLED)
    assert isinstance(net, Denoiser)
    random = np.random.default_rng(TEST_SEED + 1)
    pairs = []
    for number in (2, 3):
        for level, truth in zip((1e-3, 3e-3, 1e-2), simulated(number, TEST_SEED)[1][::4], strict=False):
            clean = truth[64:192, 64:192] / np.float32(level)
            noisy = clean + random.standard_normal(clean.shape, np.float32)
            pairs.append((torch.from_numpy(noisy)[None, None], torch.from_numpy(clean)[None, None]))
    facts = calibration(pairs, net)
    return (
        f"within 1 sigma {100 * facts['inside_1_sigma']:.1f} % (68.3 %), within 2 sigma "
        f"{100 * facts['inside_2_sigma']:.1f} % (95.4 %)"
    )


def real_table(methods: Mapping[str, Method], folder: Path) -> str:
    """A real Stokes image of CRISP at 8542: there is no truth, but the published network's output."""
    image = np.asarray(fits.getdata(folder / "denoise" / "crisp_stokes_noisy.fits"), np.float32)
    published = np.asarray(fits.getdata(folder / "denoise" / "crisp_stokes_published.fits"), np.float32)
    noise = light_of(Burst.from_array(image, labels=("Q",)), 0).noise
    rows = []
    for name, result in {
        **{n: m(image) for n, m in methods.items()},
        "published for CRISP": published,
    }.items():
        facts = statistics(image - result, noise)
        correlation = np.corrcoef(result.ravel(), published.ravel())[0, 1]
        rows.append(
            [
                name,
                f"{correlation:.3f}",
                f"{facts['residual_sigma']:.2f}",
                f"{facts['residual_local_mean']:.2f}",
            ]
        )
    print(f"noise of the real image {noise:.2e}")
    return table(
        [
            "method",
            "correlation with published",
            "residual: sigma / noise",
            "residual: local means / those of noise",
        ],
        rows,
    )


def draw(methods: Mapping[str, Method]) -> None:
    """A simulated map of V with noise, by each method, the truth and below what each took away."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    maps = simulated(2, TEST_SEED)[1]
    truth = max(maps, key=rms)
    noisy = truth + NOISE * np.random.default_rng(1).standard_normal(truth.shape).astype(np.float32)
    shown = {
        "noisy, sigma = 3e-3": noisy,
        "best Gaussian": best_smoothing(noisy, truth),
        **{n: m(noisy) for n, m in methods.items()},
    }
    shown["truth"] = truth
    figure, axes = plt.subplots(2, len(shown), figsize=(3.2 * len(shown), 6.6), layout="constrained")
    for column, (name, image) in zip(axes.T, shown.items(), strict=True):
        for axis, values, limit in ((column[0], image, 4 * NOISE), (column[1], noisy - image, 3 * NOISE)):
            axis.imshow(values, cmap="gray", vmin=-limit, vmax=limit, origin="lower", interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        column[0].set_title(name)
        column[1].set_xlabel("what was taken away" if name != "truth" else "the noise")
    axes[1, 0].set_visible(False)
    (DOCS / "pictures").mkdir(exist_ok=True)
    figure.savefig(DOCS / "pictures" / "denoise.png", dpi=70)


def _beside(methods: Mapping[str, Method], more: Mapping[str, Method]) -> dict[str, Method]:
    """The package's network, then the same with other settings, then the others."""
    (first, *others) = methods.items()
    return dict([first, *more.items(), *others])


def main() -> None:
    """Measure, draw, and put the tables where the page has marks for them."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    wanted = sys.argv[2:] or ["errors", "widths", "weak", "real", "calibration", "series", "targets"]
    methods: dict[str, Method] = {"Noise2Noise, weights of the package": network()}
    more = {f"the same, `--keep-wide {wide}`": network(keep_wide=float(wide)) for wide in (2, 0)}
    makers: dict[str, Callable[[], str]] = {
        "errors": lambda: errors_table(_beside(methods, more), folder),
        "widths": lambda: widths_table(folder),
        "weak": lambda: weak_table(_beside(methods, more)),
        "calibration": calibration_line,
        "series": series_table,
        "targets": noisy_noisy,
    }
    with tempfile.TemporaryDirectory() as place:
        if folder is not None:
            path = import_file(
                folder / "weights" / "denoiser_simulation_bayes.hdf5", "published", folder=Path(place)
            )
            methods["published Bayesian network"] = network(str(path))
            makers["real"] = lambda: real_table(_beside(methods, more), folder)
        if "errors" in wanted:
            draw(methods)
        tables = {name: make() for name, make in makers.items() if name in wanted}
    page = DOCS / "denoise.md"
    text = page.read_text(encoding="utf-8")
    for name, content in tables.items():
        print(f"{name}\n{content}\n", flush=True)
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert pattern.search(text), f"denoise.md has no place for {name}"
        text = pattern.sub(lambda found, new=content: f"{found[1]}\n{new}\n\n{found[2]}", text)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

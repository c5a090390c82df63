"""Draw figures of the papers on networks (MFBD, Enhance, Noise2Noise) with simulated data, and fill their
tables in papers.md.

    python docs/make_paper_network_figures.py [recurrent committee over_smoothing profiles scatter sharper
        halpha crisp_stokes]

All by default, some minutes on one thread; the last two are of real images and need the reference data. What
the pages of the methods measure already is not repeated.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from astropy.io import fits

from heliorestore import Burst, DenoiseSettings, MfbdSettings, MomfbdSettings, restore
from heliorestore.instrument import Instrument, find
from heliorestore.optics.psf import telescope_psf
from heliorestore.prepare.register import brought_onto
from heliorestore.prepare.sharper import seen_through
from heliorestore.quality.metrics import likeness
from heliorestore.simulate.burst import simulate_burst
from heliorestore.simulate.view import SimulationSettings
from heliorestore.train.enhance import validation_pairs
from heliorestore.train.polarised import simulated as polarised
from heliorestore.train.scenes import simulated as hmi_scenes
from heliorestore.train.views import SAMPLES, observe

mpl.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parent))
from make_denoise_tables import NOISE, network, rms, series, smoothed
from make_denoise_tables import TEST_SEED as MAPS
from make_enhance_tables import METHODS, band_power
from make_enhance_tables import TEST_SEED as SCENES
from make_mfbd_tables import error, sharpest, table
from make_paper_figures import grey_rows, main, save

DATA = Path(__file__).parents[2] / "shared" / "data"  # reference data, whose images are not shown
SEED = 300_000
HINODE_M, HINODE_NM = 0.5, 617.3
Image = np.ndarray


def burst_of(noise: float, **changes: object) -> tuple[Burst, Image]:
    """Twelve frames of a sunspot by CRISP at 854 nm, and the truth."""
    known = {"size": 128, "frames": 12, "objects": 1, "scene": "sunspot", "r0_cm": 15.0, "ao": True}
    settings = SimulationSettings(**(known | {"step": 16, "noise": noise} | changes))
    simulation = simulate_burst(settings, find("crisp-8542-paper"), seed=SEED)
    return simulation.burst, simulation.truth[0]


def recurrent() -> str:
    """MFBD, fig. 7: the estimate of the recurrent network after each frame."""
    shown, rows, panels = (2, 3, 5, 8, 12), [], []
    for title, changes in (("AO", {}), ("no AO", {"ao": False, "scene": "granulation"})):
        burst, truth = burst_of(2e-3, **changes)
        settings = MfbdSettings(network="recurrent", committee=1, members=True)
        last = restore(burst, settings, device="cpu")
        estimates = np.asarray(last.maps["estimates"])[0]
        base = error(sharpest(burst), truth)[0]
        errors = [error(estimates[number - 2], truth)[0] / base for number in shown]
        rows.append([title, f"{base:.3f}", *(f"{each:.2f}" for each in errors)])
        print(rows[-1], flush=True)
        panels.append([(f"sharpest frame, {title}", sharpest(burst))])
        panels[-1] += [(f"after {number} frames", estimates[number - 2]) for number in shown]
        panels[-1].append(("truth", truth))
    grey_rows(panels, "papers_recurrent.png")
    header = ["burst", "error of the sharpest frame", *(f"after {number} frames" for number in shown)]
    return table(header, rows)


def committee(count: int = 20) -> str:
    """MFBD, fig. 12: what a committee gains, and how much of it is noise."""
    rows = []
    for title, changes in (("AO", {}), ("no AO", {"ao": False, "scene": "granulation"})):
        clean, truth = burst_of(0.0, **changes)
        frames = np.asarray(clean.frames)
        outputs = []
        for seed in (1, 2):
            random = np.random.default_rng(seed)
            noisy = frames + 5e-3 * frames.mean() * random.standard_normal(frames.shape).astype(np.float32)
            burst = Burst.from_array(noisy, clean.instruments[0])
            outputs.append(restore(burst, MfbdSettings(committee=count, members=True), device="cpu"))
        members = [np.asarray(output.maps["members"])[0] for output in outputs]
        mean = outputs[0].images[0]
        spread = float(outputs[0].losses["spread"]) / float(truth.std() / truth.mean())
        one = np.sqrt(np.mean([error(member, truth)[0] ** 2 for member in members[0]]))
        # The same frames with other noise differ by the noise alone.
        noise = [float(np.var(a - b) / 2) for a, b in zip(*members, strict=True)]
        noise_of_mean = float(np.var(outputs[0].images[0] - outputs[1].images[0]) / 2)
        uncertainty = np.asarray(outputs[0].maps["uncertainty"])[0]
        inside = np.abs(mean / mean.mean() - truth / truth.mean()) < uncertainty / mean.mean()
        rows.append([title, f"{one:.3f}", f"{error(mean, truth)[0]:.3f}", f"{spread:.3f}"])
        rows[-1] += [f"{np.mean(noise) / noise_of_mean:.2f}", f"{100 * inside.mean():.0f} %"]
        print(rows[-1], flush=True)
    header = ["burst", "error of one member", f"of the mean of {count}", "spread"]
    return table([*header, "variance of the noise: member / mean", "errors within the uncertainty"], rows)


def over_smoothing() -> str:
    """Noise2Noise, fig. 4: what is kept of Q, U and V by scale, as sharp as the telescope and oversampled."""
    edges, denoise, blur = (0.0, 0.05, 0.1, 0.2, 0.35), network(), smoothed(2 / 2.355)
    maps = np.stack(polarised(3, MAPS)[1])  # Q, U and V at three wavelengths of a sunspot
    random = np.random.default_rng(MAPS)
    rows, curves = [], {}
    for title, truths in (
        ("as sharp as the telescope", maps),
        ("oversampled: under a Gaussian of 2 px FWHM", np.stack([blur(each) for each in maps])),
    ):
        for number, name in enumerate("QUV"):
            powers, kept = [], []
            for truth in truths[3 * number : 3 * number + 3]:
                noise = NOISE * random.standard_normal(truth.shape)
                noisy = (truth + noise).astype(np.float32)
                images = (truth, noisy, denoise(noisy), noise)
                powers.append([band_power(image)[0] for image in images])
                frequency = band_power(truth)[1]
                # |a + b|^2 - |a - b|^2 = 4 Re a b*: what denoised and true image have in common.
                both = (band_power(images[2] + sign * truth)[0] for sign in (1, -1))
                kept.append(np.subtract(*both) / 4)
            clean, noisy_power, found, noise_power = np.mean(powers, 0)
            common = np.mean(kept, 0)
            rings = np.rint(frequency * 128).astype(int)
            curves[title, name] = [
                np.bincount(rings.ravel(), power.ravel())[1:64] / np.bincount(rings.ravel())[1:64]
                for power in (clean, noisy_power, found)
            ]
            cells = [
                f"{100 * common[band].sum() / clean[band].sum():.0f} % "
                f"({clean[band].sum() / noise_power[band].sum():.2g})"
                for low, high in itertools.pairwise(edges)
                for band in [(frequency > low) & (frequency <= high)]
            ]
            rows.append([title, name, *cells])
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), sharex=True, layout="constrained")
    for axis, ((title, name), powers) in zip(axes.flat, curves.items(), strict=True):
        for label, power in zip(("truth", "with noise", "denoised"), powers, strict=True):
            style = {"color": "black", "linestyle": "--"} if label == "truth" else {}
            axis.loglog(np.arange(1, 64) / 128, power, label=label, **style)
        axis.set_title(f"{name}, {title.split(':')[0]}", fontsize=9)
        axis.set_ylim(bottom=1e-5)
    axes[0, 0].legend(fontsize=8, frameon=False)
    axes[1, 1].set_xlabel("cycles per pixel")
    save(figure, "papers_spectra.png")
    return table(["map", "", *(f"{low:g}-{high:g}" for low, high in itertools.pairwise(edges))], rows)


def profiles() -> str:
    """Noise2Noise, figs. 5 and A.1: profiles of weak pixels with their uncertainty, and errors by signal."""
    burst, truth = series()
    settings = DenoiseSettings(uncertainty=True, series=False)
    last = restore(burst.select(frames=slice(0, 1)), settings, device="cpu")
    images, sigma = last.images, np.asarray(last.maps["uncertainty"])
    noisy = np.asarray(burst.frames)[:, 0]
    waves = 10 * np.array([each.wavelength_nm or 0.0 for each in burst.instruments[:9]])
    strength = np.abs(truth).reshape(3, 9, 160, 160).max(1)
    figure, axes = plt.subplots(2, 4, figsize=(10, 4.4), sharex=True, layout="constrained")
    random = np.random.default_rng(2)
    for line, number in zip(axes, (0, 2), strict=True):  # Q and V
        weak = np.argwhere((strength[number] > NOISE) & (strength[number] < 3 * NOISE))
        part = slice(9 * number, 9 * number + 9)
        for axis, (row, column) in zip(line, random.permutation(weak)[:4], strict=True):
            found, width = images[part, row, column], 2 * sigma[part, row, column]
            axis.plot(waves, 1e3 * noisy[part, row, column], color="0.6", label="with noise")
            axis.plot(waves, 1e3 * truth[part, row, column], color="tab:green", label="truth")
            axis.plot(waves, 1e3 * found, color="tab:red", label="denoised, 2 sigma")
            axis.fill_between(
                waves, 1e3 * (found - width), 1e3 * (found + width), color="tab:red", alpha=0.25
            )
        line[0].set_ylabel(f"{'QUV'[number]} [10⁻³ of the continuum]")
    axes[0, 0].legend(fontsize=7, frameon=False)
    save(figure, "papers_profiles.png")
    rows, errors = [], np.abs(images - truth)
    for low, high in itertools.pairwise((0, 1, 2, 4, 8, 16, 1000)):
        chosen = (np.abs(truth) >= low * NOISE) & (np.abs(truth) < high * NOISE)
        within = [f"{100 * np.mean(errors[chosen] < n * sigma[chosen]):.0f} %" for n in (1, 2)]
        name = f"{low} to {high} sigma" if high < 1000 else f"above {low} sigma"
        rows.append([name, f"{1e3 * rms(errors[chosen]):.2f}", f"{1e3 * rms(sigma[chosen]):.2f}", *within])
    return table(["signal", "error / 1e-3", "uncertainty / 1e-3", "within 1", "within 2"], rows)


def scatter() -> str:
    """Enhance, fig. 8: field out against field in, and the power of the magnetograms."""
    views = [observe(*scene) for scene in hmi_scenes("magnetogram", 2, SCENES)]
    low, high = (part[0, 0].numpy() for part in validation_pairs(views, 1e-2)[0])
    images = {name: method(low, "magnetogram") for name, method in METHODS.items() if "small" not in name}
    images["truth, 28 cm"] = high
    plain, rows = images["bicubic"], []
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    left.plot(plain.ravel()[::3], images["Enhance, full"].ravel()[::3], ",", color="tab:red", alpha=0.5)
    for factor, style in ((1, "-"), (2, ":"), (0.5, ":")):
        left.plot([-3, 3], [-3 * factor, 3 * factor], style, color="0.4", linewidth=1)
    left.set(xlabel="HMI, interpolated [kG]", ylabel="Enhance [kG]", xlim=(-3, 3), ylim=(-3, 3))
    strong = (np.abs(plain) > 0.8) & (np.abs(plain) < 1.2)
    quiet = np.abs(high) < 0.01
    for name, image in images.items():
        power, frequency = band_power(image)
        rings = np.rint(frequency * 128).astype(int)
        mean = np.bincount(rings.ravel(), power.ravel())[1:64] / np.bincount(rings.ravel())[1:64]
        right.loglog(np.arange(1, 64) / 128, mean, label=name, color="black" if "truth" in name else None)
        ratio = np.abs(image[strong] / plain[strong])
        rows.append([name, f"{ratio.mean():.2f}", f"{np.percentile(ratio, 99):.2f}"])
        rows[-1].append(f"{1e3 * rms(image[quiet] - high[quiet]):.0f} G")
    right.set(xlabel="cycles per output pixel", ylabel="power")
    right.legend(fontsize=8, frameon=False)
    save(figure, "papers_field.png")
    return table(["", "factor at 1 kG", "99th percentile", "error where the truth is below 10 G"], rows)


def sharper() -> str:
    """Enhance, fig. 6: beside a telescope of 0.5 m, degraded to 0.28 m and registered."""
    rows = []
    for name, scene, pixel in hmi_scenes("continuum", 2, SCENES):
        hinode = Instrument(diameter_m=HINODE_M, wavelength_nm=HINODE_NM, pixel_arcsec=0.504 / SAMPLES)
        kernel = torch.fft.fftshift(telescope_psf(hinode, (129, 129), dtype=torch.float64)).numpy()
        low, high = (part[0, 0].numpy() for part in validation_pairs([observe(name, scene, pixel)], 1e-3)[0])
        seen = observe(name, scene, pixel, (kernel, 0.504 / SAMPLES)).low.numpy()
        # The sharper telescope looks elsewhere, and is rotated by a quarter.
        theirs = np.rot90(seen[9:, 5:]).copy()
        degraded = seen_through(theirs, hinode, 0.28)
        for method, restore_it in METHODS.items():
            image = restore_it(low, "continuum")
            cells = []
            for reference in (theirs, degraded):
                _, brought = brought_onto(image, reference, scale=2.0)
                cells.append(likeness(image, brought))
            true = likeness(image, high)
            figures = [f"{each.nmse:.3f} ({each.contrast_ratio:.2f})" for each in (*cells, true)]
            rows.append([name.split()[0], method, *figures])
            print(rows[-1], flush=True)
    header = ["scene", "method", "against 0.5 m as it is", "against 0.5 m degraded to 0.28 m"]
    return table([*header, "against the truth at 0.28 m"], rows)


def halpha() -> str:
    """MFBD, fig. 11: a real burst in H alpha, beside its published restoration."""
    frames, published = (
        np.asarray(fits.getdata(DATA / "bursts" / f"halpha_{name}_part.fits"), np.float32)
        for name in ("burst", "reference")
    )
    burst = Burst.from_array(frames, Instrument(diameter_m=0.97, wavelength_nm=656.3, pixel_arcsec=0.059))
    runs = {
        "MFBD, one pass": MfbdSettings(committee=1),
        "MFBD, recurrent": MfbdSettings(network="recurrent", committee=1),
        "MOMFBD": MomfbdSettings(),
    }
    images = {"sharpest frame": sharpest(burst), "mean of the frames": frames.mean(0)}
    images |= {name: restore(burst, settings, device="cpu").images[0] for name, settings in runs.items()}
    rows = []
    for name, image in images.items():
        found = likeness(image, published)
        rows.append([name, f"{found.nmse:.3f}", f"{found.contrast_ratio:.2f}", f"{found.gain:.2f}"])
    return table(["", "NMSE against the published image", "contrast / its contrast", "gain"], rows)


def crisp_stokes() -> str:
    """Noise2Noise, fig. 7: where the power of a real Stokes image of CRISP ends, by both networks."""
    image, published = (
        np.asarray(fits.getdata(DATA / "denoise" / f"crisp_stokes_{name}.fits"), np.float32)
        for name in ("noisy", "published")
    )
    edges, rows = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35), []
    base, frequency = band_power(image)
    for name, found in {
        "weights of the package": network()(image),
        "the same, `--keep-wide 2`": network(keep_wide=2.0)(image),
        "published for CRISP": published,
    }.items():
        power, removed = band_power(found)[0], band_power(image - found)[0]
        bands = [(frequency > low) & (frequency <= high) for low, high in itertools.pairwise(edges)]
        rows.append([name])
        for band in bands:
            rows[-1].append(f"{power[band].sum() / base[band].sum():.2f}")
            rows[-1][-1] += f" ({removed[band].sum() / base[band].sum():.2f})"
    return table(["", *(f"{low:g}-{high:g}" for low, high in itertools.pairwise(edges))], rows)


MAKERS: Mapping[str, Callable[[], str]] = {
    "recurrent": recurrent, "committee": committee, "over_smoothing": over_smoothing, "profiles": profiles,
    "scatter": scatter, "sharper": sharper,
}  # fmt: skip
if DATA.exists():
    MAKERS = {**MAKERS, "halpha": halpha, "crisp_stokes": crisp_stokes}

if __name__ == "__main__":
    main(MAKERS)

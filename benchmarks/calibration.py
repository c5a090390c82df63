"""How often the error of a restored image is inside the standard error that the run gave it.

    python benchmarks/burst_set.py FOLDER            # once: the bursts and their truths
    python benchmarks/calibration.py FOLDER [--names A B] [--flux 0 0.02] [--tuning] [--picture PNG]
    python benchmarks/calibration.py --halves BURST.fits --instrument crisp-6302,wavelength_nm=656.3

prints a table row for each burst as soon as it is restored: the share of the pixels inside one and two sigma
(68 and 95 % were the errors Gaussian), rms of the error and of sigma in per cent of the mean, and how well
the two agree from block to block of 8 pixels. The truth is the scene through the filter of the restored
image, moved by one shift; no gain is taken out. `--halves` restores the even and the odd frames of one burst
and compares their difference with both errors.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from burst_set import BORDER, CASES, TUNING, Image, file_name

import heliorestore
from heliorestore.burst import Burst
from heliorestore.instrument import find
from heliorestore.methods.sv_momfbd import METHOD, SvMomfbdSettings
from heliorestore.optics.filters import flat_top, frequency
from heliorestore.optics.pupil import cutoff
from heliorestore.quality.metrics import registered
from heliorestore.settings import from_rows
from heliorestore.simulate.burst import make_scene
from heliorestore.simulate.view import make_view
from heliorestore.snapshot import Snapshot

COLUMNS = ("burst", "flux error", "inside 1 sigma", "2 sigma", "rms error", "rms sigma", "correlation")
BLOCK = 8  # pixels


class Found(NamedTuple):
    """Shares inside 1 and 2 sigma, rms of error and sigma in units of the mean, and the correlation of both
    in blocks.
    """

    inside: float
    twice: float
    error: float
    sigma: float
    correlation: float

    def cells(self) -> str:
        return (
            f"{self.inside:.1%} | {self.twice:.1%} | {self.error:.2%} | {self.sigma:.2%} | "
            f"{self.correlation:.2f}"
        )


def judged(error: Image, sigma: Image, mean: float) -> Found:
    """Judge errors (y, x), NaN where there are none, by their sigma."""
    good = np.isfinite(error)
    times = np.abs(error[good]) / sigma[good]
    blocks = [_blocks(np.where(good, part, 0.0)) for part in (error, sigma)]
    return Found(
        float((times < 1).mean()),
        float((times < 2).mean()),
        float(np.sqrt(np.mean(error[good] ** 2))) / mean,
        float(np.sqrt(np.mean(sigma[good] ** 2))) / mean,
        float(np.corrcoef(*blocks)[0, 1]),
    )


def _blocks(image: Image) -> npt.NDArray[np.float64]:
    """The rms of the blocks of an image."""
    rows, columns = (n // BLOCK for n in image.shape)
    cut = image[: rows * BLOCK, : columns * BLOCK].astype(np.float64)
    found: npt.NDArray[np.float64] = np.sqrt(
        np.square(cut).reshape(rows, BLOCK, columns, BLOCK).mean((1, 3))
    ).ravel()
    return found


def truth_of(name: str) -> Image:
    """The scene (y, x) of a burst through the filter that ends the spectrum of a restored image."""
    case = (CASES | TUNING)[name]
    instrument = find(case.instrument).require()
    view = make_view(case.of(0.0), instrument, case.seed)
    bands = make_scene(view.settings.replace(objects=2), instrument, view.margin, case.seed)
    scene = torch.from_numpy(np.ascontiguousarray(bands[case.band], np.float32))
    rows, columns = scene.shape
    passed = flat_top(frequency((rows, columns)), cutoff(instrument))
    seen = torch.fft.irfft2(torch.fft.rfft2(scene) * passed, s=(rows, columns))
    inner = slice(view.margin, view.margin + view.settings.size)
    return np.asarray(seen[inner, inner].numpy(), np.float32)


def compared(image: Image, sigma: Image, truth: Image) -> Found:
    """Judge an image (y, x) by the truth, brought to its mean and moved onto it."""
    mean = float(image.mean())
    scaled = truth * (mean / float(truth.mean()))
    inner = (slice(BORDER, -BORDER),) * 2
    _, moved = registered(scaled, image)
    return judged(image[inner] - moved, sigma[inner], mean)


def draw(path: Path, image: Image, sigma: Image, truth: Image) -> None:
    """A picture of the restored image, its sigma, and the true error."""
    mpl.use("Agg")
    _, moved = registered(truth * (image.mean() / truth.mean()), image)
    inner = (slice(BORDER, -BORDER),) * 2
    error = np.full(image.shape, np.nan)
    error[inner] = image[inner] - moved
    most = 3 * float(np.sqrt(np.mean(sigma**2)))
    shown: list[tuple[str, npt.NDArray[np.floating], dict[str, Any]]] = [
        ("restored", image, {"cmap": "gray"}),
        ("uncertainty: the standard error", sigma, {"cmap": "inferno", "vmin": 0, "vmax": most}),
        ("the true error, its modulus", np.abs(error), {"cmap": "inferno", "vmin": 0, "vmax": most}),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(11.4, 3.9))
    for axis, (title, picture, look) in zip(axes, shown, strict=True):
        drawn = axis.imshow(picture, origin="lower", interpolation="nearest", **look)
        figure.colorbar(drawn, ax=axis, fraction=0.046, pad=0.02)
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    figure.tight_layout(pad=0.5)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def restored(burst: Burst, settings: SvMomfbdSettings) -> Snapshot:
    *_, last = METHOD.stream(burst, settings, device=torch.device("cpu"), seed=0)
    return last


def halves(path: Path, instrument: str, settings: SvMomfbdSettings) -> Found:
    """Restore even and odd frames, and judge their difference, which has the errors of both."""
    burst = heliorestore.read(path).with_instrument(instrument)
    one, other = (restored(burst.select(frames=slice(first, None, 2)), settings) for first in (0, 1))
    mean = float(one.images[0].mean())
    inner = (slice(BORDER, -BORDER),) * 2
    scale = mean / float(other.images[0].mean())
    _, moved = registered(other.images[0] * scale, one.images[0])
    first, second = (last.maps["uncertainty"].array[0][inner] for last in (one, other))
    for last in (one, other):
        print("\n".join(last.messages))
    return judged(one.images[0][inner] - moved, np.hypot(first, second * scale), mean)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", help="where burst_set.py wrote the bursts")
    parser.add_argument("--names", nargs="*", help="some of the bursts (default: all)")
    parser.add_argument("--flux", nargs="*", type=float, default=[0.0, 0.02])
    parser.add_argument("--tuning", action="store_true", help="the bursts that the map was tuned on")
    parser.add_argument("--halves", type=Path, metavar="BURST", help="compare two halves of this burst")
    parser.add_argument("--instrument", default="", help="of the burst, where its header does not say")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw the last burst here")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    pairs = [text.partition("=") for text in chosen.set]
    settings = from_rows(SvMomfbdSettings, [(name, value) for name, _, value in pairs])
    print("|", " | ".join(COLUMNS), "|")
    print("|" + "---|" * len(COLUMNS))
    if chosen.halves is not None:
        found = halves(chosen.halves, chosen.instrument, settings)
        print(f"| {chosen.halves.stem} | halves | {found.cells()} |")
        return
    for name in chosen.names or (TUNING if chosen.tuning else CASES):
        truth = truth_of(name)
        for flux in chosen.flux:
            last = restored(heliorestore.read(chosen.folder / f"{file_name(name, flux)}.fits"), settings)
            image, sigma = last.images[0], last.maps["uncertainty"].array[0]
            if chosen.picture is not None:
                draw(chosen.picture, image, sigma, truth)
            found = compared(image, sigma, truth)
            print(f"| {name} | {flux:.1%} | {found.cells()} |", flush=True)


if __name__ == "__main__":
    main()

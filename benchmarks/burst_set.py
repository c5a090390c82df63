"""Named bursts of fixed seed with their truth, to tune methods on and to fill tables with.

    python benchmarks/burst_set.py OUTFOLDER [--names A B] [--flux 0 0.005 0.02] [--tuning] [--oracle]

writes `A.fits`, `A_flux0.5.fits`, `A_flux2.fits` (the same burst without and with a smooth error of the flux,
in per cent) and `A_truth.fits`. `--tuning` writes the bursts on other seeds (`tA`, ...): tune on these, and
keep the others for the tables. The blur is the source-weighted one (`blur="scatter"`), which no method
inverts. `--oracle` prints, for each burst, the error of the mean and of the best frame, and that of a
deconvolution with the true PSFs.

In Python: `make(name, flux)`, `error(restored, truth, instrument)` and `oracle(name, fluxes)`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.fits.burst_writer import write_burst
from heliorestore.instrument import Instrument, find
from heliorestore.optics.psf import telescope_psf
from heliorestore.quality.metrics import likeness
from heliorestore.simulate.burst import Simulation, expose, make_scene, record
from heliorestore.simulate.faults import flux_fields
from heliorestore.simulate.scatter import Scatter, make_scatter
from heliorestore.simulate.view import SimulationSettings, View, make_view

Image = npt.NDArray[np.float32]
BORDER = 16  # pixels at each edge that do not count
COMMON: dict[str, Any] = {
    "scene": "granulation",
    "size": 192,
    "objects": 1,
    "ao": True,
    "ao_gain": 0.65,
    "high_share": 0.2,
    "high_layer_km": 6.0,
    "blur": "scatter",
}


class Case(NamedTuple):
    """A burst: instrument, seed, settings that differ from the common ones, and the band that is kept."""

    instrument: str
    seed: int
    settings: dict[str, Any]
    band: int = 0  # 1 is the narrow band: the chromosphere in strong lines

    def of(self, flux: float) -> SimulationSettings:
        return SimulationSettings(**(COMMON | self.settings | {"flux_rms": flux}))


CASES: dict[str, Case] = {
    "A": Case("crisp-6302-paper", 101, {"r0_cm": 8.0, "noise": 1e-3, "frames": 12}),
    "B": Case("crisp-6302-paper", 102, {"r0_cm": 20.0, "noise": 3e-3, "frames": 6}),
    "C": Case("crisp-6302-paper", 103, {"r0_cm": 12.0, "noise": 1e-3, "frames": 30, "ao": False}),
    "D": Case("crisp-8542-paper", 104, {"r0_cm": 12.0, "noise": 1e-2, "frames": 12}),
    "E": Case("crisp-6302-paper", 105, {"r0_cm": 5.0, "noise": 3e-3, "frames": 20}),
    "F": Case("chromis-3934-paper", 106, {"r0_cm": 8.0, "noise": 5e-3, "frames": 12}),
    "G": Case("crisp-6302-paper", 107, {"r0_cm": 10.0, "noise": 2e-3, "frames": 12}),
    "H": Case("crisp-6302-paper", 108, {"r0_cm": 14.0, "noise": 2e-3, "frames": 10}),
    "S10": Case(
        "crisp-6302-paper", 109, {"scene": "sunspot", "r0_cm": 10.0, "noise": 2e-3, "frames": 12, "size": 256}
    ),
    "S7": Case("crisp-6302-paper", 110, {"scene": "sunspot", "r0_cm": 7.0, "noise": 2e-3, "frames": 16}),
    "K": Case("crisp-8542-paper", 111, {"r0_cm": 10.0, "noise": 5e-3, "frames": 12, "high_share": 0.1}, 1),
    "L": Case("chromis-3934-paper", 112, {"r0_cm": 15.0, "noise": 3e-3, "frames": 16, "ao": False}),
}
"""The bursts of the tables."""

TUNING: dict[str, Case] = {
    "tA": Case("crisp-6302-paper", 201, {"r0_cm": 7.0, "noise": 1e-3, "frames": 12, "high_layer_km": 8.0}),
    "tB": Case("crisp-6302-paper", 202, {"r0_cm": 18.0, "noise": 2e-3, "frames": 8}),
    "tC": Case("crisp-6302-paper", 203, {"r0_cm": 13.0, "noise": 2e-3, "frames": 24, "ao": False}),
    "tD": Case("crisp-8542-paper", 204, {"r0_cm": 14.0, "noise": 8e-3, "frames": 16}),
    "tF": Case("chromis-3934-paper", 206, {"r0_cm": 9.0, "noise": 4e-3, "frames": 12}),
    "tG": Case("crisp-6302-paper", 207, {"r0_cm": 11.0, "noise": 3e-3, "frames": 12, "high_share": 0.3}),
    "tS": Case("crisp-6302-paper", 209, {"scene": "sunspot", "r0_cm": 9.0, "noise": 2e-3, "frames": 12}),
    "tK": Case("crisp-8542-paper", 211, {"r0_cm": 8.0, "noise": 3e-3, "frames": 12}, 1),
}
"""The bursts to tune on: other seeds, and other figures."""


def make(name: str, flux: float = 0.0) -> Simulation:
    """The burst of that name with a smooth flux error of that rms; all else is the same for every `flux`."""
    return make_all(name, (flux,))[0]


def make_all(name: str, fluxes: Sequence[float]) -> list[Simulation]:
    """The burst of that name for several flux errors; the light is computed once."""
    case = (CASES | TUNING)[name]
    instrument = find(case.instrument).require()
    view = make_view(case.of(0.0), instrument, case.seed)
    bands = make_scene(view.settings.replace(objects=2), instrument, view.margin, case.seed)
    scene = torch.from_numpy(np.ascontiguousarray(bands[case.band : case.band + 1], np.float32))
    light = expose(view, scene)
    return [record(replace(view, settings=case.of(flux)), scene, light, case.seed) for flux in fluxes]


def error(
    restored: Image, truth: Image, instrument: Instrument | None = None, border: int = BORDER
) -> tuple[float, float]:
    """NMSE and gain of an image (y, x) after one sub-pixel shift and one gain, without the borders.

    With an `instrument` the image is that of the object, as `momfbd` and `sv-momfbd` give it, and is first
    seen through the telescope, as the truth is; without one it is compared as it is (frames, networks). The
    gain is the factor by which the restored contrast must be multiplied to match the truth; the NMSE is the
    squared error that is left, in units of the truth's variance.
    """
    image = np.squeeze(restored)
    if instrument is not None:
        image = through_telescope(image, instrument)
    found = likeness(image, np.squeeze(truth), border)
    return found.nmse, found.gain


def through_telescope(image: Image, instrument: Instrument) -> Image:
    """An object (y, x) at the telescope's diffraction limit, its surroundings mirrored."""
    around = np.pad(image, [(n // 2, n // 2) for n in image.shape], mode="symmetric")
    transfer = torch.fft.rfft2(telescope_psf(instrument, around.shape)).numpy()
    seen = np.fft.irfft2(np.fft.rfft2(around) * transfer, s=around.shape)
    rows, columns = image.shape
    inner = seen[rows // 2 : rows // 2 + rows, columns // 2 : columns // 2 + columns]
    return np.asarray(inner, np.float32)


def oracle(
    name: str, fluxes: Sequence[float] = (0.0,), lambda_object: float = 0.02, iterations: int = 12
) -> tuple[list[Image], list[Simulation]]:
    """The objects that the true PSFs give, one for each flux error, and the bursts.

    Conjugate gradients on sum over frames of |d - A H o|^2 + lambda (|grad H o|^2 + |(1 - H) o|^2), with the
    exact space-variant A of the simulation, Sobel's gradient and the telescope's cut-off as the filter H: the
    loss of `sv-momfbd`, the wavefronts being known.
    """
    made = make_all(name, fluxes)
    frames = torch.stack([torch.as_tensor(np.asarray(one.burst.frames)[0]) for one in made], dim=1)
    view = made[0].view
    blurs = [_blur(view, frame) for frame in range(view.settings.frames)]
    side = blurs[0].side
    grid = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None, :]
    ky, kx = (2 * math.pi * f for f in grid)
    steep = (kx.sin() * (1 + ky.cos()) / 2) ** 2 + (ky.sin() * (1 + kx.cos()) / 2) ** 2
    cutoff = view.instrument.pixel_arcsec / view.instrument.resolution_arcsec
    passed = (torch.hypot(*grid) < cutoff).float()
    held = lambda_object * (passed * steep + 1 - passed)

    def filtered(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * factor, s=(side, side))

    def normal(x: torch.Tensor) -> torch.Tensor:
        sharp = filtered(x, passed)
        back = sum((blur.transpose(blur(sharp) / blur.response) for blur in blurs), torch.zeros_like(x))
        return filtered(back, passed) + filtered(x, held)

    level = float(frames.mean())
    power = torch.stack([_power(blur, side) for blur in blurs]).sum(0)
    inverse = 1 / (passed * power + held).clamp(min=1e-4)
    residual = sum(blur.transpose((frames[f] - level) / blur.response) for f, blur in enumerate(blurs))
    residual = filtered(torch.as_tensor(residual), passed)
    x = torch.zeros_like(residual)
    prepared = filtered(residual, inverse)
    direction, product = prepared, (residual * prepared).sum((-2, -1), keepdim=True)
    for _ in range(iterations):
        image = normal(direction)
        size = product / (direction * image).sum((-2, -1), keepdim=True)
        x, residual = x + size * direction, residual - size * image
        prepared = filtered(residual, inverse)
        following = (residual * prepared).sum((-2, -1), keepdim=True)
        direction, product = prepared + following / product * direction, following
    inner = slice(view.margin, view.margin + view.settings.size)
    sharp = filtered(x, passed)[:, inner, inner] + level
    return [image.numpy() for image in sharp], made


def _blur(view: View, frame: int) -> Scatter:
    return make_scatter(lambda y, x: view.psfs(frame, y, x), view.settings.size, view.settings.step)


def _power(blur: Scatter, side: int) -> torch.Tensor:
    """|transfer function|^2 of the PSF in the field's middle, on the grid of the scene."""
    spectra = blur.spectra[len(blur.spectra) // 2][0, 0]
    power = (spectra.real**2 + spectra.imag**2)[None, None]
    # the grid of a group and that of the scene differ: rows are turned so that frequency 0 is in the middle
    turned = torch.nn.functional.interpolate(
        torch.fft.fftshift(power, dim=-2), (side, side // 2 + 1), mode="bilinear", align_corners=False
    )
    return torch.fft.ifftshift(turned[0, 0], dim=-2)


def file_name(name: str, flux: float) -> str:
    """The name of a burst's file, without the ending."""
    return name if flux == 0 else f"{name}_flux{100 * flux:g}"


def write(name: str, fluxes: Sequence[float], folder: Path) -> None:
    """Write the bursts of a name and their truth, with the flux error for 1 per cent beside it."""
    made = make_all(name, fluxes)
    for flux, simulation in zip(fluxes, made, strict=True):
        write_burst(simulation.burst, folder / f"{file_name(name, flux)}.fits", overwrite=True)
    first = made[0]
    settings, shape = first.view.settings, first.burst.shape
    seed = (CASES | TUNING)[name].seed
    extensions = {
        "SCENE": first.scene,
        "FLUX": flux_fields(shape, 0.01, settings.flux_scale_px, seed),
    }
    write_burst(first.truth_burst(), folder / f"{name}_truth.fits", overwrite=True, extensions=extensions)


def report(name: str, fluxes: Sequence[float]) -> list[str]:
    """NMSE and gain of the mean, the best frame and the oracle, a line per flux error."""
    restored, made = oracle(name, fluxes)
    lines = []
    for flux, image, simulation in zip(fluxes, restored, made, strict=True):
        frames, truth = np.asarray(simulation.burst.frames)[0], simulation.truth[0]
        best = min(error(frame, truth)[0] for frame in frames)
        mean, true = error(frames.mean(0), truth), error(image, truth, simulation.view.instrument)
        lines.append(
            f"{file_name(name, flux):14s} mean {mean[0]:.4f} ({mean[1]:.2f})  best frame {best:.4f}  "
            f"true PSFs {true[0]:.4f} ({true[1]:.2f})"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", nargs="+", help="some of the bursts (default: all)")
    parser.add_argument("--flux", nargs="+", type=float, default=[0.0, 0.005, 0.02], help="rms of the errors")
    parser.add_argument("--tuning", action="store_true", help="the bursts to tune on")
    parser.add_argument("--oracle", action="store_true", help="print errors instead of writing files")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    parsed.folder.mkdir(parents=True, exist_ok=True)
    for name in parsed.names or (TUNING if parsed.tuning else CASES):
        began = time.perf_counter()
        if parsed.oracle:
            lines = report(name, parsed.flux)
            with (parsed.folder / "oracle.txt").open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
        else:
            write(name, parsed.flux, parsed.folder)
            lines = [name]
        print("\n".join(lines), f"[{time.perf_counter() - began:.0f} s]", flush=True)


if __name__ == "__main__":
    main()

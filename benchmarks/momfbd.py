"""Blind deconvolution against the truth: simulated bursts through every method, into a JSON file for
docs/make_momfbd_tables.py.

python benchmarks/momfbd.py -o momfbd.json [--size 128] [--cases ao no-ao spot] [--methods mean momfbd
sv-momfbd | --methods variants]

One thing at a time is changed in a reference burst. A run that was cut off goes on where it was. Seconds are
those of the processor.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filter_flow import CLEAR, resident

from heliorestore.instrument import find
from heliorestore.methods.base import stream
from heliorestore.methods.blind.forward import Flow
from heliorestore.methods.blind.object_solver import solve_objects
from heliorestore.methods.blind.wavefronts import centre_tilts
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.optics.psf import telescope_psf
from heliorestore.prepare.observe import observe
from heliorestore.quality.metrics import contrast
from heliorestore.settings import Settings
from heliorestore.simulate.burst import Simulation, simulate_burst
from heliorestore.simulate.view import SimulationSettings

REFERENCE: dict[str, Any] = {
    "scene": "granulation",
    "objects": 1,
    "r0_cm": 10.0,
    "ao": True,
    "frames": 12,
    "noise": 2e-3,
}
CHANGES: dict[str, dict[str, Any]] = {
    "ao": {},
    "no-ao": {"ao": False},
    "ao-7cm": {"r0_cm": 7.0},
    "ao-15cm": {"r0_cm": 15.0},
    "no-ao-15cm": {"ao": False, "r0_cm": 15.0},
    "invariant": {"high_layer_km": 0.0},
    "quiet": {"noise": 1e-3},
    "noisy": {"noise": 3e-3},
    "spot": {"scene": "sunspot"},
    "two-objects": {"scene": "sunspot", "objects": 2},
}
CASES = {name: REFERENCE | change for name, change in CHANGES.items()}
METHODS: dict[str, Callable[[], Settings]] = {
    "momfbd": MomfbdSettings,
    "sv-momfbd": SvMomfbdSettings,
    "paper": SvMomfbdSettings.paper,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as by default": {},
    "nodes every 16 px": {"grid_step": 16},
    "nodes every 64 px": {"grid_step": 64},
    "20 modes": {"modes": 20},
    "80 modes": {"modes": 80},
    "r0 7 cm assumed": {"r0_cm": 7.0},
    "r0 15 cm assumed": {"r0_cm": 15.0},
    "r0 from the data": {"r0_from_data": True},
    "lambda_object 0.1": {"lambda_object": 0.1},
    "lambda_object 0.005": {"lambda_object": 0.005},
    "PSFs of 64 px": {"psf": 64},
    "from the average": {"start": "average"},
    "without what the modes leave out": {"left_out": 0.0},
    "lambda_modes 0.1": {"lambda_modes": 0.1},
    "lambda_modes 0.001": {"lambda_modes": 0.001},
    "filter width 1.4": {"filter_width": 1.4},
    "prior 3": {"prior": 3.0},
    "total variation": {"regulariser": "total-variation"},
}
METHODS |= {name: functools.partial(SvMomfbdSettings, **changes) for name, changes in VARIANTS.items()}
LIMITS = {
    "fitted modes": slice(0, 0),
    "true tilts": slice(0, 2),
    "true modes 3 to 10": slice(2, 10),
    "true modes 11 to 44": slice(10, 44),
    "all 44 modes true": slice(0, 44),
}
PLAIN = ["mean", "frame", "momfbd", "sv-momfbd", "paper", "oracle"]
BORDER = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="rows that it already holds are not measured again"
    )
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--methods", nargs="+", default=PLAIN, help="also: variants, limits")
    arguments = parser.parse_args()
    table = Table(arguments.output)
    for case in arguments.cases:
        methods = {"variants": list(VARIANTS), "limits": list(LIMITS)}.get(
            arguments.methods[0], arguments.methods
        )
        wanted = [method for method in methods if not table.holds(case, method, arguments.size)]
        simulation = simulated(case, arguments.size) if wanted else None
        for method in wanted:
            assert simulation is not None
            table.add({"case": case, "method": method, "size": arguments.size} | measured(method, simulation))


class Table:
    """Rows in a JSON file, written as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        )

    def holds(self, case: str, method: str, size: int) -> bool:
        return any((row["case"], row["method"], row["size"]) == (case, method, size) for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.path.write_text(json.dumps(self.rows, indent=1), encoding="utf-8")
        print(row, flush=True)


def simulated(case: str, size: int) -> Simulation:
    """The burst of a case."""
    return simulate_burst(SimulationSettings(size=size, **CASES[case]), find("crisp-8542-paper"), seed=1)


def measured(method: str, simulation: Simulation) -> dict[str, Any]:
    """What one method makes of a burst: errors at its end and along the way, processor seconds, and gigabytes
    that it adds at its peak."""
    if CLEAR.exists():
        CLEAR.write_text("5", encoding="ascii")  # Linux: the peak begins anew, from what is in use now
    before, taken, errors, images, step = resident("VmRSS"), 0.0, [], None, 0
    began = time.process_time()
    for images, step in results(method, simulation):
        taken += time.process_time() - began
        if step:
            errors.append(
                (
                    mean_row(
                        [compared(reobserved(i), t) for i, t in zip(images, simulation.truth, strict=True)]
                    )["nmse"],
                    step,
                )
            )
        began = time.process_time()
    taken += time.process_time() - began
    row: dict[str, Any] = {
        "iterations": step,
        "seconds": taken,
        "peak_gb": (resident("VmHWM") - before) / 1e6,
    }
    if errors:
        row["best_nmse"], row["best_step"] = min(errors)
        row["errors"] = [error for error, _ in errors]
    assert images is not None
    # A deconvolved image is that of the Sun, sharper than any telescope shows it: it is looked at through the
    # telescope again.
    seen = images if method in ("mean", "frame") else [reobserved(image) for image in images]
    return row | mean_row(
        [compared(image, truth) for image, truth in zip(seen, simulation.truth, strict=True)]
    )


def mean_row(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean over the objects."""
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}


def results(method: str, simulation: Simulation) -> Iterator[tuple[np.ndarray, int]]:
    """Images (object, y, x) of a method, and its iterations so far; 0 for what does not iterate."""
    frames = np.asarray(simulation.burst.frames)
    if method == "mean":
        yield frames.mean(1), 0
    elif method == "frame":
        best = max(range(frames.shape[1]), key=lambda frame: contrast(frames[0, frame]))
        yield frames[:, best], 0
    elif method == "oracle":
        yield oracle(simulation), 0
    elif method in LIMITS:
        yield limited(simulation, LIMITS[method]), 0
    else:
        for snapshot in stream(simulation.burst, METHODS[method](), device="cpu"):
            yield np.asarray(snapshot.images), snapshot.step


def oracle(simulation: Simulation, modes: int = 200, step: int = 16, psf: int = 64) -> np.ndarray:
    """The objects that the solver finds from the true wavefronts, as far as so many modes can describe
    them."""
    settings = SvMomfbdSettings(
        modes=modes, grid_step=step, psf=psf, r0_cm=simulation.view.settings.r0_cm, align=False
    )
    flow = flow_of(simulation, settings)
    return objects_of(flow, settings, true_modes(simulation, flow))


def limited(simulation: Simulation, known: slice) -> np.ndarray:
    """The objects that belong to the fitted wavefronts with some of their modes replaced by the true ones."""
    settings = SvMomfbdSettings(align=False)
    flow = flow_of(simulation, settings)
    modes = torch.tensor(np.asarray(list(stream(simulation.burst, settings, device="cpu"))[-1].maps["modes"]))
    modes[:, known] = true_modes(simulation, flow)[:, known]
    return objects_of(flow, settings, modes)


def flow_of(simulation: Simulation, settings: SvMomfbdSettings) -> Flow:
    """The forward model of a burst."""
    device = torch.device("cpu")
    wavefronts = settings.wavefronts(simulation.burst.instruments, device)
    return Flow(
        observe(simulation.burst, device, align=False), wavefronts, settings.psf, settings.grid_step, 4e9
    )


def true_modes(simulation: Simulation, flow: Flow) -> torch.Tensor:
    """Modes (frame, mode, gy, gx) in radian that fit the true wavefronts at the nodes best, without their
    mean tilts."""
    view, burst, wavefronts = simulation.view, simulation.burst, flow.wavefronts
    assert view.telescope is not None
    pupil = wavefronts.optics(int(view.still.shape[-1]))[0]
    lit = pupil.amplitude / pupil.amplitude.max()
    basis = torch.cat([torch.ones_like(lit)[None], pupil.modes])
    sensor = torch.linalg.solve(((basis * lit).double() @ basis.double().T), (basis * lit).double())[
        1:
    ].float()
    rows, columns = torch.meshgrid(*(torch.arange(n) * float(flow.step) for n in flow.grid), indexing="ij")
    places = (torch.stack([rows.flatten(), columns.flatten()], -1) - (view.settings.size - 1) / 2) * (
        view.instrument.pixel_arcsec
    )
    telescope = view.telescope
    found = [
        telescope.wavefronts(places, f * view.settings.cadence_s).flatten(1) @ sensor.T
        for f in range(burst.shape[1])
    ]
    return centre_tilts(
        torch.stack(found).permute(0, 2, 1).reshape(burst.shape[1], wavefronts.count, *flow.grid)
    )


def objects_of(flow: Flow, settings: SvMomfbdSettings, modes: torch.Tensor) -> np.ndarray:
    """Images (object, y, x) of the objects that belong to modes in radian."""
    observation = flow.observation
    knobs = settings.knobs(torch.ones(observation.objects))
    objects = solve_objects(flow.transfers(modes), flow.surround(observation.mean), knobs, 12)
    return np.asarray(
        flow.sharp(objects, knobs)[(slice(None), *flow.inner)] * observation.scales[:, None, None]
    )


def reobserved(image: np.ndarray) -> np.ndarray:
    """An image (y, x) through the telescope without an atmosphere."""
    transfer = torch.fft.rfft2(telescope_psf(find("crisp-8542-paper"), image.shape)).numpy()
    return np.fft.irfft2(np.fft.rfft2(image) * transfer, s=image.shape)


def compared(image: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Error in units of the truth's variance after one shift and one gain, that gain, SSIM, contrast ratio
    and power ratios by band."""
    wanted, moved = registered(image, truth)
    gain = float((moved * wanted).sum() / (moved * moved).sum())
    result = {"nmse": float(((gain * moved - wanted) ** 2).sum() / (wanted**2).sum()), "gain": gain}
    result["contrast_ratio"] = contrast(image[BORDER:-BORDER, BORDER:-BORDER]) / contrast(
        truth[BORDER:-BORDER, BORDER:-BORDER]
    )
    covariance, (a, b) = float((moved * wanted).mean()), (float(moved.var()), float(wanted.var()))
    result["ssim"] = (2 * covariance + 1e-6) / (a + b + 1e-6)
    power = [
        np.abs(np.fft.rfft2(part * np.hanning(part.shape[0])[:, None] * np.hanning(part.shape[1]))) ** 2
        for part in (moved, wanted)
    ]
    v = np.hypot(np.fft.fftfreq(wanted.shape[0])[:, None], np.fft.rfftfreq(wanted.shape[1])[None])
    for low, high in ((0.02, 0.1), (0.1, 0.2), (0.2, 0.3)):
        band = (v >= low) & (v < high)
        result[f"power_{low:g}_{high:g}"] = float(power[0][band].sum() / power[1][band].sum())
    return result


def registered(image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Truth and image without their means and borders, the image moved by the sub-pixel shift that fits
    best."""
    inner = (slice(BORDER, -BORDER),) * 2
    wanted = truth[inner] - truth[inner].mean()
    spectrum = np.fft.rfft2(image - image.mean())
    ky, kx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None]

    def at(y: float, x: float) -> np.ndarray:
        part = np.fft.irfft2(spectrum * np.exp(-2j * np.pi * (ky * y + kx * x)), s=image.shape)[inner]
        return part - part.mean()

    def places(middle: tuple[float, float], reach: float, steps: int) -> Iterator[tuple[float, float]]:
        offsets = np.linspace(-reach, reach, steps)
        return ((middle[0] + dy, middle[1] + dx) for dy in offsets for dx in offsets)

    def likeness(place: tuple[float, float]) -> float:
        part = at(*place)
        return float((part * wanted).sum() / np.sqrt((part * part).sum()))

    product = np.fft.irfft2(np.fft.rfft2(truth - truth.mean()) * spectrum.conj(), s=image.shape)
    peak = np.unravel_index(product.argmax(), product.shape)
    best = tuple(float((p + n // 2) % n - n // 2) for p, n in zip(peak, image.shape, strict=True))
    for reach, steps in ((0.8, 5), (0.2, 5), (0.05, 3)):
        best = max(places(best, reach, steps), key=likeness)
    return wanted, at(*best)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

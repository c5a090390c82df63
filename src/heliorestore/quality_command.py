"""The command `heliorestore quality`: its flags, what it prints, and the chart that it draws."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heliorestore.burst import Burst
from heliorestore.charts import Chart
from heliorestore.errors import SettingsError
from heliorestore.fits.reader import read_burst
from heliorestore.instrument import KNOWN
from heliorestore.measures import compare, measure, scatter_chart, spectrum_chart

_WORDS = {
    "shift_px": "shift", "gain": "gain", "nmse": "NMSE", "ssim": "SSIM", "contrast_ratio": "contrast ratio",
    "intensity_ratio": "intensity ratio", "intensity_scatter": "scatter of it", "within_factor_2": "within factor 2",
}  # fmt: skip


def add_quality_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("image", metavar="IMAGE", type=Path, help="the image; every object of it is measured")
    parser.add_argument("--reference", metavar="REF", type=Path, help="compare with this image after one sub-pixel shift of all")
    parser.add_argument("--frame", metavar="N", type=int, default=0, help="the frame of a burst, from 0 (default 0)")
    parser.add_argument("--plot", metavar="PNG", type=Path, help="draw power spectra and, with a reference, intensities (needs Pillow)")
    parser.add_argument("--overwrite", action="store_true", help="replace PNG if it exists")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON: every figure and the power spectra")
    instruments = f"what took the images: {', '.join(KNOWN)}, and/or pixel_arcsec=0.05,... (default: the header)"
    parser.add_argument("--instrument", default="", help=instruments)


def run(parsed: argparse.Namespace) -> dict[str, Any]:
    """Measure, draw, and return what `--json` says."""
    burst = _opened(parsed.image, parsed)
    reference = _opened(parsed.reference, parsed) if parsed.reference else None
    if reference is not None and reference.shape[0] not in (1, burst.shape[0]):
        raise SettingsError(
            f"{parsed.image} has {burst.shape[0]} objects and {parsed.reference} has {reference.shape[0]}: "
            "a reference has as many, or one for all."
        )
    facts: list[dict[str, Any]] = []
    charts: list[Chart] = []
    measured = []
    for number, label in enumerate(burst.labels):
        image = burst.image(number, parsed.frame)
        found = measure(image, label, burst.instruments[number])
        measured.append(found)
        facts.append(found.facts())
        if reference is not None:
            other = min(number, reference.shape[0] - 1)
            wanted = reference.image(other, parsed.frame if reference.shape[1] > parsed.frame else 0)
            facts[-1]["reference"] = compare(image, wanted)
            charts.append(scatter_chart(image, wanted, (label, f"reference {reference.labels[other]}"), burst.unit))
            if number == other:
                measured.append(measure(wanted, f"reference {reference.labels[other]}", reference.instruments[other]))
        if found.spectrum is not None:
            facts[-1]["spectrum"] = {"frequency": found.spectrum.frequency.tolist(), "power": found.spectrum.power.tolist()}
    if parsed.plot is not None:
        _draw([spectrum_chart(measured), *charts], parsed.plot)
    return {"file": str(parsed.image), "frame": parsed.frame, "objects": facts, "plot": str(parsed.plot) if parsed.plot else None}


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """The figures in words, a line each."""
    for found in facts["objects"]:
        yield f"{found['name']}: mean {found['mean']:.5g}, contrast {found['contrast']:.2%}"
        yield f"  noise      {found['noise']:.3g} per pixel, {found['noise_of_mean']:.2g} of the mean"
        if found["resolution_arcsec"]:
            yield f"  limit      {found['resolution_arcsec']:.3g} arcsec, pixels of {found['pixel_arcsec'] or float('nan'):.3g} arcsec"
        for name, value in found.get("reference", {}).items():
            text = f"{value[0]:+.2f} / {value[1]:+.2f} px (y / x)" if name == "shift_px" else f"{value:.4g}"
            yield f"  {_WORDS[name]:<16} {text}"


def _opened(path: Path, parsed: argparse.Namespace) -> Burst:
    burst = read_burst(path).with_instrument(parsed.instrument)
    if not 0 <= parsed.frame < burst.shape[1] and path == parsed.image:
        raise SettingsError(f"frame is {parsed.frame}; {path} has {burst.shape[1]}, numbered from 0.")
    return burst


def _draw(charts: list[Chart], path: Path) -> None:
    """Draw the charts one under the other into a PNG; this takes Pillow."""
    try:
        from heliorestore.pillow_pen import paint
    except ImportError as error:
        raise SettingsError(f'A chart as PNG needs Pillow ({error}): pip install "heliorestore[plot]" adds it.') from error
    try:
        paint(charts, path)
    except OSError as error:
        raise SettingsError(f"The chart {path} cannot be written ({error}): choose another name or folder.") from error

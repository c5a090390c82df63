"""The command `heliorestore quality`: its flags, its output, and its chart."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import SettingsError
from heliorestore.fits.reader import read_burst
from heliorestore.instrument import Instrument
from heliorestore.prepare.sharper import at_coordinates, seen_through
from heliorestore.prepare.sharpness import sharpness
from heliorestore.quality.charts import (
    Drawing,
    check_suffix,
    draw_photometry,
    draw_power_spectra,
    draw_sharpness,
    save,
)
from heliorestore.quality.report import FILTERED, UNMEASURED, compare, intensities, measure
from heliorestore.storage import check_output

_WORDS = {
    "shift_px": "shift",
    "gain": "gain",
    "nmse": "NMSE",
    "ssim": "SSIM",
    "contrast_ratio": "contrast ratio",
    "intensity_ratio": "intensity ratio",
    "intensity_scatter": "scatter of it",
    "within_factor_2": "within factor 2",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("image", metavar="IMAGE", type=Path, help="the image; every object of it is measured")
    parser.add_argument(
        "--reference",
        metavar="REF",
        type=Path,
        help="compare with this image after one global sub-pixel shift",
    )
    parser.add_argument(
        "--register",
        metavar="KIND",
        nargs="?",
        const="affine",
        choices=("shift", "affine", "projective", "wcs"),
        help="first bring REF onto the pixels of IMAGE: shift, affine (default), projective, or by the "
        "coordinates of both headers (wcs)",
    )
    parser.add_argument(
        "--sharper",
        metavar="METRES",
        nargs="?",
        type=float,
        const=0.0,
        help="REF is of a sharper telescope: first see it through an aperture of this diameter (default: "
        "that of IMAGE)",
    )
    parser.add_argument(
        "--frame", metavar="N", type=int, default=0, help="the frame of a burst, from 0 (default 0)"
    )
    parser.add_argument(
        "--plot",
        metavar="CHART",
        type=Path,
        help="a .png, .pdf or .svg: power spectra and, with a reference, intensities",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace CHART if it exists")
    parser.add_argument(
        "--json", action="store_true", help="end with one line of JSON: every figure and the power spectra"
    )
    parser.add_argument(
        "--sharpness", action="store_true", help="also the sharpness of every frame, by which --best chooses"
    )
    instruments = (
        "the instrument: a name that `heliorestore instruments` lists, and/or pixel_arcsec=0.05,... "
        "(default: the header)"
    )
    parser.add_argument("--instrument", default="", help=instruments)


def figures(parsed: argparse.Namespace) -> dict[str, Any]:
    """Measure, draw, and return the output of `--json`."""
    if parsed.plot is not None:
        check_suffix(parsed.plot)
    if parsed.register and parsed.reference is None:
        raise SettingsError("--register brings a reference onto IMAGE: name it with --reference.")
    if parsed.sharper is not None and parsed.reference is None:
        raise SettingsError("--sharper degrades a reference: name it with --reference.")
    burst = _opened(parsed.image, parsed)
    reference = _opened(parsed.reference, parsed) if parsed.reference else None
    if reference is not None and reference.shape[0] not in (1, burst.shape[0]):
        raise SettingsError(
            f"{parsed.image} has {burst.shape[0]} objects and {parsed.reference} has "
            f"{reference.shape[0]}: a reference must have as many, or one for all."
        )
    facts: list[dict[str, Any]] = []
    charts: list[Drawing] = []
    measured = []
    for number, label in enumerate(burst.labels):
        image = burst.image(number, parsed.frame)
        found = measure(image, label, burst.instruments[number])
        measured.append(found)
        facts.append(found.facts())
        if reference is not None:
            other = min(number, reference.shape[0] - 1)
            wanted, theirs, brought = _on_our_pixels(parsed, (burst, number), (reference, other))
            facts[-1] |= brought
            facts[-1]["reference"] = compare(image, wanted)
            names = (label, f"reference {reference.labels[other]}")
            charts.append(
                partial(draw_photometry, intensities=intensities(image, wanted), names=names, unit=burst.unit)
            )
            # One reference for all objects appears once in the chart.
            if number == other or parsed.register:
                measured.append(measure(wanted, names[1], theirs))
        if parsed.sharpness:
            values = sharpness(burst, number)
            facts[-1]["sharpness"] = [None if math.isnan(value) else value for value in values.tolist()]
            charts.append(partial(draw_sharpness, values=values, name=label))
        if found.spectrum is not None:
            facts[-1]["spectrum"] = {
                "frequency": found.spectrum.frequency.tolist(),
                "power": found.spectrum.power.tolist(),
            }
    if parsed.plot is not None:
        save([partial(draw_power_spectra, images=measured), *charts], parsed.plot)
    return {
        "file": str(parsed.image),
        "frame": parsed.frame,
        "objects": facts,
        "plot": str(parsed.plot) if parsed.plot else None,
    }


def _on_our_pixels(
    parsed: argparse.Namespace, ours: tuple[Burst, int], reference: tuple[Burst, int]
) -> tuple[FloatArray, Instrument, dict[str, Any]]:
    """The reference's image as it is to be compared, its instrument then, and the figures of a map."""
    (burst, number), (others, other) = ours, reference
    image, instrument = burst.image(number, parsed.frame), burst.instruments[number]
    # A reference of a single frame serves every frame.
    wanted = others.image(other, parsed.frame if others.shape[1] > parsed.frame else 0)
    theirs = others.instruments[other]
    if parsed.sharper is not None:
        wanted, theirs = _degraded(wanted, theirs, instrument, parsed.sharper)
    if parsed.register == "wcs":
        wanted = at_coordinates(wanted, others.headers[other], burst.headers[number], image.shape)
        return wanted, dataclasses.replace(theirs, pixel_arcsec=instrument.pixel_arcsec), {}
    if parsed.register:
        wanted, theirs, found = _brought(parsed.register, image, wanted, instrument, theirs)
        return wanted, theirs, {"registered": found}
    return wanted, theirs, {}


def _degraded(
    image: FloatArray, theirs: Instrument, ours: Instrument, diameter_m: float
) -> tuple[FloatArray, Instrument]:
    """A sharper telescope's image through our aperture, or that of `diameter_m`, and the instrument then."""
    aperture = diameter_m or ours.diameter_m
    if aperture is None or aperture <= 0:
        raise SettingsError(
            "The aperture of IMAGE is unknown: give it in metres, for instance --sharper 0.28."
        )
    return seen_through(image, theirs, aperture), dataclasses.replace(theirs, diameter_m=aperture)


def _brought(
    kind: Any, image: FloatArray, theirs: FloatArray, ours: Instrument, other: Instrument
) -> tuple[FloatArray, Instrument, dict[str, Any]]:
    """Another code's image on our pixels, its instrument with our scale, and the figures of the map."""
    from heliorestore.prepare.register import brought_onto

    pixels = ours.pixel_arcsec, other.pixel_arcsec
    scale = pixels[0] / pixels[1] if pixels[0] and pixels[1] else None
    found, moved = brought_onto(image, theirs, kind=kind, scale=scale)
    facts = {
        "matrix": found.matrix.tolist(),
        "residual_px": found.residual_px,
        "points": found.points,
        "in_words": found.in_words((image.shape[0], image.shape[1])),
    }
    return moved, dataclasses.replace(other, pixel_arcsec=pixels[0]), facts


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """The figures in words, one per line."""
    for found in facts["objects"]:
        if found["signed"]:
            yield f"{found['name']}: mean {found['mean']:.3g}, rms {found['rms']:.4g}, around zero"
        else:
            yield f"{found['name']}: mean {found['mean']:.5g}, contrast {found['contrast']:.2%}"
        if found["noise"] is None:
            yield f"  noise      {UNMEASURED}"
        elif found["signed"]:
            share = found["noise"] / found["rms"] if found["rms"] else math.nan
            yield f"  noise      {found['noise']:.3g} per pixel, {share:.2g} of the rms"
        else:
            yield f"  noise      {found['noise']:.3g} per pixel, {found['noise_of_mean']:.2g} of the mean"
        if found["filtered"]:
            yield f"             {FILTERED}"
        if found["resolution_arcsec"]:
            yield (
                f"  limit      {found['resolution_arcsec']:.3g} arcsec, pixels of "
                f"{found['pixel_arcsec'] or float('nan'):.3g} arcsec"
            )
        if "registered" in found:
            yield f"  registered       {found['registered']['in_words']}"
            yield f"  residual         {found['registered']['residual_px']:.3g} px (held out)"
        if "sharpness" in found:
            listed = enumerate(-math.inf if value is None else value for value in found["sharpness"])
            frames = sorted(listed, key=lambda frame: -frame[1])
            text = ", ".join(f"{number}: {max(value, 0.0):.4f}" for number, value in frames)
            yield f"  sharpness  of the frames, sharpest first: {text}"
        for name, value in found.get("reference", {}).items():
            text = f"{value[0]:+.2f} / {value[1]:+.2f} px (y / x)" if name == "shift_px" else f"{value:.4g}"
            yield f"  {_WORDS[name]:<16} {text}"


def _opened(path: Path, parsed: argparse.Namespace) -> Burst:
    burst = read_burst(path).with_instrument(parsed.instrument)
    burst.check_values()
    if not 0 <= parsed.frame < burst.shape[1] and path == parsed.image:
        raise SettingsError(f"frame is {parsed.frame}; {path} has {burst.shape[1]}, numbered from 0.")
    return burst


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    if parsed.plot is not None:
        images = [path for path in (parsed.image, parsed.reference) if path is not None]
        check_output(parsed.plot, overwrite=parsed.overwrite, inputs=images)
    facts = figures(parsed)
    for line in lines(facts):
        print(line)
    if parsed.json:
        print(json.dumps(facts))
    return 0

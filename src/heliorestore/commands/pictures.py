"""Shared by the commands that make pictures: their flags, and images of restorations and cubes in time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heliorestore.errors import SettingsError

if TYPE_CHECKING:
    from heliorestore.burst import Burst
    from heliorestore.quality.pictures import Look


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a command that shows images."""
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument(
        "--object", metavar="N", type=int, default=0, help="which object is shown (default 0)"
    )
    parser.add_argument("--cmap", default="gray", help="a colour map of matplotlib (default gray)")
    parser.add_argument(
        "--limits",
        metavar="LOW,HIGH",
        default="",
        help="cut levels in the image's unit (default: 0.2 and 99.8 %%)",
    )
    parser.add_argument("--instrument", default="", help="what the headers lack, such as pixel_arcsec=0.059")


def look_of(parsed: argparse.Namespace, burst: Burst, *, scale_bar: bool = True) -> Look:
    """How the images are to be shown."""
    from heliorestore.quality.pictures import Look

    limits = None
    if parsed.limits:
        try:
            low, high = (float(word) for word in parsed.limits.split(","))
        except ValueError:
            raise SettingsError(
                f"The cut levels are {parsed.limits!r}; write two numbers, as 0.5,1.5."
            ) from None
        limits = low, high
    pixel = burst.instruments[0].pixel_arcsec
    return Look(cmap=parsed.cmap, limits=limits, pixel_arcsec=pixel, scale_bar=scale_bar)


def in_time(paths: list[Path], parsed: argparse.Namespace) -> list[tuple[Burst, int]]:
    """Every image of the chosen object as (burst, frame), in the order of time."""
    from heliorestore.fits.reader import read_series

    bursts = [read_series(path).with_instrument(parsed.instrument) for path in paths]
    for path, burst in zip(paths, bursts, strict=True):
        if not 0 <= parsed.object < burst.shape[0]:
            raise SettingsError(f"object is {parsed.object}; {path} has {burst.shape[0]}, numbered from 0.")
        if burst.shape[2:] != bursts[0].shape[2:]:
            sizes = (f"{b.shape[3]} x {b.shape[2]}" for b in (bursts[0], burst))
            raise SettingsError(
                f"{paths[0]} and {path} have {' and '.join(sizes)} pixels, and a movie has one size."
            )
    found = [
        (np.datetime64("NaT") if burst.times is None else burst.times[frame], burst, frame)
        for burst in bursts
        for frame in range(burst.shape[1])
    ]
    if not any(np.isnat(time) for time, *_ in found):
        found.sort(key=lambda each: each[0])
    return [(burst, frame) for _, burst, frame in found]

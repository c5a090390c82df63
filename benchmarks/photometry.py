"""How right the contrast of a method is on bursts with the faults of cameras, told nothing of the air.

    python benchmarks/burst_set.py FOLDER            # once: the bursts and their truths
    python benchmarks/photometry.py FOLDER [--names A B] [--flux 0 0.02] [--method sv-momfbd] [--set A=B]

prints a table row for each burst as soon as it is restored: NMSE after one shift and one gain, that gain (1
is right, 0.5 means twice too much contrast), the r0 that was found, iterations, and CPU seconds of one
thread.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import torch
from astropy.io import fits
from burst_set import CASES, TUNING, error

import heliorestore
from heliorestore.methods.base import Method, load
from heliorestore.settings import Settings, from_rows

COLUMNS = ("burst", "flux error", "NMSE", "gain", "r0 found (true) [cm]", "iterations", "CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where burst_set.py wrote the bursts")
    parser.add_argument("--names", nargs="*", default=list(CASES))
    parser.add_argument("--flux", nargs="*", type=float, default=[0.0, 0.005, 0.02])
    parser.add_argument("--method", default="sv-momfbd")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings besides the defaults"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    method = load(chosen.method)
    pairs = [text.partition("=") for text in chosen.set]
    settings = from_rows(method.settings, [(name, value) for name, _, value in pairs])
    print("|", " | ".join(COLUMNS), "|")
    print("|" + "---|" * len(COLUMNS))
    for name in chosen.names:
        for flux in chosen.flux:
            print(row(chosen.folder, name, flux, method, settings), flush=True)


def row(folder: Path, name: str, flux: float, method: Method, settings: Settings) -> str:
    """Restore one burst."""
    suffix = f"_flux{flux * 100:g}" if flux else ""
    burst = heliorestore.read(folder / f"{name}{suffix}.fits")
    truth = fits.getdata(folder / f"{name}_truth.fits").squeeze()
    begun = time.process_time()
    *_, last = method.stream(burst, settings, device=torch.device("cpu"), seed=0)
    seconds = time.process_time() - begun
    nmse, gain = error(last.images[0], truth, burst.instruments[0])
    said = (re.search(r"r0 was found.*?([\d.]+) cm", text) for text in last.messages)
    found = next((match.group(1) for match in said if match), "-")
    true = (CASES | TUNING)[name].settings["r0_cm"]
    error_of_flux, of_truth = f"{flux:.1%}", f"{found} ({true:g})"
    return (
        f"| {name} | {error_of_flux} | {nmse:.4f} | {gain:.2f} | {of_truth} | {last.step} | {seconds:.0f} |"
    )


if __name__ == "__main__":
    main()

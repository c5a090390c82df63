"""The table of docs/polarimetry.md and its picture, from the FOLDER of `benchmarks/polarimetry.py`.

    python docs/make_polarimetry_pictures.py FOLDER [BURST]

BURST is the one that is drawn, as 10:16:1; the table, which is printed, has all of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

_PICTURE = Path(__file__).parent / "pictures" / "polarimetry.png"
_ROUTES = {
    "truth": "truth",
    "mean of the frames": "mean of the frames",
    "states as objects": "states as objects of one burst",
    "restored apart, registered": "restored apart, registered",
    "momfbd, registered": "momfbd, one run, registered",
    "momfbd, noise filtered": "the same, filtered",
}
_BORDER = 8
_LIMIT = 0.025  # of V, in units of the continuum


def table(results: dict[str, Any]) -> None:
    """Print a row for each route and burst, in 1e-3 of <I>."""
    print("| r0 cm, frames | route | Q | U | V by I and its gradient | error of V | NMSE of I | plain |")
    print("|---|---|---|---|---|---|---|---|")
    for key, found in sorted(results.items()):
        burst, _, method = key.split(" ")
        r0_cm, frames, _ = burst.split(":")
        for route, each in found["routes"].items():
            by = " | ".join(f"{1e3 * each[f'{name} by I']:.2f}" for name in "QUV")
            plain = f"{found['plain I nmse']:.4f}" if route.startswith(method) else ""
            print(
                f"| {r0_cm}, {frames} | {route} | {by} | {1e3 * each['V error']:.1f} | {each['I nmse']:.4f} "
                f"| {plain} |"
            )


def picture(folder: Path, burst: str) -> None:
    """V of the routes of one burst, all with the same limits."""
    images: dict[str, np.ndarray[Any, Any]] = {}
    for path in sorted(folder.glob(f"{burst.replace(':', '_')}_*.npz")):
        with np.load(path) as saved:
            images |= {name: saved[name][3] for name in saved.files}
    shown = [name for name in _ROUTES if name in images]
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for each in axes[len(shown) :]:
        each.remove()
    for each, name in zip(axes, shown, strict=False):
        inner = images[name][_BORDER:-_BORDER, _BORDER:-_BORDER]
        drawn = each.imshow(inner, origin="lower", cmap="RdBu_r", vmin=-_LIMIT, vmax=_LIMIT)
        each.set_title(_ROUTES[name], fontsize="small")
        each.set(xticks=[], yticks=[])
    figure.colorbar(drawn, ax=axes[: len(shown)].tolist(), label="V / Ic", shrink=0.8)
    figure.savefig(_PICTURE, dpi=90)


def main() -> None:
    """Print the table and draw the picture."""
    folder = Path(sys.argv[1])
    table(json.loads((folder / "polarimetry.json").read_text()))
    picture(folder, sys.argv[2] if len(sys.argv) > 2 else "10:16:1")


if __name__ == "__main__":
    main()

"""What is said and written of a demodulation: its figures, a table for people, and the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from heliorestore.fits.stokes_writer import StokesFile
from heliorestore.polarimetry.cube import StokesCube
from heliorestore.polarimetry.states import States


def facts_of(cube: StokesCube) -> dict[str, Any]:
    """The figures of a demodulation: of I, Q, U, V in this order, and of Q, U, V at every wavelength."""
    return {
        "efficiencies": [round(float(value), 4) for value in cube.demodulation.efficiencies],
        "noise": [round(float(value), 4) for value in cube.demodulation.noise],
        "crosstalk_offset": [[each.offset for each in row] for row in cube.crosstalk],
        "crosstalk_intensity": [[each.intensity for each in row] for row in cube.crosstalk],
        "crosstalk_left": [[each.rms for each in row] for row in cube.left],
        "crosstalk_gradient": [[each.moved for each in row] for row in cube.left],
    }


def rows_of(cube: StokesCube) -> list[tuple[str, ...]]:
    """Of I, Q, U and V: efficiency and noise in units of one state's; of the last three also the offset, I -
    <I> in it, and the rms that I and its gradient still explain, in units of <I>, the largest of all
    wavelengths.
    """
    known, rows = cube.demodulation, list[tuple[str, ...]]()
    for k, name in enumerate("IQUV"):
        row: tuple[str, ...] = (name, f"{known.efficiencies[k]:.3f}", f"{known.noise[k]:.3f}")
        if k:
            found, left = cube.crosstalk[k - 1], cube.left[k - 1]
            offset = max((each.offset for each in found), key=abs)
            intensity = max((each.intensity for each in found), key=abs)
            row += (f"{offset:.2e}", f"{intensity:.2e}", f"{max(each.rms for each in left):.2e}")
        rows.append(row)
    return rows


def lines_of(cube: StokesCube) -> list[str]:
    """The same as a table for people."""
    lines = ["     efficiency  noise (of one state)  I in it: offset, contrast   left of it (of <I>)"]
    for name, efficiency, noise, *crosstalk in rows_of(cube):
        line = f"  {name}  {efficiency:>9}  {noise:>20}"
        if crosstalk:
            offset, intensity, left = crosstalk
            line += f"  {offset:>13}, {intensity:>9}   {left:>13}"
        lines.append(line)
    done = "was removed" if cube.removed else "was kept (--crosstalk remove takes it off)"
    return [*lines, f"Cross-talk from I {done}. Of several wavelengths the largest value is shown."]


def stokes_file(states: States, cube: StokesCube, wanted: Mapping[str, Any]) -> StokesFile:
    """What is written: the cube with the cards of its cross-talk, and what was `wanted` of it."""
    cards: list[tuple[str, Any, str]] = []
    for name, found, left in zip("QUV", cube.crosstalk, cube.left, strict=True):
        cards += [
            (f"XT{name}OFF", max((e.offset for e in found), key=abs), f"offset of {name} / <I>, as found"),
            (f"XT{name}INT", max((e.intensity for e in found), key=abs), f"I - <I> in {name}, as found"),
            (
                f"XT{name}LEFT",
                max(e.rms for e in left),
                f"rms of {name} by I and its gradient / <I>, as it is",
            ),
        ]
    cards.append(("XTREMOVE", cube.removed, "whether cross-talk from I was removed"))
    matrix = cube.demodulation.matrix
    parameters = {**wanted, "demodulation": matrix.tolist() if matrix.ndim == 2 else "per pixel"}
    return StokesFile(
        images=cube.images,
        sigmas=cube.sigmas,
        places=states.places,
        header=states.header,
        unit=states.unit,
        sources=states.sources,
        parameters=parameters | facts_of(cube),
        cards=cards,
        messages=cube.messages,
        extensions={"DEMODULATION": matrix.astype(np.float32)},
    )

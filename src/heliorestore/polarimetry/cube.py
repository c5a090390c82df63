"""Stokes images of a line made of its modulation states: registered, demodulated, without cross-talk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heliorestore.burst import FloatArray
from heliorestore.polarimetry.crosstalk import Crosstalk, fit_crosstalk
from heliorestore.polarimetry.demodulation import STOKES, Demodulation
from heliorestore.polarimetry.registration import registered
from heliorestore.polarimetry.states import States


@dataclass(frozen=True, eq=False)
class StokesCube:
    """I, Q, U, V and their sigmas (stokes, place, y, x) in the unit of the states.

    `crosstalk` has what I leaks into Q, U and V at every place in the line (3, place) as it was found, `left`
    what remains of it; `messages` say what was done.
    """

    images: FloatArray
    sigmas: FloatArray
    demodulation: Demodulation
    crosstalk: tuple[tuple[Crosstalk, ...], ...]
    left: tuple[tuple[Crosstalk, ...], ...]
    removed: bool
    messages: tuple[str, ...]


def make_stokes(
    states: States, demodulation: Demodulation, *, register: bool = True, remove_crosstalk: bool = False
) -> StokesCube:
    """Demodulate the states; `register` brings them onto the wide band first, or onto their mean where they
    have no anchors.
    """
    images, messages = (
        _registered(states) if register else (states.images, ("The states were not registered.",))
    )
    stokes = demodulation.apply(images)
    sigmas = demodulation.propagated(states.sigmas)
    found = tuple(
        tuple(fit_crosstalk(stokes[k, place], stokes[0, place]) for place in range(stokes.shape[1]))
        for k in range(1, len(STOKES))
    )
    left = found
    if remove_crosstalk:
        for k, row in enumerate(found, 1):
            for place, each in enumerate(row):
                stokes[k, place] = each.removed(stokes[k, place], stokes[0, place])
        left = tuple(
            tuple(
                fit_crosstalk(stokes[k, place], stokes[0, place], each.weak) for place, each in enumerate(row)
            )
            for k, row in enumerate(found, 1)
        )
    return StokesCube(
        stokes.astype(np.float32),
        sigmas.astype(np.float32),
        demodulation,
        found,
        left,
        remove_crosstalk,
        messages,
    )


def _registered(states: States) -> tuple[npt.NDArray[np.floating], tuple[str, ...]]:
    """The states (state, place, y, x) on one another, and a sentence about it."""
    shape = states.images.shape
    images = states.images.reshape(-1, *shape[2:])
    if states.wide is not None and states.anchors is not None:
        done = registered(images, states.anchors.reshape(images.shape), states.wide)
        message = (
            "The states were brought onto the wide band as their anchors are: displacements of "
            f"{done.moved_px:.3f} pixels rms along an axis, and {100 * done.blurred:.2g} % of the contrast "
            "to make them equally sharp."
        )
        return done.states.reshape(shape), (message,)
    # Places in the line look different, states of one place hardly do.
    by_place = [registered(each, each, each.mean(0), filters=False) for each in states.images.swapaxes(0, 1)]
    rms = float(np.sqrt(np.mean([each.moved_px**2 for each in by_place])))
    return np.stack([each.states for each in by_place], axis=1), (
        f"The states were brought onto their mean: displacements of {rms:.3f} pixels rms along an axis. "
        "Without the wide band restored from the frames of each state, differences of sharpness remain.",
    )

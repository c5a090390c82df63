"""Stokes images of a line made of its modulation states: registered, demodulated, without cross-talk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heliorestore.burst import FloatArray
from heliorestore.errors import SettingsError
from heliorestore.polarimetry.crosstalk import Crosstalk, fit_crosstalk
from heliorestore.polarimetry.demodulation import Demodulation
from heliorestore.polarimetry.noise_filter import Floats, noise_filter
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
    states: States,
    demodulation: Demodulation,
    *,
    register: bool = True,
    remove_crosstalk: bool = False,
    filter_noise: bool = False,
) -> StokesCube:
    """Demodulate the states; `register` brings them onto the wide band first, or onto their mean where they
    have no anchors, `filter_noise` takes from Q, U and V what their anchors say is noise.
    """
    unregistered = (states.images, ("The states were not registered.",))
    images, messages = _registered(states) if register else unregistered
    messages = states.messages + messages
    stokes, sigmas = demodulation.apply(images), demodulation.propagated(states.sigmas)
    places = range(stokes.shape[1])
    found = [[fit_crosstalk(stokes[k, place], stokes[0, place]) for place in places] for k in (1, 2, 3)]
    if remove_crosstalk:
        for k, row in enumerate(found, 1):
            for place, each in enumerate(row):
                stokes[k, place] = each.removed(stokes[k, place], stokes[0, place])
    if filter_noise:
        messages += (_filter(states, demodulation, stokes, sigmas),)
    left = [
        [fit_crosstalk(stokes[k, place], stokes[0, place], each.weak) for place, each in enumerate(row)]
        for k, row in enumerate(found, 1)
    ]
    return StokesCube(
        stokes.astype(np.float32),
        sigmas.astype(np.float32),
        demodulation,
        tuple(map(tuple, found)),
        tuple(map(tuple, left)),
        remove_crosstalk,
        messages,
    )


def _filter(states: States, demodulation: Demodulation, stokes: Floats, sigmas: Floats) -> str:
    """Filter Q, U and V (stokes, place, y, x) in place, and say what is left of their noise."""
    instrument = states.instrument.require()
    if states.anchors is None or states.wide is None:
        raise SettingsError(
            "What is noise in Q, U and V only the anchors say: restore the states in one run with the wide "
            "band, or leave --noise keep."
        )
    shape = states.anchors.shape
    anchors = states.anchors.reshape(-1, *shape[2:])
    straight = registered(anchors, anchors, states.wide).states.reshape(shape)
    nothing, left = demodulation.apply(straight), []
    for k in (1, 2, 3):
        for place in range(shape[1]):
            cutoff = instrument.pixel_arcsec / instrument.resolution_arcsec
            found = noise_filter(stokes[k, place], nothing[k, place], cutoff)
            stokes[k, place] = found.apply(stokes[k, place])
            sigmas[k, place] *= found.left
            left.append(found.left)
    return (
        "Q, U and V were filtered (Wiener, with the noise of the demodulated anchors): of the noise "
        f"{100 * min(left):.0f} to {100 * max(left):.0f} % are left, and fine structure that is weaker than "
        "it is taken away."
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

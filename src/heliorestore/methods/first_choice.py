"""The method to try first on given data."""

from __future__ import annotations

from heliorestore.burst import Burst
from heliorestore.methods.denoising.polarisation import stokes_of


def first_choice(burst: Burst) -> str:
    """The method that fits a burst best, by its camera, its labels and its number of frames."""
    instrument = burst.instruments[0]
    objects, frames = burst.shape[:2]
    if instrument.camera == "SDO/HMI":
        return "enhance"
    if {"Q", "U", "V"} & set(map(stokes_of, burst.labels)):
        return "denoise"
    # Without air, frames differ in noise alone, unless two cameras see different wavefronts.
    if frames == 1 or (instrument.in_space and objects == 1):
        return "richardson-lucy"
    # A network needs no instrument; blind deconvolution does.
    return "mfbd" if instrument.unknown else "sv-momfbd"

"""The photosphere in a continuum: granulation, bright points, pores and a sunspot at any wavelength."""

from __future__ import annotations

import numpy as np

from heliorestore.instrument import Instrument
from heliorestore.simulate.granulation import granulation
from heliorestore.simulate.lattice import Array, smooth_noise
from heliorestore.simulate.patch import Patch, network
from heliorestore.simulate.sunspot import place_in_spot, pore, sunspot

REFERENCE_NM = 600.0  # the intensities of the scenes belong to this wavelength
QUIET_KELVIN = 6050.0
_HC_K = 1.438777e7  # h c / k in nm K


def photosphere(patch: Patch, wavelength_nm: float = REFERENCE_NM, *, granular_gain: float = 1.0) -> Array:
    """Continuum intensity (y, x) in units of the quiet Sun's mean, before any telescope.

    `granular_gain` scales the granules' contrast at 600 nm: below 1 where the band reaches into a line's
    wings, which form higher, in calmer layers.
    """
    x, y = patch.x, patch.y
    granules = granulation(x, y, patch.seed, time_s=patch.time_s)
    quiet = 1 + granular_gain * (granules.intensity - 1)
    quiet = quiet + bright_points(x, y, granules.lane_mm, patch)
    for number, (px, py, radius) in enumerate(patch.pores):
        quiet = pore(x, y, quiet, px, py, radius, patch.seed + 100 * number)
    if patch.spot is not None:
        quiet = sunspot(x, y, quiet, patch.spot, patch.seed, time_s=patch.time_s)
    return at_wavelength(quiet, wavelength_nm)


def quiet_sun(instrument: Instrument, side: int, seed: int = 200_001) -> Array:
    """Granulation (y, x) on an instrument's pixels and wavelength, before any telescope."""
    known = instrument.require()
    patch = Patch(shape=(side, side), pixel_arcsec=known.pixel_arcsec, scene="granulation", seed=seed)
    return photosphere(patch, known.wavelength_nm)


def bright_points(x: Array, y: Array, lane_mm: Array, patch: Patch) -> Array:
    """What magnetic elements add in lanes: dots and ribbons of about 0.15 Mm, up to 0.6 brighter."""
    beads = smooth_noise(x, y, 0.24, patch.seed + 70, octaves=2, time=patch.time_s / 900)
    dense = network(x, y, patch)
    points: Array = (
        0.55
        * np.exp(-((lane_mm / 0.085) ** 2))
        * np.clip(1.35 * beads + 1.7 * dense - 0.95, 0, 1.3)
        * (dense > 0.05)
    )
    if patch.spot is not None:
        points = points * (place_in_spot(x, y, patch.spot, patch.seed).depth > 1.0)
    return points


def at_wavelength(image: Array, wavelength_nm: float) -> Array:
    """Carry intensities from 600 nm to another wavelength: the same temperatures by Planck's law."""
    if wavelength_nm == REFERENCE_NM:
        return image
    base = np.expm1(_HC_K / (REFERENCE_NM * QUIET_KELVIN))
    # The temperature that Planck's law gives for the intensity at 600 nm.
    kelvin = _HC_K / REFERENCE_NM / np.log1p(base / np.maximum(image, 0.01))
    ratio: Array = np.expm1(_HC_K / (wavelength_nm * QUIET_KELVIN)) / np.expm1(
        _HC_K / (wavelength_nm * kelvin)
    )
    return ratio

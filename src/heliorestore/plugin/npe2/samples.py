"""The sample data of *File > Open Sample*."""

from __future__ import annotations

from heliorestore.plugin.npe2.readers import load_layers
from heliorestore.plugin.viewer.layers import LayerData
from heliorestore.samples import sample_path


def open_continuum() -> list[LayerData]:
    """Layers of the continuum image."""
    return load_layers([sample_path("hmi_continuum.fits")])


def open_magnetogram() -> list[LayerData]:
    """Layers of the magnetogram."""
    return load_layers([sample_path("hmi_magnetogram.fits")])


def open_burst() -> list[LayerData]:
    """Layers of the small burst, one per object."""
    return load_layers([sample_path("small_burst.fits")])


def open_sunspot() -> list[LayerData]:
    """Layers of the larger burst, one per object."""
    return load_layers([sample_path("sunspot_burst.fits")])


def open_truth() -> list[LayerData]:
    """Layers of the larger burst without atmosphere and noise."""
    return load_layers([sample_path("sunspot_truth.fits")])


def open_stokes() -> list[LayerData]:
    """Layers of the Stokes series, one per wavelength and Stokes parameter."""
    return load_layers([sample_path("stokes_series.fits")])

"""The sample data of *File > Open Sample*."""

from __future__ import annotations

from heliorestore.plugin.layers import LayerData
from heliorestore.plugin.readers import load_layers
from heliorestore.samples import sample_path


def open_continuum() -> list[LayerData]:
    """Layers of the continuum image."""
    return load_layers([sample_path("hmi_continuum.fits")])


def open_burst() -> list[LayerData]:
    """Layers of the small burst, one per object."""
    return load_layers([sample_path("small_burst.fits")])

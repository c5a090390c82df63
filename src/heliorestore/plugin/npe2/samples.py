"""The sample data of *File > Open Sample*: the functions that the manifest names."""

from __future__ import annotations

from functools import partial

from heliorestore.plugin.npe2.readers import load_layers
from heliorestore.plugin.viewer.layers import LayerData
from heliorestore.samples import sample_path


def _open(name: str) -> list[LayerData]:
    return load_layers([sample_path(name)])


open_continuum = partial(_open, "hmi_continuum.fits")
open_magnetogram = partial(_open, "hmi_magnetogram.fits")
open_burst = partial(_open, "small_burst.fits")
open_sunspot = partial(_open, "sunspot_burst.fits")
open_truth = partial(_open, "sunspot_truth.fits")
open_stokes = partial(_open, "stokes_series.fits")

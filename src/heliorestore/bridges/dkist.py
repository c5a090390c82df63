"""Datasets of DKIST as a burst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heliorestore.bridges.axes import scalar_cards
from heliorestore.bridges.cubes import burst_of
from heliorestore.bridges.needed import needed
from heliorestore.burst import Burst
from heliorestore.errors import BurstError

if TYPE_CHECKING:
    from astropy.io.fits import Header


def from_dkist(dataset: Any) -> Burst:
    """A burst of a `dkist.Dataset` of images, such as one of the VBI; pixels are read when they are needed.

    Its coordinates give scale, wavelength, times and pointing. A mosaic is refused unless it has one tile,
    and a spectrograph's raster always.
    """
    dkist = needed("dkist", "dkist")
    if isinstance(dataset, dkist.TiledDataset):
        tiles = list(dataset.flat)
        if len(tiles) != 1:
            size = " x ".join(map(str, dataset.shape))
            raise BurstError(
                f"This dataset is a mosaic of {size} tiles, which are bursts of their own: give one of them, "
                "for instance dataset[0, 0]."
            )
        dataset = tiles[0]
    if not isinstance(dataset, dkist.Dataset):
        raise BurstError(
            f"A {type(dataset).__name__} is no dataset of images: give what dkist.load_dataset returns for "
            "an imager such as VBI."
        )
    return burst_of(dataset, _cards(dataset))


def _cards(dataset: Any) -> Header:
    """The cards of the first file; the wavelength by LINEWAV, which every file has, or by the inventory."""
    table, inventory = dataset.headers, dataset.meta.get("inventory") or {}
    row = {name: table[name][0] for name in table.colnames} if table is not None and len(table) else {}
    header = scalar_cards({key: value for key, value in row.items() if not np.ma.is_masked(value)})
    if "WAVELNTH" not in header:
        wavelength_nm = float(header.get("LINEWAV", inventory.get("wavelengthMin") or 0.0))
        if wavelength_nm > 0:
            header["WAVELNTH"], header["WAVEUNIT"] = wavelength_nm, "nm"
    if "INSTRUME" not in header and inventory.get("instrumentName"):
        header["TELESCOP"], header["INSTRUME"] = "DKIST", str(inventory["instrumentName"])
    return header

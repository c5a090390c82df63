"""The npe2 writer: restored layers with their whole provenance, other images with header and scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from heliorestore.burst import Burst
from heliorestore.coordinates import Coordinates
from heliorestore.errors import RestorationError
from heliorestore.fits.wcs import planar
from heliorestore.methods.denoising.polarisation import stokes_of
from heliorestore.plugin.viewer.cubes import CUBE
from heliorestore.plugin.viewer.layers import TAG, LayerData, burst_of
from heliorestore.plugin.viewer.tool_layers import is_exported
from heliorestore.plugin.viewer.words import in_words
from heliorestore.snapshot import Snapshot
from heliorestore.storage import check_output, replacing

_CTYPES = ("HPLN-TAN", "HPLT-TAN")


def write_layers(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write image layers into one FITS file; napari's dialog has asked whether to replace an existing one."""
    from napari.utils.notifications import show_error

    from heliorestore.errors import HeliorestoreError

    try:
        return [str(save(Path(path), layers))]
    except (HeliorestoreError, OSError) as error:
        show_error(in_words(str(error)))
        return []


def save(path: Path, layers: Sequence[LayerData]) -> Path:
    """Write a snapshot if all layers show one, else each as an image extension; no tool layers."""
    layers = [layer for layer in layers if is_exported(layer[1].get("metadata", {}))]
    if other := [str(arguments.get("name", "a layer")) for _, arguments, kind in layers if kind != "image"]:
        raise RestorationError(
            f"A FITS file holds images, and {', '.join(other)} is not an image: select the image layers "
            "and save those."
        )
    if not layers:
        raise RestorationError(
            "These layers are tools without an image of their own: choose the images themselves."
        )
    snapshots = {id(s): s for data, arguments, _ in layers if (s := _snapshot(data, arguments)) is not None}
    if not snapshots:
        cubes = any(CUBE in arguments.get("metadata", {}) for _, arguments, _ in layers)
        return _write_cube(path, layers) if cubes else _write_plain(path, layers)
    if len(snapshots) > 1 or any(_snapshot(data, arguments) is None for data, arguments, _ in layers):
        raise RestorationError(
            f"The {len(layers)} layers do not belong to one restoration, and a file documents one: save them "
            "one restoration at a time."
        )
    from heliorestore.fits.writer import write

    return write(next(iter(snapshots.values())), path, overwrite=True)


def _snapshot(data: Any, arguments: Mapping[str, Any]) -> Snapshot | None:
    """The snapshot that a layer shows, unless its pixels have been changed since."""
    metadata = arguments.get("metadata", {})
    record = metadata.get(TAG)
    return (
        record
        # Identity: a copy, edited or not, is no longer the documented result.
        if isinstance(record, Snapshot) and data is metadata.get("pixels") and record.run is not None
        else None
    )


def _write_plain(path: Path, layers: Sequence[LayerData]) -> Path:
    """The first layer as primary image, the others as extensions."""
    hdus = fits.HDUList()
    for number, (data, arguments, _) in enumerate(layers):
        make = fits.ImageHDU if number else fits.PrimaryHDU
        hdu = make(data=pixels_of(data), header=header_of(arguments))
        if number or len(layers) > 1:
            # EXTNAME must fit into a card.
            hdu.name = str(arguments.get("name", ""))[:60]
        hdus.append(hdu)
    target = check_output(path, overwrite=True)
    with replacing(target) as file:
        hdus.writeto(file, checksum=True, output_verify="silentfix")
    return target


def _write_cube(path: Path, layers: Sequence[LayerData]) -> Path:
    """The objects of cubes, and of layers beside them, as one burst with their coordinates."""
    from napari.layers import Layer

    from heliorestore.fits.burst_writer import write_burst

    made = [Layer.create(data, dict(arguments), kind) for data, arguments, kind in layers]
    burst = burst_of(made)
    coordinates = burst.coordinates or tuple(
        Coordinates(wavelength_nm=instrument.wavelength_nm, stokes=stokes_of(label) or "I")
        for label, instrument in zip(burst.labels, burst.instruments, strict=True)
    )
    headers = tuple(planar(header) for header in burst.headers)
    whole = dataclasses.replace(burst, headers=headers, coordinates=coordinates)
    return write_burst(whole, check_output(path, overwrite=True), overwrite=True)


def pixels_of(data: Any) -> Any:
    """The pixels in a type that FITS allows."""
    # Lazy layers are read here, whole.
    array = np.asarray(data)
    if array.dtype == bool:
        return array.astype(np.uint8)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def header_of(arguments: Mapping[str, Any]) -> fits.Header:
    """The layer's original header, without cards that describe the array; else scale and unit as a WCS."""
    metadata = arguments.get("metadata", {})
    record, object_ = metadata.get(TAG), metadata.get("object", 0)
    if isinstance(record, Burst) and record.headers:
        return record.headers[object_].copy(strip=True)
    header = fits.Header()
    units = [str(unit) for unit in arguments.get("units", ())]
    if len(units) >= 2 and units[-1] in ("arcsec", "arcsecond"):
        scale, translate = (np.asarray(arguments[key], float) for key in ("scale", "translate"))
        for axis, ctype in enumerate(_CTYPES, start=1):
            header[f"CTYPE{axis}"] = ctype
            header[f"CUNIT{axis}"] = "arcsec"
            header[f"CDELT{axis}"] = scale[-axis]
            header[f"CRPIX{axis}"] = 1.0
            header[f"CRVAL{axis}"] = translate[-axis]
    return header

"""Files and datasets as observatories give them out: HMI's from JSOC, the VBI's from DKIST."""

from pathlib import Path
from typing import Any

import astropy.modeling.models as m
import astropy.units as u
import dask.array as da
import gwcs
import gwcs.coordinate_frames as cf
import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from dkist import Dataset
from dkist.wcs.models import CoupledCompoundModel, varying_celestial_transform_from_tables
from sunpy.coordinates.frames import Helioprojective

from heliorestore.samples import sample_path

JSOC_NAME = "hmi.ic_45s.20140301_000000_TAI.2.continuum.fits"
JSOC_CARDS = {
    "DATE": "2014-03-04T11:24:12",
    "DATE-OBS": "2014-02-28T23:59:22.70",
    "TELESCOP": "SDO/HMI",
    "INSTRUME": "HMI_FRONT2",
    "WAVELNTH": 6173.0,
    "CAMERA": 2,
    "BUNIT": "DN/s",
    "ORIGIN": "SDO/JSOC-SDP",
    "CONTENT": "CONTINUUM INTENSITY",
    "QUALITY": 0,
    "CTYPE1": "HPLN-TAN",
    "CTYPE2": "HPLT-TAN",
    "CRPIX1": -300.387,
    "CRPIX2": 152.521,
    "CRVAL1": 0.0,
    "CRVAL2": 0.0,
    "CDELT1": 0.504285,
    "CDELT2": 0.504285,
    "CUNIT1": "arcsec",
    "CUNIT2": "arcsec",
    "CROTA2": 180.013855,
    "CRDER1": "nan",
    "DSUN_OBS": 148223616789.19,
    "RSUN_REF": 696000000.0,
    "RSUN_OBS": 968.525,
    "CRLN_OBS": 286.5117,
    "CRLT_OBS": -7.206645,
    "OBS_VR": 2517.45,
    "T_OBS": "2014.03.01_00:00:07.842_TAI",
    "T_REC": "2014.03.01_00:00:45_TAI",
    "HISTORY": "Polarization correction",
}
BEGAN = Time("2023-05-02T17:20:00", format="isot", scale="utc")


def write_as_jsoc(folder: Path, size: int = 48) -> Path:
    """A part of a sample in HMI's counts, tile-compressed, scaled, and BLANK in a corner."""
    counts = 60_000 * fits.getdata(sample_path("hmi_continuum.fits"))[60 : 60 + size, 60 : 60 + size]
    stored = np.round((counts - 98_304) / 3).astype(np.int16)
    stored[:4, :3] = -32768
    image = fits.CompImageHDU(stored, compression_type="RICE_1", name="COMPRESSED_IMAGE")
    image.header.update(JSOC_CARDS)
    path = folder / JSOC_NAME
    image.header["BSCALE"], image.header["BZERO"], image.header["BLANK"] = 3.0, 98_304.0, -32768
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    return path


def drifting(frames: int, shape: tuple[int, int]) -> gwcs.WCS:
    """The coordinates of an imager that is turned and drifts: time, y, x."""
    matrix = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    spatial = varying_celestial_transform_from_tables(
        crpix_table=(5, 5) * u.pix,
        cdelt=(0.0106, 0.0106) * u.arcsec / u.pix,
        pc_table=matrix * u.pix,
        crval_table=np.stack([300 + 0.5 * np.arange(frames), -120 + 0.1 * np.arange(frames)], 1) * u.arcsec,
        lon_pole=180 * u.deg,
    )
    time = m.Linear1D(slope=3 * u.s / u.pix, intercept=0 * u.s)
    sky = cf.CelestialFrame(
        axes_order=(0, 1),
        reference_frame=Helioprojective(obstime=BEGAN, observer="earth"),
        unit=(u.arcsec, u.arcsec),
        axis_physical_types=("custom:pos.helioprojective.lon", "custom:pos.helioprojective.lat"),
    )
    when = cf.TemporalFrame(BEGAN, axes_order=(2,), unit=u.s)
    pixels = cf.CoordinateFrame(
        name="pixel", naxes=3, axes_order=(0, 1, 2), axes_type=("pixel",) * 3, unit=(u.pix,) * 3,
        axes_names=("x", "y", "t"),
    )  # fmt: skip
    model = CoupledCompoundModel("&", spatial, time, shared_inputs=1)
    made = gwcs.WCS(model, pixels, cf.CompositeFrame([sky, when]))
    made.pixel_shape, made.array_shape = (*shape[::-1], frames), (frames, *shape)
    return made


def vbi(frames: int = 4, shape: tuple[int, int] = (20, 24), read: list[int] | None = None) -> Dataset:
    """A dataset of the VBI; the numbers of frames that are read are appended to `read`."""
    sun = np.asarray(fits.getdata(sample_path("small_burst.fits"))[0, 0, : shape[0], : shape[1]], np.float32)

    def load(block_info: dict[Any, Any]) -> np.ndarray:
        number = block_info[None]["chunk-location"][0]
        if read is not None:
            read.append(number)
        return (sun + number)[None]

    chunks = ((1,) * frames, (shape[0],), (shape[1],))
    data = da.map_blocks(load, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
    cards = {"TELESCOP": "Daniel K. Inouye Solar Telescope", "INSTRUME": "VBI", "LINEWAV": 430.5}
    meta = {"inventory": {}, "headers": Table([cards | {"CDELT1": 0.5, "BUNIT": "ct"}] * frames)}
    return Dataset(data, wcs=drifting(frames, shape), meta=meta, unit=u.count)

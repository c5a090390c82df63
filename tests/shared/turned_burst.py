"""A small burst with a header of HMI, turned by 180 degrees as its images are, and a result of it."""

import astropy.units as u
import numpy as np
import sunpy.map
from astropy.io import fits

import heliorestore
from heliorestore import Burst, Instrument
from heliorestore.snapshot import Map, Run, Snapshot

ROWS, COLUMNS = 24, 30
CARDS = {
    "TELESCOP": "SDO/HMI", "INSTRUME": "HMI_SIDE1", "WAVELNTH": 6173.0, "WAVEUNIT": "angstrom",
    "BUNIT": "DN/s",
    "CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": "arcsec", "CUNIT2": "arcsec", "CRPIX1": 11.0,
    "CRPIX2": 7.5, "CRVAL1": 410.0, "CRVAL2": -233.0, "CDELT1": 0.504, "CDELT2": 0.504, "CROTA2": 179.93,
    "DATE-OBS": "2014-03-01T00:00:07.800", "DSUN_OBS": 1.48e11, "RSUN_REF": 6.96e8, "HGLN_OBS": 0.0,
    "HGLT_OBS": -7.2, "HISTORY": "as JSOC writes it",
}  # fmt: skip
MIRRORED = {"CDELT1": -0.504, "CROTA2": 35.0}


def burst(frames: int = 1, objects: int = 1, **cards: object) -> Burst:
    header = fits.Header(CARDS | cards)
    images = np.random.default_rng(0).uniform(1, 2, (objects, frames, ROWS, COLUMNS)).astype(np.float32)
    images[0, 0, 3, 4] = np.nan
    times = np.datetime64("2014-03-01T00:00:07.800") + np.arange(frames) * np.timedelta64(45, "s")
    return Burst(
        frames=images, instruments=(Instrument.from_header(header),) * objects, headers=(header,) * objects,
        times=times, unit="DN/s", labels=tuple("IQUV"[:objects]),
    )  # fmt: skip


def corners(shown: sunpy.map.GenericMap, zoom: int = 1) -> np.ndarray:
    """Longitude and latitude in arcsec of the corners of the field."""
    x, y = np.meshgrid(*(np.array([-0.5, n - 0.5]) for n in (zoom * COLUMNS, zoom * ROWS)))
    sky = shown.pixel_to_world(x * u.pix, y * u.pix)
    return np.array([sky.Tx.arcsec, sky.Ty.arcsec])


def result(of: Burst, zoom: int = 2) -> Snapshot:
    run = Run.of(of, heliorestore.EnhanceSettings(), "cpu", 0)
    shape = (of.shape[0], zoom * ROWS, zoom * COLUMNS)
    return Snapshot(
        step=1, total=1, zoom=zoom, run=run, images=np.ones(shape, np.float32),
        maps={"uncertainty": Map(np.full(shape, 0.1, np.float32))},
    )  # fmt: skip

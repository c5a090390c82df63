"""The header of one image of a burst or a result, complete enough for another package."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from heliorestore.burst import Burst
from heliorestore.errors import BurstError
from heliorestore.fits.layouts import OWN_FORMAT
from heliorestore.fits.provenance import to_ascii
from heliorestore.fits.readback import finer
from heliorestore.fits.wcs import planar, pointed
from heliorestore.fits.writer import cleaned, primary_header
from heliorestore.instrument import Instrument
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from astropy.io.fits import Header

_OF_A_FILE = re.compile(r"(LABEL|WLNM)\d+\Z")  # of all its objects
OTHER_UNIT = "DATAUNIT"
"""The keyword for a unit such as I/Ic, at which SunPy's maps fail."""
_UNITS = {"nm", "angstrom", "aa", "m", "um", "micron"}  # of wavelengths that astropy reads too


def burst_header(burst: Burst, object_: int, frame: int) -> Header:
    """The header of a frame: its own time and place where the burst knows them."""
    from astropy.io.fits import Header

    header = cleaned(burst.headers[object_]) if burst.headers else Header()
    if burst.pointing is not None:
        header = pointed(header, burst.pointing[object_, frame])
    if burst.shape[1] > 1 and burst.times is not None and not np.isnat(burst.times[frame]):
        for key in ("DATE-AVG", "DATE-END", "DATE-BEG"):  # of the first frame, or of all
            header.remove(key, ignore_missing=True)
        header["DATE-OBS"] = str(np.datetime_as_string(burst.times[frame], unit="ms"))
    if burst.unit:
        header["BUNIT"] = to_ascii(burst.unit)
    return _completed(header, burst.instruments[object_], burst.labels[object_], burst.shape[2:])


def result_header(snapshot: Snapshot, object_: int, frame: int | None = None) -> Header:
    """The header of a restored image as `write` makes it, without the cards of a file."""
    header = planar(primary_header(snapshot, object_, frame))
    for key in [key for key in header if _OF_A_FILE.match(key) or key == OWN_FORMAT]:
        header.remove(key)
    instrument, label = Instrument(), ""
    if snapshot.run is not None:
        instrument = finer(snapshot.run.instruments[object_], snapshot.zoom)
        label = snapshot.run.labels[object_]
    rows, columns = snapshot.images.shape[1:]
    return _completed(header, instrument, label, (rows, columns))


def unit_of(header: Header, known: object = None) -> str:
    """The unit that a header made here or elsewhere gives, or else `known`."""
    return str(header.get(OTHER_UNIT) or header.get("BUNIT") or known or "").strip()


def _is_unit(text: str) -> bool:
    """Whether SunPy understands the unit: astropy's, and some that it translates."""
    import astropy.units as u

    if text.lower() in {"gauss", "counts", "dn"}:
        return True
    return not isinstance(u.Unit(text, parse_strict="silent"), u.UnrecognizedUnit)


def _completed(header: Header, instrument: Instrument, label: str, shape: tuple[int, int]) -> Header:
    """The header with axes, wavelength, aperture and label, where it lacks them."""
    if "CDELT1" not in header and "CD1_1" not in header and instrument.pixel_arcsec is None:
        raise BurstError(
            "The size of the pixels is unknown: give it, for instance "
            'burst.with_instrument("pixel_arcsec=0.06").'
        )
    for axis, kind in ((1, "HPLN-TAN"), (2, "HPLT-TAN")):
        # Without coordinates the field is taken for one in the middle of the disc.
        for key, value in (
            ("CTYPE", kind),
            ("CUNIT", "arcsec"),
            ("CRPIX", (shape[-axis] + 1) / 2),
            ("CRVAL", 0.0),
        ):
            header.setdefault(f"{key}{axis}", value)
        if "CD1_1" not in header:
            header.setdefault(f"CDELT{axis}", instrument.pixel_arcsec)
    said = Instrument.from_header(header)
    readable = str(header.get("WAVEUNIT")).strip().lower() in _UNITS
    wavelength_nm = instrument.wavelength_nm
    if wavelength_nm is not None and not (readable and said.wavelength_nm == wavelength_nm):
        header["WAVELNTH"], header["WAVEUNIT"] = wavelength_nm, "nm"
    if instrument.diameter_m is not None and said.diameter_m != instrument.diameter_m:
        header["APTDIA"] = (1000 * instrument.diameter_m, "[mm] diameter of the aperture")
    if (unit := str(header.get("BUNIT") or "").strip()) and not _is_unit(unit):
        header.rename_keyword("BUNIT", OTHER_UNIT)
    if label:
        header["LABEL1"] = to_ascii(label)
    return header

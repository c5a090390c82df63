"""Write a Burst, such as a simulated one, into one FITS file (object, frame, y, x), atomically."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst
from heliorestore.fits.files import silent_astropy
from heliorestore.fits.object_table import object_columns
from heliorestore.fits.provenance import table_of, to_ascii
from heliorestore.instrument import Instrument
from heliorestore.storage import check_output, replacing

_UNDATED = "checksum of this HDU"  # without the date that astropy would add: equal bursts give equal files


def write_burst(
    burst: Burst,
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
    extensions: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> Path:
    """Write the frames with the first object's header, labels, the times of the frames, and what is known of
    the objects, and return the file's path.

    `extensions` are further images by name. The file appears under its name when it is complete.
    """
    from astropy.io import fits

    target = check_output(path, overwrite=overwrite)
    header = burst.headers[0].copy() if burst.headers else fits.Header()
    header["BUNIT"] = to_ascii(burst.unit)
    for number, label in enumerate(burst.labels, 1):
        header[f"LABEL{number}"] = (to_ascii(label), f"object {number - 1}")
    hdus = [fits.PrimaryHDU(np.asarray(burst.frames[:, :]), header)]
    hdus += [fits.ImageHDU(array, name=name) for name, array in (extensions or {}).items()]
    if burst.times is not None:
        dates = np.datetime_as_string(burst.times, unit="ms")
        # As text, which every reader understands, in the table that ours looks for.
        column = fits.Column("DATE-OBS", f"{max(map(len, dates))}A", array=dates)
        hdus.append(fits.BinTableHDU.from_columns([column], name="FRAMES"))
    if known := object_columns(burst.coordinates, burst.present):
        hdus.append(table_of("OBJECTS", {"LABEL": burst.labels} | known))
    return _write(hdus, target)


def write_psfs(
    psfs: npt.NDArray[np.float32],
    path: str | PathLike[str],
    instrument: Instrument,
    step: int,
    *,
    overwrite: bool = False,
) -> Path:
    """Write PSFs (frame, gy, gx, y, x) at every `step`-th pixel, from the middle of the first cell on."""
    from astropy.io import fits

    target = check_output(path, overwrite=overwrite)
    header = fits.Header()
    header["PSFSTEP"] = (step, "[pixel] from one PSF to the next")
    header["PSFFIRST"] = (step / 2 - 0.5, "[pixel] place of the first PSF, counted from 0")
    header["PSFPIXEL"] = (instrument.pixel_arcsec, "[arcsec] pixel of a PSF, whose centre is at n // 2")
    for axis, word in enumerate(("PSF X", "PSF Y", "GRID X", "GRID Y", "FRAME"), 1):
        header[f"CNAME{axis}"] = word
    return _write([fits.PrimaryHDU(psfs, header)], target)


def _write(hdus: list[Any], target: Path) -> Path:
    from astropy.io import fits

    with silent_astropy():
        whole = fits.HDUList(hdus)
        whole.update_extend()
        for hdu in whole:
            hdu.add_checksum(when=_UNDATED)
        with replacing(target) as file:
            whole.writeto(file, output_verify="exception")
    return target

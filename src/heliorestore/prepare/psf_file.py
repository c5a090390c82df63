"""A measured point-spread function in a FITS file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import SettingsError
from heliorestore.instrument import Instrument


def read_psf(path: Path) -> tuple[npt.NDArray[np.float64], float | None]:
    """The PSF (y, x) and its pixel in arcsec, None where the header gives no scale."""
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            hdu: Any = next((each for each in hdus if each.data is not None), None)
            image = np.squeeze(np.asarray(hdu.data, np.float64)) if hdu is not None else np.zeros(0)
            pixel_arcsec = Instrument.from_header(hdu.header).pixel_arcsec if hdu is not None else None
    except (OSError, TypeError, ValueError) as error:
        raise SettingsError(f"The PSF {path} cannot be read as FITS ({error}).") from error
    if image.ndim != 2 or not np.isfinite(image).all() or not image.max() > 0 or not image.sum() > 0:
        raise SettingsError(
            f"The PSF {path} has the shape {image.shape}: it must be one image (y, x) without NaN, with more "
            "light than darkness."
        )
    return image, pixel_arcsec

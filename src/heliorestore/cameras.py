"""The known cameras: aperture, pixels, lines, and the words by which a header names them.

Sources: docs/opening.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera and its lines: name of the line to its wavelength in nm.

    `words` are those of TELESCOP, INSTRUME, CAMERA and DETECTOR by which it is recognised: all of one entry.
    """

    key: str
    name: str
    words: tuple[str, ...]
    lines: Mapping[str, float]
    diameter_m: float
    pixel_arcsec: float
    obscuration_m: float = 0.0
    psf: str = "airy"

    def is_named_by(self, words: set[str]) -> bool:
        """Whether these words of a header name it."""
        return any(set(each.split()) <= words for each in self.words)


_HIFI = ("HIFI", "HIFIP", "HIFIPLUS")  # HiFI+ is written in several ways
_BFI, _NFI = ("SOT WB", "SOT BFI"), ("SOT NB", "SOT NFI")

# Of several entries of one camera the first is the one that a single number of that camera is compared with.
CAMERAS = (
    Camera(
        key="crisp", name="SST/CRISP", words=("CRISP",), diameter_m=0.97, pixel_arcsec=0.059,
        lines={"5896": 589.6, "6173": 617.3, "6302": 630.2, "6563": 656.3, "8542": 854.2},
    ),
    Camera(
        key="chromis", name="SST/CHROMIS", words=("CHROMIS",), diameter_m=0.97, pixel_arcsec=0.038,
        lines={"3934": 393.4, "3968": 396.8, "4862": 486.1},
    ),
    Camera(
        key="hifi", name="GREGOR/HiFI", words=_HIFI, diameter_m=1.44, obscuration_m=0.40, pixel_arcsec=0.050,
        lines={"6563": 656.3},
    ),
    Camera(
        key="hifi", name="GREGOR/HiFI", words=_HIFI, diameter_m=1.44, obscuration_m=0.40, pixel_arcsec=0.025,
        lines={"3968": 396.8, "4307": 430.7, "4506": 450.6, "7058": 705.8},
    ),
    Camera(
        key="vbi", name="DKIST/VBI", words=("VBI",), diameter_m=4.0, pixel_arcsec=0.011,
        lines={"3933": 393.3, "4305": 430.5, "4504": 450.4, "4861": 486.1},
    ),
    Camera(
        key="vbi", name="DKIST/VBI", words=("VBI",), diameter_m=4.0, pixel_arcsec=0.017,
        lines={"6563": 656.3, "6684": 668.4, "7054": 705.4, "7892": 789.2},
    ),
    Camera(
        key="bfi", name="Hinode/SOT-BFI", words=_BFI,
        diameter_m=0.50, obscuration_m=0.172, pixel_arcsec=0.054,
        lines={"3883": 388.3, "3968": 396.8, "4305": 430.5, "4504": 450.45, "5550": 555.05, "6684": 668.4},
    ),
    Camera(
        key="nfi", name="Hinode/SOT-NFI", words=_NFI,
        diameter_m=0.50, obscuration_m=0.172, pixel_arcsec=0.08,
        lines={"5172": 517.2, "5250": 525.0, "5576": 557.6, "5896": 589.6, "6302": 630.2, "6563": 656.3},
    ),
    Camera(
        key="imax", name="Sunrise/IMaX", words=("IMAX",), diameter_m=1.0, pixel_arcsec=0.055,
        lines={"5250": 525.02},
    ),
    Camera(
        key="hmi", name="SDO/HMI", words=("HMI",), diameter_m=0.14, pixel_arcsec=0.504, psf="wachter",
        lines={"6173": 617.3},
    ),
    Camera(
        key="phi-hrt", name="SolO/PHI-HRT", words=("PHI HRT",), diameter_m=0.14, pixel_arcsec=0.50,
        lines={"6173": 617.3},
    ),
)  # fmt: skip

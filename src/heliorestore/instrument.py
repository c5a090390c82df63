"""Instruments: telescope, pixel scale and wavelength, and the table of known ones."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from heliorestore.errors import SettingsError, guess

# Units and scales are read by hand, here and in fits/sky.py, as headers in use have them: astropy.units takes
# A for ampere and does not know Arcsec or DEG; astropy.wcs takes degrees where CUNIT is missing, refuses a
# header for one odd card, and fails with a MemoryError where a table is missing. Importing either takes ten
# times as long as importing this module.
RADIAN_ARCSEC = 180 / math.pi * 3600
SUN_ARCSEC = 959.63  # the Sun's radius at one astronomical unit
_METRE_PER_UNIT = {
    "m": 1.0,
    "mm": 1e-3,
    "um": 1e-6,
    "micron": 1e-6,
    "nm": 1e-9,
    "angstrom": 1e-10,
    "aa": 1e-10,
    "a": 1e-10,
}
ARCSEC_PER_UNIT = {
    "arcsec": 1.0,
    "deg": 3600.0,
    "degree": 3600.0,
    "arcmin": 60.0,
    "mas": 1e-3,
    "rad": RADIAN_ARCSEC,
}

# Telescopes and cameras above the air, a balloon's included, as words of their names.
_IN_SPACE = frozenset(
    ("sdo", "hmi", "aia", "soho", "mdi", "hinode", "sot", "iris", "trace", "solo", "phi", "eui", "proba")
) | {"sunrise", "imax", "tumag", "susi"}
_USUAL_BINNING = 3  # factor by which a pixel may differ from the camera's own without a warning


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """Telescope aperture, sampling and wavelength; None where it is not known.

    `psf` is the closed form of the telescope's PSF without an atmosphere: the Airy pattern of the (obscured)
    aperture, or Wachter's core-and-wings form for HMI.
    """

    name: str = "unknown"
    diameter_m: float | None = None
    obscuration_m: float = 0.0
    pixel_arcsec: float | None = None
    wavelength_nm: float | None = None
    psf: str = "airy"

    def __post_init__(self) -> None:
        for field in ("diameter_m", "pixel_arcsec", "wavelength_nm"):
            value = getattr(self, field)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise SettingsError(f"The instrument's {field} is {value}; it must be a positive number.")
        if not 0 <= self.obscuration_m < (self.diameter_m or math.inf):
            raise SettingsError(
                f"The central obscuration is {self.obscuration_m} m and the aperture {self.diameter_m} m; "
                "the obscuration must be smaller."
            )
        if self.psf not in ("airy", "wachter"):
            raise SettingsError(f"The PSF form is {self.psf!r}; possible are 'airy' and 'wachter'.")

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names of the fields that are still unknown."""
        return tuple(
            name for name in ("diameter_m", "pixel_arcsec", "wavelength_nm") if getattr(self, name) is None
        )

    @property
    def resolution_arcsec(self) -> float | None:
        """The diffraction limit lambda/D, if known."""
        if self.diameter_m is None or self.wavelength_nm is None:
            return None
        return self.wavelength_nm * 1e-9 / self.diameter_m * RADIAN_ARCSEC

    @property
    def in_space(self) -> bool:
        """Whether it looks at the Sun without air in between, as far as its name tells."""
        words = re.split(r"[^a-z]+", self.name.lower())
        return any(word in _IN_SPACE for word in words)

    @property
    def doubt(self) -> str | None:
        """A sentence if the pixels differ from the instrument's by more than usual binning explains."""
        camera = self.name.partition(" ")[0]
        usual = next(
            (known.pixel_arcsec for known in KNOWN.values() if known.name.partition(" ")[0] == camera), None
        )
        if (
            usual is None
            or self.pixel_arcsec is None
            or 1 / _USUAL_BINNING <= self.pixel_arcsec / usual <= _USUAL_BINNING
        ):
            return None
        ratio = self.pixel_arcsec / usual
        times = f"{ratio:.3g} times larger" if ratio > 1 else f"{1 / ratio:.3g} times smaller"
        return (
            f"Pixels of {self.pixel_arcsec:.4g} arcsec are {times} than those of {camera} ({usual:g} "
            f"arcsec): correct the scale with --instrument pixel_arcsec={usual:g} or, if the images were "
            f"binned or resampled, confirm it with --instrument pixel_arcsec={self.pixel_arcsec:.4g}."
        )

    def require(self) -> KnownInstrument:
        """The instrument with all its numbers; a SettingsError names those that are missing."""
        if self.unknown:
            raise SettingsError(
                f"The file does not give the instrument's {', '.join(self.unknown)}: choose an "
                f"instrument with --instrument ({', '.join(KNOWN)}) or give the numbers, for instance "
                f"--instrument {','.join(f'{name}={_EXAMPLE[name]}' for name in self.unknown)}."
            )
        return KnownInstrument(**dataclasses.asdict(self))

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Instrument:
        """Read telescope, scale and wavelength from a FITS header; missing values stay None."""
        wavelength_nm = _wavelength_nm(header)
        known = _recognise(header, wavelength_nm)
        pixel_arcsec = _pixel_arcsec(header)
        if known is None:
            words = (str(header.get(key, "")).strip() for key in ("TELESCOP", "INSTRUME"))
            return cls(
                name=" ".join(word for word in words if word) or "unknown",
                pixel_arcsec=pixel_arcsec,
                wavelength_nm=wavelength_nm,
            )
        # The header's own numbers take precedence over the table: the camera may be binned, or observe
        # another line.
        if not _tabulated(header):
            pixel_arcsec = pixel_arcsec or known.pixel_arcsec
        return dataclasses.replace(
            known, pixel_arcsec=pixel_arcsec, wavelength_nm=wavelength_nm or known.wavelength_nm
        )

    @classmethod
    def parse(cls, text: str, base: Instrument | None = None) -> Instrument:
        """An instrument from `crisp-8542`, `crisp-8542,pixel_arcsec=0.05`, or changes of `base` alone."""
        instrument = base or cls()
        fields = {field.name: field for field in dataclasses.fields(cls)}
        changes: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = part.partition("=")
            if not equals:
                instrument = find(part)
            elif name not in fields:
                raise SettingsError(f"An instrument has no {name!r}; possible are {', '.join(fields)}.")
            elif name in ("name", "psf"):
                changes[name] = value
            else:
                try:
                    changes[name] = float(value)
                except ValueError:
                    raise SettingsError(
                        f"The instrument's {name} is {value!r}; it must be a number."
                    ) from None
        return dataclasses.replace(instrument, **changes)

    def __str__(self) -> str:
        """The text from which `parse` makes this instrument again."""
        for key, known in KNOWN.items():
            if known.name == self.name:
                changes = {f: v for f, v in dataclasses.asdict(self).items() if v != getattr(known, f)}
                if None not in changes.values():
                    return ",".join([key, *(f"{f}={v}" for f, v in changes.items())])
        changes = {f: v for f, v in dataclasses.asdict(self).items() if v != getattr(Instrument(), f)}
        changes["name"] = self.name.replace(",", " ")
        return ",".join(f"{f}={v}" for f, v in changes.items())


@dataclass(frozen=True, kw_only=True)
class KnownInstrument(Instrument):
    """An instrument with all numbers known, made by `Instrument.require`: the basis of all optics."""

    # field(), because the default of the base class would be inherited
    diameter_m: float = dataclasses.field()
    pixel_arcsec: float = dataclasses.field()
    wavelength_nm: float = dataclasses.field()

    @property
    def resolution_arcsec(self) -> float:
        """The diffraction limit lambda/D."""
        return self.wavelength_nm * 1e-9 / self.diameter_m * RADIAN_ARCSEC

    def require(self) -> KnownInstrument:
        return self


KNOWN: Mapping[str, Instrument] = {
    "crisp-6302": Instrument(name="SST/CRISP 6302", diameter_m=1.0, pixel_arcsec=0.059, wavelength_nm=630.2),
    "crisp-8542": Instrument(name="SST/CRISP 8542", diameter_m=1.0, pixel_arcsec=0.059, wavelength_nm=854.2),
    "chromis-3934": Instrument(
        name="SST/CHROMIS 3934", diameter_m=1.0, pixel_arcsec=0.038, wavelength_nm=393.4
    ),
    "hifi-6563": Instrument(
        name="GREGOR/HiFI 6563", diameter_m=1.44, obscuration_m=0.40, pixel_arcsec=0.050, wavelength_nm=656.3
    ),
    "hmi-6173": Instrument(
        name="SDO/HMI 6173", diameter_m=0.14, pixel_arcsec=0.504, wavelength_nm=617.3, psf="wachter"
    ),
    "imax-5250": Instrument(
        name="Sunrise/IMaX 5250", diameter_m=1.0, pixel_arcsec=0.055, wavelength_nm=525.02
    ),
    "vbi-4504": Instrument(name="DKIST/VBI 4504", diameter_m=4.0, pixel_arcsec=0.011, wavelength_nm=450.4),
}
"""The instruments by the name that `--instrument` takes."""

_EXAMPLE = {"diameter_m": "1.0", "pixel_arcsec": "0.059", "wavelength_nm": "854.2"}


def find(key: str) -> Instrument:
    """Return the known instrument of that name; a SettingsError lists the known names."""
    if key in KNOWN:
        return KNOWN[key]
    raise SettingsError(f"No instrument is called {key!r}: known are {', '.join(KNOWN)}{guess(key, KNOWN)}")


def doubts(instruments: Iterable[Instrument]) -> list[str]:
    """The warnings about instruments, each once."""
    return list(dict.fromkeys(instrument.doubt for instrument in instruments if instrument.doubt))


def _recognise(header: Mapping[str, Any], wavelength_nm: float | None) -> Instrument | None:
    words = " ".join(
        str(header.get(key, "")) for key in ("TELESCOP", "INSTRUME", "CAMERA", "DETECTOR")
    ).upper()
    tokens = set(re.split(r"[^A-Z0-9]+", words))
    candidates = [
        instrument
        for key, instrument in KNOWN.items()
        if (camera := key.partition("-")[0].upper()) in tokens
        or any(t.startswith(camera + "P") and camera == "HIFI" for t in tokens)
    ]
    if not candidates:
        return None
    if wavelength_nm is None:
        # Without a wavelength only a camera with a single entry is certain.
        first = candidates[0]
        return (
            first
            if len(candidates) == 1
            else dataclasses.replace(first, name=first.name.split()[0], wavelength_nm=None)
        )

    def distance_nm(known: Instrument) -> float:
        return abs(known.require().wavelength_nm - wavelength_nm)

    nearest = min(candidates, key=distance_nm)
    if distance_nm(nearest) > 2:  # another line of that camera
        return dataclasses.replace(nearest, name=f"{nearest.name.split()[0]} {wavelength_nm * 10:.0f}")
    return nearest


def _number(header: Mapping[str, Any], key: str) -> float | None:
    """The card as a finite number, or None."""
    try:
        value = float(header.get(key))  # type: ignore[arg-type] # float's errors are caught below
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _wavelength_nm(header: Mapping[str, Any]) -> float | None:
    """WAVELNTH in WAVEUNIT, which is a power of ten of the metre (SOLARNET) or a unit's name."""
    value = _number(header, "WAVELNTH")
    if value is None or value <= 0:
        return None
    unit = header.get("WAVEUNIT")
    if isinstance(unit, str) and unit.strip().lstrip("+-").isdigit():
        unit = int(unit)
    if isinstance(unit, (int, float)) and not isinstance(unit, bool) and -12 <= unit <= 0:
        return round(value * 10.0**unit * 1e9, 6)
    if isinstance(unit, str) and unit.strip().lower() in _METRE_PER_UNIT:
        return round(value * _METRE_PER_UNIT[unit.strip().lower()] * 1e9, 6)
    if 2000 < value < 20000:  # no unit, but only angstrom gives the optical range
        return round(value / 10, 6)
    # 450.4 is nm, but 304 may be Angstrom: only the optical range of nm is accepted.
    return value if 380 <= value <= 2000 else None


def _tabulated(header: Mapping[str, Any]) -> bool:
    """Whether a table gives the coordinates of the pixels: then CDELT is a step in the table's index."""
    return any(str(header.get(f"CTYPE{axis}") or "").strip().upper().endswith("-TAB") for axis in (1, 2))


def _pixel_arcsec(header: Mapping[str, Any]) -> float | None:
    """The pixel size by CDELT or CD, with CUNIT; helioprojective FITS without it is in arcsec."""
    if _tabulated(header):
        return None
    unit = str(header.get("CUNIT1", "arcsec")).strip().lower() or "arcsec"
    if unit not in ARCSEC_PER_UNIT:
        return None
    scale = _number(header, "CDELT1")
    if "CD1_1" in header or "CD2_1" in header:
        scale = math.hypot(_number(header, "CD1_1") or 0.0, _number(header, "CD2_1") or 0.0)
    if not scale:
        return None
    arcsec = abs(scale) * ARCSEC_PER_UNIT[unit]
    if str(header.get("CTYPE1", "")).strip().upper()[:4] in ("CRLN", "HGLN"):
        # Degrees on the Sun, not on the sky: converted as at the disc's centre.
        arcsec *= (_number(header, "RSUN_OBS") or SUN_ARCSEC) / RADIAN_ARCSEC
    # CDELT1 = 1 without any unit is the FITS default for "pixels", not a measured scale.
    return None if scale == 1 and "CUNIT1" not in header else round(arcsec, 9)

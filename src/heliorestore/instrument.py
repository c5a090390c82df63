"""Instruments: telescope, pixel scale and wavelength, and the table of known ones."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heliorestore import own_instruments
from heliorestore.cameras import CAMERAS
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
PSF_FORMS = ("airy", "wachter", "wachter-short", "wachter-2012", "yeo-2014")
_SAME_LINE_NM = 2  # a filter this near to a known one is named after it
LEAST, MOST = 1e-9, 1e9  # m, arcsec or nm: whatever the telescope, the square of no number is lost
_USUAL_BINNING = 3  # factor by which a pixel may differ from the camera's own without a warning


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """Telescope aperture, sampling and wavelength; None where it is not known.

    `psf` is the closed form of the telescope's PSF without an atmosphere, one of `PSF_FORMS`: the Airy
    pattern of the (obscured) aperture, or one of the published forms of HMI's PSF (docs/richardson-lucy.md).
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
            if value is not None and not LEAST < value < MOST:
                raise SettingsError(
                    f"The instrument's {field} is {value}; it must be between {LEAST:g} and {MOST:g}."
                )
        if not 0 <= self.obscuration_m < (self.diameter_m or math.inf):
            raise SettingsError(
                f"The central obscuration is {self.obscuration_m} m and the aperture {self.diameter_m} m; "
                "the obscuration must be smaller."
            )
        if self.psf not in PSF_FORMS:
            raise SettingsError(f"The PSF form is {self.psf!r}; possible are {', '.join(PSF_FORMS)}.")

    @property
    def camera(self) -> str:
        """Telescope and camera, the first word of the name."""
        return self.name.partition(" ")[0]

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
                "instrument with --instrument, for instance crisp-8542 (`heliorestore instruments` lists "
                "them), or give the numbers, for instance "
                f"--instrument {','.join(f'{name}={_EXAMPLE[name]}' for name in self.unknown)}."
            )
        return KnownInstrument(**dataclasses.asdict(self))

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Instrument:
        """Read telescope, scale and wavelength from a FITS header; missing values stay None."""
        wavelength_nm = _wavelength_nm(header)
        known = _recognise(header, wavelength_nm)
        pixel_arcsec = _pixel_arcsec(header)
        diameter_m = _diameter_m(header)
        if known is None:
            words = (str(header.get(key, "")).strip() for key in ("TELESCOP", "INSTRUME"))
            return cls(
                name=" ".join(word for word in words if word) or "unknown",
                diameter_m=diameter_m,
                pixel_arcsec=pixel_arcsec,
                wavelength_nm=wavelength_nm,
            )
        # The header's own numbers take precedence over the table: the camera may be binned, or observe
        # another line.
        if not _tabulated(header):
            pixel_arcsec = pixel_arcsec or known.pixel_arcsec
        return dataclasses.replace(
            known,
            diameter_m=diameter_m or known.diameter_m,
            pixel_arcsec=pixel_arcsec,
            wavelength_nm=wavelength_nm or known.wavelength_nm,
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
        if "name" not in changes:
            changes["name"] = instrument._name_with(changes)
        return dataclasses.replace(instrument, **changes)

    def _name_with(self, changes: Mapping[str, Any]) -> str:
        """What it is called with those changes: with other numbers it is no longer the known one."""
        edited = {name for name, new in changes.items() if getattr(self, name) not in (None, new, "unknown")}
        if not edited or self.name == "unknown":
            return self.name
        name = self.name.partition(" (")[0]
        another_line = abs(changes.get("wavelength_nm", 0.0) - (self.wavelength_nm or 0.0)) > _SAME_LINE_NM
        if "wavelength_nm" in edited and another_line and any(each.name == self.camera for each in CAMERAS):
            name = _of_line(self.camera, changes["wavelength_nm"])
        only_the_line = edited == {"wavelength_nm"} and another_line and "(" not in self.name
        return name if only_the_line else f"{name} (edited)"

    @property
    def record(self) -> str:
        """All numbers as text for `recorded`, whatever a later version knows by that name."""
        facts = {f: v for f, v in dataclasses.asdict(self).items() if v != getattr(Instrument(), f)}
        facts["name"] = self.name.replace(",", " ")
        return ",".join(f"{f}={v}" for f, v in facts.items())

    @classmethod
    def recorded(cls, text: str) -> Instrument:
        """The instrument of a record; in those of earlier versions, which name it, the SST had 1.00 m."""
        if "diameter_m=" in text:
            return cls.parse(text)
        then = {key.removesuffix("-paper"): key for key in _PAPER}
        return cls.parse(",".join(then.get(part, part) for part in text.split(",")))

    def __str__(self) -> str:
        """The text from which `parse` makes it again: the name of a known one, or its numbers."""
        return next((key for key, known in KNOWN.items() if vars(known) == vars(self)), self.record)


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


KNOWN: dict[str, Instrument] = {
    f"{camera.key}-{line}": Instrument(
        name=f"{camera.name} {line}",
        diameter_m=camera.diameter_m,
        obscuration_m=camera.obscuration_m,
        pixel_arcsec=camera.pixel_arcsec,
        wavelength_nm=wavelength_nm,
        psf=camera.psf,
    )
    for camera in CAMERAS
    for line, wavelength_nm in camera.lines.items()
}
"""The instruments by the name that `--instrument` takes."""

# The Swedish telescope with the 1.00 m of Asensio Ramos (2024): the bundled networks were trained for it, and
# the benchmarks are simulated with it.
_PAPER = {
    f"{key}-paper": dataclasses.replace(KNOWN[key], name=f"{KNOWN[key].name} (paper)", diameter_m=1.0)
    for key in ("crisp-6302", "crisp-8542", "chromis-3934")
}
KNOWN |= _PAPER

_EXAMPLE = {"diameter_m": "1.0", "pixel_arcsec": "0.059", "wavelength_nm": "854.2"}


def find(key: str) -> Instrument:
    """Return the instrument of that name, bundled or own; a SettingsError says how to list them."""
    known = KNOWN | own()
    if key in known:
        return known[key]
    raise SettingsError(
        f"No instrument is called {key!r}: `heliorestore instruments` lists them{guess(key, known) or '.'}"
    )


def own() -> dict[str, Instrument]:
    """The user's own instruments by name; those that cannot be understood are left out."""
    found = {}
    for name, fields in own_instruments.load().items():
        with contextlib.suppress(SettingsError, TypeError):
            found[name] = Instrument(**fields | {"name": name})
    return found


def save_own(key: str, instrument: Instrument) -> Path:
    """Save an instrument under a name of the user's; bundled names are refused."""
    if key in KNOWN:
        raise SettingsError(f"{key} is a bundled instrument: save yours under another name.")
    fields = {name: value for name, value in dataclasses.asdict(instrument).items() if value is not None}
    del fields["name"]
    return own_instruments.save(key, fields)


def doubts(instruments: Iterable[Instrument]) -> list[str]:
    """The warnings about instruments, each once."""
    return list(dict.fromkeys(instrument.doubt for instrument in instruments if instrument.doubt))


def _recognise(header: Mapping[str, Any], wavelength_nm: float | None) -> Instrument | None:
    words = " ".join(
        str(header.get(key, "")) for key in ("TELESCOP", "INSTRUME", "CAMERA", "DETECTOR")
    ).upper()
    tokens = set(re.split(r"[^A-Z0-9]+", words))
    camera = next((each.name for each in CAMERAS if each.is_named_by(tokens)), None)
    if camera is None:
        return None
    candidates = [known for key, known in KNOWN.items() if known.camera == camera and key not in _PAPER]
    first = candidates[0]
    if wavelength_nm is None:
        # Without a wavelength only a camera with a single entry is certain.
        if len(candidates) == 1:
            return first
        scales = {known.pixel_arcsec for known in candidates}
        pixel_arcsec = first.pixel_arcsec if len(scales) == 1 else None
        return dataclasses.replace(first, name=camera, wavelength_nm=None, pixel_arcsec=pixel_arcsec)

    def distance_nm(known: Instrument) -> float:
        return abs(known.require().wavelength_nm - wavelength_nm)

    nearest = min(candidates, key=distance_nm)
    if distance_nm(nearest) > _SAME_LINE_NM:
        return dataclasses.replace(nearest, name=_of_line(camera, wavelength_nm))
    return nearest


def _of_line(camera: str, wavelength_nm: float) -> str:
    return f"{camera} {wavelength_nm * 10:.0f}"


def _number(header: Mapping[str, Any], key: str) -> float | None:
    """The card as a finite number, or None."""
    try:
        value = float(header.get(key))  # type: ignore[arg-type] # float's errors are caught below
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _diameter_m(header: Mapping[str, Any]) -> float | None:
    """APTDIA, in mm as amateurs' programs and our simulator write it; 0 is written for unknown."""
    value = _number(header, "APTDIA")
    return round(value / 1000, 9) if value is not None and value > 0 else None


def _wavelength_nm(header: Mapping[str, Any]) -> float | None:
    """WAVELNTH in WAVEUNIT, which is a power of ten of the metre (SOLARNET) or a unit's name; else WAVE, the
    name of a filter of Hinode's SOT.
    """
    value = _number(header, "WAVELNTH")
    if value is None or value <= 0:
        named = str(header.get("WAVE") or "")
        found = re.search(r"\b(\d{4})\b", named)
        return float(found[1]) / 10 if found else 396.8 if named.startswith("Ca II H") else None
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

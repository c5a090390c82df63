"""Profiles over wavelength: which object of a burst is which Stokes parameter at which wavelength, and their
values in a pixel or a region.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import BurstError
from heliorestore.optics.noise import estimate_sigma
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STOKES = re.compile(r"(?:\A|.*[\s,_-])([IQUV])\Z")
_SIGMAS = 2.0  # of the band around a profile


@dataclass(frozen=True, eq=False)
class SpectralGrid:
    """The objects (parameter, wavelength) of a burst: their numbers, `parameters` as I Q U V, and wavelengths
    in nm, ascending.
    """

    parameters: tuple[str, ...]
    waves_nm: npt.NDArray[np.float64]
    objects: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Profiles:
    """Values and standard errors (parameter, wavelength) at one place; errors are NaN where unknown."""

    grid: SpectralGrid
    values: npt.NDArray[np.float64]
    sigmas: npt.NDArray[np.float64]
    name: str
    unit: str


def grid_of(burst: Burst) -> SpectralGrid:
    """The grid by the coordinates of the objects, or by their labels and instruments."""
    places: dict[tuple[str, float], int] = {}
    for number, (label, instrument) in enumerate(zip(burst.labels, burst.instruments, strict=True)):
        known = burst.coordinates[number] if burst.coordinates else None
        if known is not None and (known.is_wide_band or known.state is not None):
            continue
        found = _STOKES.match(label)
        stokes = (known.stokes if known is not None else "") or (found[1] if found else "I")
        wave = instrument.wavelength_nm
        if known is not None and known.wavelength_nm is not None:
            wave = known.wavelength_nm + (known.offset_pm or 0.0) / 1000
        if wave is not None:
            places.setdefault((stokes, round(wave, 6)), number)
    parameters = tuple(name for name in "IQUV" if any(name == stokes for stokes, _ in places))
    waves = sorted({wave for _, wave in places})
    if not places or len(places) != len(parameters) * len(waves) or len(places) < 2:
        raise BurstError(
            "These images are no grid of Stokes parameters and wavelengths: open what `heliorestore "
            "demodulate` or `cube` wrote, or another file whose axes name STOKES and WAVE."
        )
    numbers = [[places[name, wave] for wave in waves] for name in parameters]
    return SpectralGrid(parameters, np.array(waves), np.array(numbers))


def profiles(
    burst: Burst,
    y: slice | int,
    x: slice | int,
    frame: int = 0,
    noise: FloatArray | None = None,
    region: npt.NDArray[np.bool_] | None = None,
) -> Profiles:
    """The profiles in a pixel, or their mean in a rectangle, or in those of its pixels that are in a region.

    `noise` (object) or (object, y, x) are sigmas of a pixel, if they are known; that of a mean takes the
    pixels' noise as independent.
    """
    grid = grid_of(burst)
    rows, columns = (slice(at, at + 1) if isinstance(at, int) else at for at in (y, x))
    values, sigmas = np.full(grid.objects.shape, np.nan), np.full(grid.objects.shape, np.nan)
    count = 1
    for place in np.ndindex(grid.objects.shape):
        number = int(grid.objects[place])
        part = np.asarray(burst.frames[number, frame, rows, columns], np.float64)
        good = np.isfinite(part) if region is None else np.isfinite(part) & region
        if not good.any():
            continue
        count = max(count, int(good.sum()))
        values[place] = part[good].mean()
        if noise is not None:
            variance = np.square(noise[number] if noise.ndim == 1 else noise[number, rows, columns][good])
            sigmas[place] = np.sqrt(variance.mean() / good.sum())
    middle = [(each.start + each.stop - 1) // 2 for each in (columns, rows)]
    name = f"x {middle[0]}, y {middle[1]}"
    single = region is None and rows.stop - rows.start == 1 and columns.stop - columns.start == 1
    return Profiles(grid, values, sigmas, name if single else f"{count} pixels around {name}", burst.unit)


def uncertainty_of(record: Burst | Snapshot) -> FloatArray | None:
    """The standard errors (object, y, x) that a restoration or the file of a Stokes cube has, None without.

    A file's belong to its images as they are: not to those of a burst with several frames.
    """
    if not isinstance(record, Burst):
        return record.array("uncertainty")
    if len(record.sources) != 1 or record.shape[1] > 1 or record.layout != "named-axes":
        return None
    from astropy.io import fits

    from heliorestore.fits.files import silent_astropy

    try:
        with silent_astropy(), fits.open(record.sources[0].path, memmap=False) as hdus:
            found = hdus["UNCERTAINTY"].data if "UNCERTAINTY" in hdus else None
            shape = (record.shape[0], *record.shape[2:])
            if found is None or found.size != np.prod(shape) or found.shape[-2:] != shape[1:]:
                return None
            return np.asarray(found, np.float32).reshape(shape)
    except (OSError, fits.VerifyError):  # a file that has gone only costs its errors
        return None


def noise_of(burst: Burst, frame: int = 0) -> FloatArray:
    """The noise (object) of a pixel, measured on every image."""
    return np.array([estimate_sigma(burst.image(k, frame)) for k in range(burst.shape[0])], np.float32)


def draw_profiles(axes: Axes, shown: Sequence[Profiles], parameter: str) -> None:
    """One Stokes parameter over wavelength at some places, with a band of two standard errors; the line's
    core and the continuum of the first place are marked.
    """
    from heliorestore.quality.charts import COLOURS

    for each, colour in zip(shown, [*COLOURS] * len(shown), strict=False):
        if parameter not in each.grid.parameters:
            continue
        row = each.grid.parameters.index(parameter)
        waves, values = each.grid.waves_nm, each.values[row]
        axes.plot(waves, values, ".-", color=colour, label=each.name, linewidth=1.2, markersize=4)
        band = _SIGMAS * each.sigmas[row]
        if np.isfinite(band).all():
            axes.fill_between(waves, values - band, values + band, color=colour, alpha=0.2, linewidth=0)
    if shown and "I" in shown[0].grid.parameters and len(shown[0].grid.waves_nm) > 2:
        intensity, waves = shown[0].values[shown[0].grid.parameters.index("I")], shown[0].grid.waves_nm
        if np.isfinite(intensity).all():
            style: dict[str, Any] = {"color": axes.xaxis.label.get_color(), "linewidth": 0.8}
            places = {"core": waves[intensity.argmin()], "continuum": waves[intensity.argmax()]}
            axes.axvline(places["core"], linestyle=":", label="_core", **style)
            axes.axvline(places["continuum"], linestyle=(0, (1, 4)), label="_continuum", **style)
            for name, wave in places.items() if parameter == "I" else ():
                right = wave > waves.mean()
                axes.annotate(
                    name,
                    (wave, 1.0),
                    (-3.0 if right else 3.0, -3.0),
                    xycoords=axes.get_xaxis_transform(),
                    textcoords="offset points",
                    ha="right" if right else "left",
                    va="top",
                    size="small",
                )
    if parameter != "I":
        axes.axhline(0.0, color=axes.xaxis.label.get_color(), linewidth=0.5, label="_zero")
    unit = f" [{shown[0].unit}]" if shown and shown[0].unit else ""
    axes.set_ylabel(f"{parameter}{unit}", parse_math=False)
    axes.set_xlabel("wavelength [nm]")
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.locator_params(axis="x", nbins=5)


def to_csv(shown: Sequence[Profiles]) -> str:
    """A line for every place, parameter and wavelength."""
    lines = ["place,stokes,wavelength_nm,value,sigma"]
    for each in shown:
        for row, name in enumerate(each.grid.parameters):
            for wave, value, sigma in zip(
                each.grid.waves_nm, each.values[row], each.sigmas[row], strict=True
            ):
                lines.append(f'"{each.name}",{name},{float(wave)!r},{float(value)!r},{float(sigma)!r}')
    return "\n".join(lines) + "\n"

"""Stokes images from modulation states: the matrix, what it does to noise, and its file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import SettingsError

Floats = npt.NDArray[np.float64]

STOKES = "IQUV"
_MODULATION, _DEMODULATION = "modulation", "demodulation"
_LARGEST = 1e4  # condition number of a modulation: beyond it the states do not tell the parameters apart


@dataclass(frozen=True, eq=False)
class Demodulation:
    """I, Q, U, V are `matrix` (stokes, state) times the states, or (stokes, state, y, x), one for every
    pixel.
    """

    matrix: Floats

    @classmethod
    def of_modulation(cls, modulation: npt.ArrayLike) -> Demodulation:
        """The inverse of a modulation (state, stokes) or (state, stokes, y, x): the one with the least
        noise.
        """
        matrices = np.moveaxis(np.asarray(modulation, np.float64), (0, 1), (-2, -1))
        condition = float(np.max(np.linalg.cond(matrices)))
        if not condition < _LARGEST:
            raise SettingsError(
                "These modulation states do not tell I, Q, U and V apart (condition number "
                f"{condition:.2g}): give the matrix of another modulation."
            )
        return cls(np.asarray(np.moveaxis(np.linalg.pinv(matrices), (-2, -1), (0, 1)), np.float64))

    @property
    def states(self) -> int:
        return int(self.matrix.shape[1])

    @cached_property
    def noise(self) -> Floats:
        """Sigma (stokes) of the parameters in units of that of one state; the median over the field."""
        factors = np.sqrt(np.square(self.matrix).sum(1))
        return np.asarray(np.median(factors.reshape(4, -1), axis=1))

    @property
    def efficiencies(self) -> Floats:
        """The efficiency (stokes) of the modulation, 1 / sqrt(n sum D^2): del Toro Iniesta & Collados (2000),
        doi:10.1364/AO.39.001637.
        """
        return np.asarray(1 / (np.sqrt(self.states) * self.noise))

    def apply(self, states: npt.NDArray[np.floating]) -> Floats:
        """I, Q, U, V (stokes, ..., y, x) of states (state, ..., y, x)."""
        self._check(states)
        per_pixel = "snyx,n...yx->s...yx" if self.matrix.ndim == 4 else "sn,n...yx->s...yx"
        return np.asarray(np.einsum(per_pixel, self.matrix, states.astype(np.float64)))

    def propagated(self, sigmas: npt.NDArray[np.floating]) -> Floats:
        """Sigmas (stokes, ..., y, x) of the parameters from those of the states (state, ..., y, x), which are
        independent.
        """
        return np.sqrt(Demodulation(np.square(self.matrix)).apply(np.square(sigmas, dtype=np.float64)))

    def _check(self, states: npt.NDArray[np.floating]) -> None:
        if len(states) != self.states:
            raise SettingsError(
                f"The matrix is for {self.states} states, but there are {len(states)}: give as many."
            )
        if self.matrix.ndim == 4 and self.matrix.shape[2:] != states.shape[-2:]:
            rows, columns = self.matrix.shape[2:]
            raise SettingsError(
                f"The matrix has {columns} x {rows} pixels, the images have {states.shape[-1]} x "
                f"{states.shape[-2]}: they must be the same ones."
            )


def read_demodulation(path: Path) -> Demodulation:
    """Read a matrix from a TOML file (`demodulation` 4 x n, or `modulation` n x 4), or from FITS: (4, n), or
    (4, n, y, x) for every pixel, in the first HDU with data, or in one called DEMODULATION or MODULATION.
    """
    if not path.is_file():
        raise SettingsError(f"The matrix {path} does not exist: name a TOML or FITS file.")
    kind, values = _of_toml(path) if path.suffix.lower() == ".toml" else _of_fits(path)
    try:
        matrix = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"The {kind} of {path} is no table of numbers: give rows of equal length."
        ) from error
    wanted = "4 x n" if kind == _DEMODULATION else "n x 4"
    stokes = matrix.shape[0 if kind == _DEMODULATION else 1] if matrix.ndim >= 2 else 0
    if matrix.ndim not in (2, 4) or stokes != 4 or matrix.size < 16 or not np.isfinite(matrix).all():
        raise SettingsError(
            f"The {kind} of {path} has the shape {matrix.shape}; it must be {wanted} with n at least 4, or "
            "that with y and x behind it, and finite everywhere."
        )
    return Demodulation(matrix) if kind == _DEMODULATION else Demodulation.of_modulation(matrix)


def _of_toml(path: Path) -> tuple[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} is no TOML file: {error}.") from error
    for kind in (_DEMODULATION, _MODULATION):
        if kind in found:
            return kind, found[kind]
    raise SettingsError(f"{path} has neither {_DEMODULATION} (4 x n) nor {_MODULATION} (n x 4): write one.")


def _of_fits(path: Path) -> tuple[str, Any]:
    from astropy.io import fits

    from heliorestore.fits.files import silent_astropy

    try:
        with silent_astropy(), fits.open(path, memmap=False) as hdus:
            for kind in (_DEMODULATION, _MODULATION):
                if kind.upper() in hdus:
                    return kind, np.array(hdus[kind.upper()].data, np.float64)
            return _DEMODULATION, next(np.array(h.data, np.float64) for h in hdus if h.is_image and h.size)
    except (OSError, TypeError, ValueError, StopIteration) as error:
        raise SettingsError(
            f"{path} cannot be read as a matrix: give a FITS or TOML file with one."
        ) from error

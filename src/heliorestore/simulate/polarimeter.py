"""A polarimeter behind the narrow band: its states are taken in turns, each through its own air."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heliorestore.burst import FloatArray
from heliorestore.coordinates import WIDE_BAND, Coordinates
from heliorestore.errors import SettingsError
from heliorestore.instrument import Instrument, KnownInstrument
from heliorestore.simulate.lattice import Array
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.stokes import LINES, stokes
from heliorestore.simulate.view import SimulationSettings

_NEAR_NM = 3.0  # from a line, whose polarised light stands for that of its neighbours
_THIRD = 1 / np.sqrt(3)

TETRAHEDRON = np.array(
    [
        [1, _THIRD, _THIRD, _THIRD],
        [1, _THIRD, -_THIRD, -_THIRD],
        [1, -_THIRD, _THIRD, -_THIRD],
        [1, -_THIRD, -_THIRD, _THIRD],
    ]
)
"""Four states (state, stokes) that measure Q, U and V with the highest equal efficiency, 1/sqrt(3)."""


@dataclass(frozen=True, eq=False)
class Polarimeter:
    """The modulation `matrix` (state, stokes) and the places in the line at which its states are taken.

    Frame after frame the state is the next one; after the last one comes the next place in the line. Objects
    are the wide band, then all states of the first place, then those of the next.
    """

    matrix: npt.NDArray[np.float64]
    offsets_pm: tuple[float, ...]

    @classmethod
    def of(cls, settings: SimulationSettings) -> Polarimeter:
        """That of the settings: `TETRAHEDRON`."""
        try:
            offsets = tuple(float(part) for part in settings.offsets_pm.split(","))
        except ValueError:
            raise SettingsError(
                f"offsets_pm is {settings.offsets_pm!r}; it must be numbers separated by commas, as -8,8."
            ) from None
        return cls(TETRAHEDRON, offsets)

    @property
    def states(self) -> int:
        return len(self.matrix)

    def present(self, frames: int) -> npt.NDArray[np.bool_]:
        """Which objects (object, frame) a frame shows: the wide band and one state."""
        narrow = len(self.offsets_pm) * self.states
        if frames < narrow:
            raise SettingsError(
                f"The burst has {frames} frames for {narrow} states of the polarimeter: each needs one at "
                "least."
            )
        shown = np.arange(frames) % narrow == np.arange(narrow)[:, None]
        return np.concatenate([np.ones((1, frames), bool), shown])

    def modulated(self, stokes: Array) -> Array:
        """Intensities (object, y, x) behind the modulator of I, Q, U, V (wavelength, stokes, y, x)."""
        states: Array = np.einsum("ns,wsyx->wnyx", self.matrix, stokes)
        return states.reshape(-1, *stokes.shape[-2:])

    def demodulated(self, states: FloatArray) -> FloatArray:
        """I, Q, U, V (wavelength, stokes, y, x) of intensities (object, y, x) without the wide band."""
        by_place = states.reshape(len(self.offsets_pm), self.states, *states.shape[-2:])
        return np.asarray(np.einsum("sn,wnyx->wsyx", np.linalg.pinv(self.matrix), by_place), np.float32)

    def coordinates(self, instrument: KnownInstrument) -> tuple[Coordinates, ...]:
        """Those of the objects."""
        centre = instrument.wavelength_nm
        narrow = (
            Coordinates(wavelength_nm=centre, offset_pm=offset, state=state, camera="narrow band")
            for offset in self.offsets_pm
            for state in range(self.states)
        )
        return Coordinates(wavelength_nm=centre, camera=WIDE_BAND), *narrow


def polarised(patch: Patch, instrument: Instrument, offsets_pm: Sequence[float]) -> Array:
    """I, Q, U, V (wavelength, stokes, y, x) of the instrument's line, in units of the continuum."""
    wavelength_nm = instrument.require().wavelength_nm
    line = min(LINES, key=lambda name: abs(LINES[name].wavelength_nm - wavelength_nm))
    if abs(LINES[line].wavelength_nm - wavelength_nm) > _NEAR_NM:
        known = ", ".join(f"{each.wavelength_nm:g}" for each in LINES.values())
        raise SettingsError(
            f"No polarised light is known at {wavelength_nm:g} nm, only near {known} nm: choose another "
            "instrument."
        )
    return stokes(patch, line, offsets_pm).swapaxes(0, 1)

"""Where an object of a burst stands in the observation: wavelength, modulation state or Stokes parameter,
camera.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDE_BAND = "wide band"
"""The camera that looks past the filter, at the same time as the one behind it."""


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """The coordinates of an object; empty or None where they do not apply or are unknown.

    `offset_pm` counts from the line's centre `wavelength_nm`; `state` numbers the modulation states from 0,
    `stokes` is one of I, Q, U, V, and `camera` names the channel. Times are those of the burst's images.
    """

    wavelength_nm: float | None = None
    offset_pm: float | None = None
    state: int | None = None
    stokes: str = ""
    camera: str = ""

    @property
    def is_wide_band(self) -> bool:
        return self.camera == WIDE_BAND

    @property
    def label(self) -> str:
        """A name for people, as `-8 pm state 1`."""
        parts = [
            "" if self.offset_pm is None else f"{self.offset_pm:+g} pm",
            "" if self.state is None else f"state {self.state}",
            self.stokes,
        ]
        return " ".join(part for part in parts if part) or self.camera


def anchor_of(coordinates: tuple[Coordinates, ...]) -> int | None:
    """The number of the wide band among the objects, None without one."""
    return next((number for number, each in enumerate(coordinates) if each.is_wide_band), None)

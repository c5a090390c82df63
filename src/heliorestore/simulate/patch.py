"""A patch of the simulated Sun: where it lies, what is on it, and where its magnetic flux is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from heliorestore.errors import SettingsError
from heliorestore.simulate.lattice import Array, rise, smooth_noise, uniform
from heliorestore.simulate.sunspot import Spot

ARCSEC_MM = 0.725  # one arcsec at disc centre
SceneName = Literal["sunspot", "granulation"]


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A field of view on the simulated Sun: `shape` (rows, columns), pixel size, what there is to see, seed
    and time.

    A grid has `margin` further pixels on every side, with what lies around the field.
    """

    shape: tuple[int, int]
    pixel_arcsec: float
    scene: SceneName = "sunspot"
    seed: int = 0
    time_s: float = 0.0
    margin: int = 0

    def __post_init__(self) -> None:
        if self.scene not in ("sunspot", "granulation"):
            raise SettingsError(f"The scene is {self.scene!r}; possible are 'sunspot' and 'granulation'.")
        if min(self.shape) < 1 or not self.pixel_arcsec > 0:
            raise SettingsError(
                f"A patch of {self.shape} pixels of {self.pixel_arcsec} arcsec is empty; "
                "both must be positive."
            )

    @property
    def pixel_mm(self) -> float:
        return self.pixel_arcsec * ARCSEC_MM

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns with the margin."""
        return self.shape[0] + 2 * self.margin, self.shape[1] + 2 * self.margin

    @cached_property
    def x(self) -> Array:
        """Distance of every pixel's centre from the field's left edge in Mm, (y, x)."""
        return np.broadcast_to(
            (np.arange(self.grid[1]) + 0.5 - self.margin) * self.pixel_mm, self.grid
        ).copy()

    @cached_property
    def y(self) -> Array:
        """Distance of every pixel's centre from the field's lower edge in Mm, (y, x)."""
        return np.broadcast_to(
            ((np.arange(self.grid[0]) + 0.5 - self.margin) * self.pixel_mm)[:, None], self.grid
        ).copy()

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width."""
        return self.shape[0] * self.pixel_mm, self.shape[1] * self.pixel_mm

    @property
    def spot(self) -> Spot | None:
        """The sunspot: as large as the field lets it show umbra, penumbra and quiet Sun, between 4.5 and 13
        Mm.

        A field that cannot hold so much lies across the inner penumbra.
        """
        if self.scene != "sunspot":
            return None
        height, width = self.size_mm
        outer = float(np.clip(0.43 * min(height, width), 4.5, 13.0))
        umbra = 0.43 * outer
        whole = min(1.0, min(height, width) / (2.33 * outer))
        # For a small field the spot is moved away until its inner penumbra lies in the middle.
        away = (1 - whole) * (umbra + 0.3 * (outer - umbra)) + whole * 0.14 * min(height, width)
        angle = math.pi / 4 + 0.5 * (float(uniform(self.seed + 900, 0)) - 0.5)
        return Spot(
            x_mm=width / 2 + away * math.cos(angle),
            y_mm=height / 2 + away * math.sin(angle),
            umbra_mm=umbra,
            outer_mm=outer,
            bridge=outer > 5,
        )

    @property
    def pores(self) -> tuple[tuple[float, float, float], ...]:
        """Place and radius in Mm of the pores around a sunspot; a field below 12 Mm has none."""
        spot = self.spot
        if spot is None or min(self.size_mm) < 12:
            return ()
        count = int(1 + min(self.size_mm[0] * self.size_mm[1] / 350, 5))
        found = []
        for n in range(count):
            draw = uniform(self.seed + 910, n, np.arange(3))
            away = spot.outer_mm * (1.25 + 0.45 * draw[0])
            angle = math.pi * (0.85 + 0.8 * draw[1])  # below and left, where the field has room
            found.append(
                (
                    spot.x_mm + away * math.cos(angle),
                    spot.y_mm + away * math.sin(angle),
                    0.45 + 0.7 * float(draw[2]) ** 2,
                )
            )
        return tuple(found)


def network(x: Array, y: Array, patch: Patch) -> Array:
    """How densely magnetic elements stand, 0 to 1: supergranules' borders, plage around a sunspot."""
    border = smooth_noise(x, y, 6.5, patch.seed + 80, octaves=2, persistence=0.4)
    dense = np.exp(-((border / 0.28) ** 2)) * np.clip(
        0.45 + 0.6 * smooth_noise(x, y, 4.0, patch.seed + 81, octaves=2), 0, 1
    )
    spot = patch.spot
    if spot is not None:
        distance = np.hypot(x - spot.x_mm, y - spot.y_mm) / spot.outer_mm
        plage = np.clip(0.40 + 0.55 * smooth_noise(x, y, 2.2, patch.seed + 82, octaves=3), 0, 1) * np.exp(
            -(((distance - 1.3) / 0.8) ** 2)
        )
        dense = np.clip(dense + plage, 0, 1) * rise(distance, 0.90, 1.20)
    return np.asarray(dense)


def polarity(x: Array, y: Array, patch: Patch) -> Array:
    """The sign of the network's field, -1 or 1, by regions of some Mm; mostly opposite to the spot's."""
    bias = 0.35 if patch.spot is not None else 0.0
    # The bias leaves fewer regions of the spot's own sign.
    return np.where(smooth_noise(x, y, 7.0, patch.seed + 83) > bias, 1.0, -1.0)

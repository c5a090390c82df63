"""What the settings of both blind deconvolutions share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from heliorestore.burst import Burst
from heliorestore.errors import SettingsError
from heliorestore.instrument import Instrument
from heliorestore.methods.blind.wavefronts import Wavefronts, make_wavefronts
from heliorestore.settings import Settings, option

ASSUMED_R0_CM = 10.0
"""Fried's parameter where it is neither given nor taken from the data."""


@dataclass(frozen=True, kw_only=True)
class BlindSettings(Settings):
    """Wavefronts, filter, weights and memory of a blind deconvolution."""

    modes: int = option(
        44, minimum=2, maximum=300, help="Karhunen-Loeve modes of a wavefront, the two tilts included."
    )
    patch: int = option(
        64,
        unit="px",
        minimum=16,
        maximum=512,
        help="Side of the patches, each assumed to have one PSF.",
    )
    air: Literal["auto", "turbulence", "uncorrected", "none"] = option(
        "auto",
        help="What is in front of the telescope: turbulence that adaptive optics may have corrected, "
        "turbulence that nothing corrected (sv-momfbd then takes r0 from the strongest modes), or none, as "
        "for instruments in space.",
    )
    r0_cm: float | None = option(
        None,
        unit="cm",
        minimum=1.0,
        maximum=100.0,
        help="Fried's parameter; where it is empty, sv-momfbd takes it from the data and momfbd assumes 10.",
    )
    r0_from_data: bool = option(
        False, help="Take r0 from the burst even where one is given; the record of the run holds the number."
    )
    left_out: float = option(
        1.0,
        minimum=0.0,
        maximum=10.0,
        help="Strength of the turbulence beyond the modes: 1 as r0 says, 0 none, as in space.",
    )
    prior: float = option(
        1.0,
        minimum=0.0,
        maximum=1e3,
        live=True,
        log=True,
        help="Weight of the turbulence's statistics; more keeps modes small.",
    )
    rate_modes: float = option(
        0.1,
        minimum=1e-3,
        maximum=1.0,
        live=True,
        log=True,
        help="Step of the modes per iteration, in sigmas.",
    )
    filter_width: float = option(
        1.8, minimum=0.1, maximum=2.0, live=True, help="Width of the flat-top filter; 2 is the cut-off."
    )
    filter_smoothness: float = option(
        20.0, minimum=1.0, maximum=200.0, live=True, help="Steepness of the filter's edge."
    )
    object_weights: str = option(
        "", live=True, help="Weight of each object in the fit, separated by commas; all 1 by default."
    )
    diversity: str = option(
        "",
        unit="waves",
        help="Known defocus of each object, separated by commas: then all objects are one, "
        "seen through them.",
    )
    align: bool = option(True, help="Move every frame by whole pixels onto the mean before anything else.")
    destretch: bool = option(
        False, help="Remove local displacements from every frame as well, for strong image motion."
    )
    memory_gb: float | None = option(
        None,
        unit="GB",
        minimum=0.1,
        maximum=4096.0,
        help="Memory for the work; half of what is free by default.",
    )
    checkpoint: str = option(
        "", help="File to save the run's state in every minute; a run that finds it continues from there."
    )

    def defocus(self, objects: int) -> tuple[float, ...]:
        """Known defocus in waves (object) through which all objects are one; none where they are not."""
        return numbers("diversity", self.diversity, objects)

    def one_object(self, burst: Burst) -> bool:
        """Whether all objects of a burst are one, seen with a known defocus."""
        if self.diversity and burst.present is not None:
            raise SettingsError(
                "Phase diversity needs every image of every object, and some are missing in this burst: "
                "leave diversity empty, or choose complete objects with --objects."
            )
        return bool(self.diversity)

    def wavefronts(self, instruments: Sequence[Instrument], device: torch.device) -> Wavefronts:
        """The wavefronts that these settings look for; without an r0, those of `ASSUMED_R0_CM`."""
        defocus = self.defocus(len(instruments)) or (0.0,) * len(instruments)
        left_out = self.left_out if self.turbulent(instruments) else 0.0
        r0_cm = self.r0_cm or ASSUMED_R0_CM
        return make_wavefronts(instruments, self.modes, r0_cm, defocus, device, left_out=left_out)

    def turbulent(self, instruments: Sequence[Instrument]) -> bool:
        """Whether light came through air."""
        if self.air == "auto":
            return self.left_out > 0 and not any(instrument.in_space for instrument in instruments)
        return self.air != "none"

    def weights(self, objects: int, device: torch.device) -> torch.Tensor:
        """Weights (object) in the fit."""
        values = numbers("object_weights", self.object_weights, objects) or (1.0,) * objects
        if min(values) < 0 or max(values) == 0:
            raise SettingsError(
                f"object_weights is {self.object_weights!r}; weights are at least 0 and not all 0."
            )
        return torch.tensor(values, dtype=torch.float32, device=device)


def numbers(name: str, text: str, objects: int) -> tuple[float, ...]:
    """Numbers (object) of a setting like `1, 0.5`; none where it is empty."""
    try:
        values = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingsError(
            f"{name} is {text!r}; it must be numbers separated by commas, one per object."
        ) from error
    if values and len(values) != objects:
        raise SettingsError(
            f"{name} has {len(values)} numbers ({text!r}), but the burst has {objects} "
            "objects; there must be one each."
        )
    return values

"""What SV-MOMFBD may be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from heliorestore.instrument import Instrument
from heliorestore.methods.blind.object_solver import Knobs
from heliorestore.methods.blind.settings import BlindSettings
from heliorestore.optics.penalties import Kind
from heliorestore.settings import option, other_default, weights_option
from heliorestore.storage import at_home

_RATES = (10**-1.7, 10**-0.5)  # of objects and modes in the paper's recipe
_WORDS = ("average", "patches")  # that `start` may be besides a file


@dataclass(frozen=True, kw_only=True)
class SvMomfbdSettings(BlindSettings):
    """Settings of the spatially variant MOMFBD."""

    method: ClassVar[str] = "sv-momfbd"

    lambda_object: float = option(
        0.02,
        minimum=0.0,
        maximum=10.0,
        live=True,
        log=True,
        help="Smoothness of the object: 0.01 to 0.1 is useful, 1 damps.",
    )
    lambda_modes: float = option(
        0.01,
        minimum=0.0,
        maximum=10.0,
        live=True,
        log=True,
        help="Smoothness of the wavefronts from node to node of their grid.",
    )
    iterations: int = option(
        72, minimum=1, maximum=10_000, live=True, help="Iterations, on patches and on the whole field."
    )
    patch_iterations: int = option(
        24, minimum=0, maximum=10_000, help="How many of the iterations are on patches."
    )
    start: str = option(
        "patches", help="Where to begin: average, patches, or a FITS file with an earlier result."
    )
    optimiser: Literal["alternating", "adamw"] = option(
        "alternating",
        help="Objects solved for in every iteration, or the paper's AdamW on objects and modes at once.",
    )
    forward: Literal["filter-flow", "emulator"] = option(
        "filter-flow",
        help="Model of the space-variant blur; with the emulator, a network, objects and "
        "modes are sought at once by adamw.",
    )
    emulator: str = weights_option(
        "emulator-narrow", of="emulator", help="Name or file of the emulator's weights."
    )
    grid_step: int = option(
        32, unit="px", minimum=4, maximum=256, help="Distance of the nodes at which wavefronts are sought."
    )
    patch: int = other_default(BlindSettings, "patch", 96, help="Side of the patches that give the start.")
    psf: int = option(
        96, unit="px", minimum=16, maximum=512, help="Side of the PSFs: larger for strong turbulence."
    )
    rate_modes: float = other_default(BlindSettings, "rate_modes", 0.3)
    rate_objects: float = option(
        0.02,
        minimum=1e-4,
        maximum=1.0,
        live=True,
        log=True,
        help="Step of the objects with adamw, in units of the range of intensities of their mean image.",
    )
    regulariser: Literal["tikhonov", "total-variation", "wavelet"] = option(
        "tikhonov", help="The penalty that lambda object weighs."
    )
    positive: bool = option(False, help="Penalise negative intensities.")
    residual_frame: int | None = option(
        None, minimum=0, live=True, help="Show model minus data of this frame instead of the frames' rms."
    )
    stop_early: bool = option(
        True, live=True, help="Stop when the residual no longer falls, or has reached the noise."
    )

    def files(self) -> dict[str, Path]:
        """The earlier result that `start` names, if it names one."""
        return {} if self.start in _WORDS else {"start": at_home(self.start)}

    def knobs(self, weights: torch.Tensor) -> Knobs:
        """The part of the settings that the object solver takes."""
        kind: Kind = self.regulariser
        return Knobs(
            weights=weights,
            lambda_object=self.lambda_object,
            filter_width=self.filter_width,
            filter_smoothness=self.filter_smoothness,
            regulariser=kind,
            positive=self.positive,
            lambda_modes=self.lambda_modes,
            prior=self.prior,
            rate_modes=self.rate_modes,
            rate_objects=self.rate_objects,
            at_once=self.at_once,
        )

    @property
    def at_once(self) -> bool:
        """Whether AdamW seeks objects and modes at once: conjugate gradients need a model that is linear in
        the objects.
        """
        return self.optimiser == "adamw" or self.forward == "emulator"

    def learns_air(self, instruments: Sequence[Instrument]) -> bool:
        """Whether the strength of the turbulence comes from the data, with or without a given r0."""
        return not self.at_once and self.turbulent(instruments)

    @property
    def known_r0(self) -> bool:
        """Whether r0 is the user's."""
        return self.r0_cm is not None and not self.r0_from_data

    @classmethod
    def paper(cls, **changes: Any) -> SvMomfbdSettings:
        """The recipe of the paper: AdamW from the average with its rates, on its loss, 30 iterations;
        wavefronts are sought every 8 pixels, modes are not whitened.
        """
        recipe = {
            "optimiser": "adamw",
            "start": "average",
            "iterations": 30,
            "grid_step": 8,
            "rate_objects": _RATES[0],
            "rate_modes": _RATES[1],
        }
        return cls(**{**recipe, "prior": 0.0, "left_out": 0.0, "lambda_object": 0.1, **changes})

"""Fried's parameter from the data: the strength of the modes in a quick fit on patches gives it.

A fit with a prior finds less than there is, so that the rms it finds grows more slowly than the turbulence;
how slowly was taken from simulated bursts. Behind adaptive optics, which corrects the strong modes, the
finest modes measure r0; without it the finest modes also fit what the patches cannot follow, and the strong
modes measure r0 better.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from heliorestore.burst import Burst
from heliorestore.methods.blind.patch_fit import advanced, evaluate, initial, make_problem
from heliorestore.methods.blind.settings import ASSUMED_R0_CM
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.prepare.observe import observe

_SIDE = 256  # px of the field's middle that are used
_ITERATIONS = 20
_D_OVER_R0 = 10.0  # assumed by the fit
_STRONG, _FINE = slice(2, 10), slice(36, 44)
# rms at D/r0 = 10, and the power of the rms with which D/r0 grows
_LAW = {"strong": (0.71, 1.65), "fine": (0.56, 2.3)}
# rms of the strong modes over that of the fine ones, with adaptive optics and without
_CORRECTED, _FREE = 0.75, 1.0
_RANGE = (2.0, 40.0)  # of D/r0 to which an answer is limited
_MEMORY = 2e9


def prepare(burst: Burst, settings: Any, device: torch.device) -> tuple[Any, tuple[str, ...]]:
    """The settings with r0 from the data where they ask for it, and what there is to tell about it."""
    if not settings.turbulent(burst.instruments):
        return settings, ()
    if not settings.r0_from_data:
        return settings, assumed(settings)
    r0_cm = round(estimate_r0_cm(burst, device), 1)
    wavelength_nm = burst.instruments[0].require().wavelength_nm
    message = f"r0 was estimated from the data: {r0_cm:g} cm at {wavelength_nm:g} nm."
    return settings.replace(r0_cm=r0_cm, r0_from_data=False), (message,)


def assumed(settings: Any) -> tuple[str, ...]:
    """What to know about an r0 that nobody gave: the turbulence beyond the modes is as strong as it says."""
    if settings.r0_cm is not None or not settings.left_out:
        return ()
    return (
        f"r0 = {ASSUMED_R0_CM:g} cm was assumed, and the contrast depends on it: set r0_cm to the "
        "measured value, or let r0_from_data estimate it where the noise is low.",
    )


def estimate_r0_cm(burst: Burst, device: torch.device) -> float:
    """Fried's parameter in cm at the wavelength of the burst's first object, from the middle of its field."""
    part = burst.select(objects=slice(0, 1)).middle(_SIDE)
    diameter_cm = 100 * part.instruments[0].require().diameter_m
    settings = MomfbdSettings(r0_cm=diameter_cm / _D_OVER_R0)
    wavefronts = settings.wavefronts(part.instruments, device)
    problem = make_problem(
        observe(part, device), wavefronts, (settings.patch, settings.patch_step), _MEMORY, exact_flux=True
    )
    state, weights = initial(problem), settings.weights(1, device)
    state = replace(state, modes=torch.zeros_like(state.modes))  # as when the laws were found
    for _ in range(_ITERATIONS):
        state = advanced(
            problem, state, evaluate(problem, state, weights, settings.prior), settings.rate_modes
        )
    # The modes are in units of their sigmas at the assumed D/r0, so 1 is as strong as assumed.
    power = state.modes.square().mean((0, 1))  # (mode): mean over frames and patches
    strong, fine = float(power[_STRONG].sqrt().mean()), float(power[_FINE].sqrt().mean())
    # 0 behind adaptive optics, 1 in free seeing; in between the geometric mean of both answers.
    free = min(1.0, max(0.0, (strong / fine - _CORRECTED) / (_FREE - _CORRECTED)))
    found: float = _strength(fine, "fine") ** (1 - free) * _strength(strong, "strong") ** free
    return diameter_cm / found


def _strength(rms: float, modes: str) -> float:
    """D/r0 of modes that the fit finds with this rms."""
    at_ten, power = _LAW[modes]
    found = float(10 * (rms / at_ten) ** power)
    return min(_RANGE[1], max(_RANGE[0], found))

"""The wavefronts that blind deconvolution looks for: whitened modes, shared by all objects, and where their
tilts come from.

A coefficient divided by its Kolmogorov standard deviation times (D/r0)^(5/6) is of order one for every mode;
optimised like this with a weak Gaussian prior the photometry is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import Instrument, KnownInstrument
from heliorestore.optics.halo import halo_transfer, mode_blur
from heliorestore.optics.modes import Basis, make_basis
from heliorestore.optics.psf import Optics, make_optics
from heliorestore.optics.pupil import Aperture, cutoff


@dataclass(frozen=True, eq=False)
class Wavefronts:
    """The modes of a burst's frames: exact tilts first, then Karhunen-Loeve; radian at the first object's
    wavelength.

    `sigmas` (mode) in radian are what turbulence of the assumed r0 has; `defocus_waves` has one entry per
    object. `left_out` is the strength of the turbulence beyond the modes, 1 as r0 says, 0 none; `unknown`
    (mode) is the variance in rad^2 by which the true modes scatter around the fitted ones.
    """

    instruments: tuple[KnownInstrument, ...]
    basis: Basis
    sigmas: torch.Tensor
    defocus_waves: tuple[float, ...]
    d_over_r0: float
    left_out: float = 1.0
    unknown: torch.Tensor | None = None

    def to(self, device: torch.device) -> Wavefronts:
        """The same on another device."""
        unknown = None if self.unknown is None else self.unknown.to(device)
        return replace(self, sigmas=self.sigmas.to(device), unknown=unknown)

    @property
    def blurs(self) -> bool:
        """Whether there is turbulence besides the fitted modes."""
        return self.left_out > 0 or self.unknown is not None

    @property
    def count(self) -> int:
        return self.basis.count

    @property
    def cutoff(self) -> float:
        """The highest diffraction limit of all objects in cycles per pixel."""
        return max(cutoff(i) for i in self.instruments)

    def optics(self, size: int, *, zoom: float = 1.0) -> list[Optics]:
        """Optics per object with PSFs on `size` pixels, each `zoom` detector pixels wide; equal ones are the
        same object.
        """
        made: dict[tuple[KnownInstrument, float], Optics] = {}
        for key in zip(self.instruments, self.defocus_waves, strict=True):
            if key not in made:
                scaled = replace(key[0], pixel_arcsec=key[0].pixel_arcsec * zoom)
                made[key] = make_optics(
                    scaled,
                    size,
                    self.basis,
                    reference_nm=self.instruments[0].wavelength_nm,
                    defocus_waves=key[1],
                    device=self.sigmas.device,
                )
        return [made[key] for key in zip(self.instruments, self.defocus_waves, strict=True)]

    def remainders(self, v: torch.Tensor) -> torch.Tensor:
        """Mean transfer functions (object, ...) of the turbulence that the modes do not hold, at v (object,
        ...) in units of each cut-off: what lies beyond the last one, and what is not known of the others.
        """
        reference = self.instruments[0].wavelength_nm
        strength = self.d_over_r0 * self.left_out ** (3 / 5)
        scales = [reference / i.wavelength_nm for i in self.instruments]
        beyond = [halo_transfer(self.basis, strength, scale, at) for scale, at in zip(scales, v, strict=True)]
        if self.unknown is None:
            return torch.stack(beyond)
        unknown = self.unknown.cpu().double().numpy()
        blurs = [mode_blur(self.basis, unknown, scale, at) for scale, at in zip(scales, v, strict=True)]
        return torch.stack(beyond) * torch.stack(blurs)


def make_wavefronts(
    instruments: Sequence[Instrument],
    modes: int,
    r0_cm: float,
    defocus_waves: Sequence[float],
    device: torch.device,
    *,
    left_out: float = 1.0,
) -> Wavefronts:
    """The wavefronts of a burst whose objects were seen by one telescope on equal pixels."""
    first, *others = known = tuple(instrument.require() for instrument in instruments)
    for other in others:
        for name in ("diameter_m", "obscuration_m", "pixel_arcsec"):
            if getattr(other, name) != getattr(first, name):
                raise SettingsError(
                    f"The objects share their wavefronts, but {first.name} has {name} {getattr(first, name)} "
                    f"and {other.name} "
                    f"{getattr(other, name)}: register them on equal pixels, or choose one with --objects."
                )
    # Telescopes of one diameter and obscuration have one aperture; the basis is that of the first.
    basis = make_basis(modes, Aperture.of(first), kind="kl-tilt")
    d_over_r0 = first.diameter_m / (r0_cm / 100)
    sigmas = torch.tensor(np.sqrt(basis.variances) * d_over_r0 ** (5 / 6), dtype=torch.float32, device=device)
    return Wavefronts(known, basis, sigmas, tuple(defocus_waves), d_over_r0, left_out)


def centre_tilts(modes: torch.Tensor) -> torch.Tensor:
    """Modes (frame, mode, ...) with the mean tilt over the frames taken off: a common shift belongs to the
    object.
    """
    return torch.cat([modes[:, :2] - modes[:, :2].mean(0), modes[:, 2:]], dim=1)


def modes_at(modes: torch.Tensor, step: int, places: Sequence[tuple[float, float]]) -> torch.Tensor:
    """Modes (frame, mode, place) at places (y, x) in pixels, of maps (frame, mode, gy, gx) with nodes every
    `step` pixels from 0 on.
    """
    at = torch.tensor(places, dtype=modes.dtype, device=modes.device)
    last = (torch.tensor(modes.shape[2:], dtype=modes.dtype, device=modes.device) - 1).clamp(min=1) * step
    where = (2 * at / last - 1).flip(-1)[None, None].expand(len(modes), -1, -1, -1)
    found: torch.Tensor = torch.nn.functional.grid_sample(
        modes, where, mode="bilinear", padding_mode="border", align_corners=True
    )
    return found[:, :, 0]

"""Phase screens of Kolmogorov and von Karman turbulence, by Fourier synthesis with subharmonics."""

from __future__ import annotations

import functools
import math

import torch

_LEVELS = 14  # subharmonic levels: without an outer scale, tilts come from very long waves
_PSD = 0.0229  # of the phase, rad^2 m^2: _PSD r0^(-5/3) f^(-11/3), f in cycles per metre


def structure_function(r_m: float, r0_m: float) -> float:
    """Kolmogorov's mean squared phase difference across r, 6.88 (r/r0)^(5/3) rad^2 (Fried 1965)."""
    return float(6.883877 * (r_m / r0_m) ** (5 / 3))


def phase_screen(
    shape: tuple[int, int],
    pitch_m: float,
    r0_m: float,
    generator: torch.Generator,
    *,
    outer_scale_m: float = math.inf,
) -> torch.Tensor:
    """A random phase (y, x) in rad with the given pixel pitch, float64 on the generator's CPU; r0 belongs to
    its wavelength.

    McGlamery (1976) with the subharmonics of Lane et al. (1992), doi:10.1088/0959-7174/2/3/003. The Fourier
    part repeats beyond the screen's edges: make it twice as large as the longest distance that matters.
    """
    fy, fx = (torch.fft.fftfreq(n, pitch_m, dtype=torch.float64) for n in shape)
    step = (1 / (shape[0] * pitch_m), 1 / (shape[1] * pitch_m))
    density = _density(fy[:, None], fx[None, :], r0_m, outer_scale_m)
    # near zero the spectrum is steep: take what each cell holds, not its centre's value
    for j in range(-2, 3):
        for i in range(-2, 3):
            if (i, j) != (0, 0) and min(shape) > 5:
                density[j, i] = _cell_density(j * step[0], i * step[1], step, r0_m, outer_scale_m)
    density[0, 0] = 0.0
    # Both parts of a wave have unit variance, so the real part of their sum has sum(density * cell).
    waves = torch.sqrt(density * step[0] * step[1]) * _complex_normal(shape, generator)
    screen = torch.fft.ifft2(waves).real * (shape[0] * shape[1])
    screen = screen + _subharmonics(shape, pitch_m, step, r0_m, outer_scale_m, generator)
    # A piston changes no image, but its size would cost digits.
    flat: torch.Tensor = screen - screen.mean()
    return flat


def _density(fy: torch.Tensor, fx: torch.Tensor, r0_m: float, outer_scale_m: float) -> torch.Tensor:
    squared = fy**2 + fx**2 + (0.0 if math.isinf(outer_scale_m) else outer_scale_m**-2)
    density: torch.Tensor = _PSD * r0_m ** (-5 / 3) * squared.clamp(min=1e-30) ** (-11 / 6)
    return density


@functools.lru_cache(maxsize=4096)
def _cell_density(
    fy: float, fx: float, step: tuple[float, float], r0_m: float, outer_scale_m: float
) -> float:
    """The density that gives the wave in a cell's centre the mean square slope of all waves in the cell."""
    fraction = (torch.arange(16, dtype=torch.float64) + 0.5) / 16 - 0.5
    y, x = fy + fraction[:, None] * step[0], fx + fraction[None, :] * step[1]
    slopes = (_density(y, x, r0_m, outer_scale_m) * (y**2 + x**2)).mean()
    return float(slopes) / (fy**2 + fx**2)


def _subharmonics(
    shape: tuple[int, int],
    pitch_m: float,
    step: tuple[float, float],
    r0_m: float,
    outer_scale_m: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Waves longer than the screen: per level 8 cells around zero, each time three times smaller."""
    frequencies, amplitudes = [], []
    for level in range(1, _LEVELS + 1):
        small = (step[0] / 3**level, step[1] / 3**level)
        for j in (-1, 0, 1):
            for i in (-1, 0, 1):
                if (i, j) != (0, 0):
                    density = _cell_density(j * small[0], i * small[1], small, r0_m, outer_scale_m)
                    # The middle one of the nine cells is what the next level divides.
                    frequencies.append((j * small[0], i * small[1]))
                    amplitudes.append(math.sqrt(density * small[0] * small[1]))
    waves = torch.tensor(amplitudes, dtype=torch.float64) * _complex_normal((len(amplitudes),), generator)
    along_y, along_x = (
        torch.exp(
            2j
            * math.pi
            * torch.outer(
                torch.arange(n, dtype=torch.float64) * pitch_m, torch.tensor(f, dtype=torch.float64)
            )
        )
        for n, f in zip(shape, zip(*frequencies, strict=True), strict=True)
    )
    return ((along_y * waves) @ along_x.T).real


def _complex_normal(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Real and imaginary part of unit variance each."""
    parts = torch.randn((2, *shape), dtype=torch.float64, generator=generator)
    return torch.complex(parts[0], parts[1])

"""Small bursts made by the operators' own physics, with the truth behind them."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from heliorestore.burst import Burst
from heliorestore.instrument import find
from heliorestore.methods.blind.wavefronts import Wavefronts, centre_tilts, make_wavefronts
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.filters import frequency
from heliorestore.optics.psf import telescope_psf

INSTRUMENT = find("crisp-8542-paper")
CPU = torch.device("cpu")
PSF = 32


@dataclass(frozen=True, eq=False)
class Case:
    """A burst, its truth (object, y, x) at the diffraction limit, and the modes (frame, mode, gy, gx) in
    radian that blurred it."""

    burst: Burst
    truth: torch.Tensor
    modes: torch.Tensor
    wavefronts: Wavefronts


def scene(size: int, seed: int = 0, objects: int = 1) -> torch.Tensor:
    """Cells like granules (object, y, x): a band of frequencies, contrast 15 %, mean 1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.fft.rfft2(torch.randn((objects, size, size), generator=generator))
    v = frequency((size, size))
    images = torch.fft.irfft2(noise * (v > 0) / (0.002 + v**2), s=(size, size))
    images = images - images.mean((-2, -1), keepdim=True)
    return 1 + 0.15 * images / images.std((-2, -1), keepdim=True)


def simulate(
    *,
    size: int = 64,
    frames: int = 6,
    modes: int = 8,
    strength: float = 0.8,
    varying: float = 0.0,
    noise: float = 1e-3,
    objects: int = 1,
    wavelengths: tuple[float, ...] = (),
    step: int = 16,
    seed: int = 0,
) -> Case:
    """Frames of a scene through modes of `strength` times Kolmogorov's at r0 = 20 cm, that vary by `varying`
    over the field."""
    generator = torch.Generator().manual_seed(seed + 100)
    instruments = [INSTRUMENT] * objects
    for number, wavelength_nm in enumerate(wavelengths):
        instruments[number] = replace(INSTRUMENT, name=f"test {number}", wavelength_nm=wavelength_nm)
    wavefronts = make_wavefronts(instruments, modes, 20.0, (0.0,) * objects, CPU, left_out=0.0)
    large = scene(size + 2 * PSF, seed, objects)
    optics = wavefronts.optics(PSF)
    model = FilterFlow(optics=optics, shape=(size, size), step=step, borders="given")
    grid = model.grid
    whole = torch.randn((frames, modes, 1, 1), generator=generator).expand(-1, -1, *grid)
    local = torch.randn((frames, modes, *grid), generator=generator)
    coefficients = centre_tilts(strength * (whole + varying * local) * wavefronts.sigmas[:, None, None])
    rows, columns = model.object_shape
    sharp = large[:, :rows, :columns]
    with torch.no_grad():
        images = model(sharp, coefficients)
        flat = torch.zeros((1, modes, *grid))
        truth = model(sharp, flat)[:, 0]
    images = images + noise * torch.randn(images.shape, generator=generator)
    burst = Burst(frames=images.numpy() * 1000, instruments=tuple(instruments), unit="count")
    return Case(burst, truth, coefficients, wavefronts)


def nmse(
    image: np.ndarray, truth: torch.Tensor, border: int = 8, *, deconvolved: bool = True
) -> tuple[float, float]:
    """Error against the truth after one sub-pixel shift and one gain, in units of the truth's variance; and
    that gain.

    What was deconvolved is looked at through the telescope again, as the truth is.
    """
    inner = (slice(border, -border),) * 2
    wanted = truth.double()[inner] - truth.double()[inner].mean()
    rows, columns = image.shape
    seen = torch.fft.rfft2(telescope_psf(INSTRUMENT, (rows, columns), dtype=torch.float64))
    spectrum = torch.fft.rfft2(torch.as_tensor(np.array(image), dtype=torch.float64)) * (
        seen if deconvolved else 1
    )
    ky, kx = (
        torch.fft.fftfreq(rows, dtype=torch.float64)[:, None],
        torch.fft.rfftfreq(columns, dtype=torch.float64)[None],
    )
    best, place = (np.inf, 0.0), (0.0, 0.0)
    for reach, steps in ((3.0, 13), (0.4, 9), (0.08, 9)):
        middle = place
        for dy in np.linspace(-reach, reach, steps):
            for dx in np.linspace(-reach, reach, steps):
                y, x = middle[0] + dy, middle[1] + dx
                moved = torch.fft.irfft2(
                    spectrum * torch.exp(-2j * torch.pi * (ky * y + kx * x)), s=(rows, columns)
                )[inner]
                moved = moved - moved.mean()
                gain = float((moved * wanted).sum() / moved.square().sum())
                error = float((gain * moved - wanted).square().sum() / wanted.square().sum())
                if error < best[0]:
                    best, place = (error, gain), (y, x)
    return best

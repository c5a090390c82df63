"""Point spread functions: of a wavefront, expanded in modes, and of a telescope without an atmosphere in
closed form.

A PSF stands on a square grid with its centre in pixel [n // 2, n // 2] and has unit sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import RADIAN_ARCSEC, Instrument, KnownInstrument
from heliorestore.optics.mode_cache import sampled_modes
from heliorestore.optics.modes import Basis, make_basis
from heliorestore.optics.precision import single
from heliorestore.optics.pupil import Aperture, check_sampling, pupil_coordinates, transmission

# Constants of the telescope's closed forms: as published by Wachter et al. (2012), and as Diaz Baso & Asensio
# Ramos (2018) changed them.
_WACHTER: dict[str, dict[str, float]] = {
    "wachter": {"core": 2.0, "reach": 3.4},
    "wachter-short": {"core": 2.0, "reach": 3.4},
    "wachter-2012": {"core": 1.8, "reach": 3.0},
}
# The published code cuts its kernel to 133 x 133 pixels of 0.0662 arcsec: a square of twice this.
_SHORT_ARCSEC = 66.5 * 0.0662
# The five Gaussians of Yeo et al. (2014).
_YEO_WEIGHTS = (0.641, 0.211, 0.066, 0.0467, 0.035)
_YEO_SIGMAS_ARCSEC = (0.470, 1.155, 2.09, 4.42, 25.77)

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


@dataclass(frozen=True, eq=False)
class Optics:
    """How the wavefronts of one instrument become PSFs of `size` pixels; tensors share one device and one
    dtype.

    `amplitude` (point) of the lit pupil box, scaled so that the light sums to 1 - `far`; `modes` (mode,
    point) and `offset` (point) in rad at the instrument's wavelength, the offset being a known aberration and
    the ramp that centres the PSF; `side` is the box's edge and `diameter` the pupil's, in pupil pixels;
    `field` is the grid on which the light is computed: larger than `size` for pixels coarser than critical.

    `far` is the light that a pupil with sharp edges scatters far out, and one with antialiased edges does not
    (3 % for a pupil of 21 pixels). Spread evenly over the PSF it corrects the OTF at frequency zero, where
    its cusp had been rounded, and changes no other frequency.
    """

    instrument: KnownInstrument
    basis: Basis
    size: int
    field: int
    diameter: float
    far: float
    amplitude: torch.Tensor
    modes: torch.Tensor
    offset: torch.Tensor

    @property
    def side(self) -> int:
        return math.isqrt(self.amplitude.numel())


def make_optics(
    instrument: Instrument,
    size: int,
    basis: Basis | int = 44,
    *,
    reference_nm: float | None = None,
    defocus_waves: float = 0.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Optics:
    """The optics of an instrument for PSFs of `size` pixels and the modes of `basis` (a number means that
    many KL modes).

    Coefficients are rad at `reference_nm` (the instrument's own wavelength by default): at another wavelength
    the phase of the same wavefront is reference / wavelength times as large. `defocus_waves` is a known
    defocus in waves from centre to edge of the aperture, at the instrument's wavelength, as phase diversity
    uses it.

    Where the pixels are coarser than critical the light is computed on a finer grid and the OTF cut at the
    pixels' Nyquist frequency: higher frequencies are not folded back onto lower ones.
    """
    known = instrument.require()
    if isinstance(basis, int):
        basis = make_basis(basis, Aperture.of(known))
    if size < 4:
        raise SettingsError(f"The PSF grid has {size} pixels; it needs at least 4.")
    if dtype not in _NUMPY:
        raise SettingsError(f"The optics cannot be of type {dtype}; possible are float32 and float64.")
    if not math.isclose(basis.aperture.diameter_m, known.diameter_m, rel_tol=1e-6):
        raise SettingsError(
            f"The modes are those of an aperture of {basis.aperture.diameter_m:g} m, but {known.name} "
            f"has one of {known.diameter_m:g} m: make them with Aperture.of(instrument)."
        )
    diameter = check_sampling(known) * size
    axis = pupil_coordinates(diameter)
    # The OTF is the pupil's autocorrelation and twice as wide: a smaller grid would fold it.
    field = size if 2 * axis.size - 1 <= size else fast_length(2 * axis.size - 1)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    # exp(2 pi i k c / n) moves the PSF to its centre c; k counts the pixels of the box.
    ramp = 2 * math.pi * (size // 2) / size * np.add.outer(np.arange(axis.size), np.arange(axis.size))
    # Modulo 2 pi, because float32 has few digits left for the sine of a large phase.
    offset = np.remainder(2 * math.pi * defocus_waves * (y**2 + x**2) + ramp, 2 * math.pi)
    amplitude = transmission(basis.aperture, diameter)
    far = 1 - float(np.square(amplitude).sum() / amplitude.sum())
    # Parseval: with the transmission t the light on the field sums to sum(t^2) / sum(t) = 1 - far.
    amplitude = amplitude / (field * math.sqrt(amplitude.sum()))
    scale = (reference_nm or known.wavelength_nm) / known.wavelength_nm
    modes = sampled_modes(basis, diameter, _NUMPY[dtype]) * scale
    tensors = [
        torch.as_tensor(part).to(dtype).to(device)
        for part in (amplitude.ravel(), modes.reshape(len(modes), -1), offset.ravel())
    ]
    return Optics(known, basis, size, field, diameter, far, *tensors)


def psf(optics: Optics, coefficients: torch.Tensor, mode_axis: int = -1) -> torch.Tensor:
    """PSFs (..., y, x) of mode coefficients in rad, whose axis `mode_axis` holds the modes; the other axes
    stay in front.

    A map (frame, mode, gy, gx) with `mode_axis=1` gives (frame, gy, gx, y, x). Fewer coefficients than modes
    are the first ones.
    """
    moved = coefficients.movedim(mode_axis, -1)
    if moved.shape[-1] > len(optics.modes):
        raise SettingsError(
            f"There are {moved.shape[-1]} coefficients but the optics have {len(optics.modes)} modes."
        )
    # A few at a time: a batch that fits into a CPU's cache takes half the time.
    parts = torch.split(moved.reshape(-1, moved.shape[-1]), 64 if moved.device.type == "cpu" else 4096)
    images = torch.cat([intensity(optics, light(optics, part)[1]) for part in parts])
    return images.reshape(*moved.shape[:-1], optics.size, optics.size)


def psf_of_phase(optics: Optics, phase: torch.Tensor) -> torch.Tensor:
    """PSFs (..., y, x) of phases (..., py, px) in rad at the instrument's wavelength in the pupil box."""
    flat = phase.reshape(-1, optics.side**2) + optics.offset
    return intensity(optics, _light(optics, flat)[1]).reshape(*phase.shape[:-2], optics.size, optics.size)


def pupil_axis(optics: Optics) -> torch.Tensor:
    """Positions of the pupil box's pixels along y, and along x, in units of the aperture's radius."""
    return torch.as_tensor(pupil_coordinates(optics.diameter)).to(optics.modes)


def otf(psfs: torch.Tensor) -> torch.Tensor:
    """Transfer functions (..., ky, kx // 2 + 1) of PSFs, whose centre goes to pixel 0."""
    before = -(psfs.shape[-1] // 2)  # a symmetric PSF then has a real transfer function
    transfer: torch.Tensor = torch.fft.rfft2(psfs.roll((before, before), (-2, -1)))
    return transfer


def light_outside(psfs: torch.Tensor, size: int) -> torch.Tensor:
    """Fraction (...) of each PSF's light that falls outside the central `size` pixels."""
    first = psfs.shape[-1] // 2 - size // 2
    return 1 - psfs[..., first : first + size, first : first + size].sum((-2, -1)) / psfs.sum((-2, -1))


def fitting_size(
    instrument: Instrument,
    coefficients: torch.Tensor,
    *,
    basis: Basis | None = None,
    lost: float = 0.03,
    smallest: int = 32,
    largest: int = 512,
) -> tuple[int, float]:
    """Smallest PSF grid that holds all but the fraction `lost` of the light of wavefronts (..., mode), and
    the fraction that it loses.

    The light outside a grid is not lost: a PSF computed on that grid has it folded back inside. At `largest`
    the grid stops growing.
    """
    size = smallest
    while True:
        # Only a grid twice as wide shows what the smaller one folds back.
        wide = make_optics(instrument, 2 * size, basis or coefficients.shape[-1], dtype=torch.float32)
        batches = torch.split(coefficients.detach().to(wide.modes).reshape(-1, coefficients.shape[-1]), 64)
        outside = float(torch.cat([light_outside(psf(wide, batch), size) for batch in batches]).mean())
        if outside <= lost or size >= largest:
            return size, outside
        # A fifth larger, and even.
        size = min(largest, 2 * fast_length(math.ceil(0.6 * size)))


def strehl(psfs: torch.Tensor, optics: Optics) -> torch.Tensor:
    """Peak (...) of PSFs (..., y, x) over the peak of the unaberrated one, both found between pixels too."""
    plain = psf(optics, optics.modes.new_zeros(1))
    return _zoomed(psfs, 4).amax((-2, -1)) / _zoomed(plain, 4).amax()


def fast_length(n: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def light(optics: Optics, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Light in the pupil box (batch, py, px) and image (batch, y, x) of coefficients (batch, mode)."""
    with single(coefficients.device):
        phase = torch.addmm(optics.offset, coefficients, optics.modes[: coefficients.shape[-1]])
    return _light(optics, phase)


def intensity(optics: Optics, image_light: torch.Tensor) -> torch.Tensor:
    """PSFs (batch, y, x) of the light (batch, m, m) in the image."""
    power = image_light.real**2 + image_light.imag**2
    return (
        power if optics.field == optics.size else resample(power, optics.size)
    ) + optics.far / optics.size**2


def intensity_gradient(
    optics: Optics, pupil_light: torch.Tensor, image_light: torch.Tensor, gradient: torch.Tensor, count: int
) -> torch.Tensor:
    """Gradient (batch, mode) in the first `count` coefficients, from the gradient (batch, y, x) in the PSFs.

    dI = 2 Re(conj(w) F(i u dphi)) with u and w the light in pupil and image: g_phi = 2 Im(conj(u) F^H(g w)).
    """
    if optics.field != optics.size:
        # The transpose of `resample` resamples back, but for the ratio of the areas.
        gradient = resample(gradient, optics.field) * (optics.field / optics.size) ** 2
    side = optics.side
    # F^H: with norm="forward" the inverse transform has no factor. Rows and columns outside the pupil
    # box are cut off as soon as they are there. Columns of the light are contiguous, see `_light`.
    back = torch.fft.ifft(image_light.mT * gradient.mT, norm="forward")[..., :side]
    back = torch.fft.ifft(back.mT, norm="forward")[..., :side]
    phase_gradient = 2 * (pupil_light.real * back.imag - pupil_light.imag * back.real)
    with single(gradient.device):
        in_modes: torch.Tensor = phase_gradient.flatten(1) @ optics.modes[:count].T
    return in_modes


def _light(optics: Optics, phase: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Light in pupil box and image of phases (batch, point).

    F has exp(-2 pi i k x), so that a phase that rises along +y moves the light to +y.
    """
    pupil_light = torch.complex(optics.amplitude * phase.cos(), optics.amplitude * phase.sin())
    pupil_light = pupil_light.reshape(-1, optics.side, optics.side)
    # First the rows of the box, then all columns: half the work of a padded fft2. Columns are contiguous in
    # memory, which halves it again.
    rows = torch.fft.fft(pupil_light, optics.field)
    columns = rows.new_empty(len(rows), optics.field, optics.field)
    columns[..., optics.side :] = 0
    columns[..., : optics.side] = rows.mT
    return pupil_light, torch.fft.fft(columns).mT


def resample(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images (..., n, n) on `size` pixels of the same field, with frequencies that both grids have."""
    before = images.shape[-1]
    heights = resampled(torch.fft.rfft2(images, norm="forward"), before, (size, size))
    # A PSF's sum is to be kept, and finer pixels hold less light each.
    return heights * (before / size) ** 2


def resampled(spectrum: torch.Tensor, columns: int, shape: tuple[int, int]) -> torch.Tensor:
    """The image of an rfft2 with norm="forward", `columns` wide, on a grid of `shape`: of equal heights."""
    rows = spectrum.shape[-2]
    # The Nyquist frequency of an even grid has no sign and is left out.
    down, across = (min(rows, shape[0]) - 1) // 2, (min(columns, shape[1]) - 1) // 2
    kept = spectrum.new_zeros((*spectrum.shape[:-2], shape[0], shape[1] // 2 + 1))
    kept[..., : down + 1, : across + 1] = spectrum[..., : down + 1, : across + 1]
    # Rows of negative frequencies stand at the end.
    kept[..., shape[0] - down :, : across + 1] = spectrum[..., rows - down :, : across + 1]
    image: torch.Tensor = torch.fft.irfft2(kept, s=shape, norm="forward")
    return image


def _zoomed(images: torch.Tensor, zoom: int) -> torch.Tensor:
    """The same heights on `zoom` times finer pixels."""
    return resample(images, images.shape[-1] * zoom) * zoom**2


def telescope_psf(
    instrument: Instrument,
    shape: tuple[int, int],
    *,
    oversampling: int = 1,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """PSF (y, x) in closed form, of unit sum, its peak in pixel [0, 0] and wrapped around, as an FFT needs
    it.

    `oversampling` grid pixels make one pixel of the instrument.
    """
    known = instrument.require()
    pixel_arcsec = known.pixel_arcsec / oversampling
    # Pixels from the peak in the order of an FFT: 0, 1, ... -2, -1.
    y, x = (torch.fft.fftfreq(n, d=1 / n, device=device, dtype=torch.float64) for n in shape)
    distance = torch.hypot(y[:, None], x[None, :]) * pixel_arcsec
    if known.psf == "yeo-2014":
        psf = yeo(distance)
    else:
        radius = distance * (math.pi / RADIAN_ARCSEC * known.diameter_m / (known.wavelength_nm * 1e-9))
        psf = (
            airy(radius, known.obscuration_m / known.diameter_m)
            if known.psf == "airy"
            else wachter(radius, **_WACHTER[known.psf])
        )
    if known.psf == "wachter-short":
        # A pixel at the edge counts by the part of it that lies within.
        edge = _SHORT_ARCSEC / pixel_arcsec + 0.5
        psf = psf * torch.outer((edge - y.abs()).clamp(0, 1), (edge - x.abs()).clamp(0, 1))
    # Sampled at the pixels' centres: what lies beyond the grid is not in the sum.
    return (psf / psf.sum()).to(dtype)


def sampled_psf(
    image: npt.NDArray[np.floating], pixel_arcsec: float, shape: tuple[int, int], grid_arcsec: float
) -> torch.Tensor:
    """A measured PSF (y, x) on a grid of `shape`, as `telescope_psf` gives it; beyond the image it is 0.

    Its centre is the centroid of what is brighter than half its maximum.
    """
    values = torch.from_numpy(np.ascontiguousarray(image, np.float64))
    core = values * (values > values.max() / 2)
    sides = [torch.arange(n, dtype=torch.float64) for n in values.shape]
    centre = [float((core.sum(1 - axis) * side).sum() / core.sum()) for axis, side in enumerate(sides)]
    places = [
        # From -1 to 1 between the centres of the first and the last pixel, as `grid_sample` has it.
        (torch.fft.fftfreq(n, d=1 / n, dtype=torch.float64) * grid_arcsec / pixel_arcsec + middle)
        / (max(size - 1, 1) / 2)
        - 1
        for n, middle, size in zip(shape, centre, values.shape, strict=True)
    ]
    y, x = torch.meshgrid(*places, indexing="ij")
    psf = torch.nn.functional.grid_sample(
        values[None, None], torch.stack((x, y), -1)[None], mode="bicubic", align_corners=True
    )[0, 0]
    return (psf / psf.sum()).float()


def airy(radius: torch.Tensor, obscuration: float = 0.0) -> torch.Tensor:
    """Intensity of a circular aperture at r = pi D theta / lambda, 1 in the centre; `obscuration` is D2/D.

    ((J(r) - e^2 J(e r)) / (1 - e^2))^2 with J(r) = 2 J1(r)/r.
    """
    if not 0 <= obscuration < 1:
        raise SettingsError(
            f"The central obscuration is {obscuration} of the aperture; it must be at least 0 and below 1."
        )
    # Babinet: the light of the whole aperture minus that of the obscuration.
    amplitude = _jinc(radius) - obscuration**2 * _jinc(obscuration * radius)
    return (amplitude / (1 - obscuration**2)) ** 2


def wachter(
    radius: torch.Tensor, *, wings: float = 0.1, slope: float = 3.0, core: float = 2.0, reach: float = 3.4
) -> torch.Tensor:
    """HMI's PSF at r = pi D theta / lambda: a Gaussian core and stray-light wings, 1 in the centre.

    (1 - e) exp(-(r/w)^2) + e / (1 + (r/W)^k); Wachter et al. (2012), doi:10.1007/s11207-011-9842-6,
    with the constants of Diaz Baso & Asensio Ramos (2018), doi:10.1051/0004-6361/201731344.
    """
    return (1 - wings) * torch.exp(-((radius / core) ** 2)) + wings / (1 + (radius / reach) ** slope)


def yeo(arcsec: torch.Tensor) -> torch.Tensor:
    """HMI's PSF as measured in the transit of Venus, averaged over the azimuth, per square arcsec.

    A sum of five Gaussians; Yeo et al. (2014), A&A 561, A22.
    """
    psf = torch.zeros_like(arcsec)
    for weight, sigma in zip(_YEO_WEIGHTS, _YEO_SIGMAS_ARCSEC, strict=True):
        psf += weight / (2 * math.pi * sigma**2) * torch.exp(-((arcsec / sigma) ** 2) / 2)
    return psf


def _jinc(r: torch.Tensor) -> torch.Tensor:
    """2 J1(r)/r, 1 at r = 0."""
    # `where` evaluates both sides: 0/0 would leave a NaN in a gradient.
    safe = torch.where(r == 0, torch.ones_like(r), r)
    return torch.where(r == 0, torch.ones_like(r), 2 * torch.special.bessel_j1(safe) / safe)

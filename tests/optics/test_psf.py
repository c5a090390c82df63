from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN, Instrument
from heliorestore.optics.modes import make_basis
from heliorestore.optics.psf import (
    Optics,
    airy,
    fast_length,
    fitting_size,
    light_outside,
    make_optics,
    otf,
    psf,
    psf_of_phase,
    pupil_axis,
    strehl,
    telescope_psf,
)
from heliorestore.optics.pupil import Aperture, sampling

A_CAMERA_EACH = {name.partition("-")[0]: name for name in KNOWN}.values()

CRISP = KNOWN["crisp-8542"]
HIFI = KNOWN["hifi-6563"]
HMI = KNOWN["hmi-6173"]
FINE = Instrument(diameter_m=1.0, pixel_arcsec=0.02, wavelength_nm=854.2)  # 8.8 pixels per lambda/D


def turbulent(optics: Optics, batch: int = 3, strength: float = 5.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.as_tensor(optics.basis.variances**0.5)
    return (
        torch.randn(batch, len(sigma), generator=generator, dtype=torch.float64) * sigma * strength ** (5 / 6)
    )


def centroid(image: torch.Tensor) -> tuple[float, float]:
    """First moments of the lowest frequencies' phase: exact for wrapped images."""
    spectrum = torch.fft.fft2(image)
    rows, columns = image.shape
    return float(-spectrum[1, 0].angle() * rows / 2 / math.pi), float(
        -spectrum[0, 1].angle() * columns / 2 / math.pi
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", A_CAMERA_EACH)
def test_unit_sum(name: str, dtype: torch.dtype, device: str) -> None:
    optics = make_optics(KNOWN[name], 48, 20, dtype=dtype, device=device)
    sums = psf(optics, turbulent(optics).to(dtype).to(device)).sum((-2, -1))
    assert sums.dtype == dtype
    assert sums.device.type == device
    np.testing.assert_allclose(sums.cpu(), 1, rtol=5e-6 if dtype == torch.float32 else 1e-13)


@pytest.mark.parametrize("obscuration", [0.0, 0.3])
def test_no_aberration_is_the_airy_pattern(obscuration: float) -> None:
    instrument = dataclasses.replace(FINE, obscuration_m=obscuration)
    optics = make_optics(instrument, 512, 3, dtype=torch.float64)
    image = psf(optics, torch.zeros(3, dtype=torch.float64))
    image = image / image.max()
    offset = torch.arange(512, dtype=torch.float64) - 256
    expected = airy(
        torch.hypot(offset[:, None], offset[None, :]) * math.pi * sampling(instrument), obscuration
    )
    assert float((image - expected).abs().max()) < 3e-3
    near = slice(256 - 30, 256 + 31)  # within 3.4 lambda/D
    assert float((image - expected)[near, near].abs().max()) < 1e-3


def test_first_zero_is_at_1_22() -> None:
    finest = dataclasses.replace(FINE, pixel_arcsec=0.005)
    row = psf(make_optics(finest, 768, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))[
        384, 384:
    ]
    first_rise = int((row[1:] > row[:-1]).nonzero()[0])
    # the amplitude goes through zero in a straight line
    before, after = (math.sqrt(float(row[first_rise + k])) for k in (-1, 1))
    zero = first_rise - 1 + 2 * before / (before + after)
    assert zero * sampling(finest) == pytest.approx(1.22, abs=0.005)


def test_width_of_the_airy_pattern() -> None:
    finest = dataclasses.replace(FINE, pixel_arcsec=0.005)
    image = psf(make_optics(finest, 768, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    bright = (image >= 0.5 * image.max()).sum()  # pixels within a circle of that diameter
    assert 2 * math.sqrt(float(bright) / math.pi) * sampling(finest) == pytest.approx(1.03, abs=0.015)


@pytest.mark.parametrize("size", [63, 64])
@pytest.mark.parametrize("instrument", [CRISP, HIFI], ids=["critical", "coarse"])
def test_plain_psf_is_centred_on_its_pixel(size: int, instrument: Instrument) -> None:
    optics = make_optics(instrument, size, 3, dtype=torch.float64)
    image = psf(optics, torch.zeros(3, dtype=torch.float64))
    assert divmod(int(image.argmax()), size) == (size // 2, size // 2)
    np.testing.assert_allclose(centroid(image.roll((-(size // 2),) * 2, (0, 1))), 0, atol=1e-9)


@pytest.mark.parametrize("pixels", [(3.0, 0.0), (0.0, -2.0), (0.35, 0.0), (0.0, 1.7)])
@pytest.mark.parametrize("instrument", [CRISP, HIFI], ids=["critical", "coarse"])
def test_tilt_moves_the_image_its_own_way(pixels: tuple[float, float], instrument: Instrument) -> None:
    optics = make_optics(
        instrument, 64, make_basis(5, Aperture.of(instrument), "kl-tilt"), dtype=torch.float64
    )
    axis = pupil_axis(optics)
    dy, dx = (d * math.pi * sampling(instrument) for d in pixels)  # rad per radius that shift by d pixels
    plain = psf_of_phase(optics, torch.zeros(optics.side, optics.side, dtype=torch.float64))
    moved = psf_of_phase(optics, dy * axis[:, None] + dx * axis[None, :])
    frequency = torch.fft.fftfreq(64, dtype=torch.float64)
    ramp = torch.exp(-2j * math.pi * (frequency[:, None] * pixels[0] + frequency[None, :] * pixels[1]))
    expected = torch.fft.ifft2(torch.fft.fft2(plain) * ramp).real
    torch.testing.assert_close(moved, expected, atol=1e-12, rtol=1e-9)


def test_coefficient_of_the_y_tilt_mode_moves_to_plus_y() -> None:
    optics = make_optics(CRISP, 64, make_basis(2, Aperture.of(CRISP), "kl-tilt"), dtype=torch.float64)
    # phase 2 a y: 4 pixels
    coefficients = torch.tensor([0.0, math.pi * sampling(CRISP) / 2 * 4], dtype=torch.float64)
    peak = divmod(int(psf(optics, coefficients).argmax()), 64)
    assert peak == (36, 32)


@pytest.mark.parametrize("size", [48, 63])
def test_parseval(size: int) -> None:
    optics = make_optics(CRISP, size, 20, dtype=torch.float64)
    images = psf(optics, turbulent(optics))
    power = torch.fft.fft2(images).abs().square().sum((-2, -1)) / size**2
    torch.testing.assert_close(power, images.square().sum((-2, -1)))


def test_otf_ends_at_the_cutoff() -> None:
    size = 96
    optics = make_optics(CRISP, size, 20, dtype=torch.float64)
    transfer = otf(psf(optics, turbulent(optics, 1)[0])).abs()
    ky, kx = torch.fft.fftfreq(size, 1 / size), torch.fft.rfftfreq(size, 1 / size)
    k = torch.hypot(ky[:, None], kx[None, :])
    cut = sampling(CRISP) * size
    assert float(transfer[k > cut + 2].max()) < 1e-12
    assert float(transfer[k < 0.9 * cut].min()) > 1e-6


def test_otf_of_the_telescope_is_the_overlap_of_two_circles() -> None:
    optics = make_optics(FINE, 512, 3, dtype=torch.float64)
    transfer = otf(psf(optics, torch.zeros(3, dtype=torch.float64)))[0].real
    nu = torch.fft.rfftfreq(512, dtype=torch.float64) / sampling(FINE)
    inside = nu <= 1
    expected = 2 / math.pi * (torch.arccos(nu[inside]) - nu[inside] * torch.sqrt(1 - nu[inside] ** 2))
    torch.testing.assert_close(transfer[inside], expected, atol=2.5e-3, rtol=0)


def test_coarse_pixels_keep_the_true_otf_below_their_nyquist_frequency() -> None:
    fine = dataclasses.replace(HMI, pixel_arcsec=(HMI.pixel_arcsec or 0) / 2)
    basis = make_basis(10, Aperture.of(HMI))
    coarse_optics, fine_optics = (
        make_optics(HMI, 64, basis, dtype=torch.float64),
        make_optics(fine, 128, basis, dtype=torch.float64),
    )
    coefficients = turbulent(coarse_optics, 1, 3.0)[0]
    coarse, fine_ = (otf(psf(o, coefficients)) for o in (coarse_optics, fine_optics))
    torch.testing.assert_close(coarse[:32, :32], fine_[:32, :32], atol=1e-12, rtol=1e-9)


def test_more_coefficients_than_modes_is_an_error() -> None:
    with pytest.raises(SettingsError, match="5 coefficients"):
        psf(make_optics(CRISP, 16, 4), torch.zeros(5))


def test_fewer_coefficients_are_the_first_ones() -> None:
    optics = make_optics(CRISP, 32, 10, dtype=torch.float64)
    some = turbulent(optics, 1)[0][:4]
    torch.testing.assert_close(psf(optics, some), psf(optics, torch.cat([some, torch.zeros(6)])))


def test_maps_keep_their_axes() -> None:
    optics = make_optics(CRISP, 16, 4, dtype=torch.float64)
    maps = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    images = psf(optics, maps, mode_axis=1)
    assert images.shape == (2, 3, 5, 16, 16)
    torch.testing.assert_close(images[1, 2, 4], psf(optics, maps[1, :, 2, 4]))


def test_a_wavefront_at_twice_the_wavelength_has_half_the_phase() -> None:
    red, blue = (dataclasses.replace(CRISP, wavelength_nm=w, pixel_arcsec=w / 1e4) for w in (800.0, 400.0))
    basis = make_basis(10, Aperture.of(CRISP))
    at_blue = make_optics(blue, 32, basis, dtype=torch.float64)
    at_red = make_optics(red, 32, basis, reference_nm=400.0, dtype=torch.float64)
    coefficients = turbulent(at_blue, 1)[0]
    # The pixels scale with the wavelength, so that both pupils have the same pixels and only the phase
    # differs.
    torch.testing.assert_close(psf(at_red, coefficients), psf(at_blue, coefficients / 2))


def test_tilt_moves_every_wavelength_by_the_same_angle() -> None:
    basis = make_basis(2, Aperture.of(CRISP), "kl-tilt")
    moved = []
    for wavelength in (630.2, 854.2):
        optics = make_optics(
            dataclasses.replace(CRISP, wavelength_nm=wavelength),
            64,
            basis,
            reference_nm=854.2,
            dtype=torch.float64,
        )
        moved.append(
            centroid(psf(optics, torch.tensor([0.0, 3.0], dtype=torch.float64)).roll((-32, -32), (0, 1)))
        )
    np.testing.assert_allclose(moved[0], moved[1], atol=0.02)
    assert moved[0][0] == pytest.approx(3.0 / (math.pi * sampling(CRISP)) * 2, abs=0.1)


def test_defocus_has_the_size_and_sign_of_noll_4() -> None:
    waves = 1.3
    basis = make_basis(3, Aperture.of(CRISP), "zernike")
    defocused = make_optics(CRISP, 64, basis, defocus_waves=waves, dtype=torch.float64)
    plain = make_optics(CRISP, 64, basis, dtype=torch.float64)
    # 2 pi w r^2 = a sqrt(3) (2 r^2 - 1) + piston
    coefficient = torch.tensor([0.0, 0.0, math.pi * waves / math.sqrt(3)], dtype=torch.float64)
    zero = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(psf(defocused, zero), psf(plain, coefficient), atol=2e-4, rtol=0)
    torch.testing.assert_close(psf(defocused, -coefficient), psf(plain, zero), atol=2e-4, rtol=0)
    # One wave takes the axis to zero: I = sinc^2(w).
    on_axis = psf(make_optics(FINE, 512, 3, defocus_waves=waves, dtype=torch.float64), zero)[256, 256]
    unaberrated = psf(make_optics(FINE, 512, 3, dtype=torch.float64), zero)[256, 256]
    assert float(on_axis / unaberrated) == pytest.approx(
        (math.sin(math.pi * waves) / (math.pi * waves)) ** 2, abs=1e-3
    )


def test_strehl_follows_marechal_for_small_errors() -> None:
    optics = make_optics(CRISP, 64, make_basis(20, Aperture.of(CRISP), "kl-tilt"), dtype=torch.float64)
    coefficients = torch.zeros(2, 20, dtype=torch.float64)
    coefficients[1, 4], coefficients[1, 9] = 0.3, 0.2
    ratios = strehl(psf(optics, coefficients), optics)
    assert float(ratios[0]) == pytest.approx(1, abs=1e-9)
    assert float(ratios[1]) == pytest.approx(math.exp(-(0.3**2 + 0.2**2)), abs=0.01)


def test_psf_grid_grows_until_the_light_fits() -> None:
    optics = make_optics(CRISP, 32, 44)
    weak, strong = (turbulent(optics, 20, d) for d in (5.0, 15.0))
    small, lost_weak = fitting_size(CRISP, weak)
    large, lost_strong = fitting_size(CRISP, strong)
    assert 32 <= small < large
    assert max(lost_weak, lost_strong) <= 0.03
    size, lost = fitting_size(CRISP, strong, largest=48)
    assert size == 48
    assert lost > 0.1


def test_light_outside_is_what_the_box_misses() -> None:
    images = torch.ones(2, 8, 8) / 64
    torch.testing.assert_close(light_outside(images, 4), torch.full((2,), 0.75))


def test_gradient_in_the_modes() -> None:
    for instrument in (CRISP, HIFI):
        optics = make_optics(instrument, 12, 4, defocus_waves=0.2, dtype=torch.float64)
        coefficients = turbulent(optics, 2).requires_grad_()
        assert torch.autograd.gradcheck(lambda c, o=optics: psf(o, c), (coefficients,))


def test_modes_of_another_telescope_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"1\.44 m"):
        make_optics(CRISP, 32, make_basis(4, Aperture.of(HIFI)))


def test_half_precision_is_refused() -> None:
    with pytest.raises(SettingsError, match="float32 and float64"):
        make_optics(CRISP, 32, 4, dtype=torch.float16)


def test_closed_form_and_wavefront_agree() -> None:
    optics = make_optics(CRISP, 256, 3, dtype=torch.float64)
    computed = psf(optics, torch.zeros(3, dtype=torch.float64)).roll((-128, -128), (0, 1))
    expected = telescope_psf(CRISP, (256, 256), dtype=torch.float64)
    assert float((computed - expected).square().sum() / expected.square().sum()) < 1e-4


def test_fast_lengths() -> None:
    assert [fast_length(n) for n in (1, 7, 61, 97, 128, 129)] == [1, 8, 64, 100, 128, 135]


@pytest.mark.parametrize(
    ("form", "within_2", "within_4_4"),
    [("wachter", 0.831, 0.924), ("wachter-short", 0.892, 0.991), ("yeo-2014", 0.834, 0.931)],
)
def test_light_within_two_radii_of_hmis_psfs(form: str, within_2: float, within_4_4: float) -> None:
    fine = dataclasses.replace(HMI, psf=form, pixel_arcsec=0.126)
    kernel = telescope_psf(fine, (1024, 1024), dtype=torch.float64)
    place = torch.fft.fftfreq(1024, 1 / 1024, dtype=torch.float64) * 0.126
    radius = torch.hypot(place[:, None], place[None])
    assert float(kernel[radius <= 2].sum()) == pytest.approx(within_2, abs=0.012)
    assert float(kernel[radius <= 4.4].sum()) == pytest.approx(within_4_4, abs=0.012)
    # The core of the published code and the wings that it keeps: 39 % of its light.
    if form == "wachter-short":
        assert float(kernel[place.abs() > 4.45].sum()) == 0
        whole = float(kernel[0, 0]) * 0.9 * math.pi * (2 * 617.3e-9 / math.pi / 0.14 * 206264.8 / 0.126) ** 2
        assert 1 - whole == pytest.approx(0.39, abs=0.01)

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import gamma

from heliorestore.errors import SettingsError
from heliorestore.optics.mode_cache import cache_file, sampled_modes
from heliorestore.optics.modes import make_basis, noll, noll_residual
from heliorestore.optics.pupil import Aperture, FloatArray, pupil_coordinates, transmission

CIRCLE = Aperture()
GREGOR = Aperture(diameter_m=1.44, obscuration_m=0.40)
SPIDER = Aperture(diameter_m=1.44, obscuration_m=0.40, vanes=4, vane_width_m=0.03, vane_angle_deg=10)


def polar_points(
    aperture: Aperture, angles: int = 240, radii: int = 400
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """y, x and weights of a quadrature over the annulus, independent of the one in the code: uniform in
    r^2."""
    inner = aperture.obscuration**2
    radius = np.sqrt(inner + (1 - inner) * (np.arange(radii) + 0.5) / radii)
    angle = 2 * math.pi * (np.arange(angles) + 0.5) / angles
    y, x = np.outer(radius, np.sin(angle)).ravel(), np.outer(radius, np.cos(angle)).ravel()
    weight = aperture.covers(y, x).astype(float)
    return y, x, weight / weight.sum()


def zernikes(count: int, y: FloatArray, x: FloatArray) -> FloatArray:
    """Zernikes (mode, ...) of Noll index 2 ... count + 1, over the whole circle."""
    return make_basis(count, CIRCLE, "zernike").sample(y, x)


def kolmogorov_covariance(count: int) -> FloatArray:
    """Covariance of Zernikes of Noll index 2 ... count + 1, rad^2 at D/r0 = 1 (Noll 1976, eq. 25)."""
    constant = math.gamma(14 / 3) * (24 / 5 * math.gamma(6 / 5)) ** (5 / 6) * math.gamma(11 / 6) ** 2
    constant /= 2 ** (8 / 3) * math.pi
    orders = [noll(j) for j in range(2, count + 2)]
    covariance = np.zeros((count, count))
    for row, (n, m) in enumerate(orders):
        for column, (k, same) in enumerate(orders):
            if m == same:
                gammas = (
                    gamma((n + k - 5 / 3) / 2) / gamma((n - k + 17 / 3) / 2) / gamma((k - n + 17 / 3) / 2)
                )
                sign = (-1) ** ((n + k - 2 * abs(m)) // 2)
                covariance[row, column] = sign * math.sqrt((n + 1) * (k + 1)) * gammas
                covariance[row, column] *= constant / gamma((n + k + 23 / 3) / 2)
    return covariance


def test_noll_order() -> None:
    assert [noll(j) for j in range(1, 12)] == [
        (0, 0), (1, 1), (1, -1), (2, 0), (2, -2), (2, 2), (3, -1), (3, 1), (3, -3), (3, 3), (4, 0),
    ]  # fmt: skip
    assert noll(21)[0] == 5
    assert noll(22) == (6, 0)


def test_low_zernikes_have_their_closed_forms() -> None:
    y, x = np.array([0.3, -0.5, 0.7]), np.array([0.1, 0.6, -0.2])
    r2 = y**2 + x**2
    for j, expected in {
        2: 2 * x,
        3: 2 * y,
        4: math.sqrt(3) * (2 * r2 - 1),
        5: math.sqrt(6) * 2 * x * y,
        6: math.sqrt(6) * (x**2 - y**2),
        7: math.sqrt(8) * (3 * r2 - 2) * y,
        8: math.sqrt(8) * (3 * r2 - 2) * x,
        11: math.sqrt(5) * (6 * r2**2 - 6 * r2 + 1),
    }.items():
        np.testing.assert_allclose(zernikes(10, y, x)[j - 2], expected, atol=1e-13)


def test_zernikes_are_orthonormal_to_high_orders() -> None:
    y, x, weight = polar_points(CIRCLE, angles=80)  # of products whose order is 60 at most
    values = zernikes(495, y, x)[[0, 1, 2, 9, 54, 208, 209, 494]]
    np.testing.assert_allclose((values * weight) @ values.T, np.eye(8), atol=5e-3)


@pytest.mark.parametrize(
    ("removed", "published"),
    [
        (1, 1.0299),
        (2, 0.582),
        (3, 0.134),
        (4, 0.111),
        (5, 0.0880),
        (6, 0.0648),
        (7, 0.0587),
        (8, 0.0525),
        (10, 0.0401),
        (21, 0.0208),
    ],
)
def test_noll_residuals(removed: int, published: float) -> None:
    assert noll_residual(removed) == pytest.approx(published, rel=6e-3)


def test_all_modes_together_have_the_variance_of_the_structure_function() -> None:
    # The mean of 6.88/2 (s/D)^(5/3) over all pairs of points of a disc, whose distances s have a known
    # distribution.
    nodes, weights = np.polynomial.legendre.leggauss(100)
    s = (nodes + 1) / 2
    density = 16 * s / math.pi * (np.arccos(s) - s * np.sqrt(1 - s**2))
    half_structure = (24 / 5 * math.gamma(6 / 5)) ** (5 / 6)
    assert noll_residual(1) == pytest.approx(
        float((weights / 2 * density * half_structure * s ** (5 / 3)).sum()), rel=1e-4
    )


def test_zernike_covariance_has_noll_structure() -> None:
    covariance = kolmogorov_covariance(20)
    np.testing.assert_allclose(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert covariance[0, 6] == pytest.approx(-0.0141, abs=2e-4)  # x tilt with x coma, Noll 2 and 8
    assert covariance[0, 5] == 0  # x tilt with y coma
    assert covariance[2, 9] == pytest.approx(-0.00387, abs=1e-4)  # defocus with spherical aberration


def test_kl_rotates_zernikes_and_diagonalises_their_covariance() -> None:
    basis = make_basis(44)
    rotation = basis.expansion[:, 1:]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(44), atol=1e-11)
    covariance = rotation @ kolmogorov_covariance(rotation.shape[1]) @ rotation.T
    np.testing.assert_allclose(covariance, np.diag(basis.variances), atol=1e-12)
    assert (np.diff(basis.variances) <= 1e-12).all()


def test_kl_beats_zernikes_at_what_they_leave() -> None:
    left = noll_residual(1) - make_basis(44).variances.sum()
    assert 0 < left < noll_residual(45)


@pytest.mark.parametrize("count", [20, 44, 120])
def test_truncation_of_the_covariance_does_not_matter(count: int) -> None:
    for aperture, tolerance in ((CIRCLE, 1e-9), (GREGOR, 1e-3)):
        few, many = make_basis(count, aperture), make_basis(300, aperture)
        np.testing.assert_allclose(few.variances, many.variances[:count], rtol=tolerance)


@pytest.mark.parametrize("kind", ["kl", "kl-tilt"])
@pytest.mark.parametrize("aperture", [CIRCLE, GREGOR, SPIDER], ids=["circle", "annulus", "spider"])
def test_modes_are_orthonormal_over_the_aperture_in_use(aperture: Aperture, kind: str) -> None:
    y, x, weight = polar_points(aperture, 1500, 100) if aperture.vanes else polar_points(aperture)
    values = make_basis(20, aperture, kind).sample(y, x)
    tolerance = 5e-3 if aperture.vanes else 1e-3
    np.testing.assert_allclose((values * weight) @ values.T, np.eye(20), atol=tolerance)
    np.testing.assert_allclose(values @ weight, 0, atol=tolerance)


def test_modes_are_nearly_orthonormal_on_the_pixels_of_a_small_psf() -> None:
    axis = pupil_coordinates(21.43)
    weight = transmission(CIRCLE, 21.43)
    values = sampled_modes(make_basis(44), 21.43)
    gram = np.einsum("iyx,jyx,yx->ij", values, values, weight) / weight.sum()
    np.testing.assert_allclose(gram, np.eye(44), atol=0.04)
    assert values.shape[1:] == (axis.size, axis.size)


def test_turbulence_drawn_over_an_annulus_has_the_kl_variances() -> None:
    # Project many Kolmogorov wavefronts, made of Zernikes over the circle, onto the modes of the annulus.
    basis, count = make_basis(12, GREGOR), 90
    y, x, weight = polar_points(GREGOR, angles=60)
    modes = basis.sample(y, x)
    projection = (modes * weight) @ zernikes(count, y, x).T
    covariance = projection @ kolmogorov_covariance(count) @ projection.T
    np.testing.assert_allclose(covariance, np.diag(basis.variances), atol=3e-4)


def test_first_modes_are_tilts_along_x_and_y() -> None:
    y, x = np.array([0.4, -0.1]), np.array([0.2, 0.5])
    pure = make_basis(10, CIRCLE, "kl-tilt").sample(y, x)
    np.testing.assert_allclose(pure[:2], [2 * x, 2 * y], atol=1e-12)
    natural = make_basis(10)
    assert natural.tilts[1, 0] > 0.999
    assert natural.tilts[0, 1] > 0.999
    # rebuilt from its KL modes
    np.testing.assert_allclose(np.linalg.norm(make_basis(200).tilts, axis=1), 1, atol=1e-6)


def test_exact_tilts_leave_the_others_without_tilt() -> None:
    basis = make_basis(60, GREGOR, "kl-tilt")
    expected = np.zeros((2, 60))
    expected[1, 0] = expected[0, 1] = 1
    np.testing.assert_allclose(basis.tilts, expected, atol=1e-8)


def test_a_tilt_stays_linear_beyond_the_edge() -> None:
    y = np.array([0.99, 1.01, 1.05])
    np.testing.assert_allclose(make_basis(3, CIRCLE, "kl-tilt").sample(y, 0 * y)[1], 2 * y, rtol=1e-12)


def test_five_hundred_modes_are_orthonormal() -> None:
    basis = make_basis(500)
    np.testing.assert_allclose(basis.expansion @ basis.expansion.T, np.eye(500), atol=1e-8)
    assert (basis.variances > 0).all()


@pytest.mark.parametrize("count", [0, 501])
def test_impossible_numbers_of_modes_are_refused(count: int) -> None:
    with pytest.raises(SettingsError, match="1 to 500"):
        make_basis(count)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cache_returns_what_was_computed(dtype: type) -> None:
    basis = make_basis(8)
    computed = sampled_modes(basis, 15.3, dtype)
    file = cache_file(basis, 15.3, dtype)
    assert file.is_file()
    assert computed.dtype == dtype
    before = file.stat().st_mtime_ns
    np.testing.assert_array_equal(sampled_modes(basis, 15.3, dtype), computed)
    assert file.stat().st_mtime_ns == before
    assert [path.suffix for path in file.parent.iterdir()] == [".npy"]


def test_cache_is_really_read() -> None:
    basis = make_basis(8)
    sampled_modes(basis, 15.3)
    source, target = (
        cache_file(basis, 15.3, np.float64),
        cache_file(make_basis(8, CIRCLE, "zernike"), 15.3, np.float64),
    )
    target.write_bytes(source.read_bytes())
    np.testing.assert_array_equal(
        sampled_modes(make_basis(8, CIRCLE, "zernike"), 15.3), sampled_modes(basis, 15.3)
    )


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_damaged_cache_is_ignored_and_replaced(damage: bytes | None) -> None:
    basis = make_basis(8)
    computed = sampled_modes(basis, 15.3)
    file = cache_file(basis, 15.3, np.float64)
    content = bytearray(file.read_bytes())
    content[-5] ^= 1  # one bit of one number
    file.write_bytes(content if damage is None else damage)
    np.testing.assert_array_equal(sampled_modes(basis, 15.3), computed)
    assert len(file.read_bytes()) == len(content)


def test_a_folder_that_cannot_be_written_is_no_error(
    monkeypatch: pytest.MonkeyPatch, cache_folder: object
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: "/dev/null/nowhere")
    assert sampled_modes(make_basis(4), 9.0).shape == (4, 9, 9)


def test_every_input_has_its_own_cache_file() -> None:
    files = {
        cache_file(make_basis(count, aperture, kind), diameter, dtype)
        for count in (5, 6)
        for aperture in (CIRCLE, GREGOR, SPIDER)
        for kind in ("kl", "kl-tilt")
        for diameter in (9.0, 9.0000001)
        for dtype in (np.float32, np.float64)
    }
    assert len(files) == 48

from __future__ import annotations

import math

import pytest
import torch

from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN
from heliorestore.optics.convolve import (
    Borders,
    PerPixelSum,
    at_nodes,
    extend,
    extend_adjoint,
    interpolate,
    node_grid,
)
from heliorestore.optics.psf import make_optics, psf
from one_psf import convolve

CRISP = KNOWN["crisp-8542"]
BORDERS: tuple[Borders, ...] = ("reflect", "periodic", "given")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("position", [(20, 17), (0, 33)])
def test_a_point_keeps_its_place(size: int, position: tuple[int, int]) -> None:
    optics = make_optics(CRISP, size, 3, dtype=torch.float64)
    plain = psf(optics, torch.zeros(3, dtype=torch.float64))
    if size % 2 == 0:  # an even grid has a row and a column before its centre without a partner behind it
        plain[0] = plain[:, 0] = 0
    point = torch.zeros(40, 41, dtype=torch.float64)
    point[position] = 1
    spectrum = torch.fft.fft2(convolve(point, plain, "periodic"))
    # The phase of the lowest frequencies is the centroid, on a wrapped image too.
    row, column = (
        float(-s.angle()) / 2 / math.pi * n % n for s, n in ((spectrum[1, 0], 40), (spectrum[0, 1], 41))
    )
    assert abs((row - position[0] + 20) % 40 - 20) < 1e-9
    assert abs((column - position[1] + 20) % 41 - 20) < 1e-9


@pytest.mark.parametrize("size", [16, 17])
def test_a_symmetric_psf_leaves_the_centroid(size: int) -> None:
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    gaussian = torch.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / 2)
    gaussian /= gaussian.sum()
    point = torch.zeros(50, 51, dtype=torch.float64)
    point[20, 30] = 1
    image = convolve(point, gaussian)
    assert float((image.sum(1) * torch.arange(50)).sum()) == pytest.approx(20, abs=1e-6)
    assert float((image.sum(0) * torch.arange(51)).sum()) == pytest.approx(30, abs=1e-6)


def test_convolution_is_the_sum_it_says() -> None:
    object_, kernel = random(9, 10), random(4, 4, seed=1)
    image = convolve(object_, kernel, "periodic")
    c = 2
    expected = sum(
        kernel[i, j] * object_[(5 - i + c) % 9, (7 - j + c) % 10] for i in range(4) for j in range(4)
    )
    assert float(image[5, 7]) == pytest.approx(float(expected))


def test_mirrored_borders_keep_a_constant_image() -> None:
    plain = psf(
        make_optics(CRISP, 16, 3, dtype=torch.float64), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    )
    torch.testing.assert_close(
        convolve(torch.full((5, 30), 3.0, dtype=torch.float64), plain),
        torch.full((5, 30), 3.0, dtype=torch.float64),
    )


def test_mirror_is_at_the_border_pixel_even_for_tiny_images() -> None:
    row = torch.arange(3.0)[None]
    assert extend(row, 8, "reflect")[0].tolist() == [1, 2, 1, 0, 1, 2, 1, 0, 1, 2]
    assert extend(row, 8, "periodic")[0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert extend(row, 8, "reflect").shape == (8, 10)


@pytest.mark.parametrize("borders", BORDERS)
@pytest.mark.parametrize("size", [7, 8])
def test_adjoints(borders: Borders, size: int) -> None:
    object_ = random(2, 21, 25)
    extended = extend(object_, size, borders)
    other = random(*extended.shape, seed=3)
    assert (
        abs(float((extended * other).sum() - (object_ * extend_adjoint(other, size, borders)).sum())) < 1e-10
    )


def test_unknown_borders_are_named() -> None:
    with pytest.raises(SettingsError, match="'zero'"):
        extend(torch.zeros(5, 5), 4, "zero")


# -- fields of modes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "step", "expected"), [((256, 256), 32, (9, 9)), ((257, 33), 32, (9, 2)), ((1, 2), 4, (1, 2))]
)
def test_nodes_cover_the_image(shape: tuple[int, int], step: int, expected: tuple[int, int]) -> None:
    assert node_grid(shape, step) == expected


def test_impossible_grid() -> None:
    with pytest.raises(SettingsError, match="step 0"):
        node_grid((10, 10), 0)


@pytest.mark.parametrize("step", [1, 3, 7, 16])
def test_linear_fields_are_interpolated_exactly(step: int) -> None:
    y, x = torch.meshgrid(torch.arange(23.0), torch.arange(40.0), indexing="ij")
    field = torch.stack([0.3 * y - 0.1 * x, 2 - y, 1 + 0 * y])
    torch.testing.assert_close(
        interpolate(at_nodes(field, step), (23, 40), step), field, atol=1e-4, rtol=1e-5
    )


def test_interpolation_says_which_grid_it_needs() -> None:
    with pytest.raises(SettingsError, match=r"\(3, 3\)"):
        interpolate(torch.zeros(4, 2, 3), (17, 17), 8)


# -- per-pixel sum -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("borders", BORDERS)
def test_per_pixel_sum_with_equal_modes_is_the_convolution(borders: Borders) -> None:
    optics = make_optics(CRISP, 12, 4, dtype=torch.float64)
    model = PerPixelSum(optics=[optics, optics], shape=(11, 14), borders=borders, batch=37)
    modes = random(2, 4)
    objects = random(2, *model.object_shape, seed=1)
    images = model(objects, modes[:, :, None, None].expand(2, 4, 11, 14))
    expected = torch.stack([convolve(objects, psf(optics, m), borders) for m in modes], dim=1)
    torch.testing.assert_close(images, expected, atol=1e-13, rtol=1e-12)


def test_per_pixel_sum_uses_the_psf_of_the_image_pixel() -> None:
    optics = make_optics(CRISP, 12, 4, dtype=torch.float64)
    model = PerPixelSum(optics=[optics], shape=(9, 9))
    modes, object_ = random(1, 4, 9, 9), random(1, 9, 9, seed=1)
    image = model(object_, modes)[0, 0]
    assert float(image[2, 6]) == pytest.approx(
        float(convolve(object_[0], psf(optics, modes[0, :, 2, 6]))[2, 6])
    )

import dataclasses

import numpy as np
import pytest
import torch

from heliorestore.errors import BurstError
from heliorestore.optics.psf import telescope_psf
from heliorestore.train.views import HMI, SAMPLES, TWICE, observe

PIXEL = 0.504 / 8


def star(row: float, column: float, size: int = 256) -> np.ndarray:
    """A narrow Gaussian on a dark sky, at a place in scene pixels."""
    y, x = np.arange(size)[:, None], np.arange(size)[None]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 1.5**2))


def centre(image: torch.Tensor) -> tuple[float, float]:
    """The peak's place, by a parabola through the peak's neighbours' logarithms."""
    values = image.numpy().astype(float)
    row, column = np.unravel_index(values.argmax(), values.shape)
    places = []
    for number, line in (
        (row, values[row - 1 : row + 2, column]),
        (column, values[row, column - 1 : column + 2]),
    ):
        before, here, after = np.log(line)
        places.append(number + 0.5 * (before - after) / (before - 2 * here + after))
    return places[0], places[1]


def test_output_pixel_pairs_lie_within_the_input_pixel() -> None:
    views = observe("star", star(131.0, 122.0), PIXEL)
    low, high = views.whole()
    assert high.shape == (2 * low.shape[0], 2 * low.shape[1])
    # A place p of the input is 2 p + 1/2 of the output.
    for coarse, fine in zip(centre(low), centre(high), strict=True):
        assert fine == pytest.approx(2 * coarse + 0.5, abs=0.05)


def test_the_star_is_where_it_was() -> None:
    views = observe("star", star(131.0, 122.0), PIXEL)
    # Scene pixel p is sample p * PIXEL / (0.504 / SAMPLES) of the grid: both start at the first scene pixel's
    # centre.
    assert centre(views.high) == pytest.approx((131.0 * SAMPLES / 8, 122.0 * SAMPLES / 8), abs=0.03)


def test_each_view_has_its_telescopes_psf() -> None:
    scene = np.zeros((256, 256))
    scene[128, 128] = 1.0
    views = observe("star", scene, PIXEL)
    for view, telescope in ((views.low, HMI), (views.high, TWICE)):
        psf = telescope_psf(
            dataclasses.replace(telescope, pixel_arcsec=PIXEL), (512, 512), dtype=torch.float64
        )
        # Every other scene pixel is a sample of the grid.
        expected = torch.fft.fftshift(psf)[256 - 128 :: 2, 256 - 128 :: 2][:128, :128].float()
        torch.testing.assert_close(view, expected, rtol=0, atol=0.02 * float(expected.max()))


def test_light_and_constants_are_kept() -> None:
    scene = 1 + 0.2 * np.random.default_rng(0).standard_normal((200, 160))
    views = observe("noise", scene, PIXEL)
    assert float(views.low.mean()) == pytest.approx(scene.mean(), rel=1e-3)
    assert float(views.low.std()) < float(views.high.std()) < scene.std()
    flat = observe("flat", np.full((120, 90), 3.0), 0.0662)
    torch.testing.assert_close(flat.low, torch.full_like(flat.low, 3.0))
    torch.testing.assert_close(flat.high, torch.full_like(flat.high, 3.0))


@pytest.mark.parametrize("pixel", [0.0662, 0.05, 0.2])
def test_a_wave_keeps_its_wavelength_on_any_scene_grid(pixel: float) -> None:
    rows, columns = round(24 / pixel), round(20 / pixel)
    wavelength = 4.0  # arcsec
    scene = 1 + 0.1 * np.cos(2 * np.pi * (np.arange(columns) + 0.5) * pixel / wavelength)[None] * np.ones(
        (rows, 1)
    )
    low, _ = observe("wave", scene, pixel).whole()
    line = low.mean(0).numpy() - float(low.mean())
    spectrum = np.abs(np.fft.rfft(line * np.hanning(line.size), 4096))
    assert np.fft.rfftfreq(4096, 0.504)[spectrum.argmax()] == pytest.approx(1 / wavelength, rel=0.03)


def test_cuts_are_registered_wherever_they_start() -> None:
    views = observe("noise", np.random.default_rng(1).random((200, 200)), PIXEL)
    low, high = views.cut(3, 6, (5, 4))
    assert low.shape == (5, 4)
    assert high.shape == (10, 8)
    assert low[0, 0] == views.low[5, 8]
    assert high[0, 0] == views.high[4, 7]
    assert high[1, 1] == views.high[6, 9]


def test_a_scene_must_be_an_image_of_some_size() -> None:
    with pytest.raises(BurstError, match="without NaN"):
        observe("hole", np.full((20, 20), np.nan), 0.1)
    with pytest.raises(BurstError, match="smaller than two HMI pixels"):
        observe("dot", np.ones((4, 4)), 0.1)

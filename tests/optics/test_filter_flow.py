from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

import wandering
from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN
from heliorestore.optics.convolve import (
    Borders,
    PerPixelSum,
    at_nodes,
    extend,
    interpolate,
)
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.modes import make_basis
from heliorestore.optics.psf import Optics, make_optics, psf
from heliorestore.optics.pupil import Aperture
from one_psf import convolve

CRISP = KNOWN["crisp-8542"]
CASES = [
    ((40, 33), 8),
    ((33, 40), 7),
    ((17, 17), 16),
    ((20, 50), 32),
    ((1, 9), 3),
    ((12, 13), 1),
    ((5, 5), 4),
]
BORDERS: tuple[Borders, ...] = ("reflect", "periodic", "given")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def optics() -> Optics:
    return make_optics(CRISP, 16, 5, dtype=torch.float64)


@pytest.mark.parametrize("borders", BORDERS)
@pytest.mark.parametrize(("shape", "step"), CASES)
def test_equal_modes_everywhere_are_the_invariant_convolution(
    optics: Optics, shape: tuple[int, int], step: int, borders: Borders
) -> None:
    model = FilterFlow(optics=[optics, optics], shape=shape, step=step, borders=borders, node_batch=10)
    objects, modes = random(2, *model.object_shape), random(3, 5, seed=1)
    images = model(objects, modes[:, :, None, None].expand(3, 5, *model.grid))
    expected = torch.stack([convolve(objects, psf(optics, m), borders) for m in modes], dim=1)
    torch.testing.assert_close(images, expected, atol=1e-14, rtol=1e-13)


@pytest.mark.parametrize("borders", BORDERS)
@pytest.mark.parametrize(("shape", "step"), CASES)
def test_is_the_sum_with_psfs_interpolated_between_the_nodes(
    optics: Optics, shape: tuple[int, int], step: int, borders: Borders
) -> None:
    model = FilterFlow(optics=[optics], shape=shape, step=step, borders=borders)
    object_, modes = random(1, *model.object_shape), random(2, 5, *model.grid, seed=1)
    everywhere = interpolate(model.psfs(modes).permute(0, 3, 4, 1, 2), shape, step)
    seen = extend(object_[0], 16, borders).unfold(0, 16, 1).unfold(1, 16, 1).flip(-1, -2)
    expected = torch.einsum("fyxab,abyx->fab", everywhere, seen)
    torch.testing.assert_close(model(object_, modes)[0], expected, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize("borders", BORDERS)
@pytest.mark.parametrize(("shape", "step"), CASES)
def test_adjoint(optics: Optics, shape: tuple[int, int], step: int, borders: Borders) -> None:
    other = make_optics(dataclasses.replace(CRISP, wavelength_nm=630.2), 16, 5, dtype=torch.float64)
    model = FilterFlow(optics=[optics, other, optics], shape=shape, step=step, borders=borders, node_batch=7)
    objects, modes = random(3, *model.object_shape), random(2, 5, *model.grid, seed=1)
    transfer = model.transfer(modes)
    assert len(transfer) == 2
    images = model.apply(objects, transfer)
    torch.testing.assert_close(images, model(objects, modes), atol=1e-13, rtol=1e-12)
    any_ = random(*images.shape, seed=2)
    forward, back = (images * any_).sum(), (objects * model.adjoint(any_, transfer)).sum()
    assert abs(float(forward - back)) < 1e-10 * max(1.0, abs(float(forward)))


@pytest.mark.parametrize("instrument", ["crisp-8542", "hifi-6563"])
@pytest.mark.parametrize("checkpoint", [True, False])
def test_gradients_in_objects_and_modes(instrument: str, checkpoint: bool) -> None:
    known = KNOWN[instrument]
    basis = make_basis(3, Aperture.of(known))
    pair = [make_optics(known, 10, basis, defocus_waves=d, dtype=torch.float64) for d in (0.0, 0.3)]
    model = FilterFlow(
        optics=[pair[0], pair[1], pair[0]], shape=(8, 7), step=4, checkpoint=checkpoint, node_batch=4
    )
    arguments = (random(3, 8, 7).requires_grad_(), random(2, 3, *model.grid, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(model, arguments, fast_mode=True)


def test_gradient_of_the_object_alone_is_the_adjoint(optics: Optics) -> None:
    model = FilterFlow(optics=[optics], shape=(30, 31), step=8)
    object_, modes = random(1, 30, 31).requires_grad_(), random(2, 5, *model.grid, seed=1)
    images = model(object_, modes)
    weights = random(*images.shape, seed=2)
    (images * weights).sum().backward()
    assert object_.grad is not None
    torch.testing.assert_close(
        object_.grad, model.adjoint(weights, model.transfer(modes)), atol=1e-13, rtol=1e-12
    )
    assert modes.grad is None


@pytest.mark.parametrize("batch", [1, 6, 1000])
def test_batches_of_nodes_do_not_change_the_images(optics: Optics, batch: int) -> None:
    whole = FilterFlow(optics=[optics], shape=(40, 50), step=8)
    parts = dataclasses.replace(whole, node_batch=batch)
    object_, modes = random(1, 40, 50), random(3, 5, *whole.grid, seed=1)
    torch.testing.assert_close(parts(object_, modes), whole(object_, modes), atol=1e-14, rtol=1e-13)


def test_objects_come_back_in_their_order_and_share_the_wavefront() -> None:
    basis = make_basis(5, Aperture.of(CRISP))
    red = make_optics(CRISP, 16, basis, dtype=torch.float64)
    blue = make_optics(
        dataclasses.replace(CRISP, wavelength_nm=630.2), 16, basis, reference_nm=854.2, dtype=torch.float64
    )
    model = FilterFlow(optics=[red, blue, red], shape=(20, 20), step=8)
    objects, modes = random(3, 20, 20), random(1, 5, *model.grid, seed=1)
    images = model(objects, modes)
    for k, one in enumerate((red, blue, red)):
        alone = FilterFlow(optics=[one], shape=(20, 20), step=8)(objects[k : k + 1], modes)
        torch.testing.assert_close(images[k : k + 1], alone)


@pytest.mark.parametrize("borders", BORDERS)
def test_psfs_of_several_sizes(optics: Optics, borders: Borders) -> None:
    wide = make_optics(CRISP, 21, 5, dtype=torch.float64)
    model = FilterFlow(optics=[optics, wide], shape=(24, 26), step=8, borders=borders)
    objects, modes = random(2, *model.object_shape), random(2, 5, *model.grid, seed=1)
    images, transfer = model(objects, modes), model.transfer(modes)
    torch.testing.assert_close(
        images[1], FilterFlow(optics=[wide], shape=(24, 26), step=8, borders=borders)(objects[1:], modes)[0]
    )
    # PSFs of 21 pixels see 10 pixels before and 10 behind the image, those of 16 pixels 7 and 8.
    seen = objects[:1, 3:-2, 3:-2] if borders == "given" else objects[:1]
    torch.testing.assert_close(
        images[0], FilterFlow(optics=[optics], shape=(24, 26), step=8, borders=borders)(seen, modes)[0]
    )
    any_ = random(*images.shape, seed=2)
    forward, back = (
        (model.apply(objects, transfer) * any_).sum(),
        (objects * model.adjoint(any_, transfer)).sum(),
    )
    assert abs(float(forward - back)) < 1e-10 * max(1.0, abs(float(forward)))


def test_gradient_in_the_modes_alone(optics: Optics) -> None:
    model = FilterFlow(optics=[optics], shape=(20, 20), step=8)
    object_, modes = random(1, 20, 20), random(2, 5, *model.grid, seed=1)
    alone, both = (modes.clone().requires_grad_() for _ in range(2))
    model(object_, alone).square().sum().backward()
    model(object_.clone().requires_grad_(), both).square().sum().backward()
    assert alone.grad is not None
    torch.testing.assert_close(alone.grad, both.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_device_and_dtype_are_kept(device: str, dtype: torch.dtype) -> None:
    optics = make_optics(CRISP, 16, 5, device=device, dtype=dtype)
    model = FilterFlow(optics=[optics], shape=(24, 24), step=8)
    images = model(
        random(1, 24, 24, dtype=dtype).to(device), random(2, 5, *model.grid, dtype=dtype).to(device)
    )
    assert images.dtype == dtype
    assert images.device.type == device
    assert images.shape == (1, 2, 24, 24)


def test_single_precision_agrees_with_double(optics: Optics) -> None:
    single = FilterFlow(optics=[make_optics(CRISP, 16, 5)], shape=(40, 40), step=8)
    double = FilterFlow(optics=[optics], shape=(40, 40), step=8)
    object_, modes = random(1, 40, 40).abs(), random(1, 5, *double.grid, seed=1)
    torch.testing.assert_close(
        single(object_.float(), modes.float()).double(), double(object_, modes), atol=2e-6, rtol=1e-5
    )


def test_mixed_precision_around_it_does_not_reach_in() -> None:
    model = FilterFlow(optics=[make_optics(CRISP, 16, 5)], shape=(24, 24), step=8)
    object_, modes = random(1, 24, 24).float(), random(1, 5, *model.grid).float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = model(object_, modes)
    images.sum().backward()
    torch.testing.assert_close(images, model(object_, modes))


def test_wrong_shapes_say_what_is_needed(optics: Optics) -> None:
    model = FilterFlow(optics=[optics], shape=(24, 24), step=8, borders="given")
    with pytest.raises(SettingsError, match=r"\(1, 39, 39\)"):
        model(torch.zeros(1, 24, 24), torch.zeros(1, 5, 4, 4))
    with pytest.raises(SettingsError, match=r"\(frame, mode, 4, 4\)"):
        model(torch.zeros(1, 39, 39), torch.zeros(1, 5, 3, 3))
    with pytest.raises(SettingsError, match="made for 5"):
        model(torch.zeros(1, 39, 39), torch.zeros(1, 6, 4, 4))
    with pytest.raises(SettingsError, match="at least"):
        FilterFlow(optics=[], shape=(24, 24))


# -- agreement with the exact sum for a field that varies ----------------------------------------------------


@pytest.mark.parametrize(
    ("strength", "sigma_arcsec", "limits"),
    [(10, 5.0, {32: 5.3e-5, 16: 6.3e-6, 8: 4.9e-7}), (20, 3.0, {32: 1.4e-4, 16: 3.9e-5, 8: 5.8e-6})],
)
def test_agrees_with_the_exact_sum(strength: float, sigma_arcsec: float, limits: dict[int, float]) -> None:
    size = 48
    optics = make_optics(CRISP, 64, 20, dtype=torch.float64)
    object_ = wandering.texture(size)[None]
    modes = wandering.wandering_modes(optics, size, strength, sigma_arcsec / 0.059)
    exact = PerPixelSum(optics=[optics], shape=(size, size))(object_, modes)
    errors = {}
    for step in limits:
        image = FilterFlow(optics=[optics], shape=(size, size), step=step)(object_, at_nodes(modes, step))
        errors[step] = wandering.nmse(image, exact)
    assert all(errors[step] <= limits[step] for step in limits), errors


def test_agrees_with_the_exact_sum_on_simulated_granulation(shared_data: Path) -> None:
    image = fits.getdata(shared_data / "truth" / "mhd_granulation.fits")
    object_ = torch.as_tensor(image[300:364, 500:564].astype("float32"))[None]
    optics = make_optics(CRISP, 64, 44)
    modes = wandering.wandering_modes(optics, 64, 10.0, 5 / 0.059, seed=3)
    exact = PerPixelSum(optics=[optics], shape=(64, 64))(object_, modes)
    approximate = FilterFlow(optics=[optics], shape=(64, 64), step=16)(object_, at_nodes(modes, 16))
    assert wandering.nmse(approximate, exact) < 6.3e-6
    assert wandering.nmse(object_, exact) > 1e-3


@pytest.mark.parametrize("borders", BORDERS)
def test_the_slope_in_the_modes_is_that_of_the_gradient(borders):
    optics = [make_optics(CRISP, 16, 6, dtype=torch.float64)] * 2
    model = FilterFlow(optics=optics, shape=(33, 20), step=8, borders=borders)
    objects = 1 + 0.2 * random(2, *model.object_shape)
    modes = 0.5 * random(3, 6, *model.grid, seed=1)
    images = random(2, 3, 33, 20, seed=2)
    own = modes.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(model(objects, own), (own,), images)
    torch.testing.assert_close(model.slope(objects, modes, images), expected)


def test_images_that_are_missing_are_neither_made_nor_seen():
    torch.manual_seed(0)
    same, other = make_optics(CRISP, 16, 5), make_optics(CRISP, 16, 5)
    # Frames at equal distances and at others, an object without any, and a frame that shows none.
    shown = (
        np.array([[1, 1, 1, 1, 1, 0], [1, 0, 1, 0, 1, 0], [0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0], [0] * 6])
        > 0
    )
    model = FilterFlow(optics=[same, same, same, other, other], shape=(40, 42), step=8, borders="given")
    objects = torch.rand(5, *model.object_shape, requires_grad=True)
    modes = (0.3 * torch.randn(6, 5, *model.grid)).requires_grad_(True)
    mask = torch.from_numpy(shown)[..., None, None]
    wanted = model(objects, modes) * mask
    made = model(objects, modes, shown)
    torch.testing.assert_close(made, wanted)
    images = torch.randn_like(made)
    for found, true in zip(
        *(torch.autograd.grad(m, (objects, modes), images * mask) for m in (made, wanted)), strict=True
    ):
        torch.testing.assert_close(found, true, rtol=1e-4, atol=1e-4 * float(true.abs().max()))
    whole, known = model.transfer(modes), model.transfer(modes, shown)
    assert [len(spectra) for spectra in known] == [5, 1]  # nothing is kept of frames that nobody looks at
    torch.testing.assert_close(model.apply(objects, known, shown), wanted.detach())
    adjoint = model.adjoint(images, known, shown)
    torch.testing.assert_close(adjoint, model.adjoint(images * mask, whole), rtol=1e-4, atol=1e-3)
    assert not adjoint[4].any()
    torch.testing.assert_close(
        model.slope(objects, modes, images, shown),
        model.slope(objects, modes, images * mask),
        rtol=1e-4,
        atol=1e-3,
    )

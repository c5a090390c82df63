import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from torch.utils._python_dispatch import TorchDispatchMode

from heliorestore.errors import SettingsError
from heliorestore.instrument import find
from heliorestore.nets.emulator import BASIS, INSTRUMENTS, MODES, narrow
from heliorestore.optics.convolve import PerPixelSum
from heliorestore.optics.modes import make_basis
from heliorestore.optics.psf import make_optics, psf
from heliorestore.optics.pupil import Aperture
from heliorestore.train.emulator import TRAINER, EmulatorRecipe, EmulatorTask
from heliorestore.train.scenes import SceneFile
from heliorestore.train.textures import cells, points, power_law
from one_psf import convolve

PATCH = 32


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> EmulatorTask:
    """A small task on one scene of smooth structures."""
    folder = tmp_path_factory.mktemp("data")
    frequency = np.hypot(np.fft.fftfreq(120)[:, None], np.fft.fftfreq(120)[None])
    noise = np.fft.fft2(np.random.default_rng(0).standard_normal((120, 120)))
    field = np.fft.ifft2(noise * np.exp(-2 * (np.pi * 2 * frequency) ** 2)).real
    fits.writeto(folder / "scene.fits", (1 + 0.12 * field / field.std()).astype(np.float32))
    scene = SceneFile("scene.fits", 0.06)
    recipe = EmulatorRecipe(
        name="test",
        architecture="emulator-narrow",
        batch=6,
        patch=PATCH,
        margin=16,
        flow_psf=32,
        flow_step=8,
        r0_cm=(20.0, 40.0),
        scenes=0,
        validation_scenes=0,
        files=(scene,),
        validation_files=(scene,),
    )
    return EmulatorTask(recipe, folder)


def changed(task: EmulatorTask, **changes: object) -> EmulatorTask:
    other = object.__new__(EmulatorTask)
    other.__dict__ |= task.__dict__ | {"recipe": dataclasses.replace(task.recipe, **changes)}
    return other


def test_a_batch_is_triples_and_their_images(task: EmulatorTask) -> None:
    (objects, modes, instruments), images = task.batch(np.random.default_rng(1), 6, PATCH)
    assert objects.shape == images.shape == (6, 1, PATCH, PATCH)
    assert modes.shape == (6, MODES, PATCH, PATCH)
    assert instruments.shape == (6, len(INSTRUMENTS))
    assert (instruments.sum(1) == 1).all()
    assert float(objects.min()) >= 0
    assert float(objects.max()) <= 1
    again = task.batch(np.random.default_rng(1), 6, PATCH)[1]
    assert torch.equal(images, again)
    assert not torch.equal(images, task.batch(np.random.default_rng(2), 6, PATCH)[1])


class Waits(TorchDispatchMode):
    """Notes what a GPU would have to be waited for: numbers that Python asks for, and masks whose count
    decides a shape."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operator.overloadpacket.__name__
        masked = name in ("index", "index_put_") and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if name in ("_local_scalar_dense", "nonzero", "equal", "masked_select") or masked:
            self.found.append(name)
        return operator(*args, **(kwargs or {}))


def test_a_step_on_a_gpu_need_not_wait_for_it(task: EmulatorTask) -> None:
    everything = changed(task, points=0.3, textures=0.4, varying=0.25)
    net = narrow()
    with Waits() as waits:
        (objects, modes, instruments), images = everything.batch(np.random.default_rng(0), 8, PATCH)
        everything.loss(net(objects, modes, instruments), images).backward()
    assert waits.found == []
    with waits:
        float(images[images > 0].sum())
    assert waits.found == ["index", "_local_scalar_dense"]


def test_constant_modes_give_the_convolution_of_the_instruments_own_optics(task: EmulatorTask) -> None:
    uniform = changed(task, varying=0.0, r0_cm=(60.0, 60.0), corrected=0.0)
    (objects, modes, instruments), images = uniform.batch(np.random.default_rng(3), 6, PATCH)
    assert (modes == modes[..., :1, :1]).all()
    inner = slice(12, -12)  # what lies beyond the patch only the task knows
    for object_, mode, one, image in zip(objects, modes, instruments, images, strict=True):
        instrument = find(INSTRUMENTS[int(one.argmax())])
        optics = make_optics(instrument, 24, make_basis(MODES, Aperture.of(instrument), BASIS))
        expected = convolve(object_[0], psf(optics, mode[:, 0, 0]))
        scale = float(object_.std())
        torch.testing.assert_close(image[0, inner, inner], expected[inner, inner], rtol=0, atol=0.2 * scale)
        assert float((image[0, inner, inner] - expected[inner, inner]).square().mean().sqrt()) < 0.08 * scale


def test_varying_modes_give_the_exact_sum(task: EmulatorTask) -> None:
    wandering = changed(task, varying=1.0, r0_cm=(60.0, 60.0), corrected=0.0, points=0.0, textures=0.0)
    (objects, modes, instruments), images = wandering.batch(np.random.default_rng(4), 2, PATCH)
    assert torch.equal(objects[0], objects[1])
    assert not torch.equal(modes[0], modes[1])
    assert float(modes.std((-2, -1)).min()) > 0
    instrument = find(INSTRUMENTS[int(instruments[0].argmax())])
    optics = make_optics(instrument, 24, make_basis(MODES, Aperture.of(instrument), BASIS))
    exact = PerPixelSum(optics=[optics], shape=(PATCH, PATCH))(objects[0], modes)[0]
    inner = (slice(None), slice(12, -12), slice(12, -12))
    difference = images[:, 0][inner] - exact[inner]
    assert float(difference.square().mean().sqrt()) < 0.08 * float(objects[0].std())


def test_a_tilt_along_y_moves_the_points_along_y(task: EmulatorTask) -> None:
    crisp = task._turbulence[INSTRUMENTS.index("crisp-8542-paper")]
    sky = torch.zeros(1, 64, 64)
    sky[0, 30, 34] = 1.0
    modes = torch.zeros(1, MODES)
    modes[0, 1] = 3.0  # Noll 3 is the tilt along y: 0.5 lambda/(D p) 4/(2 pi) pixels per radian
    _, _, _, images = task.blurred(crisp, sky, modes)
    rows, columns = (images[0, 0].sum(axis) for axis in (1, 0))
    place = int(rows.argmax()) + task.recipe.margin, int(columns.argmax()) + task.recipe.margin
    pixels = 3.0 * 2 / np.pi * (854.2e-9 / 1.0 * 206265) / 0.059
    assert place == (30 + round(pixels), 34)


def test_the_turbulence_has_the_strength_that_r0_says(task: EmulatorTask) -> None:
    crisp = task._turbulence[INSTRUMENTS.index("crisp-8542-paper")]
    white = torch.randn(4000, MODES, generator=torch.Generator().manual_seed(0))
    modes = crisp.coefficients(torch.full((4000,), 10.0), white, 1.0)
    # Noll (1976): 1.0299 - 0.134 rad^2 are in tilts ... ; the tilts alone have 1.0299 - 0.134 = 0.896
    # (D/r0)^(5/3) together.
    assert float(modes[:, :2].var(0).sum()) == pytest.approx(0.896 * 10 ** (5 / 3), rel=0.05)
    halved = crisp.coefficients(torch.full((4000,), 10.0), white, 0.5)
    torch.testing.assert_close(halved[:, :2], 0.5 * modes[:, :2])
    torch.testing.assert_close(halved[:, 2:], modes[:, 2:])


def test_a_corrected_atmosphere_is_weaker(task: EmulatorTask) -> None:
    generator = torch.Generator().manual_seed(0)
    assert float(changed(task, corrected=0.0)._r0(500, generator).max()) <= 40.0
    weaker = changed(task, corrected=1.0)._r0(500, generator)
    assert float(weaker.median()) > 40.0
    assert float(weaker.min()) >= 20.0


def test_the_loss_is_that_of_eq_11(task: EmulatorTask) -> None:
    targets = torch.zeros(2, 1, 16, 16)
    constant = torch.full_like(targets, 0.3)
    # the squared error, and the light
    assert float(task.loss(constant, targets)) == pytest.approx(0.09 + 0.09)
    ramp = 0.1 * (torch.arange(16) - 7.5).expand_as(targets)
    flat = (14 / 16) ** 2  # Sobel's outermost pixels are 0
    assert float(task.loss(ramp, targets)) == pytest.approx(
        float(ramp.square().mean()) + 10 * 0.01 * flat / 2, rel=1e-4
    )


def test_validation_is_always_the_same_and_says_where_it_is_good(task: EmulatorTask) -> None:
    torch.manual_seed(0)
    net = narrow().eval()
    figures = task.validate(net)
    assert figures == task.validate(net)
    assert set(figures) == {
        "loss",
        "nmse",
        "points",
        *INSTRUMENTS,
        *(f"r0_{r0}_cm" for r0 in (20, 25, 32, 40)),
    }
    record = TRAINER.record(net, task, task.recipe)
    assert record.instrument.split("; ") == list(INSTRUMENTS)
    assert record.quality["nmse"] == pytest.approx(figures["nmse"])


def test_the_rate_is_a_cosine() -> None:
    recipe = EmulatorRecipe(
        name="r", architecture="emulator", steps=100, warmup=0, learning_rate=3e-4, final_rate=6e-5
    )
    assert recipe.rate(0) == pytest.approx(3e-4)
    assert recipe.rate(50) == pytest.approx((3e-4 + 6e-5) / 2)
    assert recipe.rate(100) == pytest.approx(6e-5)
    assert dataclasses.replace(recipe, warmup=10).rate(4) == pytest.approx(0.5 * recipe.rate(4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": 1.5}, "points is 1.5; it is a fraction"),
        ({"r0_cm": (15.0, 3.0)}, "the smaller one first"),
        ({"points": 0.8, "textures": 0.5}, "needs scenes to train on"),
        ({"scenes": 0}, "needs scenes to train on"),
        ({"patch": 50}, "patch is 50"),
    ],
)
def test_mistakes_in_a_recipe_are_said(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        EmulatorRecipe(name="r", architecture="emulator", **changes)


def test_textures_are_from_0_to_1_and_points_keep_off_the_border() -> None:
    generator = torch.Generator().manual_seed(0)
    for images in (power_law(3, 40, generator), cells(3, 40, generator), points(3, 40, generator, margin=8)):
        assert images.shape == (3, 40, 40)
        assert float(images.min()) >= 0
        assert float(images.max()) <= 1
        assert float(images.std((-2, -1)).min()) > 0.01
    sky = points(8, 40, generator, margin=8)
    assert float(sky[:, :6].max()) == 0
    assert int((sky > 0).sum((-2, -1)).min()) >= 2
    assert len(cells(1, 40, generator).unique()) <= 40

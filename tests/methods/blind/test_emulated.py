import copy
from dataclasses import replace

import pytest
import torch

import heliorestore
from blind_bursts import simulate
from heliorestore.diagnose import emulator_error
from heliorestore.diagnose.emulator_error import make_models, turbulence_errors
from heliorestore.errors import SettingsError, WeightsError
from heliorestore.instrument import KNOWN
from heliorestore.methods.blind.emulated import Emulated, Trained, emulated, frozen, load_emulator
from heliorestore.methods.blind.wavefronts import make_wavefronts
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.nets.emulator import INSTRUMENTS, MODES, Emulator
from heliorestore.optics.convolve import interpolate
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.photosphere import photosphere, quiet_sun

CPU = torch.device("cpu")
CRISP = KNOWN["crisp-8542-paper"]
SHAPE, STEP, PSF = (20, 28), 8, 12
KNOWN_TO_NET = tuple(KNOWN[name] for name in INSTRUMENTS)


class Brightened(torch.nn.Module):
    """In place of a network: the object times one plus the first mode times the instrument's number, and a
    little light."""

    width = 4

    def field(self, objects: torch.Tensor, modes: torch.Tensor, instruments: torch.Tensor) -> torch.Tensor:
        assert modes.shape[1] == MODES
        return objects * (1 + modes[:, :1] * instruments.argmax(1)[:, None, None, None]) + 3.0


def brightened(object_: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """Images (frame, y, x) of what that makes of an object with its margins and maps (frame, y, x)."""
    before, behind = (PSF - 1) // 2, PSF // 2
    wide = torch.nn.functional.pad(first[:, None], (before, behind, before, behind), mode="replicate")[:, 0]
    images = object_ * (1 + wide) + 3.0
    return images[:, before : before + SHAPE[0], before : before + SHAPE[1]]


def make(
    net: torch.nn.Module, *, memory_bytes: float = 1e9, instruments=(CRISP,), modes: int = 5
) -> Emulated:
    wavefronts = make_wavefronts(instruments, modes, 10.0, (0.0,) * len(instruments), CPU)
    return emulated(Trained("test", net, KNOWN_TO_NET))(wavefronts.optics(PSF), SHAPE, STEP, memory_bytes)


def tensors(model: Emulated, frames: int = 3, modes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    objects = 1 + 0.2 * torch.randn(
        (len(model.optics), *model.object_shape), generator=generator, dtype=torch.float64
    )
    return objects, torch.randn((frames, modes, *model.grid), generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def net() -> Emulator:
    """A small network whose norms do something."""
    torch.manual_seed(3)
    net = Emulator(2)
    net(torch.randn(4, 1, 32, 32), torch.randn(4, MODES, 32, 32), torch.eye(4))
    return net.double().eval()


def test_the_network_sees_the_object_in_its_place_and_the_modes_at_every_pixel() -> None:
    model = make(Brightened())
    objects, modes = tensors(model)
    expected = brightened(
        objects[0], INSTRUMENTS.index("crisp-8542-paper") * interpolate(modes[:, 0], SHAPE, STEP)
    )[None]
    torch.testing.assert_close(model(objects, modes), expected)
    torch.testing.assert_close(model.apply(objects, model.transfer(modes)), expected)


def test_objects_of_other_wavelengths_share_the_wavefront() -> None:
    model = make(Brightened(), instruments=(CRISP, replace(CRISP, wavelength_nm=617.3)))
    objects, modes = tensors(model)
    maps = interpolate(modes[:, 0], SHAPE, STEP)
    # whose sampling is that of 617.3 nm
    numbers = [INSTRUMENTS.index(name) for name in ("crisp-8542-paper", "chromis-3934-paper")]
    for object_, images, factor in zip(
        objects, model(objects, modes), (numbers[0], numbers[1] * 854.2 / 617.3), strict=True
    ):
        torch.testing.assert_close(images, brightened(object_, factor * maps))


def test_folding_the_norms_changes_nothing(net: Emulator) -> None:
    folded = frozen(copy.deepcopy(net))
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    assert not any(p.requires_grad for p in folded.parameters())
    model, folded_model = make(net), make(folded)
    torch.testing.assert_close(folded_model(*tensors(model)), model(*tensors(model)))


def test_gradients_are_those_of_the_images(net: Emulator) -> None:
    model = make(frozen(copy.deepcopy(net)))
    objects, modes = (tensor.requires_grad_() for tensor in tensors(model, frames=2))
    assert torch.autograd.gradcheck(model, (objects, modes), eps=1e-6, atol=1e-5, fast_mode=True)


def test_few_frames_at_a_time_give_the_same(net: Emulator) -> None:
    whole, single = make(net), make(net, memory_bytes=1.0)
    assert whole._frames_at_once() >= 3
    assert single._frames_at_once() == 1
    found = []
    for model in (whole, single):
        objects, modes = (tensor.requires_grad_() for tensor in tensors(model))
        images = model(objects, modes)
        found.append((images.detach(), *torch.autograd.grad(images.square().sum(), (objects, modes))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_the_emulator_that_comes_along_blurs_as_filter_flow_does_and_not_the_other_way_round(
    name: str,
) -> None:
    instrument = KNOWN[name]
    wavefronts = make_wavefronts([instrument], MODES, 60.0, (0.0,), CPU)
    shape = (64, 80)
    model = emulated(load_emulator("emulator-narrow", CPU))(wavefronts.optics(32), shape, 16, 1e9)
    flow = FilterFlow(optics=wavefronts.optics(32), shape=shape, step=16, borders="given")
    object_ = torch.tensor(quiet_sun(instrument, 111, seed=3), dtype=torch.float32)[
        None, : model.object_shape[0], : model.object_shape[1]
    ]
    white = torch.randn((1, MODES, *model.grid), generator=torch.Generator().manual_seed(5))
    modes = 0.6 * (white[..., :1, :1] + white) * wavefronts.sigmas[:, None, None]
    with torch.no_grad():
        image, right = model(object_, modes), flow(object_, modes)
        swapped = torch.cat([modes[:, [1, 0]], modes[:, 2:]], 1)
        wrong = [
            flow(object_, other)
            for other in (-modes, swapped, modes.flip(-1), modes.flip(-2), torch.zeros_like(modes))
        ]
    error = float((image - right).square().mean())
    assert all(error < 0.4 * float((image - other).square().mean()) for other in wrong)


def test_a_spot_is_no_harder_than_quiet_sun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that sees a whole field less its mean is lost where a spot makes that mean another than its
    surroundings'."""
    monkeypatch.setattr(emulator_error, "_SEEDS", (1,))  # one draw of the air shows it
    models = make_models(load_emulator("emulator-narrow", CPU), CRISP, 64, 64)
    spot = Patch(shape=(models.object_side,) * 2, pixel_arcsec=0.059, scene="sunspot", seed=77)
    quiet, spotted = (
        torch.tensor(image, dtype=torch.float32)
        for image in (quiet_sun(CRISP, models.object_side), photosphere(spot, 854.2))
    )
    assert float(spotted.min()) < 0.4
    found = [turbulence_errors(models, object_, 40.0)["emulator"].of_variance for object_ in (quiet, spotted)]
    assert found[1] < found[0] < 0.06


def test_an_instrument_is_known_by_its_sampling() -> None:
    trained = Trained("test", Emulator(2), KNOWN_TO_NET)
    assert trained.number(replace(CRISP, name="another camera", pixel_arcsec=0.0592)) == 1
    assert trained.number(replace(CRISP, wavelength_nm=630.2)) == 0
    # CHROMIS is 1 % off in sampling, CRISP 6302 2 %
    assert trained.number(replace(CRISP, wavelength_nm=617.3)) == 2
    with pytest.raises(
        SettingsError,
        match=r"not trained for SDO/HMI 6173, D p/lambda = 0\.554: it knows "
        r"SST/CRISP 6302 \(paper\) \(0\.454\)",
    ):
        trained.number(KNOWN["hmi-6173"])
    # the real aperture and a camera's scale: it is taken, and the difference said
    real = replace(KNOWN["crisp-8542"], pixel_arcsec=0.0585)
    assert trained.number(real) == 1
    assert list(trained.messages([CRISP, real, real]))[1:] == [
        "The emulator was trained for SST/CRISP 8542 (paper), 1 m and pixels of 0.059 arcsec; SST/CRISP 8542 "
        "has 0.97 m and 0.0585 arcsec: the emulator's PSFs are 4% too narrow."
    ]
    # GREGOR's sampling without its obscuration
    with pytest.raises(SettingsError, match="not trained for bare"):
        trained.number(replace(KNOWN["hifi-6563"], name="bare", obscuration_m=0.0))


def test_what_it_cannot_do_is_said(net: Emulator) -> None:
    with pytest.raises(SettingsError, match="50 modes, but the emulator knows 44"):
        make(net, modes=50)
    with pytest.raises(SettingsError, match="not linear in the objects: use --optimiser adamw"):
        make(net).adjoint(torch.zeros(1, 1, *SHAPE), torch.zeros(1))
    with pytest.raises(WeightsError, match="of the network enhance-small, not of an emulator"):
        load_emulator("enhance-continuum-small", CPU)


def test_sv_momfbd_restores_with_the_emulator_that_comes_along() -> None:
    case = simulate(size=48, frames=3, modes=10, strength=0.6, varying=0.3, seed=1)
    settings = SvMomfbdSettings.paper(
        forward="emulator", modes=10, psf=16, grid_step=16, r0_cm=20.0, iterations=6
    )
    snapshots = list(heliorestore.stream(case.burst, settings))
    data = [snapshot.losses["data"] for snapshot in snapshots]
    assert data[-1] < 0.7 * data[0]
    assert snapshots[-1].maps["modes"].shape == (3, 10, 4, 4)
    assert snapshots[-1].images.mean() == pytest.approx(case.burst.frames.mean(), rel=0.05)
    assert "the emulator emulator-narrow, sha256" in snapshots[0].messages[-1]  # nothing of another aperture
    # Whatever the optimiser, the network is never taken for a linear model.
    alternating = SvMomfbdSettings(forward="emulator", modes=10, psf=16, grid_step=16, iterations=1)
    assert len(list(heliorestore.stream(case.burst, alternating))) == 1

import copy

import pytest
import torch

from heliorestore.instrument import KNOWN, Instrument
from heliorestore.nets import emulator
from heliorestore.nets.emulator import BASIS, INSTRUMENTS, MODES, Emulator, start_neutral
from heliorestore.optics.modes import make_basis
from heliorestore.optics.psf import make_optics, psf
from heliorestore.optics.pupil import Aperture
from one_psf import convolve

ONE = torch.eye(len(INSTRUMENTS))


@pytest.fixture(scope="module")
def net() -> Emulator:
    torch.manual_seed(0)
    return Emulator(4).double().eval()


def inputs(
    rows: int = 32, columns: int = 48, count: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    objects, modes = (
        torch.randn(count, c, rows, columns, generator=generator, dtype=torch.float64) for c in (1, MODES)
    )
    return objects, modes, ONE[:1].double().expand(count, -1)


def test_it_has_the_papers_size_and_the_published_layers() -> None:
    full = emulator.full()
    assert sum(p.numel() for p in full.parameters()) == 17_295_939
    expected = {
        "outc.conv.weight",
        "outc.conv.bias",
        *(f"film.net.{n}.{kind}" for n in (0, 2, 4, 6) for kind in ("weight", "bias")),
    }
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    pairs = [("inc.double_conv", n) for n in (0, 3)]
    pairs += [(f"up{level}.conv.double_conv", n) for level in (1, 2, 3, 4) for n in (0, 3)]
    pairs += [(f"down{level}.doubleconvfilm.double_conv{n}", 0) for level in (1, 2, 3, 4) for n in (1, 2)]
    for name, place in pairs:
        expected |= {f"{name}.{place}.weight", *(f"{name}.{place + 1}.{part}" for part in norm)}
    assert set(full.state_dict()) == expected == set(emulator.published().state_dict())
    assert full.down4.doubleconvfilm.double_conv1[0].weight.shape == (512, 512, 3, 3)
    assert full.up1.conv.double_conv[3].weight.shape == (256, 512, 3, 3)


@pytest.mark.parametrize("shape", [(16, 16), (37, 50), (64, 33)])
def test_any_size_comes_out_as_it_went_in(net: Emulator, shape: tuple[int, int]) -> None:
    assert net(*inputs(*shape)).shape == (1, 1, *shape)


def test_level_and_unit_of_the_light_do_not_matter(net: Emulator) -> None:
    objects, modes, one = inputs()
    for model in (net, net.field):
        torch.testing.assert_close(
            model(3.0 * objects - 7.0, modes, one), 3.0 * model(objects, modes, one) - 7.0
        )
    flat = torch.full_like(objects, 5.0)
    torch.testing.assert_close(net(flat, modes, one), flat, rtol=1e-4, atol=0)
    net(flat.requires_grad_(), modes, one).sum().backward()
    assert bool(torch.isfinite(flat.grad).all())


@pytest.mark.parametrize("name", INSTRUMENTS)
@pytest.mark.parametrize("axis", [0, 1])
def test_what_is_smooth_moves_as_the_optics_say_whatever_the_network_does(
    net: Emulator, name: str, axis: int
) -> None:
    side = 192
    place = (torch.arange(side, dtype=torch.float64) - 90) / 40
    hill = 1 + torch.exp(-(place[:, None].square() + place[None, :].square()) / 2)
    instrument = KNOWN[name]
    optics = make_optics(
        instrument, 32, make_basis(MODES, Aperture.of(instrument), BASIS), dtype=torch.float64
    )
    modes = torch.zeros(MODES, dtype=torch.float64)
    modes[axis] = 4.0
    expected = convolve(hill, psf(optics, modes))
    silent = copy.deepcopy(net)
    silent.outc["conv"].weight.data.zero_()  # its bias stays, which is as smooth as can be
    one = ONE[INSTRUMENTS.index(name)][None].double()
    maps = modes[None, :, None, None].expand(1, -1, side, side)
    with torch.no_grad():
        image, wrong = (silent.field(hill[None, None], sign * maps, one)[0, 0] for sign in (1, -1))
    inner = (slice(60, -60),) * 2
    errors = [float((found - expected)[inner].square().mean().sqrt()) for found in (image, hill, wrong)]
    assert errors[0] < 0.02  # of the hill's top, not all of which is smooth
    assert errors[1] > 2 * errors[0]
    assert errors[2] > 4 * errors[0]


def test_the_published_network_sees_the_object_over_its_maximum() -> None:
    torch.manual_seed(0)
    net = Emulator(4, relative=False).double().eval()
    objects, modes, one = inputs()
    torch.testing.assert_close(net(3.0 * objects, modes, one), 3.0 * net(objects, modes, one))
    assert not torch.allclose(net(objects + 1.0, modes, one), net(objects, modes, one) + 1.0)
    assert torch.equal(net.field(objects, modes, one), net(objects, modes, one))
    # Its modes have a peak of 1: that of a tilt of unit rms is 2, that of a defocus sqrt(3).
    assert net.mode_scale[:2].tolist() == pytest.approx([2.0, 2.0], rel=1e-4)


def test_the_instrument_acts_through_two_numbers(net: Emulator) -> None:
    objects, modes, _ = inputs(count=2)
    objects, modes = objects[:1].expand(2, -1, -1, -1), modes[:1].expand(2, -1, -1, -1)
    images = net(objects, modes, ONE[1:3].double())
    assert not torch.allclose(images[0], images[1])
    neutral = Emulator(4).double().eval()
    start_neutral(neutral)
    gamma, beta = neutral.film(ONE.double())
    assert (gamma == 1).all()
    assert (beta == 0).all()


def test_the_instruments_are_known() -> None:
    for text in (*INSTRUMENTS, *emulator.PUBLISHED_INSTRUMENTS):
        assert Instrument.parse(text).require()
    assert [KNOWN[name].wavelength_nm for name in INSTRUMENTS] == [630.2, 854.2, 393.4, 656.3]  # table 1

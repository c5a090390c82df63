import itertools

import pytest
import torch
from torch import nn

from heliorestore.nets import mfbd
from heliorestore.nets.mfbd import EncoderDecoder, Recurrent


def awake(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network with weights and statistics that make every layer matter."""
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.bias, 0.0, 0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return net.eval()


@pytest.mark.parametrize(
    ("maker", "count"),
    [(mfbd.encoder_decoder, 3_151_599), (mfbd.encoder_decoder_quarter, 199_047), (mfbd.recurrent, 4_026_069)],
)
def test_the_networks_have_the_published_numbers_of_parameters(maker: object, count: int) -> None:
    assert sum(p.numel() for p in maker().parameters()) == count


def test_their_layers_have_the_published_names_and_shapes() -> None:
    net = mfbd.encoder_decoder().state_dict()
    blocks = [
        "A01",
        *(f"C{level}{n}" for level, n in itertools.product(range(6), (1, 2, 3, 4))),
        "C61",
        "C62",
        "C63",
    ]
    members = (
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
        "bn.num_batches_tracked",
        "conv.weight",
        "conv.bias",
    )
    assert set(net) == {f"{block}.{member}" for block in blocks for member in members} | {
        "C64.weight",
        "C64.bias",
    }
    assert net["C31.conv.weight"].shape == (256, 128, 3, 3)
    assert net["C34.conv.weight"].shape == (256, 256, 1, 1)
    assert net["C63.conv.weight"].shape == (16, 64, 3, 3)
    recurrent = mfbd.recurrent().state_dict()
    assert recurrent["block.A01.conv.weight"].shape == (64, 2, 7, 7)
    assert recurrent["block.B42.weight"].shape == (256, 512, 1, 1)
    assert recurrent["block.C72.conv.weight"].shape == (8, 64, 3, 3)


def test_a_block_normalises_rectifies_doubles_and_convolves() -> None:
    block = mfbd.Block(3, 2, up=True).eval()
    nn.init.uniform_(block.bn.running_mean, -1, 1)
    x = torch.randn(1, 3, 4, 5)
    normal = (x - block.bn.running_mean[:, None, None]) / (block.bn.running_var[:, None, None] + 1e-5).sqrt()
    doubled = normal.clamp(min=0).repeat_interleave(2, -1).repeat_interleave(2, -2)
    padded = nn.functional.pad(doubled, (1, 1, 1, 1), mode="reflect")
    torch.testing.assert_close(block(x), nn.functional.conv2d(padded, block.conv.weight, block.conv.bias))


@pytest.mark.parametrize(
    ("kernel", "stride", "shape"), [(3, 1, (2, 9)), (3, 2, (8, 6)), (7, 1, (4, 11)), (1, 1, (3, 2))]
)
def test_a_block_computes_the_same_without_gradients(
    kernel: int, stride: int, shape: tuple[int, int]
) -> None:
    block = mfbd.Block(3, 5, kernel, stride=stride).eval()
    x = torch.randn(2, 3, *shape)
    with_gradient = block(x)
    with torch.inference_mode():
        torch.testing.assert_close(block(x), with_gradient)


def test_the_eight_orientations_differ_and_are_turned_back() -> None:
    image = torch.arange(6.0).reshape(1, 2, 3)
    seen = {
        tuple(mfbd.turned(image, number).flatten().tolist()) + tuple(mfbd.turned(image, number).shape)
        for number in range(8)
    }
    assert len(seen) == 8
    for number in range(20):
        torch.testing.assert_close(mfbd.turned_back(mfbd.turned(image, number), number), image)


def test_untrained_but_opened_they_give_the_first_frame_and_the_last_estimate() -> None:
    frames = torch.rand(1, 7, 24, 16)
    for net in (EncoderDecoder(kernels=4), Recurrent(kernels=8)):
        mfbd.start_open(net)
        torch.testing.assert_close(net.eval()(frames)[:, :1], frames[:, :1])


def test_the_recurrent_network_takes_any_number_of_frames_and_remembers_them() -> None:
    net = awake(Recurrent(kernels=8))
    frames = torch.rand(2, 5, 16, 24)
    with torch.inference_mode():
        estimates = net(frames)
        assert estimates.shape == (2, 4, 16, 24)
        torch.testing.assert_close(net(frames[:, :3]), estimates[:, :2])
        first, memory = net.block(frames[:, :1], frames[:, 1:2], None)
        torch.testing.assert_close(net.block(first, frames[:, 2:3], memory)[0], estimates[:, 1:2])
        assert not torch.allclose(net.block(first, frames[:, 2:3], None)[0], estimates[:, 1:2], rtol=1e-3)


@pytest.mark.parametrize(
    "net", [EncoderDecoder(kernels=4), Recurrent(kernels=8)], ids=lambda net: type(net).__name__
)
def test_nothing_beyond_the_reach_matters(net: EncoderDecoder | Recurrent) -> None:
    awake(net)
    side = 2 * net.reach + 48
    frames = torch.rand(1, 7 if isinstance(net, EncoderDecoder) else 2, 16, side)
    changed = frames.clone()
    changed[..., : side // 2] += 1
    with torch.inference_mode():
        apart = (net(changed) - net(frames)).abs().amax((0, 1, 2))
    assert float(apart[side // 2 + net.reach :].max()) < 1e-6
    assert float(apart[side // 2 + net.reach - 16 :].max()) > 0  # and the reach is not much too large


def test_the_operations_of_a_gpu_and_of_a_training_give_the_cpu_s_image() -> None:
    """Without a gradient the CPU pads and rectifies at once; a GPU never does."""
    images = torch.rand((1, 7, 32, 32), generator=torch.Generator().manual_seed(0))
    for net in (awake(EncoderDecoder(kernels=4)), awake(Recurrent(kernels=8))):
        with torch.no_grad():
            at_once = net(images)
        torch.testing.assert_close(net(images).detach(), at_once, rtol=1e-3, atol=1e-4)

import pytest
import torch

from heliorestore.nets.enhance import Enhance, full, orientation_spread, sigma_of, small, start_linear


def counts(net: torch.nn.Module) -> tuple[int, int]:
    trainable = sum(p.numel() for p in net.parameters())
    moments = sum(
        b.numel() for name, b in net.named_buffers() if name.endswith(("running_mean", "running_var"))
    )
    return trainable + moments, trainable


def alive(net: Enhance) -> Enhance:
    """Give every norm moments and scales of its own, as training would."""
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.05, 0.5)
    return net.eval()


def test_the_published_network_has_its_published_size() -> None:
    assert counts(full()) == (446_657, 445_249)


def test_the_small_network_is_small() -> None:
    assert counts(small()) == (37_729, 37_537)


@pytest.mark.parametrize("shape", [(2, 2), (7, 12), (33, 16)])
def test_any_size_is_doubled(shape: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert small().eval()(torch.rand(2, 1, *shape)).shape == (2, 1, 2 * shape[0], 2 * shape[1])


@pytest.mark.parametrize("maker", [full, small])
def test_nothing_beyond_reach_matters_and_something_at_reach_does(maker: object) -> None:
    net = alive(maker())
    size = 2 * net.reach + 5
    image = torch.rand(1, 1, size, size)
    other = image.clone()
    other[0, 0, 0] += 5.0
    with torch.inference_mode():
        changed = (net(image) != net(other))[0, 0].any(1)
    last = int(changed.nonzero().max())
    assert last // 2 <= net.reach
    assert last // 2 >= net.reach - 1  # the limit is no larger than it must be


def test_a_tile_with_its_overlap_is_the_whole() -> None:
    net = alive(full())
    image = torch.rand(1, 1, 70, 64)
    with torch.inference_mode():
        whole = net(image)
        tile = net(image[:, :, 20 - net.reach : 50 + net.reach])
    torch.testing.assert_close(
        tile[:, :, 2 * net.reach : -2 * net.reach], whole[:, :, 40:100], rtol=0, atol=1e-5
    )


def test_it_turns_with_the_image_when_its_kernels_do() -> None:
    net = alive(small())
    mirrored = alive(small())
    mirrored.load_state_dict(
        {name: value.flip(-1) if value.ndim == 4 else value for name, value in net.state_dict().items()}
    )
    image = torch.rand(1, 1, 12, 15)
    with torch.inference_mode():
        torch.testing.assert_close(mirrored(image.flip(-1)), net(image).flip(-1), rtol=0, atol=1e-5)


def test_a_linear_start_silences_the_branches() -> None:
    net = full()
    start_linear(net)
    net.eval()
    image = torch.rand(1, 1, 20, 20)
    with torch.inference_mode():
        x = torch.relu(net.first(image))
        shallow = net.out(torch.relu(net.fine(torch.nn.functional.interpolate(x, scale_factor=2.0))))
        torch.testing.assert_close(net(image), shallow)


def test_the_spread_over_orientations_turns_with_the_image() -> None:
    torch.manual_seed(0)
    net, image = small().eval(), torch.randn(1, 1, 9, 12)
    with torch.inference_mode():
        spread = orientation_spread(net, image, signed=True)
        turned = orientation_spread(net, torch.rot90(-image, 1, (-2, -1)).flip(-1), signed=True)
        torch.testing.assert_close(turned, torch.rot90(spread, 1, (-2, -1)).flip(-1), rtol=1e-3, atol=1e-6)
        assert float(spread.min()) > 0
        sigma = sigma_of(net, image, kind="magnetogram", calibration=(0.3, 2.0))
        torch.testing.assert_close(sigma, torch.sqrt(0.09 + 4 * spread**2))
        floor = sigma_of(net, image, kind="continuum", calibration=(0.3, 0.0))
        torch.testing.assert_close(floor, 0.3 * (0.4 + 0.6 * net(image).clamp(0, 1)))

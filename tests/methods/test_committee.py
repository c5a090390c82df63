"""A committee deals all frames, joins tiles without a seam, and knows its mean and spread."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heliorestore.methods.committee import Mean, better, groups
from heliorestore.nets.mfbd import Recurrent
from heliorestore.nets.tile_rows import cuts


@pytest.mark.parametrize("side", [64, 128])
def test_the_recurrent_network_remembers_across_tiles(side: int) -> None:
    torch.manual_seed(0)
    net = Recurrent(kernels=8).double().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    frames = torch.randn(4, 16, 400, dtype=torch.float64)
    whole, tiled = [(frames[0], None)], [(frames[0], None)]
    for frame in frames[1:]:
        whole.append(
            better(
                net, list(cuts((16, 400), slice(0, 16), 400, net.reach)), whole[-1][0], frame, whole[-1][1]
            )
        )
        tiled.append(
            better(
                net, list(cuts((16, 400), slice(0, 16), side, net.reach)), tiled[-1][0], frame, tiled[-1][1]
            )
        )
    torch.testing.assert_close(tiled[1:], whole[1:], rtol=1e-10, atol=1e-10)


@given(count=st.integers(1, 40), size=st.integers(2, 12), seed=st.none() | st.integers(0, 5))
def test_every_frame_is_dealt_and_each_group_is_headed_by_one_of_the_sharpest(
    count: int, size: int, seed: int | None
) -> None:
    order = np.random.default_rng(count).permutation(count)
    dealt = groups(order, size, None if seed is None else np.random.default_rng(seed))
    number = -(-count // size)
    assert [len(group) for group in dealt] == [size] * number
    assert [int(group[0]) for group in dealt] == order[:number].tolist()
    assert set(np.concatenate(dealt).tolist()) == set(range(count))
    if count >= size:
        assert all(len(set(group.tolist())) == size for group in dealt)


def test_the_mean_and_the_spread_of_what_was_added_row_by_row() -> None:
    images = torch.randn(3, 2, 6, 5, dtype=torch.float64) + 100
    mean = Mean(images[0].shape)
    for image in images:
        mean.add(slice(0, 4), image[:, :4])
    mean.add(slice(4, 6), images[0, :, 4:])
    torch.testing.assert_close(mean.mean[:, :4], images[:, :, :4].mean(0))
    torch.testing.assert_close(mean.spread[:, :4], images[:, :, :4].std(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mean.mean[:, 4:], images[0, :, 4:])
    assert float(mean.spread[:, 4:].max()) == 0
    assert mean.count.flatten().tolist() == [3, 3, 3, 3, 1, 1]

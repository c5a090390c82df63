from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heliorestore.errors import SettingsError
from heliorestore.optics.tiles import Tiling, apodisation


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    shape = (draw(st.integers(1, 70)), draw(st.integers(1, 70)))
    tile = draw(st.integers(2, 40))
    overlap = draw(st.integers(0, tile - 1))
    return Tiling(shape, tile, overlap, draw(st.integers(0, overlap // 2)), draw(st.integers(1, 2)))


@given(tilings())
def test_weights_sum_to_one_everywhere(tiling: Tiling) -> None:
    high, wide = (n * tiling.zoom for n in tiling.tile_shape)
    blended = tiling.blend(torch.ones(len(tiling.places()), high, wide, dtype=torch.float64))
    torch.testing.assert_close(blended, torch.ones_like(blended))
    assert blended.shape == (tiling.zoom * tiling.shape[0], tiling.zoom * tiling.shape[1])
    assert float(tiling.weights().min()) >= 0


@given(tilings())
def test_tiles_overlap_as_asked(tiling: Tiling) -> None:
    for axis in (0, 1):
        places = sorted({(place[axis].start, place[axis].stop) for place in tiling.places()})
        assert places[0][0] == 0
        assert places[-1][1] == tiling.shape[axis]
        assert all(
            before[1] - after[0] >= min(tiling.overlap, tiling.tile - 1)
            for before, after in itertools.pairwise(places)
        )


def test_tiles_that_are_cut_out_and_blended_return_the_image() -> None:
    tiling = Tiling((50, 61), 24, 8)
    image = random(3, 50, 61)
    tiles = torch.stack([image[..., rows, columns] for rows, columns in tiling.places()])
    assert tiles.shape == (tiling.grid[0] * tiling.grid[1], 3, 24, 24)
    torch.testing.assert_close(tiling.blend(tiles), image)


def test_margins_weigh_nothing_except_at_the_border() -> None:
    tiling = Tiling((40, 16), 16, 8, 3)
    first, second, last = tiling.weights()[[0, 1, -1]]
    assert float(first[0].min()) == 1
    assert float(first[-3:].max()) == 0
    assert float(second[:3].max()) == float(second[-3:].max()) == 0
    assert float(last[-1].min()) == 1


def test_an_image_smaller_than_a_tile_is_one_tile() -> None:
    tiling = Tiling((7, 30), 16, 4)
    assert tiling.grid == (1, 3)
    assert tiling.tile_shape == (7, 16)


@pytest.mark.parametrize(
    "wrong", [((10, 10), 8, 8, 0), ((10, 10), 8, 4, 3), ((0, 10), 8, 4, 0), ((10, 10), 8, 4, 2, 0)]
)
def test_impossible_tilings(wrong: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError):
        Tiling(*wrong)


def test_apodisation_is_flat_inside_and_falls_at_the_edges() -> None:
    window = apodisation((30, 40), 6, dtype=torch.float64)
    assert float(window[6:-6, 6:-6].min()) == 1
    assert float(window[0].max()) < 0.02
    torch.testing.assert_close(window, window.flip(0, 1))
    torch.testing.assert_close(window[5, 20] + window[0, 20], torch.tensor(1.0, dtype=torch.float64))
    assert float(apodisation((5, 5), 0).min()) == 1
    with pytest.raises(SettingsError, match="0 to 15"):
        apodisation((30, 40), 16)

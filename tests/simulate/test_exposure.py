"""The two roads from a scene to a frame."""

import pytest
import torch

from heliorestore.instrument import KNOWN
from heliorestore.optics.filter_flow import FilterFlow
from heliorestore.optics.psf import make_optics, psf
from heliorestore.simulate.exposure import convolve_everywhere, convolve_per_node, convolve_still
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.photosphere import photosphere
from heliorestore.simulate.view import SimulationSettings, make_view

SIZE, N = 24, 10


def scene(objects: int = 1, size: int = SIZE, n: int = N) -> torch.Tensor:
    return (
        torch.rand(
            (objects, size + 2 * (n // 2), size + 2 * (n // 2)), generator=torch.Generator().manual_seed(1)
        )
        + 0.5
    )


def fixed(psf: torch.Tensor):
    return lambda rows, columns: psf.expand(len(rows), -1, -1)


def asymmetric_psf(n: int = N) -> torch.Tensor:
    psf = torch.rand((n, n), generator=torch.Generator().manual_seed(2))
    return psf / psf.sum()


def test_a_point_in_the_psfs_centre_leaves_the_scene() -> None:
    point = torch.zeros((N, N))
    point[N // 2, N // 2] = 1.0
    inner = scene()[:, N // 2 : N // 2 + SIZE, N // 2 : N // 2 + SIZE]
    torch.testing.assert_close(convolve_still(scene(), point, SIZE), inner)
    torch.testing.assert_close(convolve_everywhere(scene(), fixed(point), SIZE), inner)
    torch.testing.assert_close(convolve_per_node(scene(), fixed(point), SIZE, 7), inner)


def test_light_that_the_psf_throws_to_plus_y_moves_the_image_there() -> None:
    thrown = torch.zeros((N, N))
    thrown[N // 2 + 2, N // 2 - 1] = 1.0
    expected = scene()[:, N // 2 - 2 : N // 2 - 2 + SIZE, N // 2 + 1 : N // 2 + 1 + SIZE]
    torch.testing.assert_close(convolve_still(scene(), thrown, SIZE), expected)


@pytest.mark.parametrize("n", [N, N + 1])
@pytest.mark.parametrize("step", [3, 8, 23, 40])
def test_with_one_psf_everywhere_all_roads_are_the_same(step: int, n: int) -> None:
    objects, psf = scene(2, n=n), asymmetric_psf(n)
    still = convolve_still(objects, psf, SIZE)
    torch.testing.assert_close(convolve_everywhere(objects, fixed(psf), SIZE), still, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        convolve_per_node(objects, fixed(psf), SIZE, step), still, rtol=1e-5, atol=1e-6
    )


def test_psfs_between_the_nodes_are_interpolated_linearly() -> None:
    first, second = asymmetric_psf(), torch.eye(N) / N

    def ramp(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        share = (rows / 30)[:, None, None]
        return first * (1 - share) + second * share

    exact, nodes = convolve_everywhere(scene(), ramp, SIZE), convolve_per_node(scene(), ramp, SIZE, 6)
    torch.testing.assert_close(nodes, exact, rtol=1e-5, atol=1e-6)


def test_the_two_roads_agree_under_a_real_atmosphere() -> None:
    view = make_view(SimulationSettings(size=40, frames=1, psf_size=64), KNOWN["crisp-8542"], 3)
    patch = Patch(shape=(40, 40), pixel_arcsec=0.059, scene="granulation", seed=1, margin=32)
    objects = torch.from_numpy(photosphere(patch)).float()[None]
    exact = convolve_everywhere(objects, lambda rows, columns: view.psfs(0, rows, columns), 40)
    misfit = []
    for step in (16, 8, 4):
        nodes = convolve_per_node(objects, lambda rows, columns: view.psfs(0, rows, columns), 40, step)
        misfit.append(float((nodes - exact).square().mean() / exact.var()))
    assert misfit[1] < 1e-3
    assert misfit[2] < 1e-4
    assert misfit[0] > 3 * misfit[1] > 9 * misfit[2]


def test_the_simulations_operator_is_the_methods_one_where_they_mean_the_same() -> None:
    optics = make_optics(KNOWN["crisp-8542"], 32, 10)
    model = FilterFlow(optics=[optics], shape=(40, 40), step=8, borders="given")
    modes = 0.5 * torch.randn((1, 10, *model.grid), generator=torch.Generator().manual_seed(5))
    at_nodes = psf(optics, modes, 1)[0]
    objects = scene(1, 40, 32)

    def psfs_at(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        return at_nodes[(rows / 8).long(), (columns / 8).long()]

    ours = convolve_per_node(objects, psfs_at, 40, 8)
    torch.testing.assert_close(ours, model(objects[:, 1:, 1:], modes)[:, 0], rtol=1e-4, atol=1e-5)

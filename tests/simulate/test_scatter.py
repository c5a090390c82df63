"""The source-weighted blur against direct sums, its transpose, and the output-weighted one."""

import pytest
import torch

from heliorestore.instrument import KNOWN
from heliorestore.simulate.burst import simulate_burst
from heliorestore.simulate.exposure import convolve_everywhere, convolve_per_node, convolve_still
from heliorestore.simulate.scatter import make_scatter, scatter_everywhere
from heliorestore.simulate.view import SimulationSettings, make_view

SIZE, N = 29, 12
CRISP = KNOWN["crisp-8542"]


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scene(objects: int = 2) -> torch.Tensor:
    return random(objects, SIZE + 2 * (N // 2), SIZE + 2 * (N // 2)) + 0.5


def psfs() -> torch.Tensor:
    """Two PSFs without light in their first row and column, so that they can be turned about their centre."""
    made = torch.zeros((2, N, N), dtype=torch.float64)
    made[:, 1:, 1:] = random(2, N - 1, N - 1, seed=2)
    return made / made.sum((-2, -1), keepdim=True)


def fixed(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return psfs()[0].expand(len(rows), -1, -1)


def ramp(rows: torch.Tensor, columns: torch.Tensor, slope: float = 1 / 64) -> torch.Tensor:
    """PSFs that change linearly over the field (dyadic numbers: exact in float32)."""
    share = (0.5 + slope * (rows.double() + 0.5 * columns.double()))[:, None, None]
    one, other = psfs()
    return one * (1 - share) + other * share


@pytest.mark.parametrize("step", [3, 4, 7, 16])
def test_with_one_psf_everywhere_it_is_a_convolution(step: int) -> None:
    blur = make_scatter(fixed, SIZE, step)
    still = convolve_still(scene(), psfs()[0], SIZE)
    torch.testing.assert_close(blur(scene()), still, rtol=0, atol=1e-12)
    torch.testing.assert_close(scatter_everywhere(scene(), fixed, SIZE), still, rtol=0, atol=1e-12)
    torch.testing.assert_close(blur.response, torch.ones_like(blur.response), rtol=0, atol=1e-12)


@pytest.mark.parametrize("step", [3, 7])
def test_nodes_give_the_direct_sum_where_psfs_change_linearly(step: int) -> None:
    direct = scatter_everywhere(scene(), ramp, SIZE)
    torch.testing.assert_close(make_scatter(ramp, SIZE, step).spread(scene()), direct, rtol=0, atol=1e-12)
    assert (direct - convolve_everywhere(scene(), ramp, SIZE)).abs().max() > 1e-3


def test_light_goes_where_the_psf_of_its_own_place_throws_it() -> None:
    def psfs_at(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Below row 10 the light stays, from there on it goes two rows up and one column to the left."""
        thrown = torch.zeros((len(rows), N, N), dtype=torch.float64)
        far = (rows >= 10).long()
        thrown[torch.arange(len(rows)), N // 2 + 2 * far, N // 2 - far] = 1.0
        return thrown

    point = torch.zeros((1, SIZE + N, SIZE + N), dtype=torch.float64)
    point[0, N // 2 + 10, N // 2 + 8] = 1.0
    for image in (scatter_everywhere(point, psfs_at, SIZE), make_scatter(psfs_at, SIZE, 1).spread(point)):
        assert image[0, 12, 7] == pytest.approx(1.0, abs=1e-12)
        assert float(image.abs().sum()) == pytest.approx(1.0, abs=1e-9)


def test_its_transpose_closes_the_scalar_product() -> None:
    blur, frame = make_scatter(ramp, SIZE, 4), random(2, SIZE, SIZE, seed=3)
    forward = (blur.spread(scene()) * frame).sum()
    torch.testing.assert_close((scene() * blur.transpose(frame)).sum(), forward, rtol=1e-10, atol=0)


def test_scatter_is_the_transpose_of_gather() -> None:
    """Gathering with PSFs turned about their centre sends light back the way it came."""

    def turned(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        # place (row, column) of the padded frame lies N // 2 pixels before that of the scene
        return ramp(rows - N // 2, columns - N // 2).flip(-2, -1).roll((1, 1), (-2, -1))

    frame = random(2, SIZE, SIZE, seed=3)
    side = SIZE + 2 * (N // 2)
    around = torch.nn.functional.pad(frame, (N, N, N, N))
    gathered = convolve_everywhere(around, turned, side)
    forward = (make_scatter(ramp, SIZE, 4).spread(scene()) * frame).sum()
    torch.testing.assert_close((scene() * gathered).sum(), forward, rtol=1e-10, atol=0)
    torch.testing.assert_close(gathered, make_scatter(ramp, SIZE, 4).transpose(frame), rtol=0, atol=1e-12)


@pytest.mark.parametrize("step", [0, 8])
@pytest.mark.parametrize("blur", ["gather", "scatter"])
def test_a_uniform_sun_stays_uniform_behind_any_screen(blur: str, step: int) -> None:
    settings = SimulationSettings(size=32, frames=1, psf_size=48, step=step, blur=blur)
    view = make_view(settings, CRISP, 3)
    uniform = torch.full((1, 80, 80), 0.7)
    torch.testing.assert_close(view.expose(uniform, 0), torch.full((1, 32, 32), 0.7), rtol=1e-4, atol=0)


def test_both_blurs_agree_to_first_order_for_psfs_that_change_slowly() -> None:
    """Half the change of the PSFs over the field makes half the difference, and a small one."""
    apart = []
    for slope in (1 / 256, 1 / 512):

        def slow(rows: torch.Tensor, columns: torch.Tensor, slope: float = slope) -> torch.Tensor:
            return ramp(rows, columns, slope)

        gathered = convolve_per_node(scene(), slow, SIZE, 4)
        apart.append(float((make_scatter(slow, SIZE, 4)(scene()) - gathered).std() / gathered.std()))
    assert 0 < apart[0] < 0.02
    assert apart[0] / apart[1] == pytest.approx(2.0, rel=0.05)


def test_a_burst_of_either_blur_has_the_same_truth_and_another_image() -> None:
    settings = SimulationSettings(size=48, frames=1, objects=1, psf_size=48, noise=0, scene="granulation")
    gathered = simulate_burst(settings, CRISP, seed=3)
    scattered = simulate_burst(settings.replace(blur="scatter"), CRISP, seed=3)
    assert gathered.truth.tobytes() == scattered.truth.tobytes()
    one, other = (simulation.burst.image(0, 0) for simulation in (gathered, scattered))
    assert 1e-3 < (one - other).std() / one.std() < 0.1

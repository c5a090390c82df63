from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from heliorestore.errors import WeightsError
from heliorestore.nets import keras_files, weights
from heliorestore.nets.denoiser import Denoiser, bayes, plain, uncertain
from heliorestore.nets.importing import import_file
from heliorestore.nets.uncertainty import uncertain_image, unlikelihood


def small(**known: object) -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(kernels=4, **known).eval()


def test_the_networks_have_the_layers_of_the_paper() -> None:
    # Tables B.1 and B.2: twelve convolutions and the output, of which two are 2 x 2; then eight and the
    # second output.
    sizes = [
        (1, 32, 3),
        (32, 32, 3),
        (32, 64, 3),
        (64, 64, 3),
        (64, 128, 3),
        (128, 128, 3),
        (128, 64, 2),
        (128, 64, 3),
        (64, 64, 3),
        (64, 32, 2),
        (64, 32, 3),
        (32, 32, 3),
        (32, 1, 1),
    ]
    count = sum(before * after * size**2 + after for before, after, size in sizes)
    assert sum(p.numel() for p in plain().parameters()) == count
    more = (32 * 9 + 32) + 7 * (32 * 32 * 9 + 32) + 33
    assert (
        sum(p.numel() for p in uncertain().parameters())
        == sum(p.numel() for p in bayes().parameters())
        == count + more
    )


@pytest.mark.parametrize("shape", [(8, 8), (9, 30), (31, 26), (40, 44)])
def test_any_size_goes_in_and_comes_out(shape: tuple[int, int]) -> None:
    net = small(channels=3, log_variance=0.0)
    image, log_variance = net.with_variance(torch.randn(2, 3, *shape))
    assert image.shape == log_variance.shape == (2, 3, *shape)
    assert bool((log_variance <= 0).all())


def test_a_network_without_the_second_head_says_so() -> None:
    with pytest.raises(ValueError, match="without a head for the variance"):
        small().with_variance(torch.zeros(1, 1, 8, 8))


def test_nothing_beyond_its_reach_influences_a_pixel() -> None:
    net = small(log_variance=0.0)
    for layer in net.modules():  # every weight counts
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.constant_(layer.weight, 0.3)
    image = torch.rand(1, 1, 96, 96, requires_grad=True)
    far = 0
    for row in range(48, 52):  # the pooling makes four kinds of rows
        gradient = torch.autograd.grad(sum(part[0, 0, row, row] for part in net.with_variance(image)), image)[
            0
        ][0, 0]
        seen = gradient.abs().nonzero()
        far = max(far, int((seen - row).abs().max()))
    assert far <= net.reach
    assert far > net.reach - 8
    assert net.reach % 4 == 0


def test_dropout_works_in_training_and_for_monte_carlo_only() -> None:
    net = small(log_variance=0.0, dropout=0.2)
    image = torch.rand(1, 1, 16, 16)
    assert torch.equal(net(image), net(image))
    net.monte_carlo = True
    assert not torch.equal(net(image), net(image))


def test_both_uncertainties_add_in_squares() -> None:
    net = small(log_variance=-1.0, dropout=0.1)
    image = torch.rand(1, 1, 16, 16)
    torch.manual_seed(1)
    denoised, sigma = uncertain_image(net, image, 12)
    assert torch.equal(denoised, net(image))
    assert not net.monte_carlo
    net.monte_carlo = True
    torch.manual_seed(1)
    with torch.inference_mode():
        passes = [net.with_variance(image) for _ in range(12)]
    images, variances = torch.stack([p for p, _ in passes]), torch.stack([v for _, v in passes]).exp()
    torch.testing.assert_close(sigma, (images.var(0) + variances.mean(0)).sqrt(), rtol=1e-4, atol=1e-6)


def test_the_likelihood_is_that_of_a_gaussian_and_bounded_where_it_would_explode() -> None:
    squares, log_variance = torch.tensor([0.5, 2.0]), torch.tensor([0.3, -1.0])
    gauss = torch.distributions.Normal(torch.zeros(2), (log_variance / 2).exp())
    known = -gauss.log_prob(squares.sqrt()).mean() - 0.5 * np.log(2 * np.pi)
    torch.testing.assert_close(unlikelihood(squares, log_variance), known.float())
    wild = torch.tensor([-200.0], requires_grad=True)
    loss = unlikelihood(torch.tensor([1.0]), wild)
    assert bool(torch.isfinite(loss))
    loss.backward()
    assert float(wild.grad) < 0  # towards larger variances


def test_the_published_network_computes_what_was_published(shared_data: Path, tmp_path: Path) -> None:
    path = import_file(
        shared_data / "weights" / "denoiser_simulation_bayes.hdf5", "published", folder=tmp_path
    )
    net, record = weights.load(str(path))
    assert isinstance(net, Denoiser)
    assert (record.architecture, record.normalisation) == ("denoiser-bayes", "continuum")
    noisy = fits.getdata(shared_data / "denoise" / "synthetic_stokes_noisy.fits").astype(np.float32)
    published = fits.getdata(shared_data / "denoise" / "synthetic_stokes_published_bayes.fits").astype(
        np.float32
    )
    with torch.inference_mode():
        image, log_variance = net.with_variance(torch.from_numpy(noisy)[None, None])
    for ours, theirs in ((log_variance, published[0]), (image, published[1])):
        assert np.linalg.norm(ours[0, 0].numpy() - theirs) < 1e-5 * np.linalg.norm(theirs)


def test_layers_of_keras_are_taken_in_the_order_in_which_they_were_made() -> None:
    net = torch.nn.Sequential(*(torch.nn.Conv2d(1, 1, 1) for _ in range(4)))
    names = ["conv2d_2", "conv2d", "image_output", "conv2d_10"]
    layers = [
        keras_files.KerasLayer(
            name, {"kernel": np.full((1, 1, 1, 1), value, np.float32), "bias": np.zeros(1, np.float32)}
        )
        for value, name in enumerate(names)
    ]
    keras_files.fill(net, layers)
    assert [layer.weight.item() for layer in net] == [1, 0, 3, 2]
    with pytest.raises(WeightsError, match="4 convolutions"):
        keras_files.fill(net[:3], layers)

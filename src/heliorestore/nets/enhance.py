"""Enhance: a residual network that deconvolves an image and doubles its resolution.

Diaz Baso & Asensio Ramos (2018), doi:10.1051/0004-6361/201731344, their Fig. 3. Images are (batch, 1, y, x).
"""

from __future__ import annotations

import torch
from torch import nn

from heliorestore.optics.precision import precisely

CALIBRATION = ("uncertainty_floor", "uncertainty_factor")  # in the record's quality, by `sigma_of`
_BN_EPS = 1e-3  # Keras' default, with which the published networks were trained
_BN_MOMENTUM = 0.01  # Keras' 0.99, counted from the other side


class ResidualBlock(nn.Module):
    """x + BN(conv(ReLU(BN(conv(x))))): no activation after the sum."""

    def __init__(self, kernels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(kernels, kernels), _norm(kernels)
        self.conv2, self.bn2 = _conv(kernels, kernels), _norm(kernels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.add(self.bn2(self.conv2(inner)), x)


class Enhance(nn.Module):
    """Image (batch, 1, y, x) to image (batch, 1, 2 y, 2 x): output pixels [2i, 2i + 1] lie within input pixel
    i.

    Five blocks of 64 kernels are the published network: 446,657 parameters, 445,249 of them trained. The
    layers are in the order in which Keras numbers them, so that published weights load in order.
    """

    def __init__(self, blocks: int = 5, kernels: int = 64) -> None:
        super().__init__()
        self.blocks_count = blocks
        self.first = _conv(1, kernels)
        self.blocks = nn.Sequential(*(ResidualBlock(kernels) for _ in range(blocks)))
        self.last, self.last_bn = _conv(kernels, kernels), _norm(kernels)
        self.fine = _conv(kernels, kernels)
        self.out = nn.Conv2d(kernels, 1, 1)

    @property
    def reach(self) -> int:
        """Input pixels beyond which nothing influences an output pixel: the overlap that tiles need."""
        # One pixel per 3 x 3 convolution: first, two per block, last, and the fine one, of half a pixel,
        # rounded up.
        return 2 * self.blocks_count + 3

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x0 = torch.relu(self.first(images))
        x = self.last_bn(self.last(self.blocks(x0))) + x0
        # Repeated pixels and a convolution instead of a transposed one, which leaves a chequerboard.
        x = torch.relu(self.fine(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")))
        # An intensity of 1 with a contrast of some percent needs more digits than half precision has.
        # A contrast of some percent around 1 needs more digits than half precision has.
        return precisely(self.out, x)


def full() -> Enhance:
    """The published network."""
    return Enhance()


def small() -> Enhance:
    """One block of 32 kernels: a ninth of the arithmetic."""
    return Enhance(blocks=1, kernels=32)


def start_linear(net: Enhance) -> None:
    """Silence the residual branches: training starts from a shallow network and uses the depth when it helps.

    Goyal et al. (2017), arXiv:1706.02677, section 5.1: the last BN of every branch starts with gamma = 0.
    """
    for norm in [net.last_bn, *(block.bn2 for block in net.blocks if isinstance(block, ResidualBlock))]:
        nn.init.zeros_(norm.weight)


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect")


def _norm(kernels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(kernels, eps=_BN_EPS, momentum=_BN_MOMENTUM)


def orientation_spread(net: Enhance, images: torch.Tensor, *, signed: bool) -> torch.Tensor:
    """The standard deviation (batch, 1, 2 y, 2 x) of the results of an image in its eight orientations.

    The Sun has no preferred one, so that results which differ are uncertain; `signed` images come with both
    signs too.
    """
    results = []
    for sign in (1, -1) if signed else (1,):
        for turns in range(4):
            for mirrored in (False, True):
                turned = torch.rot90(sign * images, turns, (-2, -1))
                result = net(turned.flip(-1) if mirrored else turned)
                result = result.flip(-1) if mirrored else result
                results.append(sign * torch.rot90(result, -turns, (-2, -1)))
    return torch.stack(results).std(0)


def sigma_of(
    net: Enhance, images: torch.Tensor, *, kind: str, calibration: tuple[float, float]
) -> torch.Tensor:
    """The standard deviation of the result's error (batch, 1, 2 y, 2 x).

    It has two parts: the spread over orientations times a factor, and a floor, which all orientations miss
    because the telescope does not show it. In a continuum image the floor falls with the light: an umbra has
    less contrast than granulation.
    """
    floor, factor = calibration
    spread = orientation_spread(net, images, signed=kind == "magnetogram")
    share = 0.4 + 0.6 * net(images).clamp(0, 1) if kind == "continuum" else 1.0
    return torch.sqrt((floor * share) ** 2 + (factor * spread) ** 2)

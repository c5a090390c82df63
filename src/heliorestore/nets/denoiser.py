"""Denoiser: a U-Net that removes the noise from images of polarised light, with a second head for its own
uncertainty.

Diaz Baso, de la Cruz Rodriguez & Danilovic (2019), doi:10.1051/0004-6361/201936069, their Fig. 2 and appendix
B. Images are (batch, channel, y, x); a channel is a wavelength.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from heliorestore.optics.precision import precisely

Padding = Literal["reflect", "zeros"]

MULTIPLE = 4  # two halvings
SMALLEST = 8  # pixels: a smaller image has nothing left to reflect after two halvings
DROPOUT = 0.01
_VARIANCE_LAYERS = 8  # of the second head, without pooling


class Denoiser(nn.Module):
    """Noisy images (batch, channel, y, x) of any size to the same without noise.

    The layers are registered in the order in which Keras numbers them, so that published weights load in
    order. With `log_variance` there is a second head of eight convolutions: its log variance is at most
    `log_variance`, in the square of the images' unit. `monte_carlo` keeps the dropout of the training active:
    passes then differ, and their spread is the uncertainty of the weights (section 3.1.1). A `residual`
    network finds the noise and subtracts it, so that a strong signal need not pass through all the layers.
    """

    def __init__(
        self,
        channels: int = 1,
        kernels: int = 32,
        *,
        padding: Padding = "reflect",
        residual: bool = False,
        log_variance: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        n = kernels
        self.channels, self.padding, self.residual, self.highest, self.dropout = (
            channels,
            padding,
            residual,
            log_variance,
            dropout,
        )
        self.monte_carlo = False
        self.fine = nn.ModuleList([_conv(channels, n, padding), _conv(n, n, padding)])
        self.middle = nn.ModuleList([_conv(n, 2 * n, padding), _conv(2 * n, 2 * n, padding)])
        self.coarse = nn.ModuleList([_conv(2 * n, 4 * n, padding), _conv(4 * n, 4 * n, padding)])
        # An even kernel has no centre: `_doubled` pads it below and to the right, as Keras does.
        self.up_middle = nn.Conv2d(4 * n, 2 * n, 2)
        self.to_middle = nn.ModuleList([_conv(4 * n, 2 * n, padding), _conv(2 * n, 2 * n, padding)])
        self.up_fine = nn.Conv2d(2 * n, n, 2)
        self.to_fine = nn.ModuleList([_conv(2 * n, n, padding), _conv(n, n, padding)])
        self.variance = nn.ModuleList()
        if log_variance is not None:
            inputs = [channels] + [n] * (_VARIANCE_LAYERS - 1)
            self.variance.extend(
                [*(_conv(before, n, padding) for before in inputs), nn.Conv2d(n, channels, 1)]
            )
        self.out = nn.Conv2d(n, channels, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                # He et al. (2015): the variance of the signal survives every ReLU.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        # The first outputs are near zero, however large the signals are; the variance starts away from the
        # kink of its modulus.
        for head, bias in zip((self.out, *self.variance[-1:]), (0.0, 2.0), strict=False):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(head.bias, bias)

    @property
    def reach(self) -> int:
        """Pixels beyond which nothing matters to an output pixel, for tiles; a multiple of MULTIPLE."""
        # The kernels' radii times their strides sum to 23, pooling adds 3; rounded up to a multiple of 4.
        return 28

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = _cropped(self._found(_padded(images)), images)
        # The noise is easier to learn than the image: zero is already a fair guess.
        return images - found if self.residual else found

    def with_variance(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The denoised images and the log of the variance of their error."""
        return self(images), self.log_variance(images)

    def log_variance(self, images: torch.Tensor) -> torch.Tensor:
        """The second head alone."""
        if self.highest is None:
            raise ValueError("This network was made without a head for the variance.")
        # In units of the noise signals reach hundreds; for the uncertainty of a pixel only their order of
        # magnitude matters.
        x = self._block(self.variance[:-1], _padded(torch.asinh(images) if self.residual else images))
        # The modulus bounds the log variance from above and leaves a gradient on both sides.
        return _cropped(self.highest - precisely(self.variance[-1], x).abs(), images)

    def _found(self, x: torch.Tensor) -> torch.Tensor:
        # A U-Net: the skips carry the fine detail past the halvings.
        fine = self._block(self.fine, x)
        middle = self._block(self.middle, nn.functional.max_pool2d(fine, 2))
        coarse = self._block(self.coarse, nn.functional.max_pool2d(middle, 2))
        x = self._block(self.to_middle, torch.cat([middle, self._doubled(coarse, self.up_middle)], 1))
        x = self._block(self.to_fine, torch.cat([fine, self._doubled(x, self.up_fine)], 1))
        # Half precision has too few digits for signals of a hundred times the noise.
        return precisely(self.out, x)

    def _block(self, layers: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            x = nn.functional.relu(layer(x), inplace=True)
            x = (
                nn.functional.dropout(x, self.dropout, training=self.training or self.monte_carlo)
                if self.dropout
                else x
            )
        return x

    def _doubled(self, x: torch.Tensor, layer: nn.Conv2d) -> torch.Tensor:
        """Twice the pixels by repetition, then 2 x 2 kernels that reach to the next, as Keras' do."""
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        # One pixel below and to the right: a 2 x 2 kernel takes one pixel off.
        edge = nn.functional.pad(x, (0, 1, 0, 1), mode="reflect" if self.padding == "reflect" else "constant")
        return nn.functional.relu(layer(edge), inplace=True)


def plain() -> Denoiser:
    """The network of the paper's Fig. 2: one image in, one out."""
    return Denoiser()


def residual(channels: int = 1) -> Denoiser:
    """The network of this program without the second head."""
    return Denoiser(channels, residual=True, dropout=DROPOUT)


def uncertain(channels: int = 1) -> Denoiser:
    """The network of this program: the paper's layers, but residual, and the second head.

    Its images are in units of their noise; so is the standard deviation of its error, which is at most 7.4.
    """
    return Denoiser(channels, residual=True, log_variance=4.0, dropout=DROPOUT)


def bayes() -> Denoiser:
    """The published Bayesian network: zeros around the image, log variances below -12, continuum 1."""
    return Denoiser(padding="zeros", log_variance=-12.0, dropout=DROPOUT)


def _conv(before: int, after: int, padding: Padding) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode=padding)


def _padded(images: torch.Tensor) -> torch.Tensor:
    """The images continued by reflection to a size that can be halved twice."""
    rows, columns = images.shape[-2:]
    more = [-n % MULTIPLE for n in (columns, rows)]
    return nn.functional.pad(images, (0, more[0], 0, more[1]), mode="reflect") if any(more) else images


def _cropped(result: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return result[..., : images.shape[-2], : images.shape[-1]]

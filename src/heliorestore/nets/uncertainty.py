"""Uncertainty of a network's image: noise by its second head, and the spread under dropout."""

from __future__ import annotations

import torch

from heliorestore.nets.denoiser import Denoiser

_FAR = 5.0  # sigmas
_LOWEST = -20.0  # log variance, below which its exponential would overflow


def uncertain_image(net: Denoiser, images: torch.Tensor, passes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Denoised images and their standard deviation (batch, channel, y, x): sqrt(epistemic^2 + aleatoric^2),
    section 3.1.1.

    The image is the one without dropout; the spread of `passes` under dropout measures how certain the
    weights are, and the second head of each pass estimates the variance caused by noise.
    """
    with torch.inference_mode():
        denoised = net(images)
        total, squares, aleatoric = (torch.zeros_like(denoised) for _ in range(3))
        net.monte_carlo = True
        try:
            for _ in range(passes):
                image, log_variance = net.with_variance(images)
                # Relative to the image without dropout: sums of large squares would lose the small spread in
                # float32.
                difference = image - denoised
                total += difference
                squares += difference.square()
                aleatoric += torch.exp(log_variance)
        finally:
            net.monte_carlo = False
    mean = total / passes
    # The unbiased variance of the passes; rounding can make it slightly negative.
    epistemic = (squares - passes * mean.square()).clamp(min=0) / max(passes - 1, 1)
    return denoised, torch.sqrt(epistemic + aleatoric / passes)


def unlikelihood(squares: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Equation 1 of the paper: the mean negative log likelihood of squared errors under Gaussians of that
    variance.

    An error of more than five sigmas counts as five: a few wild pixels must not dominate the loss.
    """
    # the value is bounded, the gradient is not: a head that has fallen too low can recover
    known = log_variance + (log_variance.clamp(min=_LOWEST) - log_variance).detach()
    squares = torch.minimum(squares, _FAR**2 * torch.exp(known.detach()))
    return (squares * torch.exp(-known) + log_variance).mean() / 2

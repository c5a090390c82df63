"""Training on the observation itself: input and target are the same place at neighbouring times, with
independent noise (Noise2Noise).

Lehtinen et al. (2018), arXiv:1803.04189; Diaz Baso et al. (2019), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from heliorestore.errors import SettingsError
from heliorestore.nets.denoiser import Denoiser
from heliorestore.nets.uncertainty import unlikelihood
from heliorestore.nets.weights import copied

PATCH = 52  # pixels
BATCH = 10
_SMALLEST = 24
_HELD_OUT = 0.15  # of the columns, on the right: never in a patch
_FEWEST_HELD = 16  # columns
_JUDGED = 6  # pairs of images on which the hold-out loss is measured
_LOADED = 24  # pairs of images that the patches of an epoch come from
_CANDIDATES = 4  # places, of which every other patch takes the one with the strongest signal

Group = tuple[int, ...]  # objects that enter as channels


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of normalised images of a series: `read(group, frame)` gives (channel, y, x), NaN where the pixel
    is bad.

    `strengths` say how much signal each group has; groups with more are shown more often.
    """

    read: Callable[[Group, int], npt.NDArray[np.float32]]
    groups: Sequence[Group]
    strengths: Sequence[float]
    frames: int
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise SettingsError(
                "Training on the observation needs at least two frames, for pairs of neighbouring "
                "times; this burst has one. For a single image use weights that were trained before "
                "(--weights NAME, without --fit)."
            )
        if min(self.shape[0], self.split) < _SMALLEST:
            raise SettingsError(
                f"Images of {self.shape[0]} x {self.shape[1]} pixels are too small to train on; the "
                f"smallest possible are {_SMALLEST} x {_SMALLEST + _FEWEST_HELD}. Apply weights that "
                "were trained before (--weights NAME, without --fit)."
            )

    @property
    def split(self) -> int:
        """The first column that is held out."""
        # One strip, not scattered patches, whose neighbours would give the answer away.
        return self.shape[1] - max(round(_HELD_OUT * self.shape[1]), _FEWEST_HELD)

    @property
    def patch(self) -> int:
        return min(PATCH, self.shape[0], self.split)

    def load(
        self, random: np.random.Generator
    ) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """Pairs of neighbouring times in either order; groups with strong signals are preferred."""
        # Limited on both sides: weak groups are seen too, and one strong group does not crowd out the others.
        chances = np.clip(np.asarray(self.strengths, float), 0.2, 2.0)
        loaded = []
        for _ in range(min(_LOADED, len(self.groups) * (self.frames - 1))):
            group = self.groups[random.choice(len(self.groups), p=chances / chances.sum())]
            frame = int(random.integers(self.frames - 1))
            pair = self.read(group, frame), self.read(group, frame + 1)
            # Noise2Noise needs no order: either image is a noisy observation of the other's Sun.
            loaded.append(pair if random.random() < 0.5 else pair[::-1])
        return loaded

    def batches(self, random: np.random.Generator, patches: int, *, spectral: bool) -> Any:
        """Inputs and targets (batch, channel, y, x) of one epoch."""
        loaded = self.load(random)
        for _ in range(max(1, patches // BATCH)):
            pairs = [
                self._patch(random, loaded[random.integers(len(loaded))], spectral=spectral)
                for _ in range(BATCH)
            ]
            yield tuple(torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))

    def held_out(self) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """The held out columns of some pairs, those of strong groups first: (channel, y, x) each."""
        order = np.argsort(-np.asarray(self.strengths), kind="stable")
        count = min(_JUDGED, len(order) * (self.frames - 1))
        chosen = []
        for number in range(count):
            group = self.groups[order[number % len(order)]]
            frame = (number * (self.frames - 1)) // count
            chosen.append(
                (self.read(group, frame)[..., self.split :], self.read(group, frame + 1)[..., self.split :])
            )
        return chosen

    def _patch(
        self,
        random: np.random.Generator,
        pair: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
        *,
        spectral: bool,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """One place of both images, every other one the strongest of several; randomly turned, mirrored,
        negated and reversed in wavelength.
        """
        side = self.patch
        places = []
        for _ in range(_CANDIDATES if random.random() < 0.5 else 1):
            row, column = (
                int(random.integers(self.shape[0] - side + 1)),
                int(random.integers(self.split - side + 1)),
            )
            places.append(np.s_[..., row : row + side, column : column + side])
        # The product of both images: their independent noise averages out, so only signal can win.
        place = max(places, key=lambda where: float(np.nan_to_num(pair[0][where] * pair[1][where]).sum()))
        # On the Sun all orientations and both signs of a polarisation are equally likely.
        turns, mirror, sign = int(random.integers(4)), random.random() < 0.5, random.choice((-1.0, 1.0))
        backwards = spectral and random.random() < 0.5
        made = []
        for image in pair:
            cut = np.rot90(image[place], turns, (-2, -1))
            cut = cut[..., ::-1] if mirror else cut
            cut = cut[::-1] if backwards else cut
            made.append(np.ascontiguousarray(sign * cut, np.float32))
        return made[0], made[1]


@dataclass
class State:
    """The state of a training: everything that a checkpoint keeps."""

    epoch: int
    net: dict[str, Any]
    optimiser: dict[str, Any]
    best: dict[str, Any]
    best_loss: float = math.inf
    best_epoch: int = 0
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Aim:
    """The loss: `variance` is the noise's in the network's unit; `uncertainty` trains the second head."""

    loss: Literal["L2", "L1"]
    uncertainty: bool
    variance: float

    def of(self, net: Denoiser, noisy: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The mean error against the other noisy image, in units of the noise; its bad pixels do not count.

        The second head learns by equation 1 with sigma^2 = sigma_net^2 + sigma_noise^2, because its target is
        noisy too.
        """
        good = torch.isfinite(other)
        target = torch.where(good, other, 0.0)
        denoised = net(torch.nan_to_num(noisy, nan=0.0)).float()
        error = torch.where(good, denoised - target, 0.0) / self.variance**0.5
        # Turns the means below into means over the good pixels.
        weight = max(float(good.float().mean()), 1e-6)
        total: torch.Tensor = (error.abs() if self.loss == "L1" else error.square()).mean() / weight
        if not self.uncertainty:
            return total
        own = net.log_variance(torch.nan_to_num(noisy, nan=0.0)).float() - math.log(self.variance)
        # softplus(log x) = log(1 + x): the log variance with the target's own noise added. Detached, because
        # the image must not be drawn to where the variance is small.
        return total + unlikelihood(error.detach().square(), nn.functional.softplus(own))


def train_epoch(
    net: Denoiser, optimiser: torch.optim.Optimizer, batches: Any, aim: Aim, device: torch.device
) -> float:
    """Train on all batches once; returns the mean loss."""
    net.train()
    losses = []
    for noisy, other in batches:
        optimiser.zero_grad(set_to_none=True)
        loss = aim.of(net, noisy.to(device, memory_format=torch.channels_last), other.to(device))
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        optimiser.step()
        losses.append(float(loss.detach()))
    net.eval()
    return float(np.mean(losses))


def judge(
    net: Denoiser,
    pairs: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]],
    aim: Aim,
    device: torch.device,
) -> float:
    """The mean loss over held out pairs, in both orders."""
    losses = []
    with torch.inference_mode():
        for pair in pairs:
            one, two = (torch.from_numpy(np.ascontiguousarray(image))[None].to(device) for image in pair)
            # Either image can be the noisy input.
            losses += [float(aim.of(net, one, two)), float(aim.of(net, two, one))]
    return float(np.mean(losses))


def after_epoch(
    state: State, net: Denoiser, optimiser: torch.optim.Optimizer, losses: dict[str, float]
) -> State:
    """The state after one more epoch; the best network is the one with the smallest hold-out loss."""
    after = replace(
        state, epoch=state.epoch + 1, net=net.state_dict(), optimiser=optimiser.state_dict(), losses=losses
    )
    # Later epochs learn the noise of the pairs by heart, which only held out pixels show.
    if losses["hold_out"] >= state.best_loss:
        return after
    return replace(after, best=copied(net), best_loss=losses["hold_out"], best_epoch=after.epoch)

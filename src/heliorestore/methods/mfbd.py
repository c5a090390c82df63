"""MFBD by a trained network: a burst of short exposures in, one restored image out, without a fit of
wavefronts.

Asensio Ramos, de la Cruz Rodriguez & Pastor Yabar (2018), doi:10.1051/0004-6361/201833648. The network gets
the sharpest frame first, and corrects it with the information of all frames.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst, FloatArray
from heliorestore.methods.committee import Frames, Mean
from heliorestore.nets import mfbd_weights, weights
from heliorestore.nets.mfbd import STRIDE, EncoderDecoder, Recurrent
from heliorestore.prepare.observe import Observation, in_words, observe
from heliorestore.quality.metrics import contrast
from heliorestore.settings import Settings, option, weights_option
from heliorestore.snapshot import DATA_UNIT, Map, Snapshot, StopReason

SPREAD = "The committee's spread"
"""The beginning of the message that explains the map `uncertainty`."""


@dataclass(frozen=True, kw_only=True)
class MfbdSettings(Settings):
    """Settings of MFBD by a network."""

    method: ClassVar[str] = "mfbd"

    network: Literal["encoder-decoder", "recurrent"] = option(
        "encoder-decoder",
        help="All frames of a group at once, or one after another, each refining the image.",
    )
    committee: int = option(
        20,
        minimum=1,
        maximum=1000,
        help="Number of restorations, with shuffled and turned frames, that are averaged; their spread "
        "becomes a map.",
    )
    best: int | None = option(
        None,
        minimum=1,
        maximum=10_000,
        help="Use only this many of the sharpest frames; all by default.",
    )
    align: bool = option(True, help="Move the frames by whole pixels onto their mean first.")
    tile: int = option(
        1024,
        unit="px",
        minimum=STRIDE,
        maximum=16_384,
        help="Larger images pass through the network in overlapping tiles of this size; smaller tiles "
        "need less memory.",
    )
    members: bool = option(
        False,
        help="Keep each member of the committee too and, with the recurrent network, its estimate after each "
        "frame.",
    )
    weights: str = weights_option(
        "", of="mfbd", help="Name or file of weights to use instead of the bundled ones."
    )


@dataclass(frozen=True, eq=False)
class _Problem:
    """What is observed, as frames for the network; `values` and `zeros` (object) are the network's unit and
    zero in the burst's unit, `means` (object, 1, 1) those of the frames that are used, `sharpest` is a frame,
    and `error_over_spread` None where nobody measured it.
    """

    observation: Observation
    frames: Frames
    values: npt.NDArray[np.float64]
    zeros: npt.NDArray[np.float64]
    means: torch.Tensor
    sharpest: int
    error_over_spread: float | None

    def in_units_of_burst(self, images: torch.Tensor) -> torch.Tensor:
        """Images (object, ..., y, x) of the network in the burst's unit."""
        shape = (-1, *(1,) * (images.ndim - 1))
        values, zeros = (torch.from_numpy(part).reshape(shape) for part in (self.values, self.zeros))
        return images.double() * values + zeros

    @property
    def recurrent(self) -> bool:
        """Whether frames are taken one after the other, all rows in every step."""
        return isinstance(self.frames.net, Recurrent)

    def with_means(self, images: torch.Tensor) -> torch.Tensor:
        """The factors (object, 1, 1) that give images (object, y, x) the mean of the frames."""
        # Atmosphere and telescope conserve the mean of a field, networks do not.
        return self.means / images.mean((1, 2), keepdim=True)

    def without_bad(self, images: torch.Tensor) -> FloatArray:
        """Images (object, y, x) with NaN where no frame has a value."""
        array: FloatArray = self.observation.where_seen(images).float().numpy()
        return array


class MfbdMethod:
    """The method as `methods.base` loads it."""

    name = MfbdSettings.method
    settings = MfbdSettings

    def stream(
        self,
        burst: Burst,
        settings: MfbdSettings,
        *,
        device: torch.device,
        seed: int,
        start: Snapshot | None = None,
    ) -> Generator[Snapshot, MfbdSettings | None, None]:
        """Yield a snapshot per member of the committee and row of tiles, or per frame if recurrent."""
        began = time.perf_counter()
        problem, messages = prepare(burst, settings, device)
        random = np.random.default_rng(seed)
        mean = Mean(problem.frames.sharpest.shape, keep=settings.members)
        total = problem.frames.steps(settings.committee)
        estimates: list[torch.Tensor] = []
        for step, shown in enumerate(problem.frames.restored(mean, settings.committee, random), 1):
            # One per frame after the first; then come the other members.
            if settings.members and problem.recurrent and step < max(2, len(problem.frames.order)):
                estimates.append(shown)
            snapshot = _snapshot(problem, mean, shown, step, total, messages, time.perf_counter() - began)
            if step == total:
                more = _kept(problem, mean, estimates)
                snapshot = dataclasses.replace(snapshot, maps={**snapshot.maps, **more})
            yield snapshot


METHOD = MfbdMethod()


def prepare(burst: Burst, settings: MfbdSettings, device: torch.device) -> tuple[_Problem, tuple[str, ...]]:
    """Normalise, align and sort the frames and choose the network, with messages for the user."""
    net, record, messages = mfbd_weights.fitting(burst.instruments[0], settings.network, settings.weights)
    observation = observe(burst, torch.device("cpu"), align=settings.align)
    messages += in_words(burst, observation)
    observed = observation.read().images  # (object, frame, y, x)
    order = _sharpest_first(observed)[: settings.best]
    if settings.best is not None and len(order) < observation.frames:
        numbers = sorted(burst.frame_numbers[observation.selection.used[frame]] for frame in order)
        messages.append(
            f"The {len(order)} sharpest frames of {burst.shape[1]} were used: {', '.join(map(str, numbers))}."
        )
    times = record.quality.get("error_over_spread")
    if settings.committee > 1:
        messages.append(_about_spread(times))
    needed = net.frames if isinstance(net, EncoderDecoder) else 2
    if len(order) < needed:
        messages.append(
            f"The network takes {needed} frames and there are {len(order)}: some were used twice."
        )
    units = [
        mfbd_weights.unit(record, float(scale), contrast(image[order[0]].numpy()))
        for scale, image in zip(observation.scales, observed, strict=True)
    ]
    offsets, factors = (np.array(part) for part in zip(*units, strict=True))
    frames = (observed - _each(offsets)) * _each(factors)
    taken = np.sort(order) if mfbd_weights.in_order_of_arrival(record) else order
    # Mirrored up to a size that the network can halve three times.
    down, right = (-n % STRIDE for n in observation.shape)
    padded = torch.nn.functional.pad(frames, (0, right, 0, down), mode="reflect").to(device)
    weights.place(net, device)
    scales = observation.scales.double().numpy()
    seen = Frames(padded, taken, net, settings.tile // STRIDE * STRIDE)
    # numbers, so that no frame comes back from the device
    of_used = observed[:, torch.from_numpy(taken)].mean((1, 2, 3), dtype=torch.float64)
    means = (torch.from_numpy(scales) * of_used)[:, None, None]
    problem = _Problem(observation, seen, scales / factors, scales * offsets, means, int(order[0]), times)
    return problem, tuple(messages)


def _about_spread(times: float | None) -> str:
    """A message: the committee's spread is no map of errors."""
    measured = (
        f"on the bursts that the weights were validated with, the error is {times:.0f} times the spread, and "
        "the map is multiplied by that"
        if times
        else "the ratio of error to spread was not measured for these weights, so that the map is no "
        "uncertainty"
    )
    return (
        f"{SPREAD} says where the members of the committee disagree, not how far they are all wrong: "
        f"{measured}."
    )


def _snapshot(
    problem: _Problem,
    mean: Mean,
    shown: torch.Tensor,
    step: int,
    total: int,
    messages: tuple[str, ...],
    elapsed_s: float,
) -> Snapshot:
    """The result so far in the burst's units; unfinished parts show the sharpest frame."""
    inner, (rows, _) = _inner(problem), problem.observation.shape
    # Means are known, and can be compared, once every row has been restored.
    whole = problem.recurrent or bool(mean.count.all())
    restored = shown if whole else torch.where(mean.count > 0, shown, problem.frames.sharpest.cpu())
    images = problem.in_units_of_burst(restored[inner])
    gains = problem.with_means(images) if whole else torch.ones(len(images), 1, 1, dtype=torch.float64)
    maps: dict[str, Map] = {}
    if len(problem.frames.bands) > 1 and not problem.recurrent:
        done = (mean.count[:rows] > 0).expand(images.shape)
        maps["coverage"] = Map(done.float().numpy())
    spread = None
    if bool((mean.count > 1).any()):
        # The committee's spread scales as its images do.
        spread = (mean.spread[inner] * _each(problem.values)[:, 0] * gains).float().numpy()
        times = problem.error_over_spread
        shown_spread = (spread * np.float32(times or 1.0)).astype(np.float32)
        maps["uncertainty" if times else "spread"] = Map(shown_spread, unit=DATA_UNIT)
    result = problem.without_bad(images * gains)
    return Snapshot(
        step=step, total=total, images=result, maps=maps, messages=messages, elapsed_s=elapsed_s,
        losses=_losses(problem, result, spread), stop=StopReason.DONE if step == total else None,
    )  # fmt: skip


def _inner(problem: _Problem) -> tuple[slice, slice, slice]:
    """The part of an image (object, y, x) of the network that is the burst's."""
    rows, columns = problem.observation.shape
    return slice(None), slice(0, rows), slice(0, columns)


def _kept(problem: _Problem, mean: Mean, estimates: list[torch.Tensor]) -> dict[str, Map]:
    """The members of the committee and the recurrent network's estimates, in the burst's unit, if kept."""
    inner, maps = _inner(problem), {}
    if mean.members:
        # With the gain of their mean: so they are what was averaged.
        gains = problem.with_means(problem.in_units_of_burst(mean.mean[inner]))
        members = [
            problem.without_bad(problem.in_units_of_burst(member[inner]) * gains) for member in mean.members
        ]
        maps["members"] = Map(np.stack(members, 1), ("object", "member", "y", "x"), DATA_UNIT)
    if estimates:
        images = [problem.in_units_of_burst(estimate[inner]) for estimate in estimates]
        scaled = [problem.without_bad(image * problem.with_means(image)) for image in images]
        maps["estimates"] = Map(np.stack(scaled, 1), ("object", "estimate", "y", "x"), DATA_UNIT)
    return maps


def _losses(problem: _Problem, images: FloatArray, spread: FloatArray | None) -> dict[str, float]:
    """Contrast gained over the sharpest frame, and the committee's spread over the mean."""
    sharpest = slice(problem.sharpest, problem.sharpest + 1)
    best = problem.observation.read(sharpest).images[:, 0].numpy()
    losses = {
        "contrast_gain": float(
            np.mean(
                [
                    contrast(image) / max(contrast(frame), 1e-12)
                    for image, frame in zip(images, best, strict=True)
                ]
            )
        )
    }
    if spread is not None:
        spreads = [
            np.sqrt(np.mean(np.square(own))) / np.nanmean(image)
            for own, image in zip(spread, images, strict=True)
        ]
        losses["spread"] = float(np.mean(spreads))
    return losses


def _sharpest_first(images: torch.Tensor) -> npt.NDArray[np.int64]:
    """Numbers of the frames by decreasing contrast; all objects, observed simultaneously, share the order.

    So do the states of a polarimetric modulation.
    """
    # Relative to each object's mean contrast, so that none of them dominates the order.
    contrasts = np.array([[contrast(frame) for frame in frames] for frames in images.numpy()])
    return np.argsort(-(contrasts / contrasts.mean(1, keepdims=True).clip(1e-12)).mean(0), kind="stable")


def _each(values: npt.NDArray[np.float64]) -> torch.Tensor:
    """A number per object (object, 1, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None]

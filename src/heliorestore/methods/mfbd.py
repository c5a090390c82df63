"""MFBD by a trained network: a burst of short exposures in, one restored image out, without a fit of
wavefronts.

Asensio Ramos, de la Cruz Rodriguez & Pastor Yabar (2018), doi:10.1051/0004-6361/201833648. The network gets
the sharpest frame first, and corrects it with the information of all frames.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import SettingsError
from heliorestore.nets import mfbd_weights, weights
from heliorestore.nets.mfbd import REMEMBERED, STRIDE, EncoderDecoder, Memory, Recurrent, turned, turned_back
from heliorestore.nets.mfbd_weights import Net
from heliorestore.nets.tile_rows import Cut, cuts, restored_rows
from heliorestore.prepare.observe import Observation, observe, preparation
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
    weights: str = weights_option(
        "", of="mfbd", help="Name or file of weights to use instead of the bundled ones."
    )


@dataclass(frozen=True, eq=False)
class _Problem:
    """Frames (object, frame, y, x) in the network's unit, padded to its stride; `order` (frame) begins with
    the sharpest.

    `values` and `zeros` (object) are the network's unit and zero in the burst's unit.
    """

    observation: Observation
    frames: torch.Tensor
    order: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    zeros: npt.NDArray[np.float64]
    net: Net
    side: int

    @property
    def bands(self) -> list[slice]:
        """Rows of tiles."""
        return bands(int(self.frames.shape[-2]), self.side)

    def in_units_of_burst(self, images: torch.Tensor) -> torch.Tensor:
        """Images (object, ..., y, x) of the network in the burst's unit."""
        shape = (-1, *(1,) * (images.ndim - 1))
        values, zeros = (torch.from_numpy(part).reshape(shape) for part in (self.values, self.zeros))
        return images.double() * values + zeros

    def means(self) -> torch.Tensor:
        """Means (object, 1, 1) of the frames that are used, in the burst's unit."""
        rows, columns = self.observation.shape
        used = self.frames[:, torch.from_numpy(self.order), :rows, :columns].cpu()
        return self.in_units_of_burst(used).mean((1, 2, 3))[:, None, None]


@dataclass(eq=False)
class _Mean:
    """Mean and spread of the images (object, y, x) that are added row by row."""

    shape: torch.Size
    total: torch.Tensor = field(init=False)
    squares: torch.Tensor = field(init=False)
    count: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.total, self.squares = (
            torch.zeros(self.shape, dtype=torch.float64),
            torch.zeros(self.shape, dtype=torch.float64),
        )
        self.count = torch.zeros(self.shape[1], 1)

    def add(self, rows: slice, images: torch.Tensor) -> None:
        """Add images (object, some of the rows, x)."""
        self.total[:, rows] += images
        self.squares[:, rows] += images.double().square()
        self.count[rows] += 1

    @property
    def mean(self) -> torch.Tensor:
        return self.total / self.count.clamp(min=1)

    @property
    def spread(self) -> torch.Tensor:
        """Standard deviation (object, y, x) of one member; zero where there are fewer than two."""
        variance = (self.squares - self.total.square() / self.count.clamp(min=1)) / (self.count - 1).clamp(
            min=1
        )
        return variance.clamp(min=0).sqrt()


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
        mean = _Mean(problem.frames[:, 0].shape)
        passes = _recurrent if isinstance(problem.net, Recurrent) else _at_once
        total = settings.committee * len(problem.bands)
        if isinstance(problem.net, Recurrent):
            total = settings.committee - 1 + max(1, len(problem.order) - 1)
        for step, shown in enumerate(passes(problem, mean, settings.committee, random), 1):
            yield _snapshot(problem, mean, shown, step, total, messages, time.perf_counter() - began)


METHOD = MfbdMethod()


def prepare(burst: Burst, settings: MfbdSettings, device: torch.device) -> tuple[_Problem, tuple[str, ...]]:
    """Normalise, align and sort the frames and choose the network, with messages for the user."""
    if min(burst.shape[2:]) < 2 * STRIDE:
        raise SettingsError(
            f"The frames have {burst.shape[2]} x {burst.shape[3]} pixels; the network needs at least "
            f"{2 * STRIDE} x {2 * STRIDE}."
        )
    net, record, messages = mfbd_weights.fitting(burst.instruments[0], settings.network, settings.weights)
    observation = observe(burst, torch.device("cpu"), align=settings.align)
    messages += preparation(burst, observation)
    observed = observation.read().images  # (object, frame, y, x)
    order = _sharpest_first(observed)[: settings.best]
    if settings.best is not None and len(order) < observation.frames:
        numbers = sorted(burst.frame_range[observation.selection.used[frame]] for frame in order)
        messages.append(
            f"The {len(order)} sharpest frames of {burst.shape[1]} were used: {', '.join(map(str, numbers))}."
        )
    if settings.committee > 1:
        messages.append(_about_spread(record))
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
    # Mirrored up to a size that the network can halve three times.
    down, right = (-n % STRIDE for n in observation.shape)
    padded = torch.nn.functional.pad(frames, (0, right, 0, down), mode="reflect").to(device)
    weights.place(net, device)
    scales = observation.scales.double().numpy()
    values = scales / factors
    zeros = scales * offsets
    side = settings.tile // STRIDE * STRIDE
    return _Problem(observation, padded, order, values, zeros, net, side), tuple(messages)


def _about_spread(record: weights.WeightsRecord) -> str:
    """A message: the map of the committee's spread is not a map of errors."""
    times = record.quality.get("error_over_spread")
    measured = (
        f"on the bursts that the weights were validated with, the error is {times:.0f} times the spread"
        if times
        else ""
    )
    return (
        f"{SPREAD} says where the members of the committee disagree, not how far they are all wrong: "
        f"{measured or 'the ratio of error to spread was not measured for these weights'}."
    )


def bands(rows: int, side: int) -> list[slice]:
    """Parts of at most `side` rows."""
    return [slice(top, min(top + side, rows)) for top in range(0, rows, side)]


def groups(
    order: npt.NDArray[np.int64], size: int, random: np.random.Generator | None
) -> list[npt.NDArray[np.int64]]:
    """Divide frames, the sharpest first, into groups of `size`, each led by one of the sharpest; `random`
    shuffles the others.

    An incomplete group is filled with the sharpest frames that it lacks, a short burst with repetitions of
    its own frames.
    """
    count = math.ceil(len(order) / size)
    leaders, rest = order[:count], order[count:]
    rest = rest if random is None else random.permutation(rest)
    # Dealt like cards, so that every group gets sharper and more blurred frames.
    dealt = [np.concatenate([leaders[n : n + 1], rest[n::count]]) for n in range(count)]
    filled = [np.concatenate([group, order[~np.isin(order, group)]])[:size] for group in dealt]
    return [np.resize(group, size) for group in filled]


def _at_once(
    problem: _Problem, mean: _Mean, committee: int, random: np.random.Generator
) -> Iterator[torch.Tensor]:
    """Restore groups of frames in one pass each; yields the mean so far after every row of tiles."""
    net = problem.net
    assert isinstance(net, EncoderDecoder)
    for member in range(committee):
        # The first member keeps the order of sharpness; the others shuffle all but the leaders.
        dealt = groups(problem.order, net.frames, random if member else None)
        for band in problem.bands:
            parts = []
            for frames in problem.frames:
                restored = [_through(problem, frames[group][None], band, member) for group in dealt]
                parts.append(torch.stack(restored).mean(0))
            mean.add(band, torch.stack(parts))
            yield mean.mean


def _through(problem: _Problem, frames: torch.Tensor, band: slice, orientation: int) -> torch.Tensor:
    """The rows `band` (y, x) restored from frames (1, frame, y, x) that the network sees turned."""
    net = problem.net

    def see(tile: torch.Tensor) -> torch.Tensor:
        # A network is not exactly invariant under rotation, so every orientation makes another member.
        return turned_back(net(turned(tile, orientation)), orientation)

    with torch.autocast(frames.device.type, torch.bfloat16, enabled=frames.is_cuda):
        return restored_rows(see, frames, band, side=problem.side, reach=net.reach)[0, 0].float().cpu()


def _recurrent(
    problem: _Problem, mean: _Mean, committee: int, random: np.random.Generator
) -> Iterator[torch.Tensor]:
    """Refine an estimate frame by frame and yield each one; further members, with the frames in another
    order, yield only their last.
    """
    order = np.resize(problem.order, max(2, len(problem.order)))
    for member in range(committee):
        shuffled = order if member == 0 else np.concatenate([order[:1], random.permutation(order[1:])])
        for number, estimate in enumerate(_refined(problem, shuffled, member), 2):
            last = number == len(shuffled)
            if last:
                mean.add(slice(None), estimate)
            if member == 0 or last:
                yield mean.mean if last else estimate


def _refined(problem: _Problem, order: npt.NDArray[np.int64], orientation: int) -> Iterator[torch.Tensor]:
    """The estimate (object, y, x) after every frame but the first, all in one orientation."""
    net, frames = problem.net, turned(problem.frames, orientation)
    assert isinstance(net, Recurrent)
    shape = int(frames.shape[-2]), int(frames.shape[-1])
    tiles = [
        cut for band in bands(shape[0], problem.side) for cut in cuts(shape, band, problem.side, net.reach)
    ]
    # The first pass has nothing to remember.
    memories: list[Memory | None] = [None] * len(frames)
    current = frames[:, int(order[0])]
    for frame in order[1:]:
        estimates = []
        for object_, image in enumerate(frames[:, int(frame)]):
            # Each object has its own memory: the network restores single images.
            estimate, memories[object_] = better(net, tiles, current[object_], image, memories[object_])
            estimates.append(estimate)
        current = torch.stack(estimates)
        yield turned_back(current, orientation).cpu()


def better(
    net: Recurrent, tiles: list[Cut], current: torch.Tensor, frame: torch.Tensor, memory: Memory | None
) -> tuple[torch.Tensor, Memory]:
    """One pass over an image (y, x) by tiles: the better estimate, and the image's memory for the next."""
    seen, estimate = torch.stack([current, frame])[:, None, None], torch.empty_like(current)
    kept: list[torch.Tensor] = []
    with torch.inference_mode(), torch.autocast(frame.device.type, torch.bfloat16, enabled=frame.is_cuda):
        for cut in tiles:
            small = [cut.smaller(each) for each in REMEMBERED]
            read = (
                None
                if memory is None
                else tuple(part[(..., *each.read)] for part, each in zip(memory, small, strict=True))
            )
            restored, left = net.block(*seen[(..., *cut.read)], read)
            estimate[cut.write] = restored[0, 0].to(estimate.dtype)[cut.inner]
            if not kept:
                kept = [
                    part.new_empty((1, part.shape[1], *(n // each for n in frame.shape)))
                    for part, each in zip(left, REMEMBERED, strict=True)
                ]
            for whole, part, each in zip(kept, left, small, strict=True):
                whole[(..., *each.write)] = part[(..., *each.inner)]
    return estimate, (kept[0], kept[1], kept[2])


def _snapshot(
    problem: _Problem,
    mean: _Mean,
    shown: torch.Tensor,
    step: int,
    total: int,
    messages: tuple[str, ...],
    elapsed_s: float,
) -> Snapshot:
    """The result so far in the burst's units; unfinished parts show the sharpest frame."""
    rows, columns = problem.observation.shape
    inner = (slice(None), slice(0, rows), slice(0, columns))
    # Means are known, and can be compared, once every row has been restored.
    whole = bool(mean.count.all()) or isinstance(problem.net, Recurrent)
    restored = (
        shown if whole else torch.where(mean.count > 0, shown, problem.frames[:, int(problem.order[0])].cpu())
    )
    images = problem.in_units_of_burst(restored[inner])
    # Atmosphere and telescope conserve the mean of a field, networks do not: it is that of the frames again.
    gains = (
        problem.means() / images.mean((1, 2), keepdim=True)
        if whole
        else torch.ones(len(images), 1, 1, dtype=torch.float64)
    )
    maps: dict[str, Map] = {}
    if len(problem.bands) > 1 and not isinstance(problem.net, Recurrent):
        done = (mean.count > 0).expand(mean.shape[1:])[:rows, :columns].expand(images.shape)
        maps["coverage"] = Map(done.float().numpy())
    if bool((mean.count > 1).any()):
        # The committee's spread scales as its images do.
        spread = mean.spread[inner] * _each(problem.values)[:, 0] * gains
        maps["uncertainty"] = Map(spread.float().numpy(), unit=DATA_UNIT)
    counts = problem.observation.counts
    images = images * gains if counts is None else torch.where(counts == 0, math.nan, images * gains)
    result = images.float().numpy()
    return Snapshot(
        step=step, total=total, images=result, maps=maps, messages=messages, elapsed_s=elapsed_s,
        losses=_losses(problem, result, maps), stop=StopReason.DONE if step == total else None,
    )  # fmt: skip


def _losses(problem: _Problem, images: FloatArray, maps: Mapping[str, Map]) -> dict[str, float]:
    """Contrast gained over the sharpest frame, and the committee's spread over the mean."""
    sharpest = int(problem.order[0])
    best = problem.observation.read(slice(sharpest, sharpest + 1)).images[:, 0].numpy()
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
    if "uncertainty" in maps:
        spreads = [
            np.sqrt(np.mean(np.square(spread))) / np.nanmean(image)
            for spread, image in zip(maps["uncertainty"].array, images, strict=True)
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

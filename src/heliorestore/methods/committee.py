"""A committee of restorations by one network: how its members see the frames, and their mean and spread."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.nets.mfbd import REMEMBERED, EncoderDecoder, Memory, Recurrent, turned, turned_back
from heliorestore.nets.mfbd_weights import Net
from heliorestore.nets.tile_rows import Cut, cuts, restored_rows
from heliorestore.optics.precision import half


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames (object, frame, y, x) in the unit of a network, padded to its stride, which pass through it in
    tiles of `side` pixels; `order` (frame) begins with the sharpest.
    """

    images: torch.Tensor
    order: npt.NDArray[np.int64]
    net: Net
    side: int

    @property
    def bands(self) -> list[slice]:
        """Rows of tiles."""
        rows = int(self.images.shape[-2])
        return [slice(top, min(top + self.side, rows)) for top in range(0, rows, self.side)]

    @property
    def sharpest(self) -> torch.Tensor:
        """The sharpest frame (object, y, x)."""
        return self.images[:, int(self.order[0])]

    def restored(self, mean: Mean, committee: int, random: np.random.Generator) -> Iterator[torch.Tensor]:
        """Add the restorations of a committee to their mean; yields what can be shown in between."""
        passes = _recurrent if isinstance(self.net, Recurrent) else _at_once
        return passes(self, mean, committee, random)

    def steps(self, committee: int) -> int:
        """How often `restored` yields."""
        if isinstance(self.net, Recurrent):
            return committee - 1 + max(1, len(self.order) - 1)
        return committee * len(self.bands)


class Mean:
    """Mean and spread of images (object, y, x) that are added row by row; `keep` keeps these `members`."""

    def __init__(self, shape: torch.Size, *, keep: bool = False) -> None:
        self._total = torch.zeros(shape, dtype=torch.float64)
        self._squares = torch.zeros_like(self._total)
        self.count = torch.zeros(shape[1], 1)
        self.members: list[torch.Tensor] | None = [] if keep else None

    def add(self, rows: slice, images: torch.Tensor) -> None:
        """Add images (object, some of the rows, x)."""
        self._total[:, rows] += images
        self._squares[:, rows] += images.double().square()
        if self.members is not None:
            number = int(self.count[rows][0])
            if number == len(self.members):
                self.members.append(torch.zeros(self._total.shape))
            self.members[number][:, rows] = images.float()
        self.count[rows] += 1

    @property
    def mean(self) -> torch.Tensor:
        return self._total / self.count.clamp(min=1)

    @property
    def spread(self) -> torch.Tensor:
        """Standard deviation (object, y, x) of one member; zero where there are fewer than two."""
        squares = self._squares - self._total.square() / self.count.clamp(min=1)
        return (squares / (self.count - 1).clamp(min=1)).clamp(min=0).sqrt()


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
    frames: Frames, mean: Mean, committee: int, random: np.random.Generator
) -> Iterator[torch.Tensor]:
    """Restore groups of frames in one pass each; yields the mean so far after every row of tiles."""
    net = frames.net
    assert isinstance(net, EncoderDecoder)
    for member in range(committee):
        # The first member keeps the order of sharpness; the others shuffle all but the leaders.
        dealt = groups(frames.order, net.frames, random if member else None)
        for band in frames.bands:
            parts = []
            for images in frames.images:
                restored = [_through(frames, images[group][None], band, member) for group in dealt]
                parts.append(torch.stack(restored).mean(0))
            mean.add(band, torch.stack(parts))
            yield mean.mean


def _through(frames: Frames, group: torch.Tensor, band: slice, orientation: int) -> torch.Tensor:
    """The rows `band` (y, x) restored from a group (1, frame, y, x) that the network sees turned."""
    net = frames.net

    def see(tile: torch.Tensor) -> torch.Tensor:
        # A network is not exactly invariant under rotation, so every orientation makes another member.
        return turned_back(net(turned(tile, orientation)), orientation)

    with half(group.device):
        return restored_rows(see, group, band, side=frames.side, reach=net.reach)[0, 0].float().cpu()


def _recurrent(
    frames: Frames, mean: Mean, committee: int, random: np.random.Generator
) -> Iterator[torch.Tensor]:
    """Refine an estimate frame by frame and yield each one; further members, with the frames in another
    order, yield only their last.
    """
    order = np.resize(frames.order, max(2, len(frames.order)))
    for member in range(committee):
        shuffled = order if member == 0 else np.concatenate([order[:1], random.permutation(order[1:])])
        for number, estimate in enumerate(_refined(frames, shuffled, member), 2):
            last = number == len(shuffled)
            if last:
                mean.add(slice(None), estimate)
            if member == 0 or last:
                yield mean.mean if last else estimate


def _refined(frames: Frames, order: npt.NDArray[np.int64], orientation: int) -> Iterator[torch.Tensor]:
    """The estimate (object, y, x) after every frame but the first, all in one orientation."""
    net, images = frames.net, turned(frames.images, orientation)
    assert isinstance(net, Recurrent)
    shape = int(images.shape[-2]), int(images.shape[-1])
    bands = dataclasses.replace(frames, images=images).bands  # turned, an image has other rows
    tiles = [cut for band in bands for cut in cuts(shape, band, frames.side, net.reach)]
    # The first pass has nothing to remember.
    memories: list[Memory | None] = [None] * len(images)
    current = images[:, int(order[0])]
    for frame in order[1:]:
        estimates = []
        for object_, image in enumerate(images[:, int(frame)]):
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
    with torch.inference_mode(), half(frame.device):
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

"""What a run showed, kept small: some pictures of its first object, from the first iteration to the last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heliorestore.burst import FloatArray
from heliorestore.plugin.runs.task import End, Latest, Outcome
from heliorestore.snapshot import Snapshot

_MOST = 48  # pictures
_SIDE = 512  # pixels along the longer side of a picture: with that many at most 50 MB


@dataclass(frozen=True, eq=False)
class Picture:
    """An image (y, x) after `step` iterations, of which `zoom` pixels were one of the observed ones."""

    step: int
    image: FloatArray
    zoom: float


class Film:
    """Collects pictures of a run; when there are too many, every second one goes."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self._gap = 1  # iterations from one picture to the next
        self._reduce = Latest("Reduce a picture", self._reduced)

    def clear(self) -> None:
        """Another run begins."""
        self.pictures, self._gap = [], 1
        self._reduce.forget()

    def add(self, snapshot: Snapshot) -> None:
        """Keep a picture of this snapshot, unless the last one is too near; large ones are made in a
        thread.
        """
        last = self.pictures[-1].step if self.pictures else None
        if last is not None and snapshot.step < last:
            self.clear()
        elif last is not None and snapshot.step - last < self._gap:
            return
        if max(snapshot.images.shape[1:]) <= _SIDE:
            self._append(picture(snapshot))
        else:
            self._reduce.ask(lambda: picture(snapshot))

    def _reduced(self, outcome: Outcome) -> None:
        if outcome.end is End.FINISHED and (not self.pictures or outcome.value.step > self.pictures[-1].step):
            self._append(outcome.value)

    def _append(self, made: Picture) -> None:
        self.pictures.append(made)
        if len(self.pictures) > _MOST:
            self.pictures = self.pictures[::2]
            self._gap *= 2


def picture(snapshot: Snapshot) -> Picture:
    """The first object's image, each pixel the mean of as many as it takes to make it small."""
    image, factor = snapshot.images[0], -(-max(snapshot.images.shape[1:]) // _SIDE)
    return Picture(snapshot.step, smaller(image, factor), snapshot.zoom / factor)


def smaller(image: FloatArray, factor: int) -> FloatArray:
    """Means of `factor` times `factor` pixels; the rest at the upper edges is cut off."""
    rows, columns = (n // factor for n in image.shape)
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.asarray(blocks.mean((1, 3)), np.float32)

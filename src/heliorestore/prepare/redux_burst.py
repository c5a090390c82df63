"""The burst that a configuration of redux or momfbd describes: one object per camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heliorestore.burst import Burst, Source
from heliorestore.errors import BurstError
from heliorestore.fits.reader import read_burst
from heliorestore.fits.redux_cfg import Channel, Config, read_config
from heliorestore.preparation import Preparation
from heliorestore.prepare.camera_map import CameraMap
from heliorestore.prepare.mapped import onto_wide
from heliorestore.selection import Frames, every_axis

Prepare = Callable[[Burst, Preparation], Burst]


class Cameras:
    """The frames of several cameras as one array (object, frame, y, x), read only where they are sliced."""

    dtype = np.dtype(np.float32)

    def __init__(self, cameras: Sequence[Frames]) -> None:
        self._cameras = cameras
        self.shape = (len(cameras), *cameras[0].shape[1:])

    def __getitem__(self, key: Any) -> Any:
        objects, *rest = every_axis(key, 4)
        if isinstance(objects, slice):
            return np.stack([np.asarray(each[(0, *rest)], np.float32) for each in self._cameras[objects]])
        return np.asarray(self._cameras[objects][(0, *rest)], np.float32)


def burst_of(path: Path, prepare: Prepare) -> Burst:
    """The burst of a configuration; `prepare` takes off each camera's own dark and gain."""
    config = read_config(path)
    cameras = [_camera(channel, prepare) for channel in config.channels]
    _check_frames(config, cameras)
    reference = next((n for n, channel in enumerate(config.channels) if not channel.align_map), 0)
    cameras = [
        _onto(cameras[reference], camera, channel) if channel.align_map else camera
        for camera, channel in zip(cameras, config.channels, strict=True)
    ]
    _check_shapes(config, cameras)
    named = (path for channel in config.channels for path in channel.preparation().files().values())
    files = (*(source for each in cameras for source in each.sources), *map(Source.of, named))
    return dataclasses.replace(
        cameras[0],
        frames=Cameras([each.frames for each in cameras]),
        instruments=tuple(each.instruments[0] for each in cameras),
        labels=tuple(channel.name for channel in config.channels),
        headers=tuple(header for each in cameras for header in each.headers),
        pointing=None,
        # The configuration first: by it the same files become the same burst again.
        sources=(Source.of(path), *dict.fromkeys(files)),
        layout="files",
        object_numbers=range(len(cameras)),
        preparation=Preparation(),
    )


def _camera(channel: Channel, prepare: Prepare) -> Burst:
    burst = read_burst(channel.images())
    if burst.shape[0] > 1:
        raise BurstError(
            f"The images of {channel.name} are of {burst.shape[0]} cameras or wavelengths "
            f"({', '.join(burst.labels)}); a channel has one."
        )
    preparation = channel.preparation()
    files = preparation.files().values()
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise BurstError(f"{missing[0]} of {channel.name} does not exist.")
    known = channel.instrument(burst.instruments[0])
    burst = dataclasses.replace(burst, instruments=(known,))
    return prepare(burst, preparation) if files else burst


def _onto(reference: Burst, camera: Burst, channel: Channel) -> Burst:
    """A camera's frames on the pixels of the reference, which ALIGN_MAP leads to its own."""
    found = CameraMap(
        matrix=np.array(channel.align_map).reshape(3, 3),
        wide_shape=reference.shape[2:],
        narrow_shape=camera.shape[2:],
        applies_to=(channel.name,),
    )
    first = dataclasses.replace(reference, labels=("reference",))
    both = onto_wide([first, dataclasses.replace(camera, labels=(channel.name,))], found)
    return both.select(objects=[1])


def _check_frames(config: Config, cameras: Sequence[Burst]) -> None:
    first = cameras[0]
    for channel, each in zip(config.channels[1:], cameras[1:], strict=True):
        if each.shape[1] != first.shape[1]:
            raise BurstError(
                f"{config.channels[0].name} has {first.shape[1]} frames and {channel.name} {each.shape[1]}: "
                "the frames of all cameras must belong together."
            )


def _check_shapes(config: Config, cameras: Sequence[Burst]) -> None:
    first = cameras[0]
    for channel, each in zip(config.channels[1:], cameras[1:], strict=True):
        if each.shape[2:] != first.shape[2:]:
            sizes = (f"{b.shape[3]} x {b.shape[2]}" for b in (first, each))
            raise BurstError(
                f"{config.channels[0].name} and {channel.name} have {' and '.join(sizes)} pixels: give "
                "ALIGN_MAP, or bring the cameras to the same pixels first."
            )

"""The pixels of layers: a burst's, read when they are shown, and those of layers as a burst's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst
from heliorestore.plugin.viewer.cubes import Cube


def frames_of_object(burst: Burst, object_: int) -> Any:
    """(frame, y, x) of an object: numpy arrays directly, else through dask, one frame at a time."""
    frames = burst.frames
    if isinstance(frames, np.ndarray) and frames.dtype.isnative:
        return frames[object_]
    return _lazily(burst, np.array(object_))


def frames_of_cube(burst: Burst, cube: Cube) -> Any:
    """(λ, Stokes, t, y, x) of a cube, likewise."""
    frames = burst.frames
    if isinstance(frames, np.ndarray) and frames.dtype.isnative:
        return cube.arranged(frames)
    return _lazily(burst, cube.objects)


def _lazily(burst: Burst, objects: npt.NDArray[Any]) -> Any:
    """The frames (..., frame, y, x) of objects (...), read one at a time when they are shown."""
    import dask.array as da

    def read(block_info: Mapping[Any, Any]) -> npt.NDArray[np.float32]:
        *place, frame = block_info[None]["chunk-location"][:-2]
        image = burst.image(int(objects[tuple(place)]), frame)
        return image.reshape((1,) * (objects.ndim + 1) + image.shape)

    _, count, rows, columns = burst.shape
    # Without an explicit type dask would call `read` once to find it.
    return da.map_blocks(
        read,
        chunks=(*((1,) * n for n in (*objects.shape, count)), (rows,), (columns,)),
        dtype=np.float32,
        meta=np.empty((0,) * (objects.ndim + 3), np.float32),
    )


class LayerFrames:
    """The `Frames` of several layers, one object per layer, read only when needed."""

    def __init__(self, planes: Sequence[Any]) -> None:
        self._planes = planes
        self.shape = (len(planes), *planes[0].shape)
        self.dtype = np.dtype(planes[0].dtype)
        self.ndim = 4

    def __getitem__(self, key: Any) -> Any:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, slice):
            return np.stack([self._planes[k][tuple(rest)] for k in range(*first.indices(len(self._planes)))])
        return self._planes[first][tuple(rest)]

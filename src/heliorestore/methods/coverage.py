"""Pixels without any valid value: every method gives NaN there, and the map `coverage` is 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heliorestore.snapshot import Map, Snapshot

COVERAGE = "coverage"


def covered(snapshot: Snapshot) -> Snapshot:
    """The snapshot with a coverage of 0 and no values in the maps of its images' pixels (object, y, x) where
    these are NaN; the same snapshot where none is.
    """
    empty = np.isnan(snapshot.images)
    if not empty.any():
        return snapshot
    unseen = empty[:, :: snapshot.zoom, :: snapshot.zoom]  # all of an observed pixel's are empty, or none
    done = snapshot.array(COVERAGE)
    maps = {
        name: replace(each, array=np.where(empty, np.float32(np.nan), each.array))
        if each.shape == empty.shape and name != COVERAGE
        else each
        for name, each in snapshot.maps.items()
    }
    maps[COVERAGE] = Map(np.where(unseen, np.float32(0), 1 if done is None else done))
    said = f"{np.count_nonzero(unseen)} pixels have no valid value: NaN in the result, and 0 in its coverage."
    return replace(snapshot, maps=maps, messages=(*snapshot.messages, said))

import numpy as np
import pytest

from heliorestore import Snapshot, StopReason
from heliorestore.errors import RestorationError


def test_nobody_can_write_into_a_snapshot() -> None:
    images, modes = np.ones((1, 4, 4), np.float32), np.ones((1, 2, 2, 2))
    snapshot = Snapshot(
        step=1,
        total=2,
        images=images,
        maps={"modes": modes},
        losses={"data": np.float32(0.5)},
        history={"data": [1, 2]},
    )
    images[:], modes[:] = 0, 0
    assert snapshot.images.min() == 1
    assert snapshot.maps["modes"].min() == 1
    assert snapshot.maps["modes"].dtype == np.float32
    for array in (snapshot.images, snapshot.maps["modes"], snapshot.history["data"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 3
    with pytest.raises(TypeError):
        snapshot.losses["data"] = 1


def test_a_view_of_somebody_elses_array_is_copied() -> None:
    images = np.zeros((1, 4, 4), np.float32)
    view = images[:]
    view.flags.writeable = False
    snapshot = Snapshot(step=1, total=1, images=view)
    images[:] = 7
    assert snapshot.images.max() == 0


def test_copying_a_snapshot_does_not_copy_its_arrays() -> None:
    first = Snapshot(step=1, total=1, images=np.zeros((1, 4, 4)))
    assert Snapshot(step=2, total=2, images=first.images).images is first.images


def test_images_have_three_axes() -> None:
    with pytest.raises(RestorationError, match=r"object, y, x.*\(4, 4\)"):
        Snapshot(step=1, total=1, images=np.zeros((4, 4)))


def test_every_stop_reason_is_a_sentence() -> None:
    assert all(reason.value[0].isupper() and reason.value.endswith(".") for reason in StopReason)

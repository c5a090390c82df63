import numpy as np
import pytest

from heliorestore import Snapshot, StopReason
from heliorestore.errors import RestorationError
from heliorestore.snapshot import DATA_UNIT, IMAGE_AXES, NODE_AXES, SERIES_AXES, Map


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
    for array in (snapshot.images, snapshot.maps["modes"].array, snapshot.history["data"]):
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


def test_a_map_says_what_it_is_and_reads_as_its_array() -> None:
    values = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    shown = Map(values, unit=DATA_UNIT, signed=True)
    values[:] = 0
    assert (shown.shape, shown.ndim, shown.dtype, len(shown)) == ((1, 3, 4), 3, np.float32, 1)
    np.testing.assert_array_equal(np.asarray(shown), np.arange(12).reshape(1, 3, 4))
    assert (float(shown.mean()), float(shown[0, 1].max())) == (5.5, 7.0)
    assert float((shown - np.ones(4)).min()) == -1
    with pytest.raises(ValueError, match="read-only"):
        shown[0][:] = 3
    with pytest.raises(AttributeError):
        _ = shown.median
    with pytest.raises(RestorationError, match=r"\(y, x\).*\(1, 3, 4\)"):
        Map(shown.array, ("y", "x"))


def test_plain_arrays_become_maps_by_name_and_number_of_axes() -> None:
    images = np.ones((1, 4, 4))
    four = np.ones((2, 3, 4, 4))
    given = {"residual": images, "coverage": images, "modes": four, "series": four, "mine": images[0]}
    maps = Snapshot(step=1, total=1, images=images, maps=given).maps
    assert [each.axes for each in maps.values()] == [
        IMAGE_AXES,
        IMAGE_AXES,
        NODE_AXES,
        SERIES_AXES,
        ("y", "x"),
    ]
    assert [each.unit for each in maps.values()] == [DATA_UNIT, "", "rad", DATA_UNIT, ""]
    assert [name for name, each in maps.items() if each.signed] == ["residual", "modes"]
    assert Snapshot(step=2, total=2, images=images, maps=maps).maps["modes"] is maps["modes"]


def test_one_computes_with_a_map_as_with_its_array():
    one = Map(np.arange(8.0).reshape(2, 2, 2))
    assert (one - one).max() == 0
    assert (2 * one + 1)[1, 1, 1] == 15
    assert np.sqrt(one).sum() == pytest.approx(np.sqrt(np.arange(8.0)).sum())
    assert isinstance(one / one.max(), np.ndarray)

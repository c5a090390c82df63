from pathlib import Path

import numpy as np
import pytest
import torch

from heliorestore import Burst, Instrument, RichardsonLucySettings, restore, write
from heliorestore.errors import BurstError, RestorationError, SettingsError


def numbered(objects: int = 2, frames: int = 5) -> Burst:
    return Burst.from_array(np.arange(objects * frames * 12, dtype=np.int32).reshape(objects, frames, 3, 4))


@pytest.mark.parametrize("shape", [(3, 4), (5, 3, 4), (2, 5, 3, 4)])
def test_leading_axes_are_added_in_front(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random(shape)
    burst = Burst.from_array(array)
    assert burst.shape == (1, 1, 1, 1)[: 4 - len(shape)] + shape
    np.testing.assert_array_equal(np.asarray(burst.frames).reshape(shape), array)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((1, 1, 1, 2, 2)), np.zeros((0, 3))])
def test_what_is_no_image_is_refused(array: np.ndarray) -> None:
    with pytest.raises(BurstError, match="axes"):
        Burst.from_array(array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), complex),
        np.zeros((4, 4), "M8[s]"),
        np.full((4, 4), "1"),
        np.array([[None, "x"], [1, 2]], object),
        np.zeros((4, 4), [("a", "f4")]),
        [[1, 2], [3]],
        torch.zeros((4, 4), requires_grad=True),
    ],
)
def test_what_is_no_real_number_is_refused(array: object) -> None:
    with pytest.raises(BurstError, match="array of real numbers"):
        Burst.from_array(array)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", ">i4", "u1"])
def test_masked_pixels_are_bad(dtype: str) -> None:
    array = np.ma.array(np.arange(12).reshape(1, 3, 4).astype(dtype), mask=np.zeros((1, 3, 4), bool))
    assert Burst.from_array(array).count_bad_pixels() == 0
    array[0, 1, 2] = np.ma.masked
    (image,) = Burst.from_array(array).frames[0]
    assert np.argwhere(np.isnan(image)).tolist() == [[1, 2]]
    assert image[2, 3] == 11


def test_an_instrument_is_made_and_no_text() -> None:
    with pytest.raises(BurstError, match=r"Instrument\.parse"):
        Burst.from_array(np.zeros((4, 4)), "crisp-8542")  # type: ignore[arg-type]


def test_what_is_restored_is_a_burst_and_what_is_written_a_snapshot(tmp_path: Path) -> None:
    burst, settings = numbered(), RichardsonLucySettings()
    with pytest.raises(BurstError, match="not ndarray"):
        restore(np.zeros((32, 32)), settings, device="cpu")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="seed is 1"):
        restore(burst, settings, device="cpu", seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(RestorationError, match="not Burst"):
        write(burst, tmp_path / "out.fits")  # type: ignore[arg-type]


def test_records_must_fit_the_frames() -> None:
    with pytest.raises(BurstError, match="2 labels; there must be 1"):
        Burst(frames=np.zeros((1, 1, 2, 2)), labels=("a", "b"))


def test_an_image_is_native_float32_whatever_the_file_holds() -> None:
    image = Burst.from_array(np.arange(6, dtype=">i2").reshape(2, 3)).image(0, 0)
    assert image.dtype == np.dtype("float32")
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, [[0, 1, 2], [3, 4, 5]])


def test_bad_pixels_are_counted() -> None:
    frames = np.ones((2, 2, 3, 3))
    frames[0, 1, 0, 0], frames[1, 0, 2, 2], frames[1, 1, 1, 1] = np.nan, np.inf, -np.inf
    assert Burst.from_array(frames).count_bad_pixels() == 3


@pytest.mark.parametrize("objects", [slice(None), slice(1, 2), slice(None, None, -1)])
@pytest.mark.parametrize(
    "frames", [slice(None), slice(1, 4), slice(None, None, 2), slice(3, None, -2), slice(-1, None)]
)
def test_a_selection_is_what_numpy_slices(objects: slice, frames: slice) -> None:
    burst = numbered()
    chosen = burst.select(objects, frames)
    expected = np.asarray(burst.frames)[objects, frames]
    assert chosen.shape == expected.shape
    for object_, frame, image in chosen.images():
        np.testing.assert_array_equal(image, expected[object_, frame])
    np.testing.assert_array_equal(chosen.frames[:], expected)
    np.testing.assert_array_equal(chosen.frames[..., 1:3], expected[..., 1:3])
    np.testing.assert_array_equal(chosen.frames[0, -1, 2], expected[0, -1, 2])


def test_a_selection_of_a_selection_remembers_its_place_in_the_file() -> None:
    part = numbered().select(frames=slice(1, 5)).select(slice(1, 2), slice(0, None, 2))
    assert (part.object_numbers, part.frame_numbers) == (range(1, 2), range(1, 5, 2))
    np.testing.assert_array_equal(part.image(0, 1), np.asarray(numbered().frames)[1, 3])
    assert part.labels == ("object 1",)


def test_an_empty_selection_says_what_there_is() -> None:
    with pytest.raises(SettingsError, match="frames are left: the burst has 5"):
        numbered().select(frames=slice(7, 9))


def test_selecting_reads_nothing() -> None:
    class Untouchable:
        shape, dtype, ndim = (1, 1000, 2048, 2048), np.dtype("f4"), 4

        def __getitem__(self, key: object) -> None:
            raise AssertionError("read")

    assert Burst(frames=Untouchable()).select(frames=slice(0, 10)).shape == (1, 10, 2048, 2048)


def test_the_instrument_can_be_told() -> None:
    burst = numbered().with_instrument("crisp-8542,pixel_arcsec=0.06")
    assert {i.pixel_arcsec for i in burst.instruments} == {0.06}
    assert numbered().instruments == (Instrument(), Instrument())


def test_a_window_is_a_rectangle_of_every_frame_and_reads_nothing():
    frames = np.arange(2 * 3 * 8 * 10, dtype=np.float32).reshape(2, 3, 8, 10)
    part = Burst.from_array(frames).select(frames=slice(1, 3)).window(slice(2, 7), slice(4, 9))
    assert part.shape == (2, 2, 5, 5)
    np.testing.assert_array_equal(part.image(1, 0), frames[1, 1, 2:7, 4:9])
    np.testing.assert_array_equal(part.frames[0, 1, 1:3, 2], frames[0, 2, 3:5, 6])
    np.testing.assert_array_equal(part.frames[..., 0, 0], frames[:, 1:, 2, 4])
    with pytest.raises(SettingsError, match="outside the field of 10 x 8 pixels"):
        Burst.from_array(frames).window(slice(9, 12), slice(None))


def test_the_middle_of_a_field_is_as_large_as_the_field_allows() -> None:
    pixels = np.arange(6.0 * 9, dtype=np.float32).reshape(1, 1, 6, 9)
    part = Burst(frames=pixels, instruments=(Instrument(),)).middle(7)
    np.testing.assert_array_equal(part.frames[:, :], pixels[..., 1:8])


def test_irregular_frames_are_chosen_and_read_in_their_order() -> None:
    frames = np.arange(2 * 9 * 2 * 3, dtype=np.float32).reshape(2, 9, 2, 3)
    times = np.datetime64("2020-01-01T00:00:00", "us") + np.arange(9) * np.timedelta64(1, "s")
    pointing = frames.reshape(2, 9, 2, 3).astype(float)
    burst = Burst.from_array(frames, times=times, pointing=pointing)
    part = burst.select(frames="1:9").select(frames="0:3,5,-1,1")
    numbers = [1, 2, 3, 6, 8]
    assert part.frame_numbers == tuple(numbers)
    np.testing.assert_array_equal(part.frames[...], frames[:, numbers])
    np.testing.assert_array_equal(part.frames[1, 3], frames[1, 6])
    np.testing.assert_array_equal(part.frames[:, 1:4, 1], frames[:, [2, 3, 6], 1])
    np.testing.assert_array_equal(part.frames[0, ::2, :, 2:], frames[0, [1, 3, 8], :, 2:])
    np.testing.assert_array_equal(part.times, times[numbers])
    np.testing.assert_array_equal(part.pointing, pointing[:, numbers])
    # Chosen again, the numbers are still those of the file, and evenly spaced ones a range.
    assert part.select(frames=[0, 2]).frame_numbers == range(1, 5, 2)


def test_infinite_pixels_are_bad_ones() -> None:
    image = Burst.from_array(np.array([[1.0, np.inf], [-np.inf, np.nan]])).image(0, 0)
    np.testing.assert_array_equal(image, [[1, np.nan], [np.nan, np.nan]])

"""A method that restores every frame: its series in the file, with time and object as axes, and back."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits

from heliorestore.burst import Burst
from heliorestore.fits.reader import read, read_burst, read_series
from heliorestore.fits.writer import write
from heliorestore.samples import sample_path
from heliorestore.settings import SavedSettings
from heliorestore.snapshot import Run, Snapshot


def restored(burst: Burst) -> Snapshot:
    frames = np.asarray(burst.frames[:])
    run = Run.of(burst, SavedSettings("denoise", ()), "cpu", 0)
    maps = {"series": frames, "series_uncertainty": 0.1 * np.abs(frames)}
    return Snapshot(step=1, total=1, images=frames[:, 0], maps=maps, run=run)


def test_the_series_of_a_cube_keeps_place_time_and_objects(tmp_path):
    burst = read_burst(sample_path("stokes_series.fits")).select(frames=slice(2, 6))
    path = write(restored(burst), tmp_path / "out.fits")
    with fits.open(path) as hdus, fits.open(sample_path("stokes_series.fits")) as observed:
        assert hdus[0].data.shape == (12, 96, 96)
        extension = hdus["SERIES"]
        assert extension.data.shape == hdus["SERIES_UNCERTAINTY"].data.shape == (12, 4, 96, 96)
        assert extension.header["BUNIT"] == "I/Ic"
        assert [extension.header[f"CTYPE{axis}"] for axis in (1, 2, 3, 4)] == [
            "HPLN-TAN",
            "HPLT-TAN",
            "TIME",
            "OBJECT",
        ]
        assert (extension.header["CDELT3"], extension.header["CUNIT3"]) == (6.0, "s")
        for key in ("CRPIX", "CRVAL", "CDELT", "CTYPE", "CUNIT"):
            assert [extension.header[f"{key}{axis}"] for axis in (1, 2)] == [
                observed[0].header[f"{key}{axis}"] for axis in (1, 2)
            ]
        np.testing.assert_array_equal(hdus["FRAMES"].data["TIME"][1], str(burst.times[1]))
        # Object k is Stokes k // 3 at wavelength k % 3, as the OBJECTS table names them.
        raw = observed[0].data[2:6].transpose(1, 2, 0, 3, 4).reshape(12, 4, 96, 96)
        np.testing.assert_allclose(extension.data, raw, atol=1e-7)
    again = read(path)
    np.testing.assert_allclose(again.maps["series"], np.asarray(burst.frames[:]), atol=1e-7)
    # For a movie the file is a burst of all its frames, where others see its one image.
    whole = read_series(path)
    np.testing.assert_array_equal(whole.frames, again.maps["series"])
    np.testing.assert_array_equal(whole.times, burst.times)
    assert whole.labels == burst.labels
    single = write(dataclasses.replace(again, maps={}), tmp_path / "image.fits")
    assert read_series(single).shape == (12, 1, 96, 96)


@pytest.mark.parametrize(
    "times", [None, np.array(["2026-01-01T09:00", "2026-01-01T09:01", "2026-01-01T09:07"], "datetime64[us]")]
)
def test_frames_without_a_pace_are_numbered(tmp_path, times):
    burst = Burst.from_array(
        np.random.default_rng(0).random((1, 3, 8, 9)).astype(np.float32),
        times=times,
        frame_numbers=range(4, 10, 2),
    )
    with fits.open(write(restored(burst), tmp_path / "out.fits")) as hdus:
        header = hdus["SERIES"].header
        assert (header["CTYPE3"], header["CRVAL3"], header["CDELT3"]) == ("FRAME", 4.0, 2.0)

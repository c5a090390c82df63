"""The camera's calibration: (frame - dark) / flat, recovered from simulated detector frames."""

import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

import heliorestore
from heliorestore.burst import Burst
from heliorestore.errors import BurstError, HeliorestoreError, SettingsError
from heliorestore.fits.reader import read, read_burst
from heliorestore.fits.writer import write
from heliorestore.methods.base import replay, settings_of
from heliorestore.methods.richardson_lucy import RichardsonLucySettings
from heliorestore.preparation import Preparation
from heliorestore.prepare.opening import open_burst, prepared, reopen

ROWS, COLUMNS = 20, 26
Y, X = np.mgrid[:ROWS, :COLUMNS]
FLAT = 1 + 0.3 * X / COLUMNS - 0.1 * Y / ROWS  # of no symmetry: a turned or mirrored one is another
FLAT /= FLAT.mean()
DARK = 100 + 7 * np.sin(Y / 3) + X


@pytest.fixture
def saved(tmp_path):
    """Save arrays under a name and return its path."""

    def save(name, array, **cards):
        path = tmp_path / f"{name}.fits"
        fits.PrimaryHDU(np.asarray(array), fits.Header(cards)).writeto(path, overwrite=True)
        return str(path)

    return save


def sun(objects=2, frames=3):
    return np.random.default_rng(1).uniform(800, 1200, (objects, frames, ROWS, COLUMNS))


def calibrated(frames, **files):
    return prepared(Burst.from_array(frames), Preparation(**files))


def test_the_light_is_recovered_to_the_last_digits_of_float32(saved):
    light = sun()
    raw = (light * FLAT + DARK).astype(np.float32)
    dark = saved("dark", DARK.astype(np.float32))
    flat = saved("flat", (5e4 * FLAT + DARK).astype(np.float32))
    burst = calibrated(raw, dark=dark, flat=flat)
    assert burst.frames.dtype == np.float32
    np.testing.assert_allclose(burst.frames[...], light, rtol=3e-6)
    gain = calibrated(raw, dark=dark, gain=saved("gain", (1 / FLAT).astype(np.float32)))
    np.testing.assert_allclose(gain.frames[...], light, rtol=3e-6)
    # Every part is that of the whole: frames, objects, windows.
    part = burst.select(objects=[1], frames=[2, 0]).window(slice(3, 9), slice(5, None, 2))
    np.testing.assert_allclose(part.frames[...], light[1:, [2, 0], 3:9, 5::2], rtol=3e-6)
    np.testing.assert_array_equal(burst.frames[-1, 1, ::-1, 4], burst.frames[...][-1, 1, ::-1, 4])
    assert burst.preparation.flat == flat
    with pytest.raises(SettingsError, match=r"prepared before, with dark\.fits, flat\.fits"):
        prepared(burst, Preparation(dark=dark))


def test_integers_and_several_darks_of_each_camera(saved):
    light = np.round(sun())
    darks = np.stack([np.full((4, ROWS, COLUMNS), 100), np.full((4, ROWS, COLUMNS), 7000)])
    raw = (light + darks[:, :1]).astype(np.uint16)
    noise = np.array([-3, 1, 0, 2])[:, None, None]  # averaged
    burst = calibrated(raw, dark=saved("darks", (darks + noise).astype(np.uint16)))
    np.testing.assert_array_equal(burst.frames[...], light)
    one_each = calibrated(raw, dark=saved("dark", darks[:, 0].astype(np.uint16)))
    np.testing.assert_array_equal(one_each.frames[...], light)
    assert one_each.messages == (
        "The images of the dark dark.fits were taken as one for each of the 2 objects.",
    )


def test_pixels_beyond_correction_are_bad_and_dust_is_not(saved):
    rng = np.random.default_rng(2)
    light = np.full((1, 1, ROWS, COLUMNS), 1000.0)
    flat = FLAT * rng.normal(1, 0.01, FLAT.shape)
    flat[5:9, 5:9] *= 0.7  # dust
    dark = DARK + rng.normal(0, 1, DARK.shape)
    flat[2, 3], flat[12, 20], dark[15, 8] = 0.0, 3.0, 5000.0
    flat[17, 2] = np.nan
    marks = np.zeros((ROWS, COLUMNS), np.int16)
    marks[0, 1] = 4
    burst = calibrated(
        light * flat + dark,
        dark=saved("dark", dark.astype("f4")),
        flat=saved("flat", (1e4 * flat + dark).astype("f4")),
        bad_pixels=saved("marks", marks),
    )
    image = burst.image(0, 0)
    assert set(zip(*np.nonzero(~np.isfinite(image)), strict=True)) == {
        (2, 3), (12, 20), (15, 8), (17, 2), (0, 1)
    }  # fmt: skip
    assert np.nanstd(image) < 1e-4 * np.nanmean(image)
    assert burst.messages == ("The calibration marks 5 pixels as bad, 0.96 %.",)
    zero_is_bad = np.ones((ROWS, COLUMNS))
    zero_is_bad[4, 4] = 0
    gained = calibrated(light, gain=saved("gain", zero_is_bad)).image(0, 0)
    assert np.isnan(gained[4, 4])
    assert np.isnan(gained).sum() == 1


def test_what_does_not_fit_is_refused_in_one_sentence(saved, tmp_path):
    raw = sun(objects=3)
    flat, small = saved("flat", FLAT), saved("small", FLAT[:-1])
    two = saved("two", np.ones((2, 1, ROWS, COLUMNS)))
    for files, says in (
        ({"flat": flat, "gain": flat}, "Both a flat field and a gain are given"),
        ({"dark": small}, r"dark .*small\.fits has 26 x 19 pixels and the frames have 26 x 20"),
        ({"gain": two}, r"gain .*two\.fits has 2 objects and the burst 3"),
        ({"dark": str(tmp_path)}, "is a folder: give one file"),
        ({"bad_pixels": str(tmp_path / "absent.fits")}, r"absent\.fits does not exist"),
        ({"bad_pixels": flat}, r"no good pixel of object 0: look at the map of bad pixels flat\.fits"),
    ):
        with pytest.raises(HeliorestoreError, match=says):
            calibrated(raw, **files)


def test_another_exposure_or_unit_is_said(saved):
    frames = saved("frames", sun(1)[0], XPOSURE=0.010, BUNIT="DN")
    alike = saved("alike", DARK, EXPTIME=0.0105)
    other = saved("other", DARK, EXPTIME=0.02, BUNIT="counts")
    flat = saved("flat", FLAT * 1e4, XPOSURE=0.02)
    assert open_burst(frames, Preparation(dark=alike)).messages == ()
    assert open_burst(frames, Preparation(dark=other, flat=flat)).messages == (
        "The dark was exposed for 0.02 s and the frames for 0.01 s.",
        "The dark is in counts and the frames are in DN.",
    )


def test_a_part_of_a_long_burst_reads_that_part(tmp_path, saved):
    path = tmp_path / "big.fits"
    header = fits.PrimaryHDU(np.zeros((1, 1, 1), np.float32)).header
    header.update({"NAXIS1": 1024, "NAXIS2": 1024, "NAXIS3": 1200})
    with path.open("wb") as file:
        file.write(header.tostring().encode())
        file.truncate(file.tell() + -(-1200 * 2**22 // 2880) * 2880)
    flat = saved("flat", np.ones((1024, 1024), np.float32))
    tracemalloc.start()
    burst = open_burst(path, Preparation(flat=flat))
    assert burst.frames[0, 1199, 10:20].shape == (10, 1024)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_a_calibrated_run_is_recorded_and_repeated_to_the_last_bit(tmp_path, saved):
    raw = saved("raw", (sun(1)[0] * FLAT + DARK).astype("f4"), PRSTEP1="DEMODULATION", PRPROC1="other")
    files = {"dark": saved("dark", DARK), "flat": saved("flat", 1e4 * FLAT + DARK)}
    burst = open_burst(raw, Preparation(**files)).with_instrument("crisp-8542")
    result = heliorestore.restore(burst, RichardsonLucySettings(iterations=2), device="cpu")
    path = write(result, tmp_path / "restored.fits")
    plain = heliorestore.restore(
        read_burst(raw).with_instrument("crisp-8542"), RichardsonLucySettings(iterations=2), device="cpu"
    )
    assert not np.allclose(plain.images, result.images)
    with fits.open(path) as hdus:
        card, inputs = hdus[0].header, hdus["INPUTS"].data
        steps = [card[f"PRSTEP{n}"] for n in range(1, 5)]
        assert steps == ["DEMODULATION", "DARK-SUBTRACTION", "FLATFIELDING", "RICHARDSON-LUCY-DECONVOLUTION"]
        assert (card["PRREF2"], card["PRREF3"]) == ("dark.fits", "flat.fits")
        assert list(inputs["SETTING"]) == ["", "dark", "flat"]
        assert all(len(text) == 64 for text in inputs["SHA256"])
    again, record = reopen(path)
    assert record.run.preparation == Preparation(**files)
    (*_, repeated) = replay(again, settings_of(record.run), record.history, device="cpu")
    np.testing.assert_array_equal(repeated.images, result.images)
    # Written again, its own steps stand there once.
    with fits.open(write(read(path), tmp_path / "copy.fits")) as hdus:
        assert [hdus[0].header.get(f"PRSTEP{n}") for n in range(1, 6)] == [*steps, None]
    saved("dark", DARK + 1)
    with pytest.raises(BurstError, match=r"dark\.fits is not the file that was restored"):
        reopen(path)

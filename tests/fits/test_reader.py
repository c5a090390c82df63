import gzip
import json
import math
import os
import sys
import threading
import tracemalloc
import types
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from build_files import ana_bytes, smooth, voxels
from heliorestore.errors import BurstError
from heliorestore.fits import files
from heliorestore.fits.reader import are_frames, describe, read, read_burst

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def everything(burst):
    return np.array([[burst.image(o, f) for f in range(burst.shape[1])] for o in range(burst.shape[0])])


# -- numbers: type, scaling, blanks, storage


@in_one_folder
@given(
    dtype=st.sampled_from(["u1", "i2", "i4", "i8", "f4", "f8"]),
    shape=st.sampled_from([(5, 6), (3, 5, 6), (2, 3, 5, 6)]),
    zipped=st.booleans(),
    scaling=st.sampled_from([(1.0, 0.0), (0.5, 100.0), (-2.0, 3.0)]),
    in_extension=st.booleans(),
)
def test_every_voxel_is_where_it_belongs(tmp_path, dtype, shape, zipped, scaling, in_extension):
    stored = voxels(*shape, dtype=dtype)
    hdu = (fits.ImageHDU if in_extension else fits.PrimaryHDU)(stored)
    path = tmp_path / ("a.fits.gz" if zipped else "a.fits")
    if scaling != (1.0, 0.0):
        hdu.header["BSCALE"], hdu.header["BZERO"] = scaling
    fits.HDUList([fits.PrimaryHDU(), hdu] if in_extension else [hdu]).writeto(path, overwrite=True)
    burst = read_burst(path)
    assert burst.frames.dtype == np.float32
    with fits.open(path) as truth:
        expected = truth[-1].data.astype(np.float32).reshape(burst.shape)
    np.testing.assert_array_equal(everything(burst), expected)
    if scaling == (1.0, 0.0):
        np.testing.assert_array_equal(expected.ravel(), np.arange(1, 1 + stored.size))


@pytest.mark.parametrize("dtype", ["u2", "u4", "i1"])
def test_unsigned_integers_are_read_and_named(tmp_path, dtype):
    data = np.array([[0, 1], [2, np.iinfo(dtype).max]], dtype)
    fits.PrimaryHDU(data).writeto(tmp_path / "a.fits")
    burst = read_burst(tmp_path / "a.fits")
    np.testing.assert_array_equal(burst.image(0, 0), data.astype(np.float32))
    assert describe(burst)["dtype"] == {"u2": "uint16", "u4": "uint32", "i1": "int8"}[dtype]


def test_blank_pixels_are_nan_and_counted(tmp_path):
    hdu = fits.PrimaryHDU(np.array([[1, -99, 3], [4, 5, -99]], np.int16))
    hdu.header["BLANK"] = -99
    hdu.header["BSCALE"], hdu.header["BZERO"] = 2.0, 1.0
    hdu.writeto(tmp_path / "a.fits", output_verify="ignore")
    burst = read_burst(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", do_not_scale_image_data=True) as hdus:
        blank = hdus[0].data == -99
    assert blank.any()
    np.testing.assert_array_equal(np.isnan(burst.image(0, 0)), blank)
    assert describe(burst)["bad_pixels"] == 2


def test_what_float32_cannot_hold_is_a_bad_pixel(tmp_path):
    fits.PrimaryHDU(np.array([[1.0, 1e300], [np.inf, np.nan]])).writeto(tmp_path / "a.fits")
    image = read_burst(tmp_path / "a.fits").image(0, 0)
    np.testing.assert_array_equal(image, [[1, np.nan], [np.nan, np.nan]])
    assert image.dtype.isnative


@pytest.mark.parametrize("code", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS"])
@pytest.mark.parametrize("zipped", [False, True])
def test_tile_compressed_images_are_read_in_parts(tmp_path, code, zipped):
    cube = smooth(4, 24, 20, dtype="i4")
    path = tmp_path / ("a.fits.gz" if zipped else "a.fits")
    fits.CompImageHDU(
        cube, compression_type=code, tile_shape=(1, 24, 20) if code == "HCOMPRESS_1" else (2, 7, 9)
    ).writeto(path)
    burst = read_burst(path)
    assert describe(burst)["storage"] == f"tile-compressed ({code})"
    np.testing.assert_array_equal(everything(burst)[0], cube)
    np.testing.assert_array_equal(burst.frames[0, 3, 5:20:3, 18:2:-1], cube[3, 5:20:3, 18:2:-1])


def test_dithered_floats_are_restored_as_astropy_does(tmp_path):
    cube = smooth(3, 24, 20) + np.random.default_rng(1).normal(size=(3, 24, 20)).astype("f4")
    cube[1, 3, 4] = np.nan
    fits.CompImageHDU(cube, quantize_level=8, quantize_method=2, dither_seed=77).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        np.testing.assert_array_equal(everything(read_burst(tmp_path / "a.fits"))[0], hdus[1].data)


# -- axes and layouts


@in_one_folder
@given(
    order=st.permutations(["x", "y", "wave", "stokes", "time"]),
    absent=st.sets(st.sampled_from(["wave", "stokes", "time"]), max_size=2),
)
def test_solarnet_cubes_are_read_with_any_order_of_axes(tmp_path, order, absent):
    sizes = {"x": 6, "y": 5, "wave": 3, "stokes": 2, "time": 4}
    words = {
        "x": ("HPLN-TAN", "arcsec"),
        "y": ("HPLT-TAN", "arcsec"),
        "wave": ("AWAV", "nm"),
        "stokes": ("STOKES", ""),
        "time": ("UTC", "s"),
    }
    start = {"x": (1.0, 0.06), "y": (2.0, 0.07), "wave": (630.1, 0.1), "stokes": (1, 1), "time": (100.0, 9.0)}
    names = [name for name in order if name not in absent]
    cube = voxels(*(sizes[name] for name in names))
    hdu = fits.PrimaryHDU(cube, fits.Header({"DATEREF": "2026-05-01T08:00:00"}))
    for number, name in enumerate(reversed(names), 1):
        hdu.header[f"CTYPE{number}"], hdu.header[f"CUNIT{number}"] = words[name]
        hdu.header[f"CRVAL{number}"], hdu.header[f"CDELT{number}"] = start[name]
        hdu.header[f"CRPIX{number}"] = 1
    hdu.writeto(tmp_path / "a.fits", overwrite=True)
    burst = read_burst(tmp_path / "a.fits")
    # The objects count as the file does: its slower axis first.
    objects = [name for name in names if name in ("wave", "stokes")]
    wanted = [*objects, *(["time"] if "time" in names else []), "y", "x"]
    expected = cube.transpose([names.index(name) for name in wanted])
    shape = (int(np.prod([sizes[name] for name in objects])), sizes["time"] if "time" in names else 1, 5, 6)
    np.testing.assert_array_equal(everything(burst), expected.reshape(shape))
    np.testing.assert_array_equal(burst.frames[-1:, 0, 1:4, ::2], expected.reshape(shape)[-1:, 0, 1:4, ::2])
    if len(names) > 2:
        assert burst.layout == "named-axes"
    if "wave" in names:
        assert {i.wavelength_nm for i in burst.instruments} == {630.1, 630.2, 630.3}
    if "time" in names:
        assert str(burst.times[1]) == "2026-05-01T08:01:49.000000"
    header = burst.headers[0]
    assert (header["CTYPE1"], header["CTYPE2"], header["CDELT2"]) == ("HPLN-TAN", "HPLT-TAN", 0.07)
    assert "CTYPE3" not in header


def test_tabulated_axes_name_objects_and_frames(tmp_path):
    header = fits.Header(
        {
            "CTYPE1": "HPLN-TAN",
            "CTYPE2": "HPLT-TAN",
            "CTYPE3": "WAVE-TAB",
            "CTYPE4": "UTC--TAB",
            "DATEREF": "2026-05-01T08:00:00",
        }
    )
    header.update(
        {
            "CUNIT3": "nm",
            "CUNIT4": "s",
            "PS3_0": "COORD",
            "PS3_1": "WAVE+TIME",
            "PV3_3": 1,
            "PS4_0": "COORD",
            "PS4_1": "WAVE+TIME",
            "PV4_3": 2,
        }
    )
    table = np.zeros((1, 3, 2, 2))  # time, wave, (wave, time)
    table[0, :, :, 0] = [854.1, 854.3]
    table[0, :, :, 1] = np.array([0.0, 7.5, 30.0])[:, None]
    column = fits.Column("WAVE+TIME", "12D", dim="(2,2,3)", array=table)
    hdus = fits.HDUList(
        [fits.PrimaryHDU(voxels(3, 2, 5, 6), header), fits.BinTableHDU.from_columns([column], name="COORD")]
    )
    hdus.writeto(tmp_path / "a.fits")
    burst = read_burst(tmp_path / "a.fits")
    assert burst.labels == ("854.10 nm", "854.30 nm")
    assert [str(time)[17:21] for time in burst.times] == ["00.0", "07.5", "30.0"]


@pytest.mark.parametrize("rows", [3, 2])
def test_a_table_of_frames_tells_their_times(tmp_path, rows):
    dates = [f"2026-05-01T08:00:0{n}.250" for n in range(rows)]
    table = fits.BinTableHDU.from_columns([fits.Column("DATE-OBS", "23A", array=dates)], name="FRAMES")
    fits.HDUList([fits.PrimaryHDU(voxels(2, 3, 5, 6)), table]).writeto(tmp_path / "a.fits")
    times = read_burst(tmp_path / "a.fits").times
    if rows == 3:
        assert [str(time)[17:22] for time in times] == ["00.25", "01.25", "02.25"]
    else:  # a table of other frames says nothing
        assert times is None


@pytest.mark.parametrize("tiled", [False, True])
def test_alternating_extensions_are_two_objects_with_their_frames(tmp_path, tiled):
    make = fits.CompImageHDU if tiled else fits.ImageHDU
    frames = [make(voxels(6, 7, dtype="i4") + 100 * n, name="WB" if n % 2 else "NB") for n in range(6)]
    fits.HDUList(
        [fits.PrimaryHDU(header=fits.Header({"TELESCOP": "GREGOR", "INSTRUME": "HIFI"})), *frames]
    ).writeto(tmp_path / "a.fits")
    burst = read_burst(tmp_path / "a.fits")
    assert (burst.layout, burst.shape, burst.labels) == ("extensions", (2, 3, 6, 7), ("NB", "WB"))
    np.testing.assert_array_equal(everything(burst)[:, :, 0, 0], [[1, 201, 401], [101, 301, 501]])
    assert burst.instruments[1].name == "GREGOR/HiFI"  # which of its lines is not said


def frame(path, number, **cards):
    header = fits.Header({key.replace("_", "-"): value for key, value in cards.items()})
    fits.PrimaryHDU(voxels(5, 6) + 1000 * number, header).writeto(path)


@in_one_folder
@given(order=st.permutations(range(4)), by=st.sampled_from(["DATE-OBS", "FRAMENUM", "name"]))
def test_a_folder_is_sorted_by_time_number_or_name(tmp_path, order, by):
    for old in tmp_path.iterdir():
        old.unlink()
    for place, number in enumerate(order):
        cards = (
            {"DATE-OBS": f"2026-05-01T08:00:{number:02}"}
            if by == "DATE-OBS"
            else {"FRAMENUM": number}
            if by == "FRAMENUM"
            else {}
        )
        frame(tmp_path / f"frame{8 + (number if by == 'name' else place)}.fits", number, **cards)
    (tmp_path / "readme.txt").write_text("no image")
    burst = read_burst(tmp_path)
    assert burst.layout == "files"
    assert list(everything(burst)[0, :, 0, 0]) == [1, 1001, 2001, 3001]
    assert read_burst(sorted(tmp_path.glob("*.fits"))).shape == burst.shape


def test_a_folder_of_two_cameras_is_two_objects(tmp_path):
    for n in range(6):
        frame(tmp_path / f"{n}.fits", n, CAMERA="wb" if n % 2 else "nb", DATE_OBS=f"2026-05-01T08:00:0{n}")
    burst = read_burst(tmp_path)
    assert (burst.shape, burst.labels) == ((2, 3, 5, 6), ("nb", "wb"))
    assert list(everything(burst)[:, :, 0, 0].ravel()) == [1, 2001, 4001, 1001, 3001, 5001]
    assert str(burst.times[2]).startswith("2026-05-01T08:00:04")


def test_a_folder_of_one_file_is_that_file(tmp_path):
    fits.PrimaryHDU(voxels(3, 5, 6)).writeto(tmp_path / "a.fits")
    assert read_burst(tmp_path).layout == "frames"


# -- slicing


@in_one_folder
@given(data=st.data(), permuted=st.booleans())
def test_frames_slice_like_an_array(tmp_path, data, permuted):
    path = tmp_path / f"{permuted}.fits"
    truth = voxels(2, 3, 7, 8)
    if not path.exists():
        header = (
            fits.Header({"CTYPE1": "WAVE", "CTYPE2": "HPLN-TAN", "CTYPE3": "TIME", "CTYPE4": "HPLT-TAN"})
            if permuted
            else None
        )
        fits.PrimaryHDU(truth.transpose(2, 1, 3, 0) if permuted else truth, header).writeto(path)
    frames = read_burst(path).frames
    index = st.one_of(st.integers(-2, 1), st.slices(8))
    key = tuple(data.draw(st.lists(index, max_size=4)))
    if data.draw(st.booleans()) and len(key) < 4:
        at = data.draw(st.integers(0, len(key)))
        key = (*key[:at], Ellipsis, *key[at:])
    np.testing.assert_array_equal(frames[key], truth[key])
    assert frames[key].shape == truth[key].shape


def test_frames_refuse_what_they_cannot_slice(tmp_path):
    fits.PrimaryHDU(voxels(3, 5, 6)).writeto(tmp_path / "a.fits")
    frames = read_burst(tmp_path / "a.fits").frames
    for key in ([0, 1], (0, 0, 0, 0, 0), np.array([True]), (..., ...), None):
        with pytest.raises(IndexError, match="whole numbers, slices"):
            frames[key]
    with pytest.raises(IndexError):
        frames[0, 3]
    np.testing.assert_array_equal(np.asarray(frames), voxels(1, 3, 5, 6))
    assert np.asarray(frames, dtype="f8").dtype == np.float64
    assert len(frames) == 1


def test_opening_and_showing_one_frame_of_a_big_file_reads_little(tmp_path):
    path = tmp_path / "big.fits"
    header = fits.PrimaryHDU(np.zeros((1, 1, 1), np.float32)).header
    header.update({"NAXIS1": 1024, "NAXIS2": 1024, "NAXIS3": 1200})
    with path.open("wb") as file:
        file.write(header.tostring().encode())
        file.truncate(file.tell() + -(-1200 * 2**22 // 2880) * 2880)
    read_burst(path)  # imports
    tracemalloc.start()
    burst = read_burst(path)
    assert burst.frames[0, 1199, 10:20].shape == (10, 1024)
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()
    assert describe(burst)["bad_pixels"] is None


@pytest.mark.parametrize("kind", ["plain", "tiled", "zipped"])
def test_many_threads_may_slice_at_once(tmp_path, kind):
    cube = smooth(8, 30, 40, dtype="i4")
    path = tmp_path / ("a.fits.gz" if kind == "zipped" else "a.fits")
    (fits.CompImageHDU if kind == "tiled" else fits.PrimaryHDU)(cube).writeto(path)
    burst, wrong = read_burst(path), []

    def look(start):
        numbers = [n % 8 for n in range(start, start + 16)]
        wrong.extend(n for n in numbers if not np.array_equal(burst.image(0, n), cube[n]))

    threads = [threading.Thread(target=look, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_file_stays_open(tmp_path):
    fits.CompImageHDU(smooth(3, 24, 20, dtype="i4")).writeto(tmp_path / "a.fits")
    fits.PrimaryHDU(voxels(3, 5, 6)).writeto(tmp_path / "b.fits")
    bursts = [read_burst(tmp_path / name) for name in ("a.fits", "b.fits")]
    for burst in bursts:
        burst.image(0, 1)
    if os.path.isdir("/proc/self/fd"):  # noqa: PTH112 - links of the kernel, no paths
        opened = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]  # noqa: PTH208
        assert not [name for name in opened if name.startswith(str(tmp_path))]


# -- headers that are odd


def test_an_extension_inherits_the_primary_header(tmp_path):
    primary = fits.PrimaryHDU(
        header=fits.Header({"TELESCOP": "SST", "INSTRUME": "CRISP", "WAVELNTH": 8542.0, "HISTORY": "first"})
    )
    extension = fits.ImageHDU(voxels(5, 6), fits.Header({"WAVELNTH": 6302.0, "WAVEUNIT": -10}))
    fits.HDUList([primary, extension]).writeto(tmp_path / "a.fits")
    burst = read_burst(tmp_path / "a.fits")
    assert burst.instruments[0].name == "SST/CRISP 6302"
    assert burst.headers[0]["TELESCOP"] == "SST"
    assert list(burst.headers[0]["HISTORY"]) == ["first"]


def test_damaged_cards_cost_only_themselves(tmp_path):
    path = tmp_path / "a.fits"
    hdu = fits.PrimaryHDU(voxels(5, 6))
    for n in range(4):
        hdu.header[f"CARD{n}"] = n
    hdu.writeto(path)
    data = path.read_bytes()
    for number, card in ((0, b"CA\xffD[*  =  0x00 \x07"), (1, b"CARD1   = 'never closed")):
        data = data.replace(f"CARD{number}   = {number:>20}".encode(), card.ljust(30))
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = read_burst(path).headers[0]
    assert header["CARD2"] == 2
    assert "CARD1" not in header


def test_describe_goes_into_json(tmp_path):
    frame(
        tmp_path / "a.fits", 0, TELESCOP="SST", INSTRUME="CRISP", BUNIT="DN", DATE_OBS="2026-05-01T08:00:00"
    )
    facts = json.loads(json.dumps(describe(read(tmp_path / "a.fits"))))
    assert (facts["layout"], facts["shape"], facts["dtype"], facts["unit"]) == (
        "image",
        [1, 1, 5, 6],
        "float32",
        "DN",
    )
    assert facts["instruments"][0]["unknown"] == ["wavelength_nm"]
    assert facts["times"] == {
        "first": "2026-05-01T08:00:00.000",
        "last": "2026-05-01T08:00:00.000",
        "known": 1,
    }
    assert facts["files"] == [str(tmp_path / "a.fits")]


# -- what cannot be read


def refused(path, words):
    with pytest.raises(BurstError, match=words) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plain(path, *shape):
    fits.PrimaryHDU(voxels(*shape)).writeto(path)
    return path


def test_what_is_no_fits_file_is_named(tmp_path):
    (tmp_path / "a.fits").write_text("<html>not found</html>")
    assert "a.fits" in refused(tmp_path / "a.fits", "not a FITS file.*<html>.*gzipped FITS, ANA")
    (tmp_path / "b.fits").write_bytes(b"")
    refused(tmp_path / "b.fits", "b.fits is empty")
    refused(tmp_path / "c.fits", "c.fits does not exist")


@pytest.mark.parametrize("keep", [100, 2880, 2880 + 2000])
def test_truncated_files_are_named(tmp_path, keep):
    path = plain(tmp_path / "a.fits", 40, 50)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "a.fits is cut off")


def test_a_cut_gzip_is_named(tmp_path):
    path = tmp_path / "a.fits.gz"
    fits.PrimaryHDU(np.random.default_rng(0).normal(size=(40, 50))).writeto(path)
    path.write_bytes(path.read_bytes()[:-500])
    refused(path, "a.fits.gz is gzipped but damaged or cut off")


def test_a_gzip_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_GUNZIPPED", 2**20)
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(bytes(2**22)))
    refused(tmp_path / "a.fits.gz", "more than 1 MiB.*gunzip it first")


def test_files_without_an_image_say_what_they_hold(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("A", "D", array=np.arange(3.0))])
    fits.HDUList([fits.PrimaryHDU(), table, table.copy()]).writeto(tmp_path / "a.fits")
    refused(tmp_path / "a.fits", "a.fits holds no image, 2 tables")
    fits.PrimaryHDU().writeto(tmp_path / "b.fits")
    refused(tmp_path / "b.fits", "b.fits holds no image, only headers")
    plain(tmp_path / "c.fits", 7)
    refused(tmp_path / "c.fits", r"c.fits has no image of at least two axes.*\(7,\)")


def test_an_image_without_a_valid_pixel_is_refused(tmp_path):
    fits.PrimaryHDU(np.full((5, 6), np.nan)).writeto(tmp_path / "a.fits")
    refused(tmp_path / "a.fits", "a.fits has no valid pixel")


def test_folders_say_what_they_lack(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    refused(tmp_path, "holds no images: none of its files ends in .fits")
    refused([], "No file is given")
    refused([tmp_path / "a.fits", tmp_path], "does not exist")


def test_one_damaged_file_of_a_folder_is_named(tmp_path):
    for n in range(3):
        plain(tmp_path / f"{n}.fits", 5, 6)
    (tmp_path / "1.fits").write_bytes(b"rubbish" * 100)
    assert "1.fits" in refused(tmp_path, "not a FITS file")


def test_a_folder_of_different_shapes_names_two_files(tmp_path):
    plain(tmp_path / "a.fits", 5, 6)
    plain(tmp_path / "b.fits", 5, 7)
    refused(tmp_path, r"a.fits has \(5, 6\) and .*b.fits \(5, 7\)")


@pytest.mark.parametrize("kind", ["gone", "shorter", "longer", "replaced"])
@pytest.mark.parametrize("tiled", [False, True])
def test_a_file_that_changes_later_is_one_error(tmp_path, kind, tiled):
    path = tmp_path / "a.fits"
    (fits.CompImageHDU if tiled else fits.PrimaryHDU)(smooth(3, 24, 20, dtype="i4")).writeto(path)
    burst = read_burst(path)
    if kind == "gone":
        path.unlink()
    else:
        before = path.read_bytes()
        path.unlink()
        path.write_bytes({"shorter": before[:5000], "longer": before + bytes(2880)}.get(kind, before))
    with pytest.raises(BurstError, match=r"a\.fits (cannot be opened|has changed since it was opened)"):
        burst.image(0, 1)


def claim(path, **cards):
    data = bytearray(path.read_bytes())
    for key, value in cards.items():
        at = next(n for n in range(0, len(data), 80) if data[n : n + 9] == f"{key:<8}=".encode())
        data[at + 10 : at + 80] = f"{value:>20}".ljust(70).encode()
    path.write_bytes(data)
    return path


def test_headers_that_claim_more_than_the_file_holds_allocate_nothing(tmp_path):
    path = claim(plain(tmp_path / "a.fits", 4, 5, 6), NAXIS3=2_000_000_000)
    tracemalloc.start()
    refused(path, "cut off: HDU 0 has 240000000000 bytes of data by its header")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_compressed_images_that_claim_absurd_sizes_are_refused(tmp_path):
    path = tmp_path / "a.fits"
    fits.CompImageHDU(smooth(24, 20, dtype="i4"), tile_shape=(24, 20)).writeto(path)
    refused(
        claim(path, ZNAXIS1=100_000, ZTILE1=100_000, ZNAXIS2=100_000, ZTILE2=100_000),
        r"claims an image of \(100000, 100000\)",
    )
    refused(claim(path, ZNAXIS1=40, ZTILE1=20), "has 1 tiles, but an image")


@pytest.mark.parametrize(
    ("code", "at", "rubbish", "words"),
    [
        ("PLIO_1", 6, b"\x7f\xff\x7f\xff", "a line list of .* words claims the words"),
        ("HCOMPRESS_1", 2, b"\x00\x01\x00\x00", "an HCOMPRESS stream is made for"),
        ("HCOMPRESS_1", 0, b"\x00", "an HCOMPRESS stream has no head"),
        ("HCOMPRESS_1", 22, b"\xff", "of up to 255 bits"),
    ],
)
def test_streams_that_would_lead_the_decoder_astray_do_not_reach_it(tmp_path, code, at, rubbish, words):
    path = tmp_path / "a.fits"
    fits.CompImageHDU(smooth(24, 20, dtype="i4"), compression_type=code, tile_shape=(24, 20)).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus[1].header
        heap = hdus[1].fileinfo()["datLoc"] + header["NAXIS1"] * header["NAXIS2"]
    data = bytearray(path.read_bytes())
    data[heap + at : heap + at + len(rubbish)] = rubbish
    path.write_bytes(data)
    assert "the compressed pixels of HDU 1 are damaged" in refused(path, words)


@pytest.mark.parametrize(
    "cards", [{"BITPIX": 17}, {"NAXIS": -2}, {"NAXIS1": "'six'"}, {"NAXIS": 1000}, {"NAXIS1": "6.0"}]
)
def test_impossible_structures_are_refused(tmp_path, cards):
    refused(claim(plain(tmp_path / "a.fits", 5, 6), **cards), "a.fits is damaged")


def test_rubbish_between_extensions_is_not_skipped(tmp_path):
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(voxels(5, 6)) for _ in range(3))]).writeto(path)
    data = path.read_bytes()
    path.write_bytes(data[: 2880 * 3] + b"x" * 80 + data[2880 * 3 + 80 :])
    refused(path, "after HDU 1 come .* that are not a FITS extension")


# -- ANA


class Anaio(types.ModuleType):
    """Stands in for the package: the "compression" of these tests is the flag alone."""

    @staticmethod
    def fzread(name):
        with open(name, "rb") as file:  # noqa: PTH123 - as the package is given a name
            data = file.read()
        axes, kind = data[8], data[7]
        shape = tuple(reversed(np.frombuffer(data, "<i4", axes, 192)))
        return {
            "data": np.frombuffer(data, ("<i1", "<i2", "<i4", "<f4", "<f8")[kind], offset=512).reshape(shape),
            "header": "",
        }


@pytest.fixture
def anaio(monkeypatch):
    monkeypatch.setitem(sys.modules, "anaio", Anaio("anaio"))


@pytest.fixture
def no_anaio(monkeypatch):
    monkeypatch.setitem(sys.modules, "anaio", None)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(5, 6), (3, 5, 6)])
def test_plain_ana_files_need_no_package(tmp_path, no_anaio, dtype, shape, order):
    image = voxels(*shape, dtype=dtype)
    (tmp_path / "a.f0").write_bytes(
        ana_bytes(image + image.dtype.type(150), "seen at the Swedish telescope", order=order)
    )
    burst = read_burst(tmp_path / "a.f0")
    assert burst.layout == "ana"
    np.testing.assert_array_equal(everything(burst).ravel(), np.arange(151, 151 + np.prod(shape)))
    np.testing.assert_array_equal(burst.frames[0, -1, 2:4, ::2], everything(burst)[0, -1, 2:4, ::2])
    assert "Swedish" in str(burst.headers[0]["HISTORY"])


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_flag_of_a_writer_of_other_bytes_swaps_the_pixels_alone(tmp_path, no_anaio, order):
    image = voxels(5, 6, dtype="i2")
    (tmp_path / "a.f0").write_bytes(ana_bytes(image.byteswap(), order=order, flags=128))
    np.testing.assert_array_equal(everything(read_burst(tmp_path / "a.f0"))[0, 0], image)


def test_the_pixels_of_an_ana_file_follow_all_blocks_of_its_header(tmp_path, no_anaio):
    text = "".join(f"card {n:03} " for n in range(60))
    (tmp_path / "a.f0").write_bytes(ana_bytes(voxels(5, 6, dtype="i2"), text))
    burst = read_burst(tmp_path / "a.f0")
    np.testing.assert_array_equal(everything(burst)[0, 0], voxels(5, 6))
    assert "".join(burst.headers[0]["HISTORY"]).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("dtype", ["u1", "i2"])
def test_compressed_ana_files_are_read_by_the_package(tmp_path, anaio, dtype):
    image = voxels(2, 5, 6, dtype=dtype) + np.dtype(dtype).type(150)
    (tmp_path / "a.fz").write_bytes(ana_bytes(image, flags=1))
    np.testing.assert_array_equal(everything(read_burst(tmp_path / "a.fz"))[0], image)


def test_a_folder_of_ana_files_is_a_burst(tmp_path, no_anaio):
    for n in range(3):
        (tmp_path / f"cam.{n}.f0").write_bytes(ana_bytes(voxels(5, 6, dtype="i2") + np.int16(100 * n)))
    burst = read_burst(tmp_path)
    assert (burst.layout, burst.shape) == ("files", (1, 3, 5, 6))
    assert list(everything(burst)[0, :, 0, 0]) == [1, 101, 201]


def test_one_frame_of_a_long_ana_file_reads_little(tmp_path, no_anaio):
    data = bytearray(ana_bytes(voxels(1, 1, 1)))
    data[192:204] = np.array([1024, 1024, 1200], "<i4").tobytes()
    with (tmp_path / "a.f0").open("wb") as file:
        file.write(data)
        file.truncate(512 + 1200 * 2**22)
    read_burst(tmp_path / "a.f0")  # imports
    tracemalloc.start()
    assert read_burst(tmp_path / "a.f0").frames[0, 1199, 10:20].shape == (10, 1024)
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def test_compressed_ana_without_its_extra_says_what_to_install(tmp_path, no_anaio):
    (tmp_path / "a.f0").write_bytes(ana_bytes(voxels(5, 6, dtype="i2"), flags=1))
    refused(tmp_path / "a.f0", r'a\.f0 is a compressed ANA file; pip install "heliorestore\[ana\]"')


@pytest.mark.parametrize("keep", [300, 520])
def test_cut_ana_files_are_named(tmp_path, no_anaio, keep):
    (tmp_path / "a.f0").write_bytes(ana_bytes(voxels(5, 6, dtype="i2"))[:keep])
    refused(tmp_path / "a.f0", "a.f0 is cut off")


def test_ana_files_with_impossible_heads_are_refused(tmp_path, no_anaio):
    data = bytearray(ana_bytes(voxels(5, 6, dtype="i2")))
    data[7] = 9
    (tmp_path / "a.f0").write_bytes(data)
    refused(tmp_path / "a.f0", "a.f0 is damaged: its ANA header declares 2 axes and the number type 9")
    data[7], data[192:196] = 1, b"\xff\xff\xff\xff"
    (tmp_path / "a.f0").write_bytes(data)
    refused(tmp_path / "a.f0", "damaged or too large")


def test_ana_files_that_anaio_wrote(tmp_path):
    anaio = pytest.importorskip("anaio", reason="the extra [ana] is not installed")
    image = smooth(24, 32, dtype="i2")
    anaio.fzwrite(str(tmp_path / "a.fz"), image)
    np.testing.assert_array_equal(read_burst(tmp_path / "a.fz").image(0, 0), image)


# -- the reference data

EXPECTED = {
    "bursts/granulation_burst.fits": ("frames", (1, 11, 512, 512)),
    "denoise/synthetic_stokes_published_bayes.fits": ("frames", (1, 2, 400, 400)),
    "enhance/hmi_sharp_377_magnetogram.fits": ("image", (1, 1, 377, 744)),
    "headers/gradient_32s_4x5_u16.fits": ("image", (1, 1, 4, 5)),
    "headers/gzip_test.fits.gz": ("image", (1, 1, 32, 32)),
    "headers/irispy_SJI_2832_test.fits": ("named-axes", (1, 10, 40, 37)),
    "headers/sunkit-image_dkist_photosphere.fits": ("image", (1, 1, 300, 300)),
    "headers/visp_0.fits": ("named-axes", (25, 1, 10, 1)),
    "truth/crisp_8542_spot_wb.fits": ("image", (1, 1, 979, 560)),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_reference_files_are_read_as_what_they_are(shared_data, name):
    burst = read_burst(shared_data / name)
    assert (burst.layout, burst.shape) == EXPECTED[name]
    with fits.open(shared_data / name) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = next(hdu.data for hdu in hdus if hdu.data is not None and hdu.data.ndim > 1)
    if burst.layout != "named-axes" or burst.shape[0] == 1:
        np.testing.assert_array_equal(everything(burst).squeeze(), np.asarray(data, np.float32).squeeze())
    else:
        np.testing.assert_array_equal(everything(burst)[:, 0, :, 0], np.asarray(data, np.float32)[0].T)


def test_reference_headers_are_understood(shared_data):
    iris = read_burst(shared_data / "headers/irispy_SJI_2832_test.fits")
    assert str(iris.times[1] - iris.times[0]) == "47509100 microseconds"
    assert iris.instruments[0].pixel_arcsec == 0.16635
    visp = read_burst(shared_data / "headers/visp_0.fits")
    assert visp.labels[0] == "499.96 nm"
    assert visp.instruments[0].pixel_arcsec == pytest.approx(0.06)
    sharp = read_burst(shared_data / "enhance/hmi_sharp_377_continuum.fits")
    assert sharp.instruments[0].pixel_arcsec == pytest.approx(0.504, rel=0.02)
    assert sharp.unit == "DN/s"
    refused(shared_data / "headers/not_actually_fits.fits", "not a FITS file")


def test_a_pair_of_reference_files_is_one_burst(shared_data):
    both = [shared_data / f"truth/crisp_8542_spot_{band}.fits" for band in ("wb", "nb")]
    assert read_burst(both).shape == (1, 2, 979, 560)


def claims(path, shape, cards=()):
    """A file with a header that claims float32 pixels of a shape, none of which is on the disk."""
    header = fits.PrimaryHDU(np.zeros((1,) * len(shape), np.float32), fits.Header(cards)).header
    header.update({f"NAXIS{len(shape) - axis}": size for axis, size in enumerate(shape)})
    with path.open("wb") as file:
        file.write(header.tostring().encode())
        file.truncate(file.tell() + -(-4 * math.prod(shape) // 2880) * 2880)
    return path


@pytest.mark.parametrize("shape", [(10**7, 1, 1), (10**7, 10, 10), (10**6, 10, 1, 1), (2**11, 2**10, 1, 1)])
def test_absurdly_many_images_are_refused_with_their_number(tmp_path, shape):
    path = claims(tmp_path / "a.fits", shape)
    with pytest.raises(BurstError, match=rf"{shape[-3]} frames of {shape[-2]} x .*1048576 images.*--axes"):
        read(path)


def test_many_images_and_a_long_header_cost_little(tmp_path, monkeypatch):
    """A header is renumbered at each card that is put above another one."""
    cards = {f"K{number}": number for number in range(300)}
    path = claims(tmp_path / "a.fits", (2**20, 1, 1), cards | {"DATE-OBS": "2020-08-01T08:00:00"})
    monkeypatch.setattr(fits.Header, "_updateindices", lambda *_: pytest.fail("quadratic in the cards"))
    tracemalloc.start()
    burst = read(path)
    assert tracemalloc.get_traced_memory()[1] < 80e6
    tracemalloc.stop()
    monkeypatch.undo()
    assert burst.headers[0]["K299"] == 299
    assert describe(burst)["bad_pixels"] is None
    with path.open("r+b") as file:
        file.seek(80)
        file.write(b"COMMENT".ljust(80) * 40_000)
    with pytest.raises(BurstError, match="no END card in the first 3 MiB"):
        read(path)


def test_frames_of_one_burst_are_known_by_their_headers(tmp_path):
    """No pixel is read: there is no valid one."""
    for name, shape, unit in (
        ("a", (5, 6), "dn"),
        ("b", (5, 6), "dn"),
        ("c", (5, 6), "G"),
        ("d", (2, 5, 6), "dn"),
    ):
        fits.writeto(tmp_path / f"{name}.fits", np.full(shape, np.nan), fits.Header({"BUNIT": unit}))
    (tmp_path / "e.fits").write_bytes(b"no FITS")
    alike = {name for name in "bcde" if are_frames([tmp_path / "a.fits", tmp_path / f"{name}.fits"])}
    assert alike == {"b"}


def test_a_file_of_as_many_axes_as_fits_allows_is_read(tmp_path):
    path = tmp_path / "axes.fits"
    path.write_bytes(header_of_axes((9, 8) + (1,) * 997) + voxels(8, 9).astype(">f4").tobytes().ljust(2880))
    np.testing.assert_array_equal(read_burst(path).image(0, 0), voxels(8, 9))


def header_of_axes(shape):
    cards = [("SIMPLE", "T"), ("BITPIX", -32), ("NAXIS", len(shape))]
    cards += [(f"NAXIS{axis}", length) for axis, length in enumerate(shape, 1)]
    text = "".join(f"{key:<8}= {value!s:>20}".ljust(80) for key, value in cards) + "END".ljust(80)
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("scale", [np.inf, 1e300])
def test_a_tile_whose_scale_is_no_scale_is_bad_without_a_word(tmp_path, scale):
    path = tmp_path / "tiles.fits"
    image = np.random.default_rng(0).normal(1000, 30, (20, 40)).astype("f4")
    fits.CompImageHDU(image, compression_type="RICE_1").writeto(path)
    with fits.open(path, mode="update", disable_image_compression=True) as hdus:
        hdus[1].data["ZSCALE"][3] = scale
    frame = read_burst(path).image(0, 0)
    assert np.isnan(frame[3]).mean() > 0.9
    assert np.isfinite(np.delete(frame, 3, 0)).all()

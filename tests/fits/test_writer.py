import dataclasses
import errno
import gzip
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import build_files
from build_files import small_snapshot, voxels
from heliorestore.burst import Burst
from heliorestore.errors import BurstError, RestorationError
from heliorestore.fits.reader import read_burst
from heliorestore.fits.writer import write
from heliorestore.instrument import KNOWN
from heliorestore.settings import SavedSettings
from heliorestore.snapshot import Run, Snapshot


@pytest.fixture
def snapshot(tmp_path):
    return small_snapshot(tmp_path)


@pytest.fixture
def hdus(snapshot, tmp_path):
    with fits.open(write(snapshot, tmp_path / "out.fits"), checksum=True) as opened:
        yield opened


def restored(burst, **changes):
    """A snapshot of a burst, its images the first frames."""
    run = Run.of(burst, SavedSettings("richardson-lucy", (("iterations", "1", "", "how many"),)), "cpu", 0)
    images = np.array([burst.image(k, 0) for k in range(burst.shape[0])])
    return Snapshot(**{"step": 1, "total": 1, "images": images, "run": run} | changes)


def observed(path, header=None, images=None):
    fits.PrimaryHDU(voxels(8, 9) if images is None else images, header).writeto(path, overwrite=True)
    return read_burst(path).with_instrument("crisp-8542")


def test_images_are_float32_object_y_x(hdus, snapshot):
    assert hdus[0].header["BITPIX"] == -32
    assert hdus[0].data.shape == (2, 16, 18)
    np.testing.assert_array_equal(hdus[0].data, snapshot.images)


def test_every_hdu_is_valid_and_has_its_checksum(snapshot, tmp_path):
    path = write(snapshot, tmp_path / "out.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as opened:
            opened.verify("exception")
            for hdu in opened:
                assert hdu.verify_checksum() == 1
                assert hdu.verify_datasum() == 1
                assert str(hdu.header)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"END" + b" " * 77) + 2880] ^= 1
    path.write_bytes(damaged)
    with fits.open(path) as opened:
        assert opened[0].verify_datasum() == 0


def test_the_extensions_are_those_of_the_snapshot(hdus):
    assert [hdu.name for hdu in hdus] == [
        "PRIMARY", "MODES", "RESIDUAL", "UNCERTAINTY", "COVERAGE", "LOSS", "SETTINGS", "OBJECTS", "INPUTS",
    ]  # fmt: skip
    assert hdus["MODES"].header["BUNIT"] == "rad"
    assert hdus["RESIDUAL"].header["BUNIT"] == "DN"
    assert "BUNIT" not in hdus["COVERAGE"].header
    assert len(hdus["LOSS"].data) == 3
    assert hdus["LOSS"].columns.names == ["step", "seconds", "loss", "lambda_object"]
    assert hdus["SETTINGS"].columns.names == ["NAME", "VALUE", "UNIT", "HELP"]


def test_every_map_has_the_wcs_of_its_own_pixels(hdus):
    scales = {
        name: hdus[name].header.get("CDELT1")
        for name in ("PRIMARY", "RESIDUAL", "UNCERTAINTY", "COVERAGE", "MODES")
    }
    assert scales == {"PRIMARY": 0.03, "RESIDUAL": 0.06, "UNCERTAINTY": 0.03, "COVERAGE": 0.03, "MODES": None}
    assert hdus["RESIDUAL"].header["CRPIX1"] == 4.0
    assert hdus[0].header["CRPIX1"] == 7.5
    corner = [
        WCS(hdus[name].header, naxis=2).wcs_pix2world(-0.5, -0.5, 0) for name in ("PRIMARY", "RESIDUAL")
    ]
    np.testing.assert_allclose(corner[0], corner[1])


def test_the_object_axis_and_the_objects_are_described(hdus):
    header = hdus[0].header
    assert (header["CTYPE3"], header["CRPIX3"], header["CDELT3"]) == ("OBJECT", 1.0, 1.0)
    assert (header["LABEL1"], header["LABEL2"], header["WLNM2"]) == ("object 0", "object 1", 854.2)
    assert header["BUNIT"] == "DN"
    assert header["DATE"].startswith("20")


def test_the_selection_is_recorded_as_python_slices(hdus):
    assert hdus["SETTINGS"].header["OBJSEL"] == "0:2"
    assert hdus["SETTINGS"].header["FRAMSEL"] == "1:5:2"


def test_the_processing_step_follows_those_present(tmp_path):
    header = fits.Header(
        {"PRSTEP1": "FLATFIELDING", "PRPROC1": "flat.pro", "PRSTEP2": "DEMODULATION", "PRLIB2A": "lib"}
    )
    with fits.open(write(restored(observed(tmp_path / "a.fits", header)), tmp_path / "out.fits")) as opened:
        card = opened[0].header
    assert (card["PRSTEP1"], card["PRSTEP2"]) == ("FLATFIELDING", "DEMODULATION")
    assert card["PRSTEP3"] == "RICHARDSON-LUCY-DECONVOLUTION"
    assert card["PRPROC3"] == "heliorestore richardson-lucy"
    assert card["PRPARA3"] == '{"iterations": "1"}'
    assert card["PRREF3"] == "a.fits"
    assert (card["PRLIB3A"], card["PRLIB3B"], card["PRLIB3C"], card["PRLIB3D"]) == (
        "heliorestore",
        "torch",
        "numpy",
        "astropy",
    )
    assert card["PRVER3C"] == np.__version__
    assert "PRSTEP4" not in card


def test_turned_settings_are_told_apart_from_fixed_ones(snapshot, tmp_path):
    turned = dataclasses.replace(
        snapshot, history=dict(snapshot.history) | {"lambda_object": np.array([0.1, 0.2, 0.2])}
    )
    modes = []
    for name, each in (("fixed", snapshot), ("turned", turned)):
        with fits.open(write(each, tmp_path / f"{name}.fits")) as opened:
            modes.append(opened[0].header["PRMODE1"])
    assert modes == ["FIXED", "TURNED"]


def test_the_input_header_is_kept_but_for_what_is_stale(tmp_path):
    header = fits.Header(
        {"TELESCOP": "SST", "LONGTEXT": "many words " * 20, "HIERARCH ESO DET GAIN": 1.5, "DATAMAX": 99.0}
    )
    for n in range(3):
        header.add_history(f"step {n}")
    header.add_comment("seeing was good")
    path = tmp_path / "a.fits"
    hdu = fits.PrimaryHDU(np.arange(72, dtype=np.int16).reshape(8, 9), header)
    hdu.header["BSCALE"], hdu.header["BZERO"] = 2.0, 100.0
    hdu.writeto(path, checksum=True)
    with fits.open(write(restored(read_burst(path)), tmp_path / "out.fits"), checksum=True) as opened:
        card = opened[0].header
        assert opened[0].data[0, 0, 1] == read_burst(path).image(0, 0)[0, 1]
    assert card["LONGTEXT"] == ("many words " * 20).rstrip()
    assert card["ESO DET GAIN"] == 1.5
    assert list(card["HISTORY"]) == ["step 0", "step 1", "step 2"]
    assert list(card["COMMENT"]) == ["seeing was good"]
    assert not {"BSCALE", "BZERO", "BLANK", "DATAMAX"} & set(card)


def test_no_card_of_the_compression_survives(tmp_path):
    path = tmp_path / "a.fits"
    fits.CompImageHDU(voxels(24, 20, dtype="i4"), fits.Header({"TELESCOP": "SST"})).writeto(
        path, checksum=True
    )
    with fits.open(write(restored(read_burst(path)), tmp_path / "out.fits"), checksum=True) as opened:
        card = opened[0].header
    assert card["TELESCOP"] == "SST"
    assert not [
        key for key in card if key.startswith(("Z", "TFORM", "TTYPE", "TFIELDS", "XTENSION", "EXTNAME"))
    ]


def test_further_objects_keep_their_headers(tmp_path):
    for band in ("nb", "wb"):
        observed(
            tmp_path / f"{band}.fits", fits.Header({"CAMERA": band, "EXPTIME": 1.5 if band == "nb" else 0.5})
        )
    burst = read_burst([tmp_path / "nb.fits", tmp_path / "wb.fits"])
    with fits.open(write(restored(burst), tmp_path / "out.fits")) as opened:
        assert opened[0].header["EXPTIME"] == 1.5
        assert (opened["HEADER"].header["EXPTIME"], opened["HEADER"].header["OBJECTS"]) == (0.5, "1")


def test_dates_are_those_of_the_frames_used(tmp_path):
    for n in range(5):
        observed(
            tmp_path / f"f{n}.fits",
            fits.Header({"DATE-OBS": f"2026-05-01T08:00:0{n}", "DATE-BEG": "2020-01-01"}),
        )
    burst = read_burst(sorted(tmp_path.glob("f*.fits"))).select(frames=slice(1, 4))
    with fits.open(write(restored(burst), tmp_path / "out.fits")) as opened:
        assert opened[0].header["DATE-BEG"].startswith("2026-05-01T08:00:01")
        assert opened[0].header["DATE-END"].startswith("2026-05-01T08:00:03")


def test_dates_of_another_time_system_stay_as_they_are(tmp_path):
    burst = observed(tmp_path / "a.fits", fits.Header({"TIMESYS": "TAI", "DATE-BEG": "2026-05-01T08:00:37"}))
    assert str(burst.times[0]).startswith("2026-05-01T08:00:00")
    with fits.open(write(restored(burst), tmp_path / "out.fits")) as opened:
        assert opened[0].header["DATE-BEG"] == "2026-05-01T08:00:37"
        assert "DATE-END" not in opened[0].header


def test_messages_are_the_log_of_the_processing_step(hdus, snapshot):
    assert hdus[0].header["PRLOG1"].startswith("the GPU is full")
    assert hdus["LOSS"].header["MSG2"]


def test_an_image_without_wcs_gets_the_scale_of_its_instrument(tmp_path):
    burst = Burst.from_array(voxels(8, 9), KNOWN["crisp-8542"])
    with fits.open(write(restored(burst), tmp_path / "out.fits")) as opened:
        assert (opened[0].header["CDELT1"], opened[0].header["CUNIT1"]) == (0.059, "arcsec")
        assert "INPUTS" not in opened


def test_a_snapshot_without_a_run_is_written_too(tmp_path):
    path = write(Snapshot(step=1, total=1, images=voxels(1, 4, 5)), tmp_path / "out.fits")
    with fits.open(path, checksum=True) as opened:
        assert [hdu.name for hdu in opened] == ["PRIMARY", "LOSS"]


def test_inputs_have_their_checksums(hdus, snapshot):
    import hashlib

    row = hdus["INPUTS"].data[0]
    source = snapshot.run.sources[0].path
    assert row["FILE"] == str(source)
    assert row["SIZE"] == source.stat().st_size
    assert row["SHA256"] == hashlib.sha256(source.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("change", "note"),
    [("changed", "changed since it was opened"), ("gone", "not found when this was written")],
)
def test_an_input_that_changed_has_no_checksum_but_the_reason(snapshot, tmp_path, change, note):
    source = snapshot.run.sources[0].path
    if change == "gone":
        source.unlink()
    else:
        source.write_bytes(source.read_bytes() + bytes(2880))
    with fits.open(write(snapshot, tmp_path / "out.fits")) as opened:
        assert opened["INPUTS"].data[0]["SHA256"] == ""
        assert opened["INPUTS"].data[0]["NOTE"] == f"{note}: no checksum"


def test_a_name_ending_in_gz_is_gzipped(snapshot, tmp_path):
    path = write(snapshot, tmp_path / "out.fits.gz")
    assert gzip.decompress(path.read_bytes()).startswith(b"SIMPLE  =")
    assert read_burst(path).layout == "restored"


def test_sunpy_opens_it_with_the_right_scale_and_place(tmp_path):
    sunpy_map = pytest.importorskip("sunpy.map", reason="sunpy is not installed")
    header = fits.Header(
        {
            "CTYPE1": "HPLN-TAN",
            "CTYPE2": "HPLT-TAN",
            "CUNIT1": "arcsec",
            "CUNIT2": "arcsec",
            "CRVAL1": 120.0,
            "CRVAL2": -80.0,
            "CRPIX1": 5.0,
            "CRPIX2": 4.5,
            "CDELT1": 0.06,
            "CDELT2": 0.06,
            "DATE-OBS": "2026-05-01T08:00:00",
            "DSUN_OBS": 1.5e11,
            "HGLN_OBS": 0.0,
            "HGLT_OBS": 0.0,
            "RSUN_REF": 695700000.0,
            "TELESCOP": "SST",
            "INSTRUME": "CRISP",
            "WAVELNTH": 854.2,
            "WAVEUNIT": "nm",
        }
    )
    burst = observed(tmp_path / "a.fits", header)
    path = write(restored(burst, images=voxels(1, 16, 18), zoom=2), tmp_path / "out.fits")
    with warnings.catch_warnings():
        # the object axis
        warnings.filterwarnings("ignore", message="This file contains more than 2 dimensions")
        maps = sunpy_map.Map([str(path), str(tmp_path / "a.fits")])
    fine, coarse = maps
    assert fine.scale.axis1.value == pytest.approx(0.03)
    assert fine.data.shape == (16, 18)
    assert fine.center.Tx.value == pytest.approx(coarse.center.Tx.value)
    assert fine.center.Ty.value == pytest.approx(coarse.center.Ty.value)


# -- whole or not at all


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def test_an_existing_file_stays_unless_overwriting_is_allowed(snapshot, tmp_path):
    path = tmp_path / "out.fits"
    path.write_text("precious")
    with pytest.raises(RestorationError, match=r"out\.fits exists.*--overwrite"):
        write(snapshot, path)
    assert path.read_text() == "precious"
    assert write(snapshot, path, overwrite=True) == path
    assert read_burst(path).layout == "restored"


def test_an_input_is_never_overwritten(snapshot, tmp_path):
    before = (tmp_path / "observed.fits").read_bytes()
    with pytest.raises(RestorationError, match="is an input and is not overwritten"):
        write(snapshot, tmp_path / "observed.fits", overwrite=True)
    assert (tmp_path / "observed.fits").read_bytes() == before


def test_impossible_targets_are_named(snapshot, tmp_path):
    with pytest.raises(RestorationError, match="is a folder: give the name of a file in it"):
        write(snapshot, tmp_path, overwrite=True)
    with pytest.raises(RestorationError, match="nowhere does not exist: create it first"):
        write(snapshot, tmp_path / "nowhere" / "out.fits")


def test_a_link_stays_a_link(snapshot, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.fits").symlink_to(tmp_path / "elsewhere" / "real.fits")
    write(snapshot, tmp_path / "out.fits", overwrite=True)
    assert (tmp_path / "out.fits").is_symlink()
    assert (tmp_path / "elsewhere" / "real.fits").exists()


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_failure_leaves_the_old_file_whole(snapshot, tmp_path, monkeypatch, step, code):
    path = tmp_path / "out.fits"
    path.write_text("precious")

    real_open = os.open

    def fail(*arguments, **keywords):
        if step == "open" and not str(arguments[0]).endswith(".part"):
            return real_open(*arguments, **keywords)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path if step == "replace" else os, step, fail)
        with pytest.raises(
            RestorationError, match=f"could not be written .{os.strerror(code)}.*older file is unchanged"
        ):
            write(snapshot, path, overwrite=True)
    assert path.read_text() == "precious"
    assert not leftovers(tmp_path)


def test_ctrl_c_while_writing_leaves_the_old_file_whole(snapshot, tmp_path, monkeypatch):
    path = tmp_path / "out.fits"
    path.write_text("precious")

    def interrupt(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(snapshot, path, overwrite=True)
    assert path.read_text() == "precious"
    assert not leftovers(tmp_path)


PREPARE = """
    import sys, time, pathlib
    sys.path.insert(0, {tests!r})
    from build_files import small_snapshot
    from heliorestore.errors import RestorationError
    from heliorestore.fits.writer import write
    folder = pathlib.Path({folder!r})
    snapshot = small_snapshot(folder)
"""


def child(tmp_path, body):
    script = textwrap.dedent(PREPARE).format(
        tests=str(Path(build_files.__file__).parent), folder=str(tmp_path)
    ) + textwrap.dedent(body)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="files of limited size need resource")
def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "out.fits"
    path.write_text("precious")
    body = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
        try:
            write(snapshot, folder / "out.fits", overwrite=True)
        except RestorationError as error:
            print(error)
    """
    with child(tmp_path, body) as process:
        said = process.communicate()[0]
    assert "out.fits could not be written (File too large)" in said
    assert path.read_text() == "precious"
    assert not leftovers(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_kill_in_the_middle_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "out.fits"
    path.write_text("precious")
    body = """
        import os
        from astropy.io.fits.file import _File
        whole = _File.write
        written = []
        def slow(self, *args, **kwargs):
            whole(self, *args, **kwargs)
            written.append(1)
            if len(written) == 4:
                self.flush()
                print("half", flush=True)
                time.sleep(60)
        _File.write = slow
        write(snapshot, folder / "out.fits", overwrite=True)
    """
    with child(tmp_path, body) as process:
        assert process.stdout.readline() == "half\n"
        (part,) = leftovers(tmp_path)
        assert (tmp_path / part).stat().st_size > 0
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "precious"


def test_the_file_is_complete_whenever_it_can_be_seen(snapshot, tmp_path):
    path = tmp_path / "out.fits"
    write(snapshot, path)
    body = """
        for _ in range(12):
            write(snapshot, folder / "out.fits", overwrite=True)
    """
    with child(tmp_path, body) as process:
        seen, replaced = 0, ["has changed since it was opened"]
        while process.poll() is None:
            try:
                assert read_burst(path).image(1, 0)[-1, -1] == snapshot.images[1, -1, -1]
                seen += 1
            except BurstError as error:  # replaced between header and pixels
                replaced.append(str(error))
            time.sleep(0.01)
    assert process.returncode == 0
    assert seen
    assert all(replaced[0] in said for said in replaced)

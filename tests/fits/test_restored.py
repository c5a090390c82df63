import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import heliorestore
from build_files import small_snapshot, voxels
from heliorestore.burst import Burst
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits import reader
from heliorestore.fits.files import Gunzip
from heliorestore.fits.provenance import from_ascii, to_ascii
from heliorestore.fits.reader import describe, read, read_burst
from heliorestore.fits.writer import write
from heliorestore.instrument import KNOWN
from heliorestore.methods.base import replay, settings_of, stream
from heliorestore.methods.richardson_lucy import RichardsonLucySettings
from heliorestore.prepare.opening import reopen
from heliorestore.snapshot import DATA_UNIT, NODE_AXES, Map, Snapshot

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

WCS_WORDS = ("TYPE", "UNIT", "RPIX", "RVAL", "DELT")


def assert_same(back, snapshot):
    """A snapshot that was read back is the one that was written."""
    np.testing.assert_array_equal(back.images, snapshot.images)
    assert set(back.maps) == set(snapshot.maps)
    for name, array in snapshot.maps.items():
        np.testing.assert_array_equal(back.maps[name], array)
    assert list(back.history) == list(snapshot.history)
    for name, column in snapshot.history.items():
        np.testing.assert_array_equal(back.history[name], column)
    for field in ("step", "total", "elapsed_s", "zoom", "stop", "messages"):
        assert getattr(back, field) == getattr(snapshot, field), field
    np.testing.assert_equal(dict(back.losses), dict(snapshot.losses))
    run, was = back.run, snapshot.run
    for field in ("device", "seed", "instruments", "labels", "unit", "object_numbers", "frame_numbers"):
        assert getattr(run, field) == getattr(was, field), field
    assert run.settings.method == was.settings.method
    if was.times is not None:
        np.testing.assert_array_equal(run.times, was.times)
    assert [(s.path, s.size, s.mtime_ns) for s in run.sources] == [
        (s.path, s.size, s.mtime_ns) for s in was.sources
    ]


@pytest.mark.parametrize("zoom", [1, 2])
def test_a_snapshot_comes_back_as_it_was(tmp_path, zoom):
    snapshot = small_snapshot(tmp_path, zoom)
    back = read(write(snapshot, tmp_path / "out.fits"))
    assert isinstance(back, Snapshot)
    assert_same(back, snapshot)
    assert back.run.settings == snapshot.run.settings
    assert not back.images.flags.writeable


@pytest.mark.parametrize("name", ["out.fits", "out.fits.gz"])
def test_a_restored_file_is_opened_and_scanned_once(tmp_path, monkeypatch, name):
    path = write(small_snapshot(tmp_path), tmp_path / name)
    opened, scanned = [], []
    fits_open, open_, scan = fits.open, Gunzip.open, reader.scan
    monkeypatch.setattr(fits, "open", lambda *a, **k: opened.append("astropy") or fits_open(*a, **k))
    monkeypatch.setattr(Gunzip, "open", lambda self, p: opened.append(p.name) or open_(self, p))
    monkeypatch.setattr(reader, "scan", lambda file, p: scanned.append(p.name) or scan(file, p))
    assert isinstance(read(path), Snapshot)
    assert opened == [name, "astropy"]
    assert scanned == [name]
    reopen(path)
    assert (opened.count(name), scanned.count(name)) == (2, 2)
    assert read_burst(path).layout == "restored"
    assert scanned.count(name) == 3
    # once for what is in it, once for its pixels
    assert (opened.count(name), opened.count("astropy")) == (4, 3)


def test_maps_come_back_with_their_axes_units_and_nodes(tmp_path):
    first = small_snapshot(tmp_path)
    nodes = Map(voxels(2, 4, 3, 3), NODE_AXES, "rad", (2.5, 3.0), (-1.0, 2.0), signed=True)
    speed = Map(voxels(2, 8, 9), unit="km/s", signed=True)
    snapshot = dataclasses.replace(first, maps={**first.maps, "modes": nodes, "speed": speed})
    path = write(snapshot, tmp_path / "out.fits")
    back = read(path)
    assert back.maps["residual"].unit == DATA_UNIT
    assert back.unit_of("residual") == first.run.unit
    for name, each in snapshot.maps.items():
        for fact in ("axes", "unit", "step", "first", "signed"):
            assert getattr(back.maps[name], fact) == getattr(each, fact), (name, fact)
    header = fits.getheader(path, "MODES")
    # The second node along x is at pixel 5 from 0, which FITS calls 6; the first along y at pixel -1.
    x, y = WCS(header).pixel_to_world_values(1, 0, 0, 0)[:2]
    assert (float(x), float(y)) == (6.0, 0.0)


def test_mode_maps_of_files_without_cards_of_nodes_have_the_step_of_the_settings(tmp_path):
    snapshot = small_snapshot(tmp_path)
    rows = (*snapshot.run.settings.rows, ("grid_step", "16", "px", ""))
    settings = dataclasses.replace(snapshot.run.settings, rows=rows)
    run = dataclasses.replace(snapshot.run, settings=settings)
    path = write(dataclasses.replace(snapshot, run=run), tmp_path / "out.fits")
    with fits.open(path, mode="update") as hdus:
        for hdu in hdus[1:]:
            for key in ("HELIOAXS", "HELIOSGN", *(f"C{word}{n}" for word in WCS_WORDS for n in (1, 2))):
                hdu.header.remove(key, ignore_missing=True)
    back = read(path)
    assert back.maps["modes"].step == (16.0, 16.0)
    assert (back.maps["modes"].axes, back.maps["modes"].signed) == (NODE_AXES, True)
    np.testing.assert_array_equal(back.maps["modes"], snapshot.maps["modes"])


def test_what_was_read_back_can_be_written_again_and_says_the_same(tmp_path):
    first = write(small_snapshot(tmp_path), tmp_path / "first.fits")
    once = read(first)
    twice = read(write(once, tmp_path / "second.fits"))
    assert_same(twice, once)
    with fits.open(first) as one, fits.open(tmp_path / "second.fits") as other:
        same = {
            key: one[0].header[key] for key in one[0].header if key not in ("DATE", "CHECKSUM", "DATASUM")
        }
        assert {key: other[0].header[key] for key in same} == same
        assert "PRSTEP2" not in other[0].header
        assert [hdu.name for hdu in one] == [hdu.name for hdu in other]


def test_the_input_header_comes_back_on_the_pixels_of_the_input(tmp_path):
    snapshot = small_snapshot(tmp_path, zoom=2)
    header = read(write(snapshot, tmp_path / "out.fits")).run.headers[0]
    for key in ("CRPIX1", "CDELT1", "CRVAL2", "TELESCOP"):
        assert header[key] == snapshot.run.headers[0][key]
    assert not [key for key in header if key.startswith(("PRSTEP", "HELIOFMT", "LABEL"))]


def test_headers_of_further_objects_come_back(tmp_path):
    for band, seconds in (("a", 1.5), ("b", 0.5), ("c", 0.5)):
        fits.PrimaryHDU(voxels(5, 6), fits.Header({"CAMERA": band, "EXPTIME": seconds})).writeto(
            tmp_path / f"{band}.fits"
        )
    burst = read_burst(sorted(tmp_path.glob("*.fits"))).with_instrument("crisp-8542")
    snapshot = heliorestore.restore(burst, RichardsonLucySettings(iterations=1), device="cpu")
    back = read(write(snapshot, tmp_path / "out.fits"))
    assert [(header["CAMERA"], header["EXPTIME"]) for header in back.run.headers] == [
        ("a", 1.5),
        ("b", 0.5),
        ("c", 0.5),
    ]


@in_one_folder
@example(label="'/", unit="'  /'", losses={}, seed=0, pixel=1.0, message="in '/data/1.fits'" * 5)
@given(
    label=st.text(max_size=20).map(str.strip),
    unit=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10).map(str.strip),
    losses=st.dictionaries(st.sampled_from(["loss", "prior"]), st.floats(width=64)),
    seed=st.integers(0, 2**32 - 1),
    pixel=st.floats(1e-3, 10),
    message=st.text(max_size=100).map(str.strip),
)
def test_texts_and_numbers_come_back_to_the_last_bit(tmp_path, label, unit, losses, seed, pixel, message):
    snapshot = small_snapshot(tmp_path)
    instruments = (dataclasses.replace(KNOWN["hifi-6563"], pixel_arcsec=pixel), KNOWN["imax-5250"])
    run = dataclasses.replace(
        snapshot.run, labels=(label, "other"), unit=unit, seed=seed, instruments=instruments
    )
    snapshot = dataclasses.replace(snapshot, run=run, losses=losses, messages=(message,))
    assert_same(read(write(snapshot, tmp_path / "out.fits", overwrite=True)), snapshot)


@given(st.text())
def test_any_text_survives_ascii(text):
    written = to_ascii(text)
    assert all(" " <= letter <= "~" for letter in written)
    assert from_ascii(written) == text


def test_settings_are_made_by_the_method_that_is_asked(tmp_path):
    burst = Burst.from_array(voxels(16, 16), KNOWN["crisp-8542"])
    chosen = RichardsonLucySettings(iterations=2, damping=0.1 + 0.2, stop_at_noise=False)
    snapshot = heliorestore.restore(burst, chosen, device="cpu")
    back = read(write(snapshot, tmp_path / "out.fits"))
    assert settings_of(back.run) == chosen
    assert settings_of(snapshot.run) is chosen


def test_settings_of_another_version_are_refused_by_name(tmp_path):
    back = read(write(small_snapshot(tmp_path), tmp_path / "out.fits"))
    strange = dataclasses.replace(
        back.run.settings, method="richardson-lucy", rows=(("sharpness", "9", "", ""),)
    )
    with pytest.raises(SettingsError, match="no setting 'sharpness'"):
        settings_of(dataclasses.replace(back.run, settings=strange))


def test_a_restored_file_is_also_a_burst_of_its_images(tmp_path):
    path = write(small_snapshot(tmp_path), tmp_path / "out.fits")
    burst = read_burst(path)
    assert (burst.layout, burst.shape, burst.unit) == ("restored", (2, 1, 16, 18), "DN")
    assert burst.instruments[0].pixel_arcsec == 0.059 / 2
    assert burst.instruments[0].diameter_m == 0.97
    np.testing.assert_array_equal(burst.image(1, 0), voxels(2, 16, 18)[1])


def test_describe_tells_a_restored_files_story(tmp_path):
    facts = json.loads(json.dumps(describe(read(write(small_snapshot(tmp_path), tmp_path / "out.fits")))))
    assert (facts["layout"], facts["shape"], facts["method"]) == ("restored", [2, 1, 16, 18], "sv-momfbd")
    assert facts["settings"]["lambda_object"] == "0.1"
    assert facts["inputs"][0]["file"] == str(tmp_path / "observed.fits")
    assert facts["stop"] == "The result no longer changes."


def test_a_damaged_record_is_one_sentence(tmp_path):
    path = write(small_snapshot(tmp_path), tmp_path / "out.fits")
    path.write_bytes(path.read_bytes().replace(b"ELAPSED =", b"ELAPSEX ="))
    with pytest.raises(BurstError, match=r"out\.fits is a restored file, but damaged"):
        read(path)


def test_a_later_format_is_refused(tmp_path):
    path = write(small_snapshot(tmp_path), tmp_path / "out.fits")
    path.write_bytes(
        path.read_bytes().replace(b"HELIOFMT=                    1", b"HELIOFMT=                    2")
    )
    with pytest.raises(
        BurstError, match=r"another version of heliorestore \(format 2\); this one reads format 1"
    ):
        read(path)


# -- repeating a run


def noisy_cube(path, frames=4):
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:24, :26]
    scene = 1000 + 100 * np.sin(x / 3) * np.cos(y / 4)
    fits.PrimaryHDU(
        (scene + rng.normal(size=(frames, 24, 26))).astype("f4"), fits.Header({"TELESCOP": "SST"})
    ).writeto(path)
    return path


def test_a_run_with_turned_knobs_is_repeated_to_the_last_bit(tmp_path):
    path = noisy_cube(tmp_path / "observed.fits")
    burst = (
        read_burst(path).with_instrument("crisp-8542,pixel_arcsec=0.041").select(frames=slice(None, 0, -2))
    )
    chosen = RichardsonLucySettings(iterations=6, upsampling=2)
    source = stream(burst, chosen, device="cpu", seed=5)
    snapshot = next(source)
    for iteration in range(4):
        snapshot = source.send(chosen.replace(damping=0.5 * iteration))
    source.close()
    restored = write(snapshot, tmp_path / "restored.fits")

    again, record = reopen(restored)
    assert again.frame_numbers == range(3, 0, -2)
    assert again.instruments[0].pixel_arcsec == 0.041
    repeated = list(
        replay(again, settings_of(record.run), record.history, device=record.run.device, seed=record.run.seed)
    )
    assert len(repeated) == 5
    np.testing.assert_array_equal(repeated[-1].images, snapshot.images)
    assert list(record.history["damping"]) == [0.0, 0.0, 0.5, 1.0, 1.5]
    without = heliorestore.restore(burst, chosen.replace(iterations=5), device="cpu", seed=5)
    assert not np.array_equal(without.images, snapshot.images)


def test_inputs_are_found_beside_the_restored_file(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    burst = read_burst(noisy_cube(old / "observed.fits")).with_instrument("crisp-8542")
    write(
        heliorestore.restore(burst, RichardsonLucySettings(iterations=1), device="cpu"), old / "restored.fits"
    )
    old.rename(new)
    again, _ = reopen(new / "restored.fits")
    assert again.sources[0].path == new / "observed.fits"


def test_another_input_of_the_same_name_is_refused(tmp_path):
    path = noisy_cube(tmp_path / "observed.fits")
    burst = read_burst(path).with_instrument("crisp-8542")
    restored = write(
        heliorestore.restore(burst, RichardsonLucySettings(iterations=1), device="cpu"),
        tmp_path / "restored.fits",
    )
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        BurstError,
        match=r"observed\.fits is not the file that was restored: its SHA-256 "
        r"differs",
    ):
        reopen(restored)
    path.unlink()
    with pytest.raises(BurstError, match=r"observed\.fits no longer exists: put it back"):
        reopen(restored)


def test_what_cannot_be_repeated_says_why(tmp_path):
    with pytest.raises(BurstError, match="not a restored file"):
        reopen(noisy_cube(tmp_path / "observed.fits"))
    burst = Burst.from_array(voxels(16, 16), KNOWN["crisp-8542"])
    path = write(
        heliorestore.restore(burst, RichardsonLucySettings(iterations=1), device="cpu"), tmp_path / "out.fits"
    )
    with pytest.raises(BurstError, match="from an array in memory"):
        reopen(path)


def test_reading_a_restored_file_loads_no_torch(tmp_path):
    import subprocess
    import sys

    path = write(small_snapshot(tmp_path), tmp_path / "out.fits")
    script = (
        "import sys; from heliorestore.fits.reader import *; describe(read(sys.argv[1])); assert "
        "'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


# -- the reference data


@pytest.mark.parametrize("folder", ["bursts", "headers", "enhance", "truth", "denoise"])
def test_every_reference_file_makes_the_round_trip(shared_data, tmp_path, folder):
    paths = [
        path
        for path in sorted((shared_data / folder).glob("*.fits*"))
        if path.name != "not_actually_fits.fits"
    ]
    assert paths
    for path in paths:
        check_round_trip(path, tmp_path / "out.fits")


def check_round_trip(path: Path, target: Path) -> None:
    burst = read_burst(path).select(frames=slice(0, 3))
    small = burst.image(0, 0)[:64, :64]
    snapshot = small_restoration(burst, small)
    back = read(write(snapshot, target, overwrite=True))
    assert_same(back, snapshot)
    with fits.open(target, checksum=True) as hdus:
        hdus.verify("exception")
        for key in set(burst.headers[0]) - {
            "DATE",
            "DATE-BEG",
            "DATE-END",
            "BUNIT",
            "COMMENT",
            "HISTORY",
            "",
            "DATAMIN",
            "DATAMAX",
            "EXTNAME",
        }:
            if not key.startswith(("CRPIX", "CDELT", "CD1_", "CD2_")):
                assert hdus[0].header[key] == burst.headers[0][key], (path.name, key)


def small_restoration(burst, small):
    from heliorestore.settings import SavedSettings
    from heliorestore.snapshot import Run

    run = Run.of(burst, SavedSettings("enhance", (("kind", "auto", "", "what it shows"),)), "cpu", 0)
    images = np.repeat(np.repeat(np.broadcast_to(small, (burst.shape[0], *small.shape)), 2, 1), 2, 2)
    return Snapshot(
        step=1,
        total=1,
        images=images,
        zoom=2,
        run=run,
        history={"step": np.ones(1)},
        losses={"loss": float("nan")},
    )

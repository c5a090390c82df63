"""Spatial axes that a table describes, as in the cubes of the Swedish telescope: read, restored, exported."""

import re
import tracemalloc
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from hypothesis import given
from hypothesis import strategies as st

from build_files import smooth, sstred
from heliorestore.burst import Burst
from heliorestore.cli import main
from heliorestore.fits import reader
from heliorestore.fits.files import Gunzip
from heliorestore.fits.reader import describe, read, read_burst
from heliorestore.fits.tabulated import lookup
from heliorestore.fits.writer import write
from heliorestore.instrument import Instrument
from heliorestore.methods.base import restore
from heliorestore.methods.pca import PcaSettings
from heliorestore.methods.richardson_lucy import RichardsonLucySettings

CORNERS = np.array([[0.0, 0.0], [39.0, 0.0], [0.0, 29.0], [39.0, 29.0]])  # of 40 x 30 pixels, counted from 0


def opened(path, **options):
    sstred(**options).writeto(path, overwrite=True)
    return read_burst(path)


def on_the_sky(hdus, pixels, wave=0, frame=0):
    """Where astropy finds pixels of an SSTRED cube by its table, in arcsec."""
    places = np.array([(x, y, wave, 0, frame) for x, y in pixels])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(hdus[0].header, fobj=hdus)
    factor = {"arcsec": 1.0, "deg": 3600.0}[str(wcs.wcs.cunit[0])]
    return wcs.all_pix2world(places, 0)[:, :2] * factor


def linear(header, pixels):
    """Where a written header puts pixels, in arcsec."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        places = WCS(header).celestial.all_pix2world(pixels, 0) * 3600
    return (places + 648000) % 1296000 - 648000


def without_table(hdus):
    return fits.HDUList(hdus[:1])


def changed_table(hdus, change):
    """The cube with another array in its table, whose size the table's header then tells."""
    name = hdus[1].columns.names[0]
    array = change(hdus[1].data[name][0])
    dim = str(array.shape[::-1]).replace(" ", "")
    columns = [
        fits.Column(name, f"{array.size}D", dim=dim if array.ndim > 1 else None, array=array[None]),
        *hdus[1].columns[1:],
    ]
    return fits.HDUList([hdus[0], fits.BinTableHDU.from_columns(columns, name="WCS-TAB")])


BROKEN = {
    "absent": without_table,
    "cut short": lambda hdus: changed_table(hdus, lambda array: array[..., :1, :]),
    "flat": lambda hdus: changed_table(hdus, np.ravel),
    "zeros": lambda hdus: changed_table(hdus, np.zeros_like),
    "not numbers": lambda hdus: changed_table(hdus, lambda array: np.full_like(array, np.nan)),
    "huge": lambda hdus: changed_table(
        hdus, lambda array: np.random.default_rng(0).normal(size=array.shape) * 1e307
    ),
    "random": lambda hdus: changed_table(
        hdus, lambda array: np.random.default_rng(0).normal(size=array.shape)
    ),
    "one column short": lambda hdus: fits.HDUList(
        [hdus[0], fits.BinTableHDU.from_columns(hdus[1].columns[:2], name="WCS-TAB")]
    ),
}


# -- reading


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"angle": 0.7},
        {"angle": -2.0, "mirrored": True},
        {"unit": "deg"},
        {"grid": "pixels"},
        {"drift": 0.01, "angle": 0.2},
        {"shape": (1, 1, 3, 30, 40)},
    ],
    ids=str,
)
def test_the_scale_is_the_tables(tmp_path, options):
    burst = opened(tmp_path / "a.fits", **options)
    assert burst.layout == "named-axes"
    assert [i.pixel_arcsec for i in burst.instruments] == pytest.approx([0.059] * burst.shape[0], rel=1e-4)
    assert burst.instruments[0].name == "SST/CRISP 6302"


def test_info_tells_the_scale(tmp_path, capsys):
    sstred().writeto(tmp_path / "a.fits")
    assert main(["info", str(tmp_path / "a.fits")]) == 0
    said = capsys.readouterr().out
    assert "0.059 arcsec per pixel" in said
    assert "warning" not in said


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz"])
def test_a_file_whose_axes_are_in_tables_is_opened_once(tmp_path, monkeypatch, name):
    calls = []
    fits_open, open_ = fits.open, Gunzip.open
    monkeypatch.setattr(fits, "open", lambda *a, **k: calls.append("astropy") or fits_open(*a, **k))
    monkeypatch.setattr(Gunzip, "open", lambda self, p: calls.append(p.name) or open_(self, p))
    monkeypatch.setattr(reader, "_SMALL", 0)  # no look at the pixels
    burst = opened(tmp_path / name)
    assert calls == [name, "astropy"]
    assert burst.pointing is not None


@pytest.mark.parametrize(
    "options",
    [{"angle": 0.7}, {"angle": 2.5, "mirrored": True}, {"drift": 0.01}, {"grid": "pixels"}],
    ids=str,
)
def test_the_pointing_of_each_image_is_what_astropy_reads_from_the_table(tmp_path, options):
    burst = opened(tmp_path / "a.fits", **options)
    with fits.open(tmp_path / "a.fits") as hdus:
        for object_, frame in ((0, 0), (1, 2), (7, 1)):
            plane = burst.pointing[object_, frame]
            found = plane[:, :1] + plane[:, 1:] @ (CORNERS - [19.5, 14.5]).T
            np.testing.assert_allclose(
                found.T, on_the_sky(hdus, CORNERS, wave=object_ % 2, frame=frame), atol=1e-6
            )


@given(
    seed=st.integers(0, 99),
    index=st.sampled_from([None, "rising", "falling"]),
    x=st.floats(0.6, 4.4),
    y=st.floats(2, 9),
    turned=st.booleans(),
    pc=st.booleans(),
)
def test_a_table_is_interpolated_as_astropy_does(seed, index, x, y, turned, pc):
    """The two roads, inside and half a cell outside of a table that is no plane, with index vectors in either
    order."""
    random = np.random.default_rng(seed)
    first, second = (2, 1) if turned else (1, 2)
    counts = (5, 4) if turned else (4, 5)  # along grid axes 1 and 2
    header = fits.Header(
        {"NAXIS": 2, "CTYPE1": "HPLN-TAB", "CTYPE2": "HPLT-TAB", "CUNIT1": "arcsec", "CUNIT2": "arcsec"}
    )
    header.update({"PS1_0": "T", "PS1_1": "XY", "PS2_0": "T", "PS2_1": "XY", "PV1_3": first, "PV2_3": second})
    header.update({"CRPIX1": 0.0, "CRPIX2": 0.0, "CRVAL1": 0.0, "CRVAL2": 0.0, "CDELT1": 1.0, "CDELT2": 0.4})
    if pc:
        header.update({"PC1_1": 1.0, "PC1_2": 0.01, "PC2_2": 1.0})
    columns = {"XY": random.normal(size=(counts[1], counts[0], 2))}
    if index:
        header["PS1_2"] = "I"
        points = np.cumsum(random.uniform(0.5, 1.5, 4))
        columns["I"] = points if index == "rising" else points[::-1]
    table = [fits.Column("XY", "40D", dim=f"(2,{counts[0]},{counts[1]})", array=columns["XY"][None])]
    table += [fits.Column("I", "4D", array=columns["I"][None])] if index else []
    hdus = fits.HDUList(
        [fits.PrimaryHDU(np.zeros((12, 6)), header), fits.BinTableHDU.from_columns(table, name="T")]
    )
    pixels = {1: np.array([x]), 2: np.array([y])}
    ours = [float(lookup(header, number, 2, columns).at(header, pixels)[0]) for number in (1, 2)]
    theirs = WCS(header, fobj=hdus).all_pix2world([[x, y]], 1)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)  # not a number in both where it is outside


@pytest.mark.parametrize("damage", BROKEN)
def test_without_a_usable_table_the_scale_is_unknown(tmp_path, damage, capsys):
    BROKEN[damage](sstred()).writeto(tmp_path / "a.fits")
    burst = read_burst(tmp_path / "a.fits")
    assert {i.pixel_arcsec for i in burst.instruments} == {None}
    assert burst.pointing is None
    assert main(["info", str(tmp_path / "a.fits")]) == 0
    (unknown,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("unknown")]
    assert "pixel_arcsec" in unknown


def test_a_header_alone_tells_no_scale_where_its_axes_are_tabulated():
    cards = dict(sstred()[0].header)
    assert Instrument.from_header(cards).pixel_arcsec is None
    assert (
        Instrument.from_header(
            {"CTYPE1": "HPLN-TAB", "CTYPE2": "HPLT-TAB", "CDELT1": 1.0, "CUNIT1": "arcsec"}
        ).pixel_arcsec
        is None
    )


def test_a_big_cube_with_a_table_opens_in_little_memory(tmp_path):
    frames, waves = 150, 21
    hdus = sstred(shape=(frames, 1, waves, 2, 2))
    primary = fits.PrimaryHDU(np.zeros((1,) * 5, np.float32), hdus[0].header).header
    primary.update(
        {"NAXIS1": 1024, "NAXIS2": 1024, "NAXIS3": waves, "NAXIS4": 1, "NAXIS5": frames, "EXTEND": True}
    )
    with (tmp_path / "big.fits").open("wb") as file:
        file.write(primary.tostring().encode())
        file.truncate(file.tell() + -(-frames * waves * 2**22 // 2880) * 2880)
        file.seek(0, 2)
        hdus[1].data["HPLN-INDEX"] = hdus[1].data["HPLT-INDEX"] = [[1, 1024]]
        hdus.writeto(tmp_path / "small.fits")
        with fits.open(tmp_path / "small.fits") as small:
            table_at = small.fileinfo(1)["hdrLoc"]
        file.write((tmp_path / "small.fits").read_bytes()[table_at:])
    read_burst(tmp_path / "big.fits")  # imports
    tracemalloc.start()
    burst = read_burst(tmp_path / "big.fits")
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()
    assert burst.instruments[0].pixel_arcsec == pytest.approx(0.059 / 1023, rel=1e-3)


def with_every_dimension(hdus):
    """The cube with the dimensions of its table that IDL left out, without which astropy refuses it."""
    return changed_table(
        hdus, lambda array: array.reshape((1,) * (array.shape[-1] + 1 - array.ndim) + array.shape)
    )


@pytest.mark.parametrize("shape", [(3, 2, 2), (1, 1, 3), (3, 1, 1), (1, 4, 1), (1, 1, 1)], ids=str)
def test_place_wavelength_and_time_of_every_image_are_astropys(tmp_path, shape):
    """A scan in time and Stokes, one scan, a wideband series, one wavelength, and a single image."""
    burst = opened(tmp_path / "a.fits", shape=(*shape, 30, 40), angle=0.7, drift=0.01)
    frames, stokes, waves = shape
    assert burst.shape[:2] == (stokes * waves, frames)
    with fits.open(tmp_path / "a.fits") as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(hdus[0].header, fobj=with_every_dimension(hdus))
    nm = {"nm": 1.0, "m": 1e9}[str(wcs.wcs.cunit[2])]
    seconds = np.empty(burst.shape[:2])
    for object_, frame in np.ndindex(burst.shape[:2]):
        polarised, wave = divmod(object_, waves)
        world = wcs.all_pix2world([(x, y, wave, polarised, frame) for x, y in CORNERS], 0)
        plane = burst.pointing[object_, frame]
        np.testing.assert_allclose(  # a tenth of a milliarcsecond
            (plane[:, :1] + plane[:, 1:] @ (CORNERS - [19.5, 14.5]).T).T, world[:, :2], atol=1e-4
        )
        assert burst.instruments[object_].wavelength_nm == pytest.approx(world[0, 2] * nm, abs=1e-6)
        seconds[object_, frame] = world[0, 4]
    times = np.broadcast_to(burst.times, seconds.shape) if burst.image_times is None else burst.image_times
    found = (times - np.datetime64("2020-08-01")) / np.timedelta64(1, "s")
    np.testing.assert_allclose(found, seconds, atol=1e-3)
    assert np.ptp(seconds[:, 0]) == 2.0 * (waves - 1)  # a scan takes its time
    assert (burst.select(slice(waves - 1, None)).times == times[waves - 1]).all()


def test_a_flipped_cube_is_the_same_burst_and_not_read_beside_its_original(tmp_path):
    """SSTRED also writes cubes with the spectra in front, whose axes and cards it renumbers."""
    hdus = sstred(angle=0.7, drift=0.01)
    hdus.writeto(tmp_path / "nb_6302_im.fits")
    cards = []
    for key, value in hdus[0].header.items():
        if key.startswith(("DW3", "CWDIS")):  # of a map that is not there
            continue
        numbered = re.match(r"(CTYPE|CUNIT|CRPIX|CRVAL|CDELT|PS|PV)(\d)(.*)", key)
        # Wavelength, Stokes, time, x, y.
        moved = numbered and f"{numbered[1]}{'34512'.index(numbered[2]) + 1}{numbered[3]}"
        cards.append((moved or key, value))
    flipped = fits.PrimaryHDU(hdus[0].data.transpose(3, 4, 0, 1, 2), fits.Header(cards))
    fits.HDUList([flipped, hdus[1]]).writeto(tmp_path / "nb_6302_sp.fits")
    image, spectra = read(tmp_path / "nb_6302_im.fits"), read(tmp_path / "nb_6302_sp.fits")
    same = [spectra.labels.index(label) for label in image.labels]
    np.testing.assert_array_equal(spectra.frames[...][same], image.frames[...])
    np.testing.assert_allclose(spectra.pointing[same], image.pointing, atol=1e-9)
    np.testing.assert_array_equal(spectra.image_times[same], image.image_times)
    assert [spectra.instruments[number] for number in same] == list(image.instruments)
    assert read(tmp_path).shape == image.shape  # not twice as many frames


# -- exporting


def test_an_export_is_placed_alike_by_astropy_sunpy_and_ndcube(tmp_path):
    ndcube = pytest.importorskip("ndcube", reason="ndcube is not installed")
    sunpy_map = pytest.importorskip("sunpy.map", reason="sunpy is not installed")
    burst = opened(tmp_path / "a.fits", shape=(1, 1, 3, 30, 40), angle=0.7)
    path = write(restore(burst, RichardsonLucySettings(iterations=1)), tmp_path / "b.fits")
    pixels = np.vstack([CORNERS, [[19.5, 14.5]]])
    with fits.open(tmp_path / "a.fits") as hdus:
        truth = on_the_sky(with_every_dimension(hdus), pixels)
    with warnings.catch_warnings(), fits.open(path) as hdus:
        warnings.simplefilter("ignore")  # no observer, and sunpy takes the first image of three
        header = hdus[0].header
        wcs = WCS(header)
        first = sunpy_map.Map(str(path))[0]  # RESIDUAL is the second
        cube = ndcube.NDCube(np.array(hdus[0].data), wcs)
        places = [
            wcs.celestial.pixel_to_world(*pixels.T),
            first.wcs.pixel_to_world(*pixels.T),
            cube.wcs.pixel_to_world(*pixels.T, np.zeros(5))[0],
            cube[1].wcs.pixel_to_world(*pixels.T),
        ]
        later = hdus["FRAMES"].data["LATER"]
    for there in places:
        found = np.stack([there.Tx.to_value("arcsec"), there.Ty.to_value("arcsec")], 1)
        np.testing.assert_allclose(found, truth, atol=1e-4)  # linear: TAN of a small field
    # Where its wavelengths and times are.
    assert [header[f"WLNM{n}"] for n in (1, 2, 3)] == pytest.approx([630.1, 630.2, 630.3])
    assert (header["DATE-BEG"][11:], header["DATE-END"][11:]) == ("08:00:00.000000", "08:00:04.000000")
    np.testing.assert_allclose(later, [[0, 2, 4]])
    assert (read(path).run.image_times == burst.image_times).all()
    # What lies in tables and images of the input is not there to be referred to.
    assert not [key for key in header if key.startswith(("VAR_KEYS", "CWDIS", "DW3"))]


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize(
    "options",
    [{}, {"angle": 0.7}, {"angle": -2.0, "mirrored": True}, {"unit": "deg"}, {"grid": "pixels"}],
    ids=str,
)
def test_an_exported_image_lies_where_the_table_says(tmp_path, options, zoom):
    sstred(**options).writeto(tmp_path / "a.fits")
    arguments = [
        "richardson-lucy",
        str(tmp_path / "a.fits"),
        "-o",
        str(tmp_path / "b.fits"),
        "--iterations",
        "1",
    ]
    assert (
        main([*arguments, "--objects", "0:2", "--frames", "0:1", "--upsampling", str(zoom), "--quiet"]) == 0
    )
    with fits.open(tmp_path / "a.fits") as hdus:
        truth = on_the_sky(hdus, CORNERS)
    fine = zoom * (CORNERS + 0.5) - 0.5
    with fits.open(tmp_path / "b.fits") as hdus:
        header, image = hdus[0].header, hdus[0].data[0]
        assert not [key for key in header if key.startswith(("PS1", "PS2", "PV"))]
        assert (header["CTYPE1"], header["CTYPE2"], header["CSYER1"]) == ("HPLN-TAN", "HPLT-TAN", 120.0)
        assert abs(header["CDELT1"]) == pytest.approx(0.059 / zoom, rel=1e-4)
        np.testing.assert_allclose(linear(header, fine), truth, atol=0.1 * 0.059)
        if "COVERAGE" in hdus:
            np.testing.assert_allclose(linear(hdus["COVERAGE"].header, fine), truth, atol=0.1 * 0.059)
    sunpy_map = pytest.importorskip("sunpy.map", reason="sunpy is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the header does not say where the observer is
        shown = sunpy_map.Map(image, header)
        import astropy.units as u

        there = shown.wcs.pixel_to_world(*fine.T)
        assert shown.scale[0].to_value("arcsec/pix") == pytest.approx(abs(header["CDELT1"]))
    np.testing.assert_allclose(
        np.stack([there.Tx.to_value(u.arcsec), there.Ty.to_value(u.arcsec)], 1), truth, atol=0.1 * 0.059
    )


def test_an_unturned_image_has_its_signs_in_cdelt(tmp_path):
    plain = opened(tmp_path / "a.fits").headers[0]
    assert (plain["CDELT1"] > 0, plain["CDELT2"] > 0) == (True, True)
    np.testing.assert_allclose([plain[f"PC{i}_{j}"] for i in (1, 2) for j in (1, 2)], [1, 0, 0, 1], atol=1e-6)
    mirrored = opened(tmp_path / "b.fits", mirrored=True).headers[0]
    assert (mirrored["CDELT1"] < 0, mirrored["CDELT2"] > 0) == (True, True)
    np.testing.assert_allclose(
        [mirrored[f"PC{i}_{j}"] for i in (1, 2) for j in (1, 2)], [1, 0, 0, 1], atol=1e-6
    )


def test_a_field_that_drifts_is_placed_where_the_frames_used_were(tmp_path):
    burst = opened(tmp_path / "a.fits", drift=0.05)
    with fits.open(tmp_path / "a.fits") as hdus:
        seen = np.array([[on_the_sky(hdus, CORNERS, wave, frame) for frame in range(3)] for wave in range(2)])
    assert np.ptp(seen[..., 0, 0]) > 20 * 0.059  # far more than the 0.1 px that are asked for
    for objects, frames in (
        (slice(0, 1), slice(2, 3)),
        (slice(1, 2), slice(0, 2)),
        (slice(None), slice(None)),
    ):
        part = burst.select(objects, frames)
        snapshot = restore(part, RichardsonLucySettings(iterations=1))
        with fits.open(write(snapshot, tmp_path / "b.fits", overwrite=True)) as hdus:
            np.testing.assert_allclose(
                linear(hdus[0].header, CORNERS), seen[objects, frames].mean((0, 1)), atol=0.1 * 0.059
            )


def test_an_image_of_a_denoised_series_is_placed_where_its_own_frame_was(tmp_path):
    hdus = sstred(drift=0.05)
    hdus[0].data += np.random.default_rng(0).normal(size=hdus[0].data.shape)
    hdus.writeto(tmp_path / "a.fits")
    burst = read_burst(tmp_path / "a.fits").select(slice(0, 2))
    snapshot = restore(burst, PcaSettings(components=1, frame=2))
    with fits.open(tmp_path / "a.fits") as hdus:
        seen = np.mean([on_the_sky(hdus, CORNERS, wave, 2) for wave in range(2)], 0)
    with fits.open(write(snapshot, tmp_path / "b.fits")) as hdus:
        np.testing.assert_allclose(linear(hdus[0].header, CORNERS), seen, atol=0.1 * 0.059)


@pytest.mark.parametrize("damage", BROKEN)
def test_without_a_usable_table_an_export_has_no_place_but_a_valid_header(tmp_path, damage):
    BROKEN[damage](sstred()).writeto(tmp_path / "a.fits")
    arguments = [
        "richardson-lucy",
        str(tmp_path / "a.fits"),
        "-o",
        str(tmp_path / "b.fits"),
        "--iterations",
        "1",
        "--objects",
        "0:1",
    ]
    assert main([*arguments, "--instrument", "crisp-6302", "--quiet"]) == 0
    with fits.open(tmp_path / "b.fits") as hdus:
        header = hdus[0].header
        assert not [value for value in header.values() if str(value).endswith("-TAB")]
        assert not [key for key in header if key.startswith(("PS1", "PS2", "PV"))]
        assert (header["SOLARNET"], header["FILTER1"], header["DATEREF"]) == (
            0.5,
            "6302",
            "2020-08-01T00:00:00",
        )
        assert (header["CDELT1"], header["CUNIT1"]) == (0.059, "arcsec")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            assert not WCS(header).has_celestial


def test_a_header_of_any_origin_is_written_without_a_missing_table(tmp_path):
    burst = Burst.from_array(smooth(30, 40), Instrument.parse("crisp-6302"), headers=(sstred()[0].header,))
    with fits.open(write(restore(burst, RichardsonLucySettings(iterations=1)), tmp_path / "b.fits")) as hdus:
        assert "CTYPE1" not in hdus[0].header
        assert hdus[0].header["CDELT1"] == 0.059


def test_a_run_on_a_tabulated_cube_comes_back_with_its_place(tmp_path):
    burst = opened(tmp_path / "a.fits", angle=0.7, drift=0.05).select(slice(0, 1), slice(1, 2))
    first = write(restore(burst, RichardsonLucySettings(iterations=1, upsampling=2)), tmp_path / "b.fits")
    again = write(read(first), tmp_path / "c.fits")
    with fits.open(first) as one, fits.open(again) as other:
        for key in ("CTYPE1", "CRVAL1", "CRPIX1", "CDELT1", "PC1_2", "CRVAL2"):
            assert other[0].header[key] == one[0].header[key]
    assert describe(read(again))["pixel_arcsec"] == pytest.approx(0.0295, rel=1e-4)
